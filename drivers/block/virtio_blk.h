// Driver for virtio disks (VIRTIO 1.2 section 5.2), modern interface: one queue, one request at a
// time, polled. Template over the register windows, like VirtioDevice.
#pragma once

#include <algorithm>
#include <cstring>

#include "drivers/block/block_checks.h"
#include "drivers/block/block_device.h"
#include "drivers/virtio/virtio_device.h"
#include "kernel_lib/platform/ticks.h"

namespace bareflow {

struct VirtioBlkLayout {
    static constexpr uint16_t kQueueSize = 4;  // a request is a chain of three
    static constexpr uint16_t kLeastSize = 4;

    static constexpr size_t kQueue = 0;
    static constexpr size_t kHeader = 512;
    static constexpr size_t kStatus = 1024;
    static constexpr size_t kDmaBytes = 4096;
    static_assert(Virtqueue::bytes_needed(kQueueSize) <= kHeader - kQueue);
};

template <typename Regs>
class VirtioBlk final : public BlockDevice, public VirtioBlkLayout {
  public:
    // memory: kDmaBytes, page-aligned, zeroed, the disk's for ever. name: static text.
    [[nodiscard]] static Result<VirtioBlk> create(Regs regs, DmaRegion memory,
                                                  std::string_view name,
                                                  uint32_t timeout_ms = kTimeoutMs) {
        if (memory.size() < kDmaBytes) {
            return Error{ErrorCode::kTooLarge, "too little memory for the disk's queue"};
        }
        VirtioBlk disk(regs, memory, name, timeout_ms);
        const Status started = disk.start();
        if (!started) {
            disk.device_.fail();
            return started;
        }
        return disk;
    }

    [[nodiscard]] std::string_view name() const override { return name_; }
    [[nodiscard]] uint64_t sector_count() const override { return sector_count_; }
    [[nodiscard]] uint32_t max_sectors() const override { return max_sectors_; }

    [[nodiscard]] Status read(uint64_t first_sector, std::span<uint8_t> bytes) override {
        BF_TRY(check_transfer(*this, first_sector, bytes));
        return request(virtio::kBlkIn, first_sector, bytes);
    }
    // Flushes afterwards if the device has a cache.
    [[nodiscard]] Status write(uint64_t first_sector, std::span<const uint8_t> bytes) override {
        BF_TRY(check_transfer(*this, first_sector, bytes));
        if (device_.has(virtio::kBlkFeatureReadOnly)) {
            return Error{ErrorCode::kUnsupported, "disk is read-only"};
        }
        BF_TRY(request(virtio::kBlkOut, first_sector, bytes));
        return device_.has(virtio::kBlkFeatureFlush) ? request(virtio::kBlkFlush, 0, {}) : Status{};
    }

    [[nodiscard]] Status begin_write(uint64_t first_sector,
                                     std::span<const uint8_t> bytes) override {
        BF_TRY(check_transfer(*this, first_sector, bytes));
        if (device_.has(virtio::kBlkFeatureReadOnly)) {
            return Error{ErrorCode::kUnsupported, "disk is read-only"};
        }
        return submit(virtio::kBlkOut, first_sector, bytes);
    }
    [[nodiscard]] Result<bool> poll_write() override {
        if (!pending_) {
            return true;
        }
        // Read before the answer: the answer is looked for once more after the deadline, since the
        // host may have stopped us meanwhile.
        const bool late = platform::ticks() - submitted_ticks_ > timeout_ticks();
        if (!answered()) {
            if (!late) {
                return false;
            }
            return complete(false).error();
        }
        BF_TRY(complete(true));
        if (type_ == virtio::kBlkOut && device_.has(virtio::kBlkFeatureFlush)) {
            BF_TRY(submit(virtio::kBlkFlush, 0, {}));
            return false;
        }
        return true;
    }

  private:
    static constexpr uint32_t kTimeoutMs = 10000;

    VirtioBlk(Regs regs, DmaRegion memory, std::string_view name, uint32_t timeout_ms)
        : device_(regs), memory_(memory.data()), name_(name), timeout_ms_(timeout_ms) {}

