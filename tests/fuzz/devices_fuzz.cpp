// Devices that may say anything: configuration space, disk identities, rings and registers are made
// of the input. The drivers may refuse, drop frames and give up. They must not hang, nor read or
// write memory that is not theirs.
#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <span>
#include <vector>

#include "appliance/kept_profile/tuned_profile.h"
#include "drivers/block/ata_identify.h"
#include "drivers/block/block_checks.h"
#include "drivers/block/state_disk.h"
#include "drivers/block/virtio_blk.h"
#include "drivers/fw_cfg/fw_cfg.h"
#include "drivers/net/e1000.h"
#include "drivers/net/virtio_net.h"
#include "drivers/pci/pci.h"
#include "drivers/virtio/virtio_pci.h"

using namespace bareflow;

namespace {

// The input as an endless source: zeros after its end.
class Source {
  public:
    explicit Source(std::span<const uint8_t> bytes) : bytes_(bytes) {}
    uint8_t byte() {
        const uint8_t value = empty() ? 0 : bytes_[0];
        bytes_ = bytes_.subspan(empty() ? 0 : 1);
        return value;
    }
    uint32_t word() {
        uint32_t value = 0;
        for (int i = 0; i < 4; ++i) {
            value = value << 8 | byte();
        }
        return value;
    }
    [[nodiscard]] bool empty() const { return bytes_.empty(); }
    [[nodiscard]] size_t size() const { return bytes_.size(); }

  private:
    std::span<const uint8_t> bytes_;
};

void require(bool condition) {
    if (!condition) {
        std::abort();
    }
}

// ------------------------------------------------------------------------------- PCI and virtio

// Up to eight functions of 256 bytes. The input says which written bits stick.
class FuzzPci final : public PciConfig {
  public:
    explicit FuzzPci(Source &source) : count_(std::min<size_t>(8, source.size() / 64 + 1)) {
        for (auto &function : bytes_) {
            for (uint8_t &byte : function) {
                byte = source.byte();
            }
        }
        sticky_ = source.word();
    }
    uint32_t read32(PciAddress where, uint8_t offset) override {
        require(offset % 4 == 0 && ++reads_ < 2'000'000);
        uint32_t value = 0xFFFFFFFF;
        if (index(where) < count_) {
            std::memcpy(&value, bytes_[index(where)].data() + offset, 4);
        }
        return value;
    }
    void write32(PciAddress where, uint8_t offset, uint32_t value) override {
        require(offset >= pci::kBar0 && offset < pci::kBar0 + 24);
        if (index(where) < count_) {
            value &= sticky_;
            std::memcpy(bytes_[index(where)].data() + offset, &value, 4);
        }
    }
    void write16(PciAddress, uint8_t offset, uint16_t) override {
        require(offset == pci::kCommand);
    }

