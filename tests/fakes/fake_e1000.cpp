// Frames move at once, when a tail register is written or the test asks for it; nothing happens in
// between.
#include "tests/fakes/fake_e1000.h"

#include <algorithm>
#include <cstring>
#include <set>

namespace bareflow::fakes {
namespace {

constexpr uint32_t kBufferBytes = 2048;
constexpr uint16_t kMaxTransmit = 1514;

// The registers that a driver may write, besides the multicast table.
const std::set<uint32_t> kWritable{
    e1000::kCtrl, e1000::kEerd, e1000::kItr,   e1000::kIms,   e1000::kImc,   e1000::kRctl,
    e1000::kTctl, e1000::kTipg, e1000::kRdbal, e1000::kRdbah, e1000::kRdlen, e1000::kRdh,
    e1000::kRdt,  e1000::kRdtr, e1000::kRadv,  e1000::kTdbal, e1000::kTdbah, e1000::kTdlen,
    e1000::kTdh,  e1000::kTdt,  e1000::kRal0,  e1000::kRah0};
// The registers that must not be written while a ring runs.
const std::set<uint32_t> kRxFixed{e1000::kRdbal, e1000::kRdbah, e1000::kRdlen, e1000::kRdh};
const std::set<uint32_t> kTxFixed{e1000::kTdbal, e1000::kTdbah, e1000::kTdlen, e1000::kTdh};

bool in_multicast_table(uint32_t offset) {
    return offset >= e1000::kMta && offset < e1000::kMta + 4 * e1000::kMtaEntries;
}

}  // namespace

void FakeE1000::reset() {
    registers_.clear();
    registers_[e1000::kRal0] = behaviour.ral;
    registers_[e1000::kRah0] = behaviour.rah;
    rx_.count = rx_.next = rx_.end = 0;
    tx_.count = tx_.next = tx_.end = 0;
    causes_ = e1000::kIntLinkChange;  // the link comes up again
    mask_ = 0;
    mta_written_ = 0;
    receiving_ = transmitting_ = false;
    was_reset_ = true;
    reset_left_ = behaviour.reset_polls;
}

uint32_t FakeE1000::read(uint32_t offset) {
    violations.require(offset % 4 == 0 && offset < e1000::kRegisterBytes,
                       "read outside the registers");
    if (behaviour.gone) {
        return 0xFFFFFFFF;
    }
    if (offset == e1000::kCtrl) {
        uint32_t value = last_written(e1000::kCtrl) & ~e1000::kCtrlReset;
        if (behaviour.reset_hangs && was_reset_) {
            value |= e1000::kCtrlReset;
        } else if (reset_left_ > 0) {
            --reset_left_;
            value |= e1000::kCtrlReset;
        }
        return value;
    }
    violations.require(reset_left_ == 0, "register read during reset");
    switch (offset) {
        case e1000::kStatus:
            return behaviour.link_up ? e1000::kStatusLinkUp : 0;
        case e1000::kIcr: {
            const uint32_t causes = causes_;
            causes_ = 0;
            return causes;
        }
        case e1000::kEerd: {
            const uint32_t request = last_written(e1000::kEerd);
            violations.require((request & e1000::kEerdStart) != 0, "EEPROM read without start");
            if (behaviour.eeprom_silent || eerd_left_ > 0) {
                eerd_left_ -= eerd_left_ > 0;
                return request;
            }
            const uint32_t word = (request & 0xFFFF) >> behaviour.eerd.address_shift;
            if (word >= behaviour.eeprom.size()) {
                violations.add("EEPROM word outside the Ethernet address");
                return behaviour.eerd.done;
            }
            return behaviour.eerd.done | uint32_t{behaviour.eeprom[word]} << e1000::kEerdDataShift;
        }
        case e1000::kRal0:
        case e1000::kRah0:
            return last_written(offset);
        default:
            violations.add("read of a register that tells this driver nothing");
            return 0;
    }
}

void FakeE1000::write(uint32_t offset, uint32_t value) {
    if (behaviour.gone) {
        return;
    }
    if (in_multicast_table(offset)) {
        violations.require(value == 0, "multicast table entry set");
        ++mta_written_;
        return;
    }
    if (!kWritable.contains(offset)) {
        violations.add("write to a register that is none of this driver's");
        return;
    }
    violations.require(reset_left_ == 0, "register written during reset");
    violations.require(!receiving_ || !kRxFixed.contains(offset), "receive ring moved in use");
    violations.require(!transmitting_ || !kTxFixed.contains(offset), "transmit ring moved in use");
    if (offset == e1000::kCtrl && (value & e1000::kCtrlReset) != 0) {
        violations.require(mask_ == 0, "reset with interrupts on");
        reset();
        return;
    }
    if (offset != e1000::kImc) {
        violations.require(was_reset_, "register written before the reset");
    }
    registers_[offset] = value;
    switch (offset) {
        case e1000::kCtrl:
            violations.require((value & e1000::kCtrlSetLinkUp) != 0, "link not asked to be up");
            break;
        case e1000::kEerd:
            eerd_left_ = behaviour.eeprom_polls;
            break;
        case e1000::kIms:
            violations.require(receiving_, "interrupts on before the ring is there");
            mask_ |= value;
            break;
        case e1000::kImc:
            mask_ &= ~value;
            break;
        case e1000::kRctl:
            start_receive(value);
            break;
        case e1000::kTctl:
            start_transmit(value);
            break;
        case e1000::kRdt:
            give_receive(value);
            break;
        case e1000::kTdt:
            give_transmit(value);
            break;
        case e1000::kRdh:
        case e1000::kTdh:
            violations.require(value == 0, "ring head set to other than its start");
            break;
        default:
            break;
    }
}

void FakeE1000::check_ring_setup(Ring &ring, const char *what) {
    const uint32_t len = last_written(ring.len);
    const std::string name(what);
    if (!registers_.contains(ring.base_low) || !registers_.contains(ring.base_high)) {
        violations.add(name + " ring has no address");
        return;
    }
    if (len == 0 || len % e1000::kRingLenUnit != 0 || len > 0x80000) {
        violations.add(name + " ring has a forbidden length");
        return;
    }
    if (base(ring) % 16 != 0) {
        violations.add(name + " ring is misaligned");
        return;
    }
    if (!registers_.contains(ring.head) || !registers_.contains(ring.tail)) {
        violations.add(name + " ring's head or tail was never set");
        return;
    }
    if (dma.at(base(ring), len, violations, what) != nullptr) {
        ring.count = len / 16;
    }
}

void FakeE1000::start_receive(uint32_t value) {
    violations.require((value & e1000::kRctlReserved) == 0, "RCTL: reserved bits set");
    violations.require((value & (e1000::kRctlBufferSizeMask | e1000::kRctlBufferExtend |
                                 e1000::kRctlLongPackets)) == 0,
                       "RCTL: buffers of another size than the driver has");
    if ((value & e1000::kRctlEnable) == 0) {
        receiving_ = false;
        return;
    }
    violations.require((last_written(e1000::kRah0) & e1000::kRahAddressValid) != 0,
                       "receive on without an address");
    violations.require(mta_written_ == e1000::kMtaEntries, "multicast table not cleared");
    check_ring_setup(rx_, "receive");
    if (rx_.count != 0) {
        receiving_ = true;
        rx_.end = 0;
        give_receive(last_written(e1000::kRdt));
    }
}

void FakeE1000::start_transmit(uint32_t value) {
    violations.require((value & e1000::kTctlReserved) == 0, "TCTL: reserved bits set");
    if ((value & e1000::kTctlEnable) == 0) {
        transmitting_ = false;
        return;
    }
    violations.require(registers_.contains(e1000::kTipg), "transmit on without TIPG");
    violations.require(last_written(e1000::kTdt) == 0, "transmit on with a tail that is not 0");
    check_ring_setup(tx_, "transmit");
    transmitting_ = tx_.count != 0;
}

template <typename Descriptor>
Descriptor *FakeE1000::descriptor(const Ring &ring, uint32_t index) {
    uint8_t *at = dma.at(base(ring) + 16ull * index, 16, violations, "descriptor");
    return reinterpret_cast<Descriptor *>(at);
}

uint32_t FakeE1000::free_receive_descriptors() const {
    return rx_.count == 0 ? 0 : (rx_.end + rx_.count - rx_.next) % rx_.count;
}

void FakeE1000::give_receive(uint32_t tail) {
    if (!receiving_) {
        return;  // starting the ring checks it
    }
    if (tail >= rx_.count) {
        violations.add("receive tail outside the ring");
        return;
    }
    const uint32_t had = free_receive_descriptors();
    const uint32_t has = (tail + rx_.count - rx_.next) % rx_.count;
    if (has < had) {
        violations.add("receive tail moved back over descriptors the card owns");
        return;
    }
    while (rx_.end != tail) {
        if (const auto *given = descriptor<e1000::RxDescriptor>(rx_, rx_.end)) {
            violations.require(given->status == 0, "receive descriptor given with its status set");
            (void)dma.at(given->address, kBufferBytes, violations, "receive buffer");
        }
        rx_.end = (rx_.end + 1) % rx_.count;
    }
}

bool FakeE1000::deliver(std::span<const uint8_t> frame, const Lie &lie) {
    if (!receiving_ || !behaviour.link_up) {
        return false;
    }
    if (rx_.next == rx_.end) {
        causes_ |= e1000::kIntRxOverrun;
        return false;
    }
    auto *slot = descriptor<e1000::RxDescriptor>(rx_, rx_.next);
    if (slot == nullptr) {
        return false;
    }
    const size_t len = std::min<size_t>(frame.size(), kBufferBytes);
    if (uint8_t *buffer = dma.at(slot->address, len, violations, "receive buffer")) {
        std::copy_n(frame.begin(), len, buffer);
    }
    slot->len_bytes = static_cast<uint16_t>(lie.len >= 0 ? static_cast<size_t>(lie.len) : len);
    slot->errors = lie.errors;
    slot->status =
        static_cast<uint8_t>(e1000::kRxDone | (lie.end_of_packet ? e1000::kRxEndOfPacket : 0));
    rx_.next = (rx_.next + 1) % rx_.count;
    causes_ |= e1000::kIntRxTimer;
    if (free_receive_descriptors() <= rx_.count / 2) {
        causes_ |= e1000::kIntRxMinThreshold;
    }
    return true;
}

void FakeE1000::give_transmit(uint32_t tail) {
    if (!transmitting_) {
        violations.require(tail == 0, "transmit tail moved before transmit is on");
        return;
    }
    if (tail >= tx_.count) {
        violations.add("transmit tail outside the ring");
        return;
    }
    const uint32_t had = (tx_.end + tx_.count - tx_.next) % tx_.count;
    const uint32_t has = (tail + tx_.count - tx_.next) % tx_.count;
    if (has < had) {
        violations.add("transmit tail moved back, or round over unsent descriptors");
        return;
    }
    while (tx_.end != tail) {
        if (const auto *given = descriptor<e1000::TxDescriptor>(tx_, tx_.end)) {
            constexpr uint8_t kWanted =
                e1000::kTxEndOfPacket | e1000::kTxInsertCrc | e1000::kTxReportStatus;
            violations.require(given->command == kWanted,
                               "transmit descriptor without end, CRC or report, or with more");
            violations.require((given->status & e1000::kTxDone) == 0,
                               "transmit descriptor given as done");
            violations.require(given->len_bytes > 0 && given->len_bytes <= kMaxTransmit,
                               "transmit descriptor of a forbidden length");
            violations.require(
                given->checksum_offset == 0 && given->checksum_start == 0 && given->special == 0,
                "transmit descriptor asks for an offload");
            (void)dma.at(given->address, given->len_bytes, violations, "transmit buffer");
        }
        tx_.end = (tx_.end + 1) % tx_.count;
    }
    if (!behaviour.hold_transmit) {
        finish(tx_.count);
    }
}

void FakeE1000::finish(uint32_t count) {
    while (count-- > 0 && tx_.next != tx_.end) {
        send_one();
    }
}

void FakeE1000::send_one() {
    auto *slot = descriptor<e1000::TxDescriptor>(tx_, tx_.next);
    if (slot != nullptr) {
        if (const uint8_t *bytes =
                dma.at(slot->address, slot->len_bytes, violations, "transmit buffer")) {
            sent.emplace_back(bytes, bytes + slot->len_bytes);
        }
        slot->status |= e1000::kTxDone;
    }
    tx_.next = (tx_.next + 1) % tx_.count;
}

void FakeE1000::set_link(bool up) {
    behaviour.link_up = up;
    causes_ |= e1000::kIntLinkChange;
}

}  // namespace bareflow::fakes
