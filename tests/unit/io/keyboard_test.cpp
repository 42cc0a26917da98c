// The keyboard driver against a fake controller that complains about every breach of its protocol,
// and that can be absent, silent or interrupt at any moment.
#include "kernel_lib/io/keyboard.h"

#include <gtest/gtest.h>

#include <memory>
#include <random>
#include <string>
#include <vector>

#include "kernel_lib/runtime.h"
#include "tests/fakes/fake_ps2.h"

namespace bareflow {
namespace {

using Keyboard = Ps2Keyboard<FakePs2Io>;

class KeyboardTest : public testing::Test {
  protected:
    ~KeyboardTest() override {
        for (const std::string &complaint : controller.complaints) {
            ADD_FAILURE() << complaint;
        }
    }
    std::vector<Key> read_all() {
        std::vector<Key> keys;
        while (const std::optional<Key> key = keyboard->read()) {
            keys.push_back(*key);
        }
        return keys;
    }

    FakePs2 controller;
    std::unique_ptr<Keyboard> keyboard = std::make_unique<Keyboard>(FakePs2Io(&controller));
};

TEST_F(KeyboardTest, InitSetsTheControllerUp) {
    controller.key(0x1E);  // typed ahead: discarded
    controller.mouse(0x08);
    ASSERT_TRUE(keyboard->init().ok());
    EXPECT_EQ(controller.config() & ps2::kConfigKeyboardInterrupt, ps2::kConfigKeyboardInterrupt);
    EXPECT_EQ(controller.config() & ps2::kConfigTranslate, ps2::kConfigTranslate);
    EXPECT_EQ(controller.config() & ps2::kConfigAuxiliaryInterrupt, 0);
    EXPECT_EQ(controller.config() & ps2::kConfigKeyboardClockOff, 0);
    EXPECT_TRUE(controller.scanning());
    EXPECT_TRUE(read_all().empty());
}

TEST_F(KeyboardTest, KeysThatComeBeforeTheAcknowledgement) {
    controller.keys_before_ack = "\x1E\x1F";
    ASSERT_TRUE(keyboard->init().ok());
}

TEST_F(KeyboardTest, NoController) {
    controller.absent = true;
    EXPECT_EQ(keyboard->init().code(), ErrorCode::kNotFound);
    const uint64_t reads = controller.port_reads;
    EXPECT_FALSE(keyboard->read().has_value());
    EXPECT_FALSE(keyboard->on_interrupt());
    EXPECT_EQ(controller.port_reads, reads);
}

TEST_F(KeyboardTest, EveryWayNotToAnswerEndsInTime) {
    for (bool FakePs2::*fault :
         {&FakePs2::input_stuck, &FakePs2::never_answers, &FakePs2::no_keyboard}) {
        FakePs2 broken;
        broken.*fault = true;
        Keyboard driver{FakePs2Io(&broken)};
        EXPECT_EQ(driver.init().code(), ErrorCode::kTimeout);
        EXPECT_LE(broken.port_reads, Keyboard::kPolls + 200U);
        EXPECT_FALSE(driver.present());
    }
}

TEST_F(KeyboardTest, KeyboardThatBabblesInsteadOfAcknowledging) {
    controller.keys_before_ack = std::string(1000, '\x1E');
    EXPECT_EQ(keyboard->init().code(), ErrorCode::kDevice);
}

TEST_F(KeyboardTest, KeysByPollAndTheMouseIsIgnored) {
    ASSERT_TRUE(keyboard->init().ok());
    for (const uint8_t scancode : {0x23, 0xA3, 0x17, 0x97}) {
        controller.key(scancode);
        controller.mouse(0x1E);
    }
    EXPECT_EQ(read_all(), (std::vector<Key>{'h', 'i'}));
}

TEST_F(KeyboardTest, InterruptsAtEveryMoment) {
    ASSERT_TRUE(keyboard->init().ok());
    controller.interrupt_handler = [this] { return keyboard->on_interrupt(); };
    std::mt19937 random(6);
    std::vector<Key> expected;
    std::vector<Key> got;
    for (int i = 0; i < 5000; ++i) {
        if (random() % 3 == 0) {
            const bool up = random() % 2 == 0;
            // An extended key in two bytes, which must stay together: between reads, or during one.
            const uint8_t code = up ? 0x48 : 0x50;
            if (controller.in_flight.empty() && random() % 2 == 0) {
                controller.key(0xE0);
                controller.key(code);
                controller.run_interrupts();
            } else {
                controller.in_flight.push_back(0xE0);
                controller.in_flight.push_back(code);
            }
            expected.push_back(up ? KEY_UP : KEY_DOWN);
        }
        if (random() % 2 == 0) {
            if (const std::optional<Key> key = keyboard->read()) {
                got.push_back(*key);
            }
        }
    }
    while (!controller.in_flight.empty()) {
        for (const Key key : read_all()) {
            got.push_back(key);
        }
    }
    for (const Key key : read_all()) {
        got.push_back(key);
    }
    EXPECT_EQ(got, expected);
    EXPECT_GT(controller.interrupts, 0U);
    EXPECT_EQ(keyboard->dropped(), 0U);
}

TEST_F(KeyboardTest, KeysThatNobodyReadsAreCounted) {
    ASSERT_TRUE(keyboard->init().ok());
    controller.interrupt_handler = [this] { return keyboard->on_interrupt(); };
    for (int i = 0; i < 100; ++i) {
        controller.key(0x1E);
        controller.run_interrupts();
    }
    EXPECT_EQ(read_all().size(), 64U);
    EXPECT_EQ(keyboard->dropped(), 36U);
}

}  // namespace
}  // namespace bareflow