  private:
    static size_t index(PciAddress where) {
        return (where.bus * 37u + where.device + where.function) & 31;
    }
    std::array<std::array<uint8_t, 256>, 8> bytes_;
    size_t count_;
    uint32_t sticky_ = 0;
    uint32_t reads_ = 0;
};

void fuzz_pci(Source source) {
    const auto bus = std::make_unique<FuzzPci>(source);
    PciInventory inventory;
    enumerate_pci(*bus, inventory);
    require(inventory.count <= kMaxPciFunctions);
    size_t looked_at = 0;
    for (const PciFunction &function : inventory.all()) {
        if (++looked_at > 8) {
            break;
        }
        for (uint8_t i = 0; i < 7; ++i) {
            if (const auto bar = read_bar(*bus, function, i)) {
                require(bar->len_bytes != 0 && bar->address + bar->len_bytes > bar->address);
            }
        }
        if (const auto layout = find_virtio_layout(*bus, function)) {
            require(layout->common.len_bytes >= virtio::kCommonBytes && layout->common.bar < 6);
        }
        (void)virtio_type(function);
        (void)pci_name(function);
        const int line = interrupt_line(*bus, function);
        require(line == -1 || (line >= 1 && line <= 15));
    }
}

// ------------------------------------------------------------------------------- disk identities

void fuzz_identify(Source source) {
    std::array<uint16_t, kIdentifyWords> words;
    for (uint16_t &word : words) {
        word = static_cast<uint16_t>(source.word());
    }
    if (const auto identity = parse_identify(words)) {
        require(identity->sector_count > 0 && identity->sector_count <= ata::kLba48Limit);
        for (const char c : identity->model()) {
            require(c >= ' ' && c <= '~');
        }
    }
}

// ------------------------------------------------------------------------------- fw_cfg

struct FuzzHostPorts {
    Source *source;
    uint32_t *reads;
    uint8_t in8(uint16_t) {
        require(++*reads < 200'000);
        // The signature is right, because nothing else would be read otherwise.
        return *reads <= 4 ? static_cast<uint8_t>("QEMU"[*reads - 1]) : source->byte();
    }
    void out16(uint16_t, uint16_t) {}
};

void fuzz_fw_cfg(Source source) {
    uint32_t reads = 0;
    std::array<uint8_t, 64> out{};
    const auto len = FwCfg(FuzzHostPorts{&source, &reads}).read_file("opt/a", out);
    require(!len || *len <= out.size());
}

// ------------------------------------------------------------------------------- network cards

struct FuzzE1000Regs {
    Source *source;
    [[nodiscard]] uint32_t read32(uint32_t offset) const {
        switch (offset) {
            case e1000::kCtrl:
                return 0;
            case e1000::kEerd:
                return e1000::kEerd8254x.done | 0x02020000;
            default:
                return source->word();
        }
    }
    void write32(uint32_t offset, uint32_t) const { require(offset < e1000::kRegisterBytes); }
};

// Starts as it should; the rings and the interrupt register are made of the input.
struct FuzzVirtioWindow {
    Source *source;
    uint8_t *status;
    bool common;
    size_t len_bytes = 4096;
    [[nodiscard]] uint8_t read8(uint32_t at) const {
        if (common) {
            return at == virtio::kDeviceStatus ? *status : 0;
        }
        return source->byte();
    }
    [[nodiscard]] uint16_t read16(uint32_t at) const {
        return common && at == virtio::kQueueSize ? 64 : 0;
    }
    [[nodiscard]] uint32_t read32(uint32_t) const { return common ? 0xFFFFFFFF : source->word(); }
    void write8(uint32_t at, uint8_t value) const {
        if (common && at == virtio::kDeviceStatus) {
            *status = value;
        }
    }
    void write16(uint32_t, uint16_t) const {}
    void write32(uint32_t, uint32_t) const {}
};
struct FuzzVirtioRegs {
    FuzzVirtioWindow common, notify, isr, device;
    uint32_t notify_multiplier = 4;
};

// The card writes bytes of the input anywhere into its memory; the loop must go on.
template <typename Card>
void run_card(Card &card, Source &source, std::span<uint8_t> memory, size_t rings_bytes) {
    // Exactly as long as promised, so that the sanitizer sees one byte more.
    const auto frame = std::make_unique<uint8_t[]>(kMaxFrameBytes);
    const std::span room(frame.get(), kMaxFrameBytes);
    while (!source.empty()) {
        switch (source.byte() % 6) {
            case 0:
                require(card.receive(room) <= room.size());
                break;
            case 1:
                (void)card.transmit(room.first(1 + source.byte() % 100));
                break;
            case 2:
                (void)card.on_interrupt();
                (void)card.link_up();
                break;
            default: {
                const size_t at = source.word() % rings_bytes;
                const size_t len = std::min<size_t>(1 + source.byte() % 32, memory.size() - at);
                for (size_t i = 0; i < len; ++i) {
                    memory[at + i] = source.byte();
                }
                break;
            }
        }
    }
}

struct FreeAligned {
    void operator()(uint8_t *memory) const { std::free(memory); }
};
using Memory = std::unique_ptr<uint8_t, FreeAligned>;
Memory make_memory(size_t bytes) {
    auto *memory = static_cast<uint8_t *>(std::aligned_alloc(4096, bytes));
    std::memset(memory, 0, bytes);
    return Memory(memory);
}

void fuzz_e1000(Source source) {
    const Memory memory = make_memory(E1000Layout::kDmaBytes);
    const std::span region(memory.get(), E1000Layout::kDmaBytes);
    auto card = E1000<FuzzE1000Regs>::create({&source}, e1000::kModels[0], region, 11);
    if (card) {
        run_card(*card, source, region, E1000Layout::kRxBuffers);
    }
}

void fuzz_virtio_net(Source source) {
    const Memory memory = make_memory(VirtioNetLayout::kDmaBytes);
    const std::span region(memory.get(), VirtioNetLayout::kDmaBytes);
    uint8_t status = 0;
    FuzzVirtioRegs regs{{&source, &status, true},
                        {&source, &status, false},
                        {&source, &status, false},
                        {&source, &status, false}};
    auto card = VirtioNet<FuzzVirtioRegs>::create(regs, region, 11);
    if (card) {
        run_card(*card, source, region, VirtioNetLayout::kRxBuffers);
    }
}

// ------------------------------------------------------------------------------- disks

// Starts as a disk of some size. For each request it writes bytes of the input anywhere into the
// memory of its queue.
struct FuzzBlkWindow {
    Source *source;
    uint8_t *status;
    std::span<uint8_t> memory;
    enum class Kind : uint8_t { kCommon, kNotify, kOther } kind;
    size_t len_bytes = 4096;
    [[nodiscard]] uint8_t read8(uint32_t at) const {
        if (kind == Kind::kCommon) {
            return at == virtio::kDeviceStatus ? *status : 0;
        }
        return source->byte();
    }
    [[nodiscard]] uint16_t read16(uint32_t at) const {
        return kind == Kind::kCommon && at == virtio::kQueueSize ? 64 : 0;
    }
    [[nodiscard]] uint32_t read32(uint32_t) const {
        return kind == Kind::kCommon ? 0xFFFFFFFF : source->word();
    }
    void write8(uint32_t at, uint8_t value) const {
        if (kind == Kind::kCommon && at == virtio::kDeviceStatus) {
            *status = value;
        }
    }
    void write16(uint32_t, uint16_t) const {
        for (int i = source->byte() % 8; kind == Kind::kNotify && i > 0; --i) {
            const size_t at = source->word() % (VirtioBlkLayout::kStatus + 8);
            const size_t len = 1 + source->byte() % 16;
            for (size_t j = 0; j < len; ++j) {
                memory[at + j] = source->byte();
            }
        }
    }
    void write32(uint32_t, uint32_t) const {}
};
struct FuzzBlkRegs {
    FuzzBlkWindow common, notify, isr, device;
    uint32_t notify_multiplier = 4;
};

void fuzz_virtio_blk(Source source) {
    const Memory memory = make_memory(VirtioBlkLayout::kDmaBytes);
    const std::span region(memory.get(), VirtioBlkLayout::kDmaBytes);
    uint8_t status = 0;
    using Kind = FuzzBlkWindow::Kind;
    FuzzBlkRegs regs{{&source, &status, region, Kind::kCommon},
                     {&source, &status, region, Kind::kNotify},
                     {&source, &status, region, Kind::kOther},
                     {&source, &status, region, Kind::kOther}};
    auto disk = VirtioBlk<FuzzBlkRegs>::create(regs, region, "fuzz", 1);
    if (!disk) {
        return;
    }
    require(disk->sector_count() > 0 && disk->max_sectors() > 0 &&
            disk->max_sectors() <= kMaxTransferSectors);
    const Memory data = make_memory(4096);
    for (int i = 0; i < 4 && !source.empty(); ++i) {
        const std::span bytes(data.get(), size_t{1} + source.word() % 4096);
        const uint64_t sector = source.word();
        (void)(source.byte() % 2 == 0 ? disk->read(sector, bytes) : disk->write(sector, bytes));
    }
}

// A state disk whose contents are the input, from the first copy on.
class FuzzDisk final : public BlockDevice {
  public:
    explicit FuzzDisk(std::span<const uint8_t> contents) : bytes_(128 * kSectorBytes) {
        std::ranges::copy(state_format::kDiskMagic, bytes_.begin());
        const size_t first = state_format::kFirstCopySector * kSectorBytes;
        std::copy_n(contents.begin(), std::min(contents.size(), bytes_.size() - first),
                    bytes_.begin() + first);
    }
    [[nodiscard]] std::string_view name() const override { return "fuzz"; }
    [[nodiscard]] uint64_t sector_count() const override { return bytes_.size() / kSectorBytes; }
    [[nodiscard]] uint32_t max_sectors() const override { return kMaxTransferSectors; }
    [[nodiscard]] Status read(uint64_t sector, std::span<uint8_t> to) override {
        require(check_transfer(*this, sector, to).ok());
        std::copy_n(bytes_.begin() + static_cast<ptrdiff_t>(sector * kSectorBytes), to.size(),
                    to.begin());
        return {};
    }
    [[nodiscard]] Status write(uint64_t sector, std::span<const uint8_t> from) override {
        require(check_transfer(*this, sector, from).ok() &&
                sector >= state_format::kFirstCopySector &&
                sector + from.size() / kSectorBytes <= state_format::kDiskSectors);
        std::copy(from.begin(), from.end(),
                  bytes_.begin() + static_cast<ptrdiff_t>(sector * kSectorBytes));
        return {};
    }

