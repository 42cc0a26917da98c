// Driver for the Intel 8254x family of network cards: legacy descriptor rings, one receive and one
// transmit queue, no offloads. What the card writes (descriptors, lengths) is checked before use.
//
// Template over the register window (read32, write32), so that a fake card can stand behind it and
// check every access. Facts are in e1000_regs.h.
#pragma once

#include <algorithm>
#include <cstring>

#include "drivers/deadline.h"
#include "drivers/dma.h"
#include "drivers/net/e1000_regs.h"
#include "drivers/net/net_card.h"

namespace bareflow {

struct E1000Layout {
    // The driver always keeps one receive descriptor: head == tail means to the card that it has
    // none.
    static constexpr uint32_t kRxCount = 64;
    static constexpr uint32_t kTxCount = 32;
    static constexpr size_t kBufferBytes = 2048;  // RCTL.BSIZE 00b

    static constexpr size_t kRxRing = 0;
    static constexpr size_t kTxRing = kRxRing + kRxCount * sizeof(e1000::RxDescriptor);
    static constexpr size_t kRxBuffers = 4096;
    static constexpr size_t kTxBuffers = kRxBuffers + kRxCount * kBufferBytes;
    static constexpr size_t kDmaBytes = kTxBuffers + kTxCount * kBufferBytes;

    static_assert(kTxRing + kTxCount * sizeof(e1000::TxDescriptor) <= kRxBuffers);
    static_assert(kRxCount * sizeof(e1000::RxDescriptor) % e1000::kRingLenUnit == 0);
    static_assert(kTxCount * sizeof(e1000::TxDescriptor) % e1000::kRingLenUnit == 0);
};

template <typename Regs>
class E1000 final : public NetCard, public E1000Layout {
  public:
    // Resets the card, reads its address and starts both rings; frames flow from here on, and
    // interrupts come as soon as the line is unmasked.
    // memory: kDmaBytes, page-aligned, zeroed, the card's for ever. irq: legacy line, or -1.
    [[nodiscard]] static Result<E1000> create(Regs regs, const e1000::Model &model,
                                              DmaRegion memory, int irq) {
        if (memory.size() < kDmaBytes) {
            return Error{ErrorCode::kTooLarge, "too little memory for the network card's rings"};
        }
        E1000 card(regs, model, memory, irq);
        BF_TRY(card.reset());
        BF_TRY(card.read_mac());
        card.start();
        return card;
    }

    [[nodiscard]] std::string_view name() const override { return "e1000"; }
    [[nodiscard]] std::string_view model_name() const { return model_->name; }

    [[nodiscard]] Status transmit(std::span<const uint8_t> frame) override {
        BF_TRY(check_length(frame));
        reclaim();
        const uint32_t next = (tx_next_ + 1) % kTxCount;
        if (next == tx_oldest_) {
            return ring_is_full();
        }
        std::memcpy(tx_buffer(tx_next_), frame.data(), frame.size());
        volatile e1000::TxDescriptor &descriptor = tx_ring()[tx_next_];
        descriptor.address = platform::physical_address(tx_buffer(tx_next_));
        descriptor.len_bytes = static_cast<uint16_t>(frame.size());
        descriptor.checksum_offset = 0;
        descriptor.command = e1000::kTxEndOfPacket | e1000::kTxInsertCrc | e1000::kTxReportStatus;
        descriptor.status = 0;
        descriptor.checksum_start = 0;
        descriptor.special = 0;
        dma_write_barrier();
        tx_next_ = next;
        regs_.write32(e1000::kTdt, tx_next_);
        count_sent(frame.size());
        return {};
    }

    [[nodiscard]] size_t receive(std::span<uint8_t> frame) override {
        // At most one round of the ring, so that a card that never stops cannot hold up the loop.
        for (uint32_t count = 0; count < kRxCount; ++count) {
            volatile e1000::RxDescriptor &descriptor = rx_ring()[rx_next_];
            const uint8_t status = descriptor.status;
            if ((status & e1000::kRxDone) == 0) {
                give_back();
                return 0;
            }
            dma_read_barrier();
            const size_t len = descriptor.len_bytes;
            const bool good = acceptable(status, descriptor.errors, len, frame.size());
            if (good) {
                std::memcpy(frame.data(), rx_buffer(rx_next_), len);
                count_received(len);
            }
            descriptor.status = 0;
            rx_next_ = (rx_next_ + 1) % kRxCount;
            if (++rx_taken_ >= kGiveBackBatch) {
                give_back();
            }
            if (good) {
                return len;
            }
        }
        give_back();
        return 0;
    }

