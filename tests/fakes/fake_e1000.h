// An Intel 8254x network card as its manual describes it, from the device's side: it takes
// descriptors, moves bytes by DMA and raises interrupt causes. Everything that a driver must not do
// is a violation.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <span>
#include <vector>

#include "drivers/net/e1000_regs.h"
#include "tests/fakes/dma_space.h"
#include "tests/fakes/violations.h"

namespace bareflow::fakes {

class FakeE1000 {
  public:
    using Frame = std::vector<uint8_t>;

    // How the card behaves; set before the driver starts.
    struct Behaviour {
        std::array<uint16_t, 3> eeprom{0x5452, 0x1200, 0x5634};  // 52:54:00:12:34:56
        e1000::EerdLayout eerd = e1000::kEerd8254x;
        uint32_t eeprom_polls = 3;  // reads until a word is ready
        bool eeprom_silent = false;
        uint32_t reset_polls = 2;  // reads until the reset is over
        bool reset_hangs = false;
        uint32_t ral = 0;  // what reset leaves in the receive filter
        uint32_t rah = 0;
        bool link_up = true;
        bool hold_transmit = false;  // finish() sends, not the tail register
        bool gone = false;           // unplugged: every read is all ones
    };
    // The false values that the card writes into a receive descriptor.
    struct Lie {
        int len = -1;
        uint8_t errors = 0;
        bool end_of_packet = true;
    };

    uint32_t read(uint32_t offset);
    void write(uint32_t offset, uint32_t value);

    // A frame arrives. False: there is no descriptor; the frame is lost and the overrun cause set.
    bool deliver(std::span<const uint8_t> frame) { return deliver(frame, {}); }
    bool deliver(std::span<const uint8_t> frame, const Lie &lie);
    // Sends up to `count` of the held frames.
    void finish(uint32_t count);
    void set_link(bool up);

    [[nodiscard]] bool interrupt_asserted() const { return (causes_ & mask_) != 0; }
    [[nodiscard]] uint32_t interrupt_mask() const { return mask_; }
    [[nodiscard]] uint32_t free_receive_descriptors() const;
    [[nodiscard]] uint32_t last_written(uint32_t offset) const {
        const auto found = registers_.find(offset);
        return found == registers_.end() ? 0 : found->second;
    }

    Behaviour behaviour;
    DmaSpace dma;
    std::vector<Frame> sent;
    Violations violations{"fake e1000"};

  private:
    struct Ring {
        uint32_t base_low, base_high, len, head, tail;  // register offsets
        uint32_t count = 0;
        uint32_t next = 0;  // head
        uint32_t end = 0;   // tail
    };

    void reset();
    void check_ring_setup(Ring &ring, const char *what);
    void start_receive(uint32_t value);
    void start_transmit(uint32_t value);
    void give_receive(uint32_t tail);
    void give_transmit(uint32_t tail);
    void send_one();
    [[nodiscard]] uint64_t base(const Ring &ring) const {
        return last_written(ring.base_low) | uint64_t{last_written(ring.base_high)} << 32;
    }
    template <typename Descriptor>
    [[nodiscard]] Descriptor *descriptor(const Ring &ring, uint32_t index);

    std::map<uint32_t, uint32_t> registers_;
    Ring rx_{e1000::kRdbal, e1000::kRdbah, e1000::kRdlen, e1000::kRdh, e1000::kRdt};
    Ring tx_{e1000::kTdbal, e1000::kTdbah, e1000::kTdlen, e1000::kTdh, e1000::kTdt};
    uint32_t causes_ = 0;
    uint32_t mask_ = 0;
    uint32_t reset_left_ = 0;
    uint32_t eerd_left_ = 0;
    uint32_t mta_written_ = 0;
    bool was_reset_ = false;
    bool receiving_ = false;
    bool transmitting_ = false;
};

// The handle that the driver is instantiated with.
struct FakeE1000Regs {
    FakeE1000 *card;
    [[nodiscard]] uint32_t read32(uint32_t offset) const { return card->read(offset); }
    void write32(uint32_t offset, uint32_t value) const { card->write(offset, value); }
};

}  // namespace bareflow::fakes
