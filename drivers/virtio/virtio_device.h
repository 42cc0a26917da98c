// Bringing a modern virtio device up (VIRTIO 1.2 section 3.1.1), and the parts that all device
// types share. Template over the four register windows (`common`, `notify`, `isr`, `device`, each
// with read8 ... write32 and len_bytes, and notify_multiplier), so that a fake can check them.
#pragma once

#include <algorithm>
#include <array>
#include <bit>

#include "drivers/deadline.h"
#include "drivers/mmio.h"
#include "drivers/virtio/virtio_regs.h"
#include "drivers/virtio/virtqueue.h"
#include "kernel_lib/base/result.h"

namespace bareflow {

struct VirtioMmio {
    Mmio common;
    Mmio notify;
    Mmio isr;
    Mmio device;
    uint32_t notify_multiplier = 0;
};

template <typename Regs>
class VirtioDevice {
  public:
    explicit VirtioDevice(Regs regs) : regs_(regs) {}

    // Steps 1 to 6: reset, acknowledge, agree on features. VERSION_1 is always wanted and required;
    // Of `wanted`, those that the device offers are agreed on.
    [[nodiscard]] Status negotiate(uint64_t wanted) {
        BF_TRY(reset());
        set_status(virtio::kStatusAcknowledge);
        set_status(virtio::kStatusDriver);
        const uint64_t offered = device_features();
        if ((offered & virtio::kFeatureVersion1) == 0) {
            fail();
            return Error{ErrorCode::kUnsupported, "virtio device without the modern interface"};
        }
        features_ = offered & (wanted | virtio::kFeatureVersion1);
        for (uint32_t half = 0; half < 2; ++half) {
            regs_.common.write32(virtio::kDriverFeatureSelect, half);
            regs_.common.write32(virtio::kDriverFeature,
                                 static_cast<uint32_t>(features_ >> 32 * half));
        }
        set_status(virtio::kStatusFeaturesOk);
        if ((status() & virtio::kStatusFeaturesOk) == 0) {
            fail();
            return Error{ErrorCode::kUnsupported, "virtio device refuses these features"};
        }
        return {};
    }
    [[nodiscard]] bool has(uint64_t feature) const { return (features_ & feature) != 0; }

    // Step 7, once for each queue. The queue gets `size` entries, or as many as the device has if
    // that is fewer; fewer than `least` is an error. memory: Virtqueue::bytes_needed(size).
    [[nodiscard]] Status add_queue(uint16_t index, Virtqueue &queue, uint8_t *memory, uint16_t size,
                                   uint16_t least) {
        regs_.common.write16(virtio::kQueueSelect, index);
        const uint16_t offered = regs_.common.read16(virtio::kQueueSize);
        if (offered < least || !std::has_single_bit(offered)) {
            return Error{ErrorCode::kDevice, "virtio queue is missing or of a forbidden size"};
        }
        const uint64_t notify_at =
            uint64_t{regs_.common.read16(virtio::kQueueNotifyOff)} * regs_.notify_multiplier;
        if (index >= kMaxQueues || notify_at + 2 > regs_.notify.len_bytes) {
            return Error{ErrorCode::kDevice, "virtio queue's bell is out of reach"};
        }
        notify_at_[index] = static_cast<uint32_t>(notify_at);
        queue.init(memory, std::min(size, offered));
        regs_.common.write16(virtio::kQueueSize, queue.size());
        write64(virtio::kQueueDesc, queue.descriptor_address());
        write64(virtio::kQueueDriver, queue.driver_address());
        write64(virtio::kQueueDevice, queue.device_address());
        regs_.common.write16(virtio::kQueueEnable, 1);
        return {};
    }

    // Step 8: from here on the device works.
    void start() { set_status(virtio::kStatusDriverOk); }
    // Gives the device up, and tells it so (section 2.1).
    void fail() { set_status(virtio::kStatusFailed); }
    // After this the device touches no memory. kTimeout: it does not reset.
    [[nodiscard]] Status reset() {
        regs_.common.write8(virtio::kDeviceStatus, 0);
        status_ = 0;
        if (!wait_until(kResetTimeoutMs, [this] { return status() == 0; })) {
            return Error{ErrorCode::kTimeout, "virtio device does not reset"};
        }
        return {};
    }

    // Tells the device about newly submitted chains, unless it has asked not to be told.
    void kick(uint16_t index, const Virtqueue &queue) {
        if (queue.wants_kick()) {
            regs_.notify.write16(notify_at_[index], index);
        }
    }
    // Acknowledges an interrupt. Returns virtio::kIsr...; 0: the interrupt was not this device's.
    [[nodiscard]] uint8_t interrupt_causes() { return regs_.isr.read8(0); }

    // Reads the configuration as one piece: repeats the read if the device changed it meanwhile
    // (section 2.5.1), at most kConfigAttempts times.
    template <typename Read>
    void read_config(Read read) {
        for (int attempt = 0; attempt < kConfigAttempts; ++attempt) {
            const uint8_t before = regs_.common.read8(virtio::kConfigGeneration);
            read(regs_.device);
            if (regs_.common.read8(virtio::kConfigGeneration) == before) {
                return;
            }
        }
    }
    [[nodiscard]] size_t config_bytes() const { return regs_.device.len_bytes; }

  private:
    static constexpr uint32_t kResetTimeoutMs = 500;
    static constexpr int kConfigAttempts = 8;
    static constexpr uint16_t kMaxQueues = 2;

    [[nodiscard]] uint8_t status() { return regs_.common.read8(virtio::kDeviceStatus); }
    void set_status(uint8_t bit) {
        status_ |= bit;
        regs_.common.write8(virtio::kDeviceStatus, status_);
    }
    [[nodiscard]] uint64_t device_features() {
        uint64_t features = 0;
        for (uint32_t half = 0; half < 2; ++half) {
            regs_.common.write32(virtio::kDeviceFeatureSelect, half);
            features |= uint64_t{regs_.common.read32(virtio::kDeviceFeature)} << 32 * half;
        }
        return features;
    }
    void write64(uint32_t offset, uint64_t value) {
        regs_.common.write32(offset, static_cast<uint32_t>(value));
        regs_.common.write32(offset + 4, static_cast<uint32_t>(value >> 32));
    }

    Regs regs_;
    uint64_t features_ = 0;
    std::array<uint32_t, kMaxQueues> notify_at_{};
    uint8_t status_ = 0;
};

}  // namespace bareflow