    bool on_interrupt() override {
        // Reading acknowledges (SDM section 13.4.17). All ones: the card was unplugged.
        const uint32_t causes = regs_.read32(e1000::kIcr);
        if (causes == 0 || causes == e1000::kIntAll) {
            return false;
        }
        interrupts_ = interrupts_ + 1;
        return true;
    }

  private:
    static constexpr uint32_t kResetTimeoutMs = 100;
    static constexpr uint32_t kEepromTimeoutMs = 20;
    static constexpr uint32_t kGiveBackBatch = 8;
    static constexpr uint32_t kWantedInterrupts = e1000::kIntRxTimer | e1000::kIntRxMinThreshold |
                                                  e1000::kIntRxOverrun | e1000::kIntLinkChange;

    E1000(Regs regs, const e1000::Model &model, DmaRegion memory, int irq)
        : NetCard(irq), regs_(regs), model_(&model), memory_(memory.data()) {}

    [[nodiscard]] bool read_link() override {
        return (regs_.read32(e1000::kStatus) & e1000::kStatusLinkUp) != 0;
    }

    // SDM section 14.3: mask, reset, mask again (the reset clears the mask register, but causes may
    // be pending), and bring the link up.
    [[nodiscard]] Status reset() {
        regs_.write32(e1000::kImc, e1000::kIntAll);
        regs_.write32(e1000::kCtrl, regs_.read32(e1000::kCtrl) | e1000::kCtrlReset);
        settle_us(2);  // SDM section 13.4.1: 1 us before the next access
        const bool done = wait_until(kResetTimeoutMs, [this] {
            return (regs_.read32(e1000::kCtrl) & e1000::kCtrlReset) == 0;
        });
        if (!done) {
            return Error{ErrorCode::kTimeout, "network card does not come out of reset"};
        }
        regs_.write32(e1000::kImc, e1000::kIntAll);
        (void)regs_.read32(e1000::kIcr);
        // SDM section 14.3: the PHY and the MAC agree by themselves (ASDE), link on (SLU); the
        // bits that force something are cleared.
        uint32_t ctrl = regs_.read32(e1000::kCtrl);
        ctrl |= e1000::kCtrlSetLinkUp | e1000::kCtrlAutoSpeed;
        ctrl &= ~(e1000::kCtrlLinkReset | e1000::kCtrlInvertLossOfSignal | e1000::kCtrlVlanMode |
                  e1000::kCtrlPhyReset);
        regs_.write32(e1000::kCtrl, ctrl);
        return {};
    }

    [[nodiscard]] Result<uint16_t> read_eeprom(uint32_t word) {
        regs_.write32(e1000::kEerd, e1000::kEerdStart | word << model_->eerd.address_shift);
        uint32_t value = 0;
        const bool done = wait_until(kEepromTimeoutMs, [this, &value] {
            value = regs_.read32(e1000::kEerd);
            return (value & model_->eerd.done) != 0;
        });
        if (!done) {
            return Error{ErrorCode::kTimeout, "network card's EEPROM does not answer"};
        }
        return static_cast<uint16_t>(value >> e1000::kEerdDataShift);
    }

    // Reads the address from the EEPROM; if that fails, takes what the card itself loaded into its
    // receive filter.
    [[nodiscard]] Status read_mac() {
        bool from_eeprom = true;
        for (uint32_t i = 0; i < 3 && from_eeprom; ++i) {
            const Result<uint16_t> word = read_eeprom(e1000::kEepromMacWord + i);
            from_eeprom = word.ok();
            if (from_eeprom) {
                mac_.bytes[2 * i] = static_cast<uint8_t>(*word);
                mac_.bytes[2 * i + 1] = static_cast<uint8_t>(*word >> 8);
            }
        }
        if (!from_eeprom || !usable(mac_)) {
            const uint32_t low = regs_.read32(e1000::kRal0);
            const uint32_t high = regs_.read32(e1000::kRah0);
            for (unsigned i = 0; i < 6; ++i) {
                mac_.bytes[i] = static_cast<uint8_t>(i < 4 ? low >> 8 * i : high >> 8 * (i - 4));
            }
        }
        if (!usable(mac_)) {
            return Error{ErrorCode::kDevice, "network card has no Ethernet address"};
        }
        return {};
    }