    [[nodiscard]] Status start() {
        BF_TRY(device_.negotiate(virtio::kBlkFeatureSizeMax | virtio::kBlkFeatureReadOnly |
                                 virtio::kBlkFeatureFlush));
        const bool has_size_max = device_.has(virtio::kBlkFeatureSizeMax);
        if (device_.config_bytes() < virtio::kBlkConfigSizeMax + (has_size_max ? 4 : 0)) {
            return Error{ErrorCode::kDevice, "virtio disk without configuration"};
        }
        uint64_t sectors = 0;
        uint32_t size_max = kMaxTransferSectors * kSectorBytes;
        device_.read_config([&](const auto &config) {
            sectors = config.read32(virtio::kBlkConfigCapacity) |
                      uint64_t{config.read32(virtio::kBlkConfigCapacity + 4)} << 32;
            if (has_size_max) {
                size_max = config.read32(virtio::kBlkConfigSizeMax);
            }
        });
        sector_count_ = sectors;
        max_sectors_ = std::min(kMaxTransferSectors, size_max / kSectorBytes);
        if (sector_count_ == 0 || max_sectors_ == 0) {
            return Error{ErrorCode::kDevice, "virtio disk claims an impossible size"};
        }
        BF_TRY(device_.add_queue(0, queue_, memory_ + kQueue, kQueueSize, kLeastSize));
        queue_.suppress_interrupts();
        device_.start();
        return {};
    }

    // Section 5.2.6: header, data, one byte of status.
    [[nodiscard]] Status submit(uint32_t type, uint64_t sector, std::span<const uint8_t> bytes) {
        if (failed_) {
            return Error{ErrorCode::kDevice, "disk was given up after a fault"};
        }
        if (pending_) {
            return Error{ErrorCode::kExhausted, "disk is busy with a write"};
        }
        const bool reads = type == virtio::kBlkIn;
        const virtio::BlkHeader header{type, 0, sector};
        std::memcpy(memory_ + kHeader, &header, sizeof header);
        status() = 0xFF;
        const auto len = static_cast<uint32_t>(bytes.size());
        const auto status_at = static_cast<uint16_t>(len > 0 ? 2 : 1);
        queue_.set(0, memory_ + kHeader, sizeof header, virtio::kDescNext, 1);
        if (len > 0) {
            const uint16_t direction = reads ? virtio::kDescWrite : 0;
            queue_.set(1, bytes.data(), len, direction | virtio::kDescNext, 2);
        }
        queue_.set(status_at, memory_ + kStatus, 1, virtio::kDescWrite);
        queue_.submit(0, (reads ? len : 0) + 1);
        device_.kick(0, queue_);
        pending_ = true;
        type_ = type;
        len_bytes_ = len;
        submitted_ticks_ = platform::ticks();
        return {};
    }
    [[nodiscard]] bool answered() { return queue_.take(used_) || queue_.broken(); }
    // Submits a request and waits until it is over.
    [[nodiscard]] Status request(uint32_t type, uint64_t sector, std::span<const uint8_t> bytes) {
        BF_TRY(submit(type, sector, bytes));
        uint32_t pause_us = 1;
        return complete(wait_until(timeout_ms_, [&] {
            if (answered()) {
                return true;
            }
            settle_us(pause_us);
            pause_us = std::min(2 * pause_us, kMaxPollUs);
            return false;
        }));
    }
    // Ends the request. `done`: the device has answered; otherwise it took too long.
    [[nodiscard]] Status complete(bool done) {
        pending_ = false;
        if (!done || queue_.broken()) {
            // Reset, so that a late answer does not land in memory that has another use by then.
            failed_ = true;
            (void)device_.reset();
            return done ? Error{ErrorCode::kDevice, "disk broke its queue"}
                        : Error{ErrorCode::kTimeout, "disk did not finish in time"};
        }
        dma_read_barrier();
        switch (status()) {
            case virtio::kBlkStatusOk:
                break;
            case virtio::kBlkStatusUnsupported:
                return Error{ErrorCode::kUnsupported, "disk does not know the request"};
            default:
                return Error{ErrorCode::kDevice, "disk reports an error"};
        }
        if (type_ == virtio::kBlkIn && used_.len_bytes < len_bytes_) {
            return Error{ErrorCode::kDevice, "disk ended the transfer early"};
        }
        return {};
    }

    [[nodiscard]] volatile uint8_t &status() { return *(memory_ + kStatus); }
    [[nodiscard]] uint64_t timeout_ticks() const { return ms_to_ticks(timeout_ms_); }

    static constexpr uint32_t kMaxPollUs = 64;

    VirtioDevice<Regs> device_;
    Virtqueue queue_;
    uint8_t *memory_;
    std::string_view name_;
    uint32_t timeout_ms_;
    uint64_t sector_count_ = 0;
    uint32_t max_sectors_ = 0;
    bool failed_ = false;
    // The request that the device has.
    bool pending_ = false;
    uint32_t type_ = 0;
    uint32_t len_bytes_ = 0;
    uint64_t submitted_ticks_ = 0;
    Virtqueue::Used used_{};
};

}  // namespace bareflow
