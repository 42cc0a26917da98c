// Driver for virtio network cards (VIRTIO 1.2 section 5.1), modern interface: one receive and one
// transmit queue, no offloads. Template over the register windows, like VirtioDevice.
#pragma once

#include <algorithm>
#include <cstring>

#include "drivers/net/net_card.h"
#include "drivers/virtio/virtio_device.h"

namespace bareflow {

struct VirtioNetLayout {
    static constexpr uint16_t kRxCount = 64;
    // The device may take frames late, so a burst of answers must fit.
    static constexpr uint16_t kTxCount = 128;
    static constexpr uint16_t kLeastCount = 2;
    static constexpr size_t kBufferBytes = 2048;
    static constexpr size_t kHeaderBytes = sizeof(virtio::NetHeader);
    static_assert(kHeaderBytes + kMaxFrameBytes <= kBufferBytes);
    static_assert(std::max(kRxCount, kTxCount) <= Virtqueue::kMaxSize);

    static constexpr size_t kRxQueue = 0;
    static constexpr size_t kTxQueue = 2048;
    static constexpr size_t kRxBuffers = 8192;
    static constexpr size_t kTxBuffers = kRxBuffers + kRxCount * kBufferBytes;
    static constexpr size_t kDmaBytes = kTxBuffers + kTxCount * kBufferBytes;
    static_assert(Virtqueue::bytes_needed(kRxCount) <= kTxQueue - kRxQueue);
    static_assert(Virtqueue::bytes_needed(kTxCount) <= kRxBuffers - kTxQueue);
};

template <typename Regs>
class VirtioNet final : public NetCard, public VirtioNetLayout {
  public:
    // memory: kDmaBytes, page-aligned, zeroed, the card's for ever. irq: legacy line, or -1.
    [[nodiscard]] static Result<VirtioNet> create(Regs regs, DmaRegion memory, int irq) {
        if (memory.size() < kDmaBytes) {
            return Error{ErrorCode::kTooLarge, "too little memory for the network card's rings"};
        }
        VirtioNet card(regs, memory, irq);
        const Status started = card.start();
        if (!started) {
            card.device_.fail();
            return started;
        }
        return card;
    }

    [[nodiscard]] std::string_view name() const override { return "virtio-net"; }

    [[nodiscard]] Status transmit(std::span<const uint8_t> frame) override {
        BF_TRY(check_length(frame));
        for (Virtqueue::Used used; transmit_.take(used);) {
        }
        if (check_broken()) {
            return Error{ErrorCode::kDevice, "network card broke its transmit ring"};
        }
        // Chains may come back in any order. The ring is full while the device still has the next
        // descriptor.
        if (transmit_.in_flight(tx_next_)) {
            return ring_is_full();
        }
        uint8_t *buffer = tx_buffer(tx_next_);
        std::memset(buffer, 0, kHeaderBytes);  // no checksum, no segmentation (section 5.1.6.2)
        std::memcpy(buffer + kHeaderBytes, frame.data(), frame.size());
        transmit_.set(tx_next_, buffer, static_cast<uint32_t>(kHeaderBytes + frame.size()), 0);
        transmit_.submit(tx_next_, 0);
        device_.kick(virtio::kNetTransmitQueue, transmit_);
        tx_next_ = static_cast<uint16_t>((tx_next_ + 1) % transmit_.size());
        count_sent(frame.size());
        return {};
    }

    [[nodiscard]] size_t receive(std::span<uint8_t> frame) override {
        // At most one round of the ring, so that a device that never stops cannot hold up the loop.
        for (uint16_t count = 0; count < receive_.size(); ++count) {
            Virtqueue::Used used;
            if (!receive_.take(used)) {
                break;
            }
            const size_t len = used.len_bytes < kHeaderBytes ? 0 : used.len_bytes - kHeaderBytes;
            const bool good = len > 0 && len <= std::min(kMaxFrameBytes, frame.size());
            if (good) {
                std::memcpy(frame.data(), rx_buffer(used.head) + kHeaderBytes, len);
                count_received(len);
            } else {
                ++counters_.rx_dropped;
            }
            offer(used.head);
            if (++rx_unannounced_ >= kKickBatch) {
                announce();
            }
            if (good) {
                return len;
            }
        }
        (void)check_broken();
        announce();
        return 0;
    }

