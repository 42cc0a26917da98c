// A modern virtio device from the device's side, behind its four register windows: the status
// handshake, features, split virtqueues (VIRTIO 1.2, sections 2.1, 2.7, 3.1, 4.1.4). Everything
// that a driver must not do is a violation. FakeVirtioNet, -Blk and -Rng are kinds of it.
#pragma once

#include <array>
#include <cstdint>
#include <deque>
#include <optional>
#include <set>
#include <span>
#include <vector>

#include "drivers/virtio/virtio_regs.h"
#include "tests/fakes/dma_space.h"
#include "tests/fakes/violations.h"

namespace bareflow::fakes {

class FakeVirtio {
  public:
    enum class Region : uint8_t { kCommon, kNotify, kIsr, kDevice };
    struct Segment {
        uint16_t index;
        virtio::Descriptor descriptor;
        uint8_t *bytes;  // nullptr: not the device's to touch
    };
    struct Chain {
        uint16_t head = 0;
        std::vector<Segment> segments;
        uint32_t writable_bytes = 0;
    };

    explicit FakeVirtio(const char *name, uint16_t queue_count) : violations(name) {
        queues_.resize(queue_count);
    }
    virtual ~FakeVirtio() = default;

    uint32_t read(Region region, uint32_t offset, unsigned width);
    void write(Region region, uint32_t offset, unsigned width, uint32_t value);

    // What the device is like; set before the driver starts.
    uint64_t offered = virtio::kFeatureVersion1;
    bool refuses_features = false;
    bool reset_hangs = false;
    uint32_t reset_polls = 2;
    uint16_t queue_max = 256;
    std::vector<uint8_t> config;
    uint32_t notify_multiplier = 4;
    uint32_t notify_len = 4096;
    bool gone = false;
    unsigned config_changes = 0;  // the next reads of the configuration that each change it
    DmaSpace dma;
    Violations violations;

    [[nodiscard]] uint64_t accepted() const { return features_.accepted; }
    [[nodiscard]] uint8_t status() const { return status_; }
    [[nodiscard]] bool running() const {
        return (status_ & virtio::kStatusDriverOk) != 0 && (status_ & virtio::kStatusFailed) == 0;
    }
    [[nodiscard]] uint16_t queue_size(uint16_t queue) const { return queues_[queue].size; }
    [[nodiscard]] bool interrupt_asserted() const { return isr_ != 0; }
    void change_config() {
        ++generation_;
        isr_ |= virtio::kIsrConfig;
    }
    // Asks the driver not to kick; the test calls fetch() instead.
    void set_no_notify(uint16_t queue, bool on);
    // Moves the chains that have become available to waiting(queue).
    void fetch(uint16_t queue);
    [[nodiscard]] std::deque<Chain> &waiting(uint16_t queue) { return queues_[queue].waiting; }
    // Gives the chain back to the driver, with `len` bytes written.
    void complete(uint16_t queue, const Chain &chain, uint32_t len);
    // Writes any used element, even a false one.
    void push_used(uint16_t queue, uint32_t id, uint32_t len);
    // Moves the used index by `count` without writing anything.
    void jump_used(uint16_t queue, uint16_t count);

  protected:
    virtual void on_kick(uint16_t queue) = 0;
    // The width that the configuration field at `offset` is read with; 0: there is no such field.
    [[nodiscard]] virtual unsigned config_width(uint32_t offset) const = 0;

  private:
    struct Features {
        uint64_t accepted = 0;
        uint32_t device_select = 0;
        uint32_t driver_select = 0;
        std::set<uint32_t> halves_written;
    };
    struct Reset {
        uint32_t polls_left = 0;  // reads of the status that find the reset not over
        bool seen = false;        // the driver read a 0 after the reset
    };
    struct Queue {
        uint16_t size = 0;
        bool enabled = false;
        std::array<uint64_t, 3> address{};  // descriptors, driver, device
        std::set<uint32_t> written;
        uint16_t avail_seen = 0;
        uint16_t used_next = 0;
        std::set<uint16_t> owned;  // descriptors of chains not given back
        std::deque<Chain> waiting;
    };

