// The lines of the log, the stages of the start, and the bar that shows the progress of a load.
#include "kernel_lib/io/log.h"

#include <gtest/gtest.h>

#include <string>

#include "kernel_lib/io/progress.h"
#include "kernel_lib/platform/platform.h"

namespace bareflow {
namespace {

std::string line(uint64_t time_us, std::string_view text) {
    char buffer[400];
    TextWriter out(buffer);
    format_log_line(out, time_us, text);
    return std::string(out.view());
}

TEST(Log, Format) {
    EXPECT_EQ(line(0, "start"), "[  0.000] start\n");
    EXPECT_EQ(line(123'456, "text"), "[  0.123] text\n");
    EXPECT_EQ(line(12'345'678'901, ""), "[12345.678] \n");
}

TEST(Log, WritesToTheConsole) {
    testing::internal::CaptureStderr();
    log_start(platform::ticks());
    log_line("model: ", "stories", ", ", Bytes{98671001});
    log_line(std::string(1000, 'x'));
    const std::string written = testing::internal::GetCapturedStderr();
    EXPECT_EQ(written.substr(8, 28), "] model: stories, 94.1 MiB\n[");
    // A line too long is cut, but still ends.
    EXPECT_EQ(written.back(), '\n');
    EXPECT_EQ(std::count(written.begin(), written.end(), 'x'),
              static_cast<std::ptrdiff_t>(kLogLineBytes));
}

TEST(Log, Stages) {
    testing::internal::CaptureStderr();
    log_start(platform::ticks());
    ASSERT_TRUE(boot_stages().empty());
    log_stage("memory", Bytes{1024});
    log_stage("net", "up");
    const std::string written = testing::internal::GetCapturedStderr();
    EXPECT_NE(written.find("] memory: 1.0 KiB\n"), std::string::npos);
    ASSERT_EQ(boot_stages().size(), 2u);
    const BootStage &memory = boot_stages()[0];
    const BootStage &net = boot_stages()[1];
    EXPECT_EQ(memory.name, "memory");
    EXPECT_EQ(net.name, "net");
    EXPECT_EQ(net.end_us, memory.end_us + net.duration_us);
    testing::internal::CaptureStderr();
    for (size_t i = 0; i < 2 * kMaxBootStages; ++i) {
        log_stage("more", "");
    }
    testing::internal::GetCapturedStderr();
    EXPECT_EQ(boot_stages().size(), kMaxBootStages);
}

std::string grown(GrowingBar &bar, uint64_t done) {
    char buffer[100];
    TextWriter out(buffer);
    bar.update(done, out);
    return std::string(out.view());
}

TEST(Progress, BarGrowsAndEnds) {
    static_assert(GrowingBar::kWidth == 24);
    GrowingBar bar(2400);
    EXPECT_EQ(grown(bar, 0), "[");
    EXPECT_EQ(grown(bar, 99), "");
    EXPECT_EQ(grown(bar, 100), "#");
    EXPECT_EQ(grown(bar, 10), "");  // backwards
    EXPECT_EQ(grown(bar, 1200), std::string(11, '#'));
    EXPECT_EQ(grown(bar, 2399), std::string(11, '#'));
    EXPECT_FALSE(bar.complete());
    EXPECT_EQ(grown(bar, 2400), "#]");
    EXPECT_TRUE(bar.complete());
    EXPECT_EQ(grown(bar, 5000), "");
}

TEST(Progress, BarOfNothingAndOfAVeryLargeThing) {
    GrowingBar nothing(0);
    EXPECT_EQ(grown(nothing, 0), "[" + std::string(24, '#') + "]");
    GrowingBar large(~uint64_t{0});
    EXPECT_EQ(grown(large, ~uint64_t{0} / 2), "[" + std::string(11, '#'));
}

TEST(Progress, StatusLine) {
    char buffer[100];
    TextWriter out(buffer);
    format_progress(out, "stories", uint64_t{49} << 20, uint64_t{98} << 20, 10);
    EXPECT_EQ(out.view(), "stories [#####.....]  50%  49.0 MiB of 98.0 MiB");
}

TEST(Progress, LoadIsOneLineOnTheConsole) {
    testing::internal::CaptureStderr();
    LoadProgress load("stories", 1 << 20);
    for (uint64_t done = 0; done <= 1 << 20; done += 1024) {
        load.update(done);
    }
    load.finish();
    const std::string written = testing::internal::GetCapturedStderr();
    EXPECT_EQ(std::count(written.begin(), written.end(), '\n'), 1);
    EXPECT_NE(written.find("] loading stories, 1.0 MiB [" + std::string(24, '#') + "] "),
              std::string::npos)
        << written;
    EXPECT_EQ(written.substr(written.size() - 3), "/s\n");
}

TEST(Progress, LoadThatFails) {
    testing::internal::CaptureStderr();
    LoadProgress load("stories", 1000);
    load.update(500);
    load.finish("the disk stopped answering");
    const std::string written = testing::internal::GetCapturedStderr();
    EXPECT_NE(written.find("[############! the disk stopped answering\n"), std::string::npos)
        << written;
}

}  // namespace
}  // namespace bareflow