    bool on_interrupt() override {
        const uint8_t causes = device_.interrupt_causes();
        // All ones: the card was unplugged.
        if ((causes & (virtio::kIsrQueue | virtio::kIsrConfig)) == 0 || causes == 0xFF) {
            return false;
        }
        interrupts_ = interrupts_ + 1;
        return true;
    }

  private:
    static constexpr uint16_t kKickBatch = 8;

    VirtioNet(Regs regs, DmaRegion memory, int irq)
        : NetCard(irq), device_(regs), memory_(memory.data()) {}

    [[nodiscard]] Status start() {
        BF_TRY(device_.negotiate(virtio::kNetFeatureMac | virtio::kNetFeatureStatus));
        if (device_.config_bytes() < virtio::kNetConfigStatus + 2) {
            return Error{ErrorCode::kDevice, "virtio network card without configuration"};
        }
        BF_TRY(read_mac());
        BF_TRY(device_.add_queue(virtio::kNetReceiveQueue, receive_, memory_ + kRxQueue, kRxCount,
                                 kLeastCount));
        BF_TRY(device_.add_queue(virtio::kNetTransmitQueue, transmit_, memory_ + kTxQueue, kTxCount,
                                 kLeastCount));
        transmit_.suppress_interrupts();
        if (irq_ < 0) {
            receive_.suppress_interrupts();
        }
        for (uint16_t i = 0; i < receive_.size(); ++i) {
            offer(i);
        }
        device_.start();
        device_.kick(virtio::kNetReceiveQueue, receive_);
        rx_unannounced_ = 0;
        link_was_up_ = read_link();
        return {};
    }

    [[nodiscard]] Status read_mac() {
        if (device_.has(virtio::kNetFeatureMac)) {
            device_.read_config([this](const auto &config) {
                for (uint32_t i = 0; i < mac_.bytes.size(); ++i) {
                    mac_.bytes[i] = config.read8(virtio::kNetConfigMac + i);
                }
            });
        } else {
            // Section 5.1.4.2: without an address of its own it gets a random, locally administered
            // one.
            platform::fill_entropy(mac_.bytes);
            mac_.bytes[0] = static_cast<uint8_t>((mac_.bytes[0] | 2) & ~1);
        }
        if (!usable(mac_)) {
            return Error{ErrorCode::kDevice, "network card has no Ethernet address"};
        }
        return {};
    }

    [[nodiscard]] bool read_link() override {
        if (failed_) {
            return false;
        }
        if (!device_.has(virtio::kNetFeatureStatus)) {
            return true;
        }
        uint16_t status = 0;
        device_.read_config(
            [&status](const auto &config) { status = config.read16(virtio::kNetConfigStatus); });
        return (status & virtio::kNetStatusLinkUp) != 0;
    }

    void offer(uint16_t index) {
        receive_.set(index, rx_buffer(index), kBufferBytes, virtio::kDescWrite);
        receive_.submit(index, kBufferBytes);
    }
    void announce() {
        if (rx_unannounced_ > 0 && !failed_) {
            rx_unannounced_ = 0;
            device_.kick(virtio::kNetReceiveQueue, receive_);
        }
    }
    // A broken ring ends the card's work: it is reset, so that it writes to memory no more.
    [[nodiscard]] bool check_broken() {
        if (!failed_ && (receive_.broken() || transmit_.broken())) {
            failed_ = true;
            (void)device_.reset();
        }
        return failed_;
    }

    [[nodiscard]] uint8_t *rx_buffer(uint16_t i) const {
        return memory_ + kRxBuffers + i * kBufferBytes;
    }
    [[nodiscard]] uint8_t *tx_buffer(uint16_t i) const {
        return memory_ + kTxBuffers + i * kBufferBytes;
    }

    VirtioDevice<Regs> device_;
    Virtqueue receive_;
    Virtqueue transmit_;
    uint8_t *memory_;
    uint16_t tx_next_ = 0;
    uint16_t rx_unannounced_ = 0;
    bool failed_ = false;
};

}  // namespace bareflow
