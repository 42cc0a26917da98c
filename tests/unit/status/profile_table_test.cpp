#include "status/profile_table.h"

#include <gtest/gtest.h>

#include <set>
#include <string>

#include "kernel_lib/base/text_writer.h"
#include "kernel_lib/cpu/features.h"

namespace bareflow::status {
namespace {

TEST(ProfileTable, KeysAreUniqueInTheirSection) {
    std::set<std::string> seen;
    for (const ProfileRow &row : profile_rows()) {
        const std::string name =
            std::to_string(static_cast<int>(row.section)) + "." + std::string(row.key);
        EXPECT_TRUE(seen.insert(name).second) << name;
    }
}

TEST(ProfileTable, NamesForPrometheusAreUnique) {
    std::set<std::string> seen;
    for (const ProfileRow &row : profile_rows()) {
        if (row.help != nullptr) {
            const std::string name = profile_section(row.section).prometheus + std::string(row.key);
            EXPECT_TRUE(seen.insert(name).second) << name;
            EXPECT_NE(row.kind, ProfileKind::kText) << name << ": a sample is a number";
            EXPECT_TRUE(std::string_view(row.help).ends_with('.')) << name;
        }
    }
}

TEST(ProfileTable, ValuesHaveTheirKind) {
    SystemSnapshot snapshot;
    snapshot.cpu.name = "a processor";
    snapshot.cpu.processors = 3;
    snapshot.memory.total_bytes = ~uint64_t{0};
    snapshot.network.link_up = true;
    snapshot.jit.search.spent_us = 2500;
    snapshot.jit.speed_up = 1.5;
    int found = 0;
    for (const ProfileRow &row : profile_rows()) {
        const std::string_view key = row.key;
        if (row.section == ProfileSection::kCpu && key == "name") {
            EXPECT_EQ(profile_text(snapshot, row), "a processor");
        } else if (key == "processors") {
            EXPECT_EQ(profile_integer(snapshot, row), 3u);
        } else if (key == "total_bytes") {
            EXPECT_EQ(profile_integer(snapshot, row), ~uint64_t{0});
        } else if (key == "link_up") {
            EXPECT_EQ(profile_integer(snapshot, row), 1u);
        } else if (key == "spent_ms") {
            EXPECT_EQ(profile_number(snapshot, row), 2.5);
        } else if (key == "speed_up") {
            EXPECT_EQ(profile_number(snapshot, row), 1.5);
        } else {
            continue;
        }
        ++found;
    }
    EXPECT_EQ(found, 6);
}

// The processor's features are never cut inside a word, and all known ones fit.
TEST(ProfileTable, FeaturesAreWholeWords) {
    CpuFeatures all;
    all.usable = all.present = (uint64_t{1} << static_cast<int>(CpuFeature::kCount)) - 1;
    char text[1000];
    TextWriter out(text);
    format_features(out, all);
    EXPECT_LE(out.size(), kMaxProfileList);
    SystemSnapshot snapshot;
    const std::string longer = std::string(out.view()) + " " + std::string(out.view());
    snapshot.cpu.features = longer;
    for (const ProfileRow &row : profile_rows()) {
        if (profile_is_list(row)) {
            const std::string_view shown = profile_text(snapshot, row);
            EXPECT_LE(shown.size(), kMaxProfileList);
            EXPECT_EQ(longer[shown.size()], ' ');
            snapshot.cpu.features = out.view();
            EXPECT_EQ(profile_text(snapshot, row), out.view());
        }
    }
}

}  // namespace
}  // namespace bareflow::status
