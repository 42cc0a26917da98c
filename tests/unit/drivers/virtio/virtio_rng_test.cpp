#include "drivers/virtio/virtio_rng.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <utility>
#include <vector>

#include "tests/fakes/fake_virtio.h"

namespace bareflow {
namespace {

using fakes::DmaMemory;
using fakes::FakeVirtioRegs;
using fakes::FakeVirtioRng;

class VirtioRngTest : public testing::Test {
  protected:
    using Driver = VirtioRng<FakeVirtioRegs>;
    VirtioRngTest() { fake_.dma.allow(memory_.span()); }
    Result<Driver> start() { return Driver::create(FakeVirtioRegs(fake_), memory_.span(), 20); }
    DmaMemory memory_{4096};
    FakeVirtioRng fake_;
};

TEST_F(VirtioRngTest, FillsAnyLength) {
    auto source = start();
    ASSERT_TRUE(source.ok()) << source.error().message;
    EXPECT_FALSE(fake_.interrupt_asserted());
    uint8_t expected = 1;
    for (const size_t len : {1, 255, 256, 257, 1000}) {
        std::vector<uint8_t> bytes(len);
        ASSERT_TRUE(source->fill(bytes).ok());
        for (const uint8_t byte : bytes) {
            ASSERT_EQ(byte, expected++);
        }
    }
    EXPECT_FALSE(fake_.interrupt_asserted());
}

TEST_F(VirtioRngTest, DeviceThatGivesLittleAtATime) {
    fake_.at_most = 7;
    auto source = start();
    ASSERT_TRUE(source.ok());
    std::vector<uint8_t> bytes(100);
    ASSERT_TRUE(source->fill(bytes).ok());
    for (size_t i = 0; i < bytes.size(); ++i) {
        ASSERT_EQ(bytes[i], i + 1);
    }
}

TEST_F(VirtioRngTest, Faults) {
    for (const auto &[fault, code] : {std::pair{FakeVirtioRng::Fault::kHang, ErrorCode::kTimeout},
                                      {FakeVirtioRng::Fault::kNothing, ErrorCode::kDevice},
                                      {FakeVirtioRng::Fault::kTooMuch, ErrorCode::kDevice}}) {
        std::fill(memory_.span().begin(), memory_.span().end(), uint8_t{0});
        auto source = start();
        ASSERT_TRUE(source.ok());
        fake_.fault = fault;
        std::array<uint8_t, 16> bytes;
        EXPECT_EQ(source->fill(bytes).code(), code);
        EXPECT_FALSE(fake_.running()) << "it was reset";
        EXPECT_EQ(source->fill(bytes).code(), ErrorCode::kDevice);
        fake_.fault = FakeVirtioRng::Fault::kNone;
    }
}

TEST_F(VirtioRngTest, TooLittleMemory) {
    EXPECT_EQ(VirtioRng<FakeVirtioRegs>::create(FakeVirtioRegs(fake_), memory_.span().first(4095))
                  .error()
                  .code,
              ErrorCode::kTooLarge);
}

}  // namespace
}  // namespace bareflow