    uint32_t read_common(uint32_t offset, unsigned width);
    void write_common(uint32_t offset, unsigned width, uint32_t value);
    void write_status(uint8_t value);
    void write_queue(uint32_t offset, uint32_t value);
    void enable(Queue &queue);
    void reset();
    [[nodiscard]] Chain read_chain(Queue &queue, uint16_t head);
    [[nodiscard]] uint16_t *ring(const Queue &queue, unsigned part, uint64_t bytes);

    std::vector<Queue> queues_;
    Features features_;
    uint16_t queue_select_ = 0;
    uint8_t status_ = 0;
    uint8_t generation_ = 0;
    uint8_t isr_ = 0;
    Reset reset_;
};

// The handle that a driver is instantiated with: one window, and all of them.
struct FakeVirtioWindow {
    FakeVirtio *owner = nullptr;
    FakeVirtio::Region region{};
    size_t len_bytes = 0;

    [[nodiscard]] uint8_t read8(uint32_t at) const {
        return static_cast<uint8_t>(owner->read(region, at, 1));
    }
    [[nodiscard]] uint16_t read16(uint32_t at) const {
        return static_cast<uint16_t>(owner->read(region, at, 2));
    }
    [[nodiscard]] uint32_t read32(uint32_t at) const { return owner->read(region, at, 4); }
    void write8(uint32_t at, uint8_t value) const { owner->write(region, at, 1, value); }
    void write16(uint32_t at, uint16_t value) const { owner->write(region, at, 2, value); }
    void write32(uint32_t at, uint32_t value) const { owner->write(region, at, 4, value); }
};
struct FakeVirtioRegs {
    explicit FakeVirtioRegs(FakeVirtio &fake)
        : common{&fake, FakeVirtio::Region::kCommon, virtio::kCommonBytes},
          notify{&fake, FakeVirtio::Region::kNotify, fake.notify_len},
          isr{&fake, FakeVirtio::Region::kIsr, 1},
          device{&fake, FakeVirtio::Region::kDevice, fake.config.size()},
          notify_multiplier(fake.notify_multiplier) {}
    FakeVirtioWindow common, notify, isr, device;
    uint32_t notify_multiplier;
};

class FakeVirtioNet final : public FakeVirtio {
  public:
    using Frame = std::vector<uint8_t>;
    FakeVirtioNet();

    // False: no buffer. The frame goes after a header, as section 5.1.6.4 has it.
    bool deliver(std::span<const uint8_t> frame);
    // Sends up to `count` held frames; from the newest one when `backwards`.
    void finish(uint32_t count, bool backwards = false);
    void set_link(bool up);

    bool hold_transmit = false;
    std::vector<Frame> sent;

  protected:
    void on_kick(uint16_t queue) override;
    [[nodiscard]] unsigned config_width(uint32_t offset) const override;
};

class FakeVirtioBlk final : public FakeVirtio {
  public:
    enum class Fault : uint8_t {
        kNone,
        kHang,
        kIoError,
        kUnsupported,
        kNoStatus,
        kShort,
        kWrongId
    };
    explicit FakeVirtioBlk(uint64_t sectors);
    void set_size_max(uint32_t bytes);

    std::vector<uint8_t> bytes;
    Fault fault = Fault::kNone;
    uint32_t requests = 0;
    bool dirty = false;

  protected:
    void on_kick(uint16_t queue) override;
    [[nodiscard]] unsigned config_width(uint32_t offset) const override;

  private:
    [[nodiscard]] static bool has_header_and_status(const Chain &chain);
    // Does what the request asks for; nothing: it is past the end of the disk. Returns the bytes
    // written to memory.
    [[nodiscard]] std::optional<uint32_t> move_data(const Chain &chain,
                                                    const virtio::BlkHeader &header);
    void check_kind(const Chain &chain, const virtio::BlkHeader &header);
    // False: the device answers with a wrong id, and stops.
    [[nodiscard]] bool answer(uint16_t queue, const Chain &chain, uint32_t written);
};

class FakeVirtioRng final : public FakeVirtio {
  public:
    enum class Fault : uint8_t { kNone, kHang, kNothing, kTooMuch };
    FakeVirtioRng() : FakeVirtio("fake virtio-rng", 1) {}

    Fault fault = Fault::kNone;
    uint32_t at_most = 1000;  // bytes a request gives
    uint8_t next = 1;

  protected:
    void on_kick(uint16_t queue) override;
    [[nodiscard]] unsigned config_width(uint32_t) const override { return 0; }
};

}  // namespace bareflow::fakes