  private:
    std::vector<uint8_t> bytes_;
};

void fuzz_state_disk(std::span<const uint8_t> input) {
    alignas(16) static StateDisk::Buffer buffer;
    FuzzDisk disk(input);
    auto state = StateDisk::open(disk, buffer);
    require(state.ok());
    if (const auto record = state->load()) {
        require(record->size() <= state_format::kMaxRecordBytes && state->sequence() > 0);
    }
    // Whatever the disk held, a record that is saved now must come back.
    const size_t len = std::min<size_t>(input.size(), state_format::kMaxRecordBytes);
    require(state->save(input.first(len)).ok());
    const auto again = state->load();
    require(again.ok() && std::ranges::equal(*again, input.first(len)));
}

void fuzz_tuned_profile(std::span<const uint8_t> input) {
    static TunedProfile profile;
    static std::array<uint8_t, TunedProfile::kMaxBytes> out;
    if (decode_profile(input, profile)) {
        const size_t len = encode_profile(profile, out);
        require(std::ranges::equal(std::span(out).first(len), input));
    }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size == 0) {
        return 0;
    }
    const Source source(std::span(data, size).subspan(1));
    const std::span rest = std::span(data, size).subspan(1);
    switch (data[0] % 8) {
        case 0:
            fuzz_pci(source);
            break;
        case 1:
            fuzz_identify(source);
            break;
        case 2:
            fuzz_fw_cfg(source);
            break;
        case 3:
            fuzz_e1000(source);
            break;
        case 5:
            fuzz_virtio_blk(source);
            break;
        case 6:
            fuzz_state_disk(rest);
            break;
        case 7:
            fuzz_tuned_profile(rest);
            break;
        default:
            fuzz_virtio_net(source);
            break;
    }
    return 0;
}
