// Driver for virtio entropy devices (VIRTIO 1.2 section 5.4): one queue, polled.
#pragma once

#include <algorithm>
#include <cstring>
#include <span>

#include "drivers/virtio/virtio_device.h"

namespace bareflow {

template <typename Regs>
class VirtioRng {
  public:
    static constexpr uint16_t kQueueSize = 2;
    static constexpr size_t kBuffer = 512;
    static constexpr uint32_t kBufferBytes = 256;
    static constexpr size_t kDmaBytes = 4096;
    static_assert(Virtqueue::bytes_needed(kQueueSize) <= kBuffer);

    // memory: kDmaBytes, page-aligned, zeroed, the device's for ever.
    [[nodiscard]] static Result<VirtioRng> create(Regs regs, DmaRegion memory,
                                                  uint32_t timeout_ms = kTimeoutMs) {
        if (memory.size() < kDmaBytes) {
            return Error{ErrorCode::kTooLarge, "too little memory for the entropy device"};
        }
        VirtioRng source(regs, memory, timeout_ms);
        const Status started = source.start();
        if (!started) {
            source.device_.fail();
            return started;
        }
        return source;
    }

    // Fills all of `out`, or fails: kTimeout, kDevice.
    [[nodiscard]] Status fill(std::span<uint8_t> out) {
        while (!out.empty()) {
            BF_ASSIGN(const uint32_t got, ask(std::min<size_t>(out.size(), kBufferBytes)));
            uint8_t *buffer = memory_ + kBuffer;
            std::memcpy(out.data(), buffer, got);
            std::memset(buffer, 0, kBufferBytes);
            out = out.subspan(got);
        }
        return {};
    }

  private:
    static constexpr uint32_t kTimeoutMs = 500;

    VirtioRng(Regs regs, DmaRegion memory, uint32_t timeout_ms)
        : device_(regs), memory_(memory.data()), timeout_ms_(timeout_ms) {}

    [[nodiscard]] Status start() {
        BF_TRY(device_.negotiate(0));
        BF_TRY(device_.add_queue(0, queue_, memory_, kQueueSize, 1));
        queue_.suppress_interrupts();
        device_.start();
        return {};
    }

    // Asks the device to fill the buffer; it gives 1 to `most` bytes.
    [[nodiscard]] Result<uint32_t> ask(size_t most) {
        if (failed_) {
            return Error{ErrorCode::kDevice, "entropy device was given up after a fault"};
        }
        const auto len = static_cast<uint32_t>(most);
        queue_.set(0, memory_ + kBuffer, len, virtio::kDescWrite);
        queue_.submit(0, len);
        device_.kick(0, queue_);
        Virtqueue::Used used;
        const bool done =
            wait_until(timeout_ms_, [&] { return queue_.take(used) || queue_.broken(); });
        if (!done || queue_.broken() || used.len_bytes == 0) {
            failed_ = true;
            (void)device_.reset();
            return done ? Error{ErrorCode::kDevice, "entropy device broke its queue"}
                        : Error{ErrorCode::kTimeout, "entropy device does not answer"};
        }
        dma_read_barrier();
        return used.len_bytes;
    }

    VirtioDevice<Regs> device_;
    Virtqueue queue_;
    uint8_t *memory_;
    uint32_t timeout_ms_;
    bool failed_ = false;
};

}  // namespace bareflow