    // SDM sections 14.4 (receive) and 14.5 (transmit).
    void start() {
        regs_.write32(e1000::kRal0, mac_.bytes[0] | uint32_t{mac_.bytes[1]} << 8 |
                                        uint32_t{mac_.bytes[2]} << 16 |
                                        uint32_t{mac_.bytes[3]} << 24);
        regs_.write32(e1000::kRah0,
                      mac_.bytes[4] | uint32_t{mac_.bytes[5]} << 8 | e1000::kRahAddressValid);
        for (uint32_t i = 0; i < e1000::kMtaEntries; ++i) {
            regs_.write32(e1000::kMta + 4 * i, 0);
        }

        for (uint32_t i = 0; i < kRxCount; ++i) {
            rx_ring()[i].address = platform::physical_address(rx_buffer(i));
            rx_ring()[i].status = 0;
        }
        dma_write_barrier();
        set_ring(e1000::kRdbal, e1000::kRdbah, rx_ring(), e1000::kRdlen,
                 kRxCount * sizeof(e1000::RxDescriptor));
        regs_.write32(e1000::kRdh, 0);
        regs_.write32(e1000::kRdt, kRxCount - 1);
        // No delay before a receive interrupt: a request must not wait until another frame arrives.
        regs_.write32(e1000::kRdtr, 0);
        regs_.write32(e1000::kRadv, 0);
        regs_.write32(e1000::kItr, 0);
        // Once, and before the rest: QEMU's card holds received frames back for a second after
        // every write to this register.
        regs_.write32(e1000::kRctl,
                      e1000::kRctlEnable | e1000::kRctlAcceptBroadcast | e1000::kRctlStripCrc);

        set_ring(e1000::kTdbal, e1000::kTdbah, tx_ring(), e1000::kTdlen,
                 kTxCount * sizeof(e1000::TxDescriptor));
        regs_.write32(e1000::kTdh, 0);
        regs_.write32(e1000::kTdt, 0);
        regs_.write32(e1000::kTipg, model_->tipg);
        regs_.write32(e1000::kTctl, e1000::kTctlEnable | e1000::kTctlPadShort |
                                        e1000::kTctlCollisionThreshold |
                                        e1000::kTctlCollisionDistance);

        link_was_up_ = read_link();
        if (irq_ >= 0) {
            regs_.write32(e1000::kIms, kWantedInterrupts);
        }
    }

    void set_ring(uint32_t low, uint32_t high, const volatile void *ring, uint32_t len,
                  size_t len_bytes) {
        const uint64_t address = platform::physical_address(const_cast<const void *>(ring));
        regs_.write32(low, static_cast<uint32_t>(address));
        regs_.write32(high, static_cast<uint32_t>(address >> 32));
        regs_.write32(len, static_cast<uint32_t>(len_bytes));
    }

    // A frame that spans several descriptors is longer than kMaxFrameBytes: all its parts are
    // dropped.
    [[nodiscard]] bool acceptable(uint8_t status, uint8_t errors, size_t len, size_t room) {
        const bool last = (status & e1000::kRxEndOfPacket) != 0;
        const bool good = last && !in_long_frame_ && (errors & e1000::kRxFrameErrors) == 0 &&
                          len > 0 && len <= std::min(kMaxFrameBytes, room);
        if (last && !good) {
            ++counters_.rx_dropped;
        }
        in_long_frame_ = !last;
        return good;
    }

    // Hands the descriptors that were read back to the card. Its tail stops one before the driver's
    // next.
    void give_back() {
        if (rx_taken_ > 0) {
            dma_write_barrier();
            rx_taken_ = 0;
            regs_.write32(e1000::kRdt, (rx_next_ + kRxCount - 1) % kRxCount);
        }
    }

    void reclaim() {
        while (tx_oldest_ != tx_next_ && (tx_ring()[tx_oldest_].status & e1000::kTxDone) != 0) {
            tx_oldest_ = (tx_oldest_ + 1) % kTxCount;
        }
    }

    [[nodiscard]] volatile e1000::RxDescriptor *rx_ring() const {
        return reinterpret_cast<volatile e1000::RxDescriptor *>(memory_ + kRxRing);
    }
    [[nodiscard]] volatile e1000::TxDescriptor *tx_ring() const {
        return reinterpret_cast<volatile e1000::TxDescriptor *>(memory_ + kTxRing);
    }
    [[nodiscard]] uint8_t *rx_buffer(uint32_t i) const {
        return memory_ + kRxBuffers + i * kBufferBytes;
    }
    [[nodiscard]] uint8_t *tx_buffer(uint32_t i) const {
        return memory_ + kTxBuffers + i * kBufferBytes;
    }

    Regs regs_;
    const e1000::Model *model_;
    uint8_t *memory_;
    uint32_t rx_next_ = 0;    // the next descriptor that the card fills
    uint32_t rx_taken_ = 0;   // read, not yet given back
    uint32_t tx_next_ = 0;    // the next descriptor that the driver fills
    uint32_t tx_oldest_ = 0;  // the oldest one the card has not finished
    bool in_long_frame_ = false;
};

}  // namespace bareflow
