// The handshake that all virtio devices share, by the driver that adds least to it.
#include "drivers/virtio/virtio_device.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <string>

#include "drivers/virtio/virtio_rng.h"
#include "tests/fakes/fake_virtio.h"

namespace bareflow {
namespace {

using fakes::DmaMemory;
using fakes::FakeVirtioRegs;
using fakes::FakeVirtioRng;

class VirtioDeviceTest : public testing::Test {
  protected:
    using Driver = VirtioRng<FakeVirtioRegs>;
    VirtioDeviceTest() { fake_.dma.allow(memory_.span()); }
    Result<Driver> start() { return Driver::create(FakeVirtioRegs(fake_), memory_.span(), 20); }
    DmaMemory memory_{4096};
    FakeVirtioRng fake_;
};

TEST_F(VirtioDeviceTest, NeedsTheModernInterface) {
    fake_.offered = 1ull << 28;
    EXPECT_EQ(start().error().code, ErrorCode::kUnsupported);
    EXPECT_NE(fake_.status() & virtio::kStatusFailed, 0);
}

TEST_F(VirtioDeviceTest, FeaturesThatTheDeviceRefuses) {
    fake_.refuses_features = true;
    EXPECT_EQ(start().error().code, ErrorCode::kUnsupported);
    EXPECT_NE(fake_.status() & virtio::kStatusFailed, 0);
}

TEST_F(VirtioDeviceTest, ResetThatNeverEnds) {
    fake_.reset_hangs = true;
    EXPECT_EQ(start().error().code, ErrorCode::kTimeout);
}

TEST_F(VirtioDeviceTest, DeviceThatIsNotThere) {
    fake_.gone = true;
    EXPECT_EQ(start().error().code, ErrorCode::kTimeout);
}

TEST_F(VirtioDeviceTest, QueuesThatCannotBeUsed) {
    fake_.queue_max = 0;
    EXPECT_EQ(start().error().code, ErrorCode::kDevice);
    fake_.queue_max = 3;
    EXPECT_EQ(start().error().code, ErrorCode::kDevice);
    fake_.queue_max = 1;
    EXPECT_TRUE(start().ok());
    EXPECT_EQ(fake_.queue_size(0), 1);
    fake_.notify_len = 1;
    EXPECT_EQ(start().error().code, ErrorCode::kDevice);
}

TEST(FakeVirtioItself, Bites) {
    FakeVirtioRng fake;
    using Region = fakes::FakeVirtio::Region;
    const auto caught = [&fake](const char *what) {
        const auto list = fake.violations.take();
        return std::any_of(list.begin(), list.end(), [what](const std::string &violation) {
            return violation.find(what) != std::string::npos;
        });
    };
    fake.write(Region::kCommon, virtio::kDeviceStatus, 1, 1);
    EXPECT_TRUE(caught("before its reset"));
    fake.write(Region::kCommon, virtio::kDeviceStatus, 1, 0);
    while (fake.read(Region::kCommon, virtio::kDeviceStatus, 1) != 0) {
    }
    fake.write(Region::kCommon, virtio::kDeviceStatus, 1, 1);
    fake.write(Region::kCommon, virtio::kDeviceStatus, 1, 1 | 2 | 8);
    EXPECT_TRUE(caught("out of order"));
    fake.write(Region::kCommon, virtio::kDeviceStatus, 1, 1 | 2);
    fake.write(Region::kCommon, virtio::kDriverFeature, 4, 1);
    EXPECT_TRUE(caught("not offered"));
    fake.write(Region::kCommon, virtio::kQueueEnable, 2, 1);
    EXPECT_TRUE(caught("outside its step"));
    fake.write(Region::kNotify, 0, 2, 0);
    EXPECT_TRUE(caught("before DRIVER_OK"));
    fake.write(Region::kNotify, 4, 2, 0);
    EXPECT_TRUE(caught("another queue's place"));
    (void)fake.read(Region::kCommon, virtio::kQueueSize, 4);
    EXPECT_TRUE(caught("another width"));
    fake.write(Region::kCommon, virtio::kConfigGeneration, 1, 0);
    EXPECT_TRUE(caught("read-only"));
}

}  // namespace
}  // namespace bareflow
