// First what all virtio devices share, then the network card, the disk and the entropy device. A
// request is answered inside the kick, unless the test holds it back.
#include "tests/fakes/fake_virtio.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <map>

namespace bareflow::fakes {
namespace {

using Region = FakeVirtio::Region;

// Section 4.1.4.3: the widths of struct virtio_pci_common_cfg's fields, and whether a driver may
// write them.
struct Field {
    unsigned width;
    bool writable;
};
const std::map<uint32_t, Field> kCommonFields{
    {virtio::kDeviceFeatureSelect, {4, true}}, {virtio::kDeviceFeature, {4, false}},
    {virtio::kDriverFeatureSelect, {4, true}}, {virtio::kDriverFeature, {4, true}},
    {virtio::kConfigMsixVector, {2, true}},    {virtio::kNumQueues, {2, false}},
    {virtio::kDeviceStatus, {1, true}},        {virtio::kConfigGeneration, {1, false}},
    {virtio::kQueueSelect, {2, true}},         {virtio::kQueueSize, {2, true}},
    {virtio::kQueueMsixVector, {2, true}},     {virtio::kQueueEnable, {2, true}},
    {virtio::kQueueNotifyOff, {2, false}},     {virtio::kQueueDesc, {4, true}},
    {virtio::kQueueDesc + 4, {4, true}},       {virtio::kQueueDriver, {4, true}},
    {virtio::kQueueDriver + 4, {4, true}},     {virtio::kQueueDevice, {4, true}},
    {virtio::kQueueDevice + 4, {4, true}},
};
const std::set<uint32_t> kQueueAddresses{virtio::kQueueDesc,   virtio::kQueueDesc + 4,
                                         virtio::kQueueDriver, virtio::kQueueDriver + 4,
                                         virtio::kQueueDevice, virtio::kQueueDevice + 4};

// The status without FAILED.
constexpr uint8_t without_failed(uint8_t status) {
    return static_cast<uint8_t>(status & ~virtio::kStatusFailed);
}

}  // namespace

void FakeVirtio::reset() {
    const size_t count = queues_.size();
    queues_.assign(count, {});
    for (Queue &queue : queues_) {
        queue.size = queue_max;
    }
    features_.accepted = 0;
    features_.halves_written.clear();
    status_ = 0;
    isr_ = 0;
    reset_.polls_left = reset_polls;
    reset_.seen = false;
}

uint32_t FakeVirtio::read(Region region, uint32_t offset, unsigned width) {
    if (gone) {
        return 0xFFFFFFFF >> (32 - 8 * width);
    }
    switch (region) {
        case Region::kCommon:
            return read_common(offset, width);
        case Region::kNotify:
            violations.add("notification read");
            return 0;
        case Region::kIsr: {
            violations.require(offset == 0 && width == 1, "ISR is one byte");
            const uint8_t value = isr_;
            isr_ = 0;
            return value;
        }
        case Region::kDevice:
            break;
    }
    if (offset + width > config.size() || config_width(offset) != width) {
        violations.add("configuration read outside a field, or with another width");
        return 0;
    }
    uint32_t value = 0;
    std::memcpy(&value, config.data() + offset, width);
    if (config_changes > 0) {
        --config_changes;
        ++generation_;
    }
    return value;
}

uint32_t FakeVirtio::read_common(uint32_t offset, unsigned width) {
    const auto field = kCommonFields.find(offset);
    if (field == kCommonFields.end() || field->second.width != width) {
        violations.add("common configuration read outside a field, or with another width");
        return 0;
    }
    const Queue *queue = queue_select_ < queues_.size() ? &queues_[queue_select_] : nullptr;
    switch (offset) {
        case virtio::kDeviceStatus:
            if (reset_hangs) {
                return status_ != 0 ? status_ : virtio::kStatusAcknowledge;
            }
            if (reset_.polls_left > 0) {
                --reset_.polls_left;
                return virtio::kStatusAcknowledge;  // the reset is not over yet
            }
            reset_.seen = true;
            return status_;
        case virtio::kDeviceFeature:
            violations.require((status_ & virtio::kStatusDriver) != 0,
                               "features read before DRIVER");
            return features_.device_select < 2
                       ? static_cast<uint32_t>(offered >> 32 * features_.device_select)
                       : 0;
        case virtio::kNumQueues:
            return static_cast<uint32_t>(queues_.size());
        case virtio::kConfigGeneration:
            return generation_;
        case virtio::kQueueSize:
            return queue != nullptr ? queue->size : 0;
        case virtio::kQueueNotifyOff:
            return queue_select_;
        default:
            violations.add("read of a common field that tells this driver nothing");
            return 0;
    }
}

void FakeVirtio::write(Region region, uint32_t offset, unsigned width, uint32_t value) {
    if (gone) {
        return;
    }
    if (region == Region::kCommon) {
        return write_common(offset, width, value);
    }
    if (region != Region::kNotify) {
        violations.add("write to a window that is read-only");
        return;
    }
    if (width != 2 || value >= queues_.size() || offset != value * notify_multiplier) {
        violations.add("kick at another queue's place, or with another width");
        return;
    }
    const auto index = static_cast<uint16_t>(value);
    Queue &queue = queues_[index];
    violations.require((status_ & virtio::kStatusDriverOk) != 0, "kick before DRIVER_OK");
    if (!running() || !queue.enabled) {
        violations.require(queue.enabled, "kick of a queue that is not enabled");
        return;
    }
    if (const uint16_t *used = ring(queue, 2, 4)) {
        violations.require((used[0] & virtio::kUsedNoNotify) == 0, "kick that was not wanted");
    }
    fetch(index);
    on_kick(index);
}

void FakeVirtio::write_common(uint32_t offset, unsigned width, uint32_t value) {
    const auto field = kCommonFields.find(offset);
    if (field == kCommonFields.end() || field->second.width != width || !field->second.writable) {
        violations.add("common configuration written outside a field, or read-only");
        return;
    }
    if (offset == virtio::kDeviceStatus) {
        return write_status(static_cast<uint8_t>(value));
    }
    const bool agreeing =
        (status_ & virtio::kStatusDriver) != 0 && (status_ & virtio::kStatusFeaturesOk) == 0;
    switch (offset) {
        case virtio::kDeviceFeatureSelect:
            features_.device_select = value;
            return;
        case virtio::kDriverFeatureSelect:
            features_.driver_select = value;
            return;
        case virtio::kDriverFeature: {
            violations.require(agreeing, "features written outside their step");
            violations.require(features_.driver_select < 2, "features past bit 63");
            const uint64_t bits = uint64_t{value} << 32 * (features_.driver_select & 1);
            violations.require((bits & ~offered) == 0, "feature accepted that was not offered");
            features_.halves_written.insert(features_.driver_select);
            features_.accepted |= bits;
            return;
        }
        case virtio::kQueueSelect:
            violations.require(value < queues_.size(), "queue selected that is not there");
            queue_select_ = static_cast<uint16_t>(value);
            return;
        case virtio::kConfigMsixVector:
        case virtio::kQueueMsixVector:
            violations.add("MSI-X vector written by a driver without MSI-X");
            return;
        default:
            write_queue(offset, value);
    }
}

void FakeVirtio::write_status(uint8_t value) {
    if (value == 0) {
        reset();
        return;
    }
    if ((value & virtio::kStatusFailed) != 0) {
        status_ = value;
        return;
    }
    violations.require(reset_.seen, "device used before its reset was seen to be over");
    constexpr uint8_t kSteps[] = {
        0, virtio::kStatusAcknowledge, virtio::kStatusAcknowledge | virtio::kStatusDriver,
        virtio::kStatusAcknowledge | virtio::kStatusDriver | virtio::kStatusFeaturesOk,
        virtio::kStatusAcknowledge | virtio::kStatusDriver | virtio::kStatusFeaturesOk |
            virtio::kStatusDriverOk};
    const auto now = std::find(std::begin(kSteps), std::end(kSteps), without_failed(status_));
    if (now == std::end(kSteps) || now + 1 == std::end(kSteps) || *(now + 1) != value) {
        violations.add("status steps out of order");
        return;
    }
    if (value == kSteps[3]) {
        violations.require(features_.halves_written.size() == 2, "FEATURES_OK before all features");
        violations.require((features_.accepted & virtio::kFeatureVersion1) != 0,
                           "VERSION_1 not accepted");
        if (refuses_features) {
            return;
        }
    }
    if (value == kSteps[4]) {
        for (const Queue &queue : queues_) {
            violations.require(queue.enabled, "DRIVER_OK before a queue was enabled");
        }
    }
    status_ = value;
}

void FakeVirtio::write_queue(uint32_t offset, uint32_t value) {
    if (queue_select_ >= queues_.size()) {
        return;
    }
    Queue &queue = queues_[queue_select_];
    violations.require(
        (status_ & virtio::kStatusFeaturesOk) != 0 && (status_ & virtio::kStatusDriverOk) == 0,
        "queue set up outside its step");
    violations.require(!queue.enabled, "queue changed after it was enabled");
    if (offset == virtio::kQueueSize) {
        violations.require(std::has_single_bit(value) && value <= queue.size,
                           "queue size is no power of two, or over the device's");
        queue.size = static_cast<uint16_t>(value);
    } else if (offset == virtio::kQueueEnable) {
        violations.require(value == 1, "queue enabled with other than 1");
        enable(queue);
    } else {
        uint64_t &address = queue.address[(offset - virtio::kQueueDesc) / 8];
        const unsigned shift = (offset % 8 != 0) ? 32 : 0;
        address = (address & ~(0xFFFFFFFFull << shift)) | uint64_t{value} << shift;
        queue.written.insert(offset);
    }
}

void FakeVirtio::enable(Queue &queue) {
    violations.require(queue.written == kQueueAddresses, "queue enabled before all its addresses");
    const uint64_t lens[] = {16ull * queue.size, 6 + 2ull * queue.size, 6 + 8ull * queue.size};
    const unsigned alignments[] = {16, 2, 4};
    for (unsigned part = 0; part < 3; ++part) {
        violations.require(queue.address[part] % alignments[part] == 0, "queue part misaligned");
        (void)dma.at(queue.address[part], lens[part], violations, "queue part");
    }
    if (const uint16_t *used = ring(queue, 2, 4)) {
        violations.require(used[0] == 0 && used[1] == 0, "used ring not cleared");
    }
    queue.enabled = true;
}

uint16_t *FakeVirtio::ring(const Queue &queue, unsigned part, uint64_t bytes) {
    return reinterpret_cast<uint16_t *>(
        dma.at(queue.address[part], bytes, violations, "queue part"));
}

void FakeVirtio::set_no_notify(uint16_t index, bool on) {
    if (uint16_t *used = ring(queues_[index], 2, 4)) {
        used[0] = on ? virtio::kUsedNoNotify : 0;
    }
}

void FakeVirtio::fetch(uint16_t index) {
    Queue &queue = queues_[index];
    if (!running() || !queue.enabled) {
        return;
    }
    const uint16_t *avail = ring(queue, 1, 6 + 2ull * queue.size);
    if (avail == nullptr) {
        return;
    }
    violations.require((avail[0] & ~virtio::kAvailNoInterrupt) == 0, "available flags over 1");
    const auto fresh = static_cast<uint16_t>(avail[1] - queue.avail_seen);
    if (fresh > queue.size) {
        violations.add("more chains available than the queue has entries, or the index went back");
        return;
    }
    for (uint16_t i = 0; i < fresh; ++i, ++queue.avail_seen) {
        queue.waiting.push_back(read_chain(queue, avail[2 + queue.avail_seen % queue.size]));
    }
}

FakeVirtio::Chain FakeVirtio::read_chain(Queue &queue, uint16_t head) {
    Chain chain;
    chain.head = head;
    bool writable_seen = false;
    for (uint16_t index = head;;) {
        if (index >= queue.size || chain.segments.size() >= queue.size) {
            violations.add("chain leaves the table, or loops");
            return chain;
        }
        violations.require(queue.owned.insert(index).second,
                           "descriptor made available while the device has it");
        virtio::Descriptor descriptor{};
        if (const uint8_t *raw =
                dma.at(queue.address[0] + 16ull * index, 16, violations, "table")) {
            std::memcpy(&descriptor, raw, sizeof descriptor);
        }
        const bool writable = (descriptor.flags & virtio::kDescWrite) != 0;
        violations.require((descriptor.flags & ~(virtio::kDescWrite | virtio::kDescNext)) == 0,
                           "descriptor flags that were not agreed on");
        violations.require(writable || !writable_seen, "readable part after a writable one");
        violations.require(descriptor.len_bytes > 0, "descriptor of length 0");
        writable_seen = writable;
        uint8_t *bytes = dma.at(descriptor.address, descriptor.len_bytes, violations, "buffer");
        chain.segments.push_back({index, descriptor, bytes});
        chain.writable_bytes += writable ? descriptor.len_bytes : 0;
        if ((descriptor.flags & virtio::kDescNext) == 0) {
            return chain;
        }
        index = descriptor.next;
    }
}

void FakeVirtio::complete(uint16_t index, const Chain &chain, uint32_t len) {
    Queue &queue = queues_[index];
    for (const Segment &segment : chain.segments) {
        queue.owned.erase(segment.index);
        virtio::Descriptor now{};
        if (const uint8_t *raw =
                dma.at(queue.address[0] + 16ull * segment.index, 16, violations, "table")) {
            std::memcpy(&now, raw, sizeof now);
        }
        violations.require(std::memcmp(&now, &segment.descriptor, sizeof now) == 0,
                           "descriptor changed while the device had it");
    }
    push_used(index, chain.head, len);
}

void FakeVirtio::push_used(uint16_t index, uint32_t id, uint32_t len) {
    Queue &queue = queues_[index];
    uint16_t *used = ring(queue, 2, 6 + 8ull * queue.size);
    const uint16_t *avail = ring(queue, 1, 4);
    if (used == nullptr || avail == nullptr) {
        return;
    }
    const virtio::UsedElement element{id, len};
    std::memcpy(used + 2 + 4 * (queue.used_next % queue.size), &element, sizeof element);
    used[1] = ++queue.used_next;
    if ((avail[0] & virtio::kAvailNoInterrupt) == 0) {
        isr_ |= virtio::kIsrQueue;
    }
}

void FakeVirtio::jump_used(uint16_t index, uint16_t count) {
    Queue &queue = queues_[index];
    if (uint16_t *used = ring(queue, 2, 4)) {
        queue.used_next = static_cast<uint16_t>(queue.used_next + count);
        used[1] = queue.used_next;
    }
}

// ------------------------------------------------------------------------------------------- net

FakeVirtioNet::FakeVirtioNet() : FakeVirtio("fake virtio-net", 2) {
    // Offers more than the driver should take: checksums, merged buffers, event index.
    offered |= virtio::kNetFeatureMac | virtio::kNetFeatureStatus | 1ull << 0 | 1ull << 1 |
               1ull << 15 | 1ull << 28 | 1ull << 29;
    config = {0x52, 0x54, 0x00, 0x12, 0x34, 0x56, virtio::kNetStatusLinkUp, 0};
}

unsigned FakeVirtioNet::config_width(uint32_t offset) const {
    return offset < 6 ? 1 : offset == virtio::kNetConfigStatus ? 2 : 0;
}

void FakeVirtioNet::set_link(bool up) {
    config[virtio::kNetConfigStatus] = up ? virtio::kNetStatusLinkUp : 0;
    change_config();
}

bool FakeVirtioNet::deliver(std::span<const uint8_t> frame) {
    auto &buffers = waiting(virtio::kNetReceiveQueue);
    if (buffers.empty()) {
        return false;
    }
    const Chain chain = buffers.front();
    buffers.pop_front();
    violations.require(chain.writable_bytes >= 1526, "receive buffer under 1526 bytes");
    std::vector<uint8_t> all(sizeof(virtio::NetHeader), 0);
    all[10] = 1;  // num_buffers
    all.insert(all.end(), frame.begin(), frame.end());
    size_t at = 0;
    for (const Segment &segment : chain.segments) {
        violations.require((segment.descriptor.flags & virtio::kDescWrite) != 0,
                           "readable receive buffer");
        const size_t len = std::min<size_t>(segment.descriptor.len_bytes, all.size() - at);
        if (segment.bytes != nullptr) {
            std::memcpy(segment.bytes, all.data() + at, len);
        }
        at += len;
    }
    complete(virtio::kNetReceiveQueue, chain, static_cast<uint32_t>(at));
    return true;
}

void FakeVirtioNet::on_kick(uint16_t queue) {
    if (queue == virtio::kNetTransmitQueue && !hold_transmit) {
        finish(UINT32_MAX);
    }
}

void FakeVirtioNet::finish(uint32_t count, bool backwards) {
    auto &frames = waiting(virtio::kNetTransmitQueue);
    while (count-- > 0 && !frames.empty()) {
        const Chain chain = backwards ? frames.back() : frames.front();
        backwards ? frames.pop_back() : frames.pop_front();
        Frame all;
        for (const Segment &segment : chain.segments) {
            violations.require((segment.descriptor.flags & virtio::kDescWrite) == 0,
                               "writable transmit buffer");
            if (segment.bytes != nullptr) {
                all.insert(all.end(), segment.bytes, segment.bytes + segment.descriptor.len_bytes);
            }
        }
        constexpr size_t kHeader = sizeof(virtio::NetHeader);
        if (all.size() <= kHeader || all.size() > kHeader + 1514) {
            violations.add("transmit buffer of a forbidden length");
        } else {
            violations.require(
                std::all_of(all.begin(), all.begin() + kHeader, [](uint8_t b) { return b == 0; }),
                "transmit header asks for an offload");
            sent.emplace_back(all.begin() + kHeader, all.end());
        }
        complete(virtio::kNetTransmitQueue, chain, 0);
    }
}

// ------------------------------------------------------------------------------------------- blk

FakeVirtioBlk::FakeVirtioBlk(uint64_t sectors) : FakeVirtio("fake virtio-blk", 1) {
    offered |= virtio::kBlkFeatureFlush | 1ull << 2 | 1ull << 6 | 1ull << 12 | 1ull << 28;
    bytes.resize(sectors * 512);
    for (size_t i = 0; i < bytes.size(); ++i) {
        bytes[i] = static_cast<uint8_t>(i * 7 + (i >> 9) * 13);
    }
    config.resize(60);
    std::memcpy(config.data(), &sectors, sizeof sectors);
}

void FakeVirtioBlk::set_size_max(uint32_t size_max) {
    offered |= virtio::kBlkFeatureSizeMax;
    std::memcpy(config.data() + virtio::kBlkConfigSizeMax, &size_max, sizeof size_max);
}

unsigned FakeVirtioBlk::config_width(uint32_t offset) const {
    return offset == 0 || offset == 4 || offset == virtio::kBlkConfigSizeMax ? 4 : 0;
}

void FakeVirtioBlk::on_kick(uint16_t queue) {
    while (!waiting(queue).empty()) {
        const Chain chain = waiting(queue).front();
        ++requests;
        if (fault == Fault::kHang) {
            return;
        }
        waiting(queue).pop_front();
        if (!has_header_and_status(chain)) {
            violations.add("request without header or status");
            return;
        }
        virtio::BlkHeader header;
        std::memcpy(&header, chain.segments[0].bytes, sizeof header);
        violations.require(header.reserved == 0, "request header: reserved field set");
        const std::optional<uint32_t> written = move_data(chain, header);
        if (!written) {
            violations.add("request past the end of the disk");
            return;
        }
        check_kind(chain, header);
        if (!answer(queue, chain, *written)) {
            return;
        }
    }
}

bool FakeVirtioBlk::has_header_and_status(const Chain &chain) {
    const auto &parts = chain.segments;
    return parts.size() >= 2 && parts[0].descriptor.len_bytes == sizeof(virtio::BlkHeader) &&
           parts.back().descriptor.len_bytes == 1 &&
           (parts.back().descriptor.flags & virtio::kDescWrite) != 0 && parts[0].bytes != nullptr &&
           parts.back().bytes != nullptr;
}

std::optional<uint32_t> FakeVirtioBlk::move_data(const Chain &chain,
                                                 const virtio::BlkHeader &header) {
    const auto &parts = chain.segments;
    uint64_t at = header.sector * 512;
    uint32_t written = 0;
    for (size_t i = 1; i + 1 < parts.size(); ++i) {
        const uint32_t len = parts[i].descriptor.len_bytes;
        const bool writable = (parts[i].descriptor.flags & virtio::kDescWrite) != 0;
        uint32_t size_max = 0;
        std::memcpy(&size_max, config.data() + virtio::kBlkConfigSizeMax, sizeof size_max);
        violations.require((offered & virtio::kBlkFeatureSizeMax) == 0 || len <= size_max,
                           "segment over SIZE_MAX");
        violations.require(writable == (header.type == virtio::kBlkIn),
                           "data goes the other way than the request");
        if (len % 512 != 0 || at + len > bytes.size()) {
            return std::nullopt;
        }
        if (parts[i].bytes != nullptr) {
            std::memcpy(writable ? parts[i].bytes : bytes.data() + at,
                        writable ? bytes.data() + at : parts[i].bytes, len);
        }
        at += len;
        written += writable ? len : 0;
    }
    return written;
}

void FakeVirtioBlk::check_kind(const Chain &chain, const virtio::BlkHeader &header) {
    if (header.type == virtio::kBlkFlush) {
        violations.require((accepted() & virtio::kBlkFeatureFlush) != 0, "FLUSH not agreed on");
        violations.require(header.sector == 0 && chain.segments.size() == 2, "FLUSH with data");
        dirty = false;
    } else if (header.type == virtio::kBlkOut) {
        violations.require((offered & virtio::kBlkFeatureReadOnly) == 0,
                           "write to a read-only disk");
        dirty = true;
    } else {
        violations.require(header.type == virtio::kBlkIn, "request of an unknown type");
    }
}

bool FakeVirtioBlk::answer(uint16_t queue, const Chain &chain, uint32_t written) {
    uint8_t &status = *chain.segments.back().bytes;
    switch (fault) {
        case Fault::kIoError:
            status = virtio::kBlkStatusIoError;
            break;
        case Fault::kUnsupported:
            status = virtio::kBlkStatusUnsupported;
            break;
        case Fault::kNoStatus:
            break;
        case Fault::kShort:
            status = virtio::kBlkStatusOk;
            complete(queue, chain, written >= 512 ? written - 512 : 0);
            return true;
        case Fault::kWrongId:
            push_used(queue, chain.head + 1u, written + 1);
            return false;
        default:
            status = virtio::kBlkStatusOk;
            break;
    }
    complete(queue, chain, written + 1);
    return true;
}

// ------------------------------------------------------------------------------------------- rng

void FakeVirtioRng::on_kick(uint16_t queue) {
    while (!waiting(queue).empty() && fault != Fault::kHang) {
        const Chain chain = waiting(queue).front();
        waiting(queue).pop_front();
        uint32_t len = std::min(at_most, chain.writable_bytes);
        if (fault == Fault::kNothing) {
            len = 0;
        }
        if (!chain.segments.empty() && chain.segments[0].bytes != nullptr) {
            for (uint32_t i = 0; i < len; ++i) {
                chain.segments[0].bytes[i] = next++;
            }
        }
        complete(queue, chain, fault == Fault::kTooMuch ? chain.writable_bytes + 1 : len);
    }
}

}  // namespace bareflow::fakes
