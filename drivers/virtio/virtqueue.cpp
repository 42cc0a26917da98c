#include "drivers/virtio/virtqueue.h"

namespace bareflow {

void Virtqueue::init(uint8_t *memory, uint16_t size) {
    if (!std::has_single_bit(size) || size > kMaxSize) {
        platform::panic("virtqueue of a forbidden size");
    }
    *this = Virtqueue{};
    memory_ = memory;
    size_ = size;
}

void Virtqueue::suppress_interrupts() {
    avail()[0] = virtio::kAvailNoInterrupt;
}

void Virtqueue::set(uint16_t index, const void *bytes, uint32_t len_bytes, uint16_t flags,
                    uint16_t next) {
    volatile virtio::Descriptor &descriptor = descriptors()[index];
    descriptor.address = platform::physical_address(bytes);
    descriptor.len_bytes = len_bytes;
    descriptor.flags = flags;
    descriptor.next = next;
}

void Virtqueue::submit(uint16_t head, uint32_t writable_bytes) {
    if (head >= size_ || owned_[head]) {
        platform::panic("virtqueue chain submitted twice");
    }
    owned_[head] = true;
    writable_[head] = writable_bytes;
    ++in_flight_;
    avail()[2 + avail_next_ % size_] = head;
    ++avail_next_;
    dma_write_barrier();  // chain and ring entry are written before the index (2.7.13.3)
    avail()[1] = avail_next_;
}

bool Virtqueue::wants_kick() const {
    dma_full_barrier();  // the index is written before the flag is read (section 2.7.13.4)
    return (used()[0] & virtio::kUsedNoNotify) == 0;
}

bool Virtqueue::take(Used &out) {
    if (broken_) {
        return false;
    }
    const auto waiting = static_cast<uint16_t>(used()[1] - used_seen_);
    if (waiting == 0) {
        return false;
    }
    dma_read_barrier();  // the index is read before the element
    const uint32_t head = used_elements()[used_seen_ % size_].id;
    const uint32_t len = used_elements()[used_seen_ % size_].len_bytes;
    if (waiting > in_flight_ || head >= size_ || !owned_[head] || len > writable_[head]) {
        broken_ = true;
        return false;
    }
    ++used_seen_;
    owned_[head] = false;
    --in_flight_;
    out = {static_cast<uint16_t>(head), len};
    return true;
}

}  // namespace bareflow
