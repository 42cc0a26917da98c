// A split virtqueue (VIRTIO 1.2 section 2.7), from the driver's side. The driver owns the entries
// of the descriptor table and says what is in them. The queue hands chains to the device and takes
// them back. It believes nothing that the device writes: a ring that cannot be right breaks the
// queue for good.
#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>

#include "drivers/dma.h"
#include "drivers/virtio/virtio_regs.h"
#include "kernel_lib/base/result.h"

namespace bareflow {

class Virtqueue {
  public:
    static constexpr uint16_t kMaxSize = 128;

    // What a queue of `size` entries takes of a DMA region.
    static constexpr size_t bytes_needed(uint16_t size) {
        return used_offset(size) + 6 + sizeof(virtio::UsedElement) * size;
    }

    // memory: bytes_needed(size), 16-byte aligned, zeroed. size: a power of two up to kMaxSize.
    void init(uint8_t *memory, uint16_t size);
    [[nodiscard]] uint16_t size() const { return size_; }
    [[nodiscard]] uint64_t descriptor_address() const {
        return platform::physical_address(memory_);
    }
    [[nodiscard]] uint64_t driver_address() const {
        return platform::physical_address(memory_ + avail_offset(size_));
    }
    [[nodiscard]] uint64_t device_address() const {
        return platform::physical_address(memory_ + used_offset(size_));
    }

    // Tells the device that used buffers need no interrupt. Before the first submit.
    void suppress_interrupts();

    // Fills entry `index` of the descriptor table. flags: virtio::kDesc...
    void set(uint16_t index, const void *bytes, uint32_t len_bytes, uint16_t flags,
             uint16_t next = 0);
    // Hands the chain that begins at entry `head` to the device. The entries are the device's until
    // take() returns `head`. writable_bytes: what the device may write to the whole chain.
    void submit(uint16_t head, uint32_t writable_bytes);
    // After one or more submits: whether the device wants to be told.
    [[nodiscard]] bool wants_kick() const;

    struct Used {
        uint16_t head = 0;
        uint32_t len_bytes = 0;  // written by the device, never more than it was allowed
    };
    // Takes back one chain. False: there is none now, or the queue is broken.
    [[nodiscard]] bool take(Used &out);
    // The device wrote what it must not: too many entries, a chain that is not its own, a length
    // over the chain's.
    [[nodiscard]] bool broken() const { return broken_; }
    [[nodiscard]] uint16_t in_flight() const { return in_flight_; }
    [[nodiscard]] bool in_flight(uint16_t head) const { return owned_[head]; }

  private:
    static constexpr size_t avail_offset(uint16_t size) {
        return sizeof(virtio::Descriptor) * size;
    }
    static constexpr size_t used_offset(uint16_t size) {
        return (avail_offset(size) + 6 + 2u * size + 3) & ~size_t{3};
    }
    [[nodiscard]] volatile virtio::Descriptor *descriptors() const {
        return reinterpret_cast<volatile virtio::Descriptor *>(memory_);
    }
    // flags, idx, heads
    [[nodiscard]] volatile uint16_t *avail() const {
        return reinterpret_cast<volatile uint16_t *>(memory_ + avail_offset(size_));
    }
    // flags, idx
    [[nodiscard]] volatile uint16_t *used() const {
        return reinterpret_cast<volatile uint16_t *>(memory_ + used_offset(size_));
    }
    [[nodiscard]] volatile virtio::UsedElement *used_elements() const {
        return reinterpret_cast<volatile virtio::UsedElement *>(memory_ + used_offset(size_) + 4);
    }

    uint8_t *memory_ = nullptr;
    uint16_t size_ = 0;
    uint16_t avail_next_ = 0;  // counts on past the size, as section 2.7.13.3 wants it
    uint16_t used_seen_ = 0;   // free-running
    uint16_t in_flight_ = 0;
    bool broken_ = false;
    std::array<uint32_t, kMaxSize> writable_{};
    std::array<bool, kMaxSize> owned_{};  // by head: the device has it
};

}  // namespace bareflow
