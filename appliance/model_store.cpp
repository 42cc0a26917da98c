// Finds and reads the model. What must hold: whatever a disk contains or reports, the result is a
// whole file or one sentence. Disks are only read, and no more of them than the head and the model.
#include "appliance/model_store.h"

#include <algorithm>
#include <array>

#include "boot/image_layout.h"
#include "kernel_lib/platform/platform.h"

namespace bareflow {
namespace {

constexpr std::array<uint8_t, 4> kGgufMagic{'G', 'G', 'U', 'F'};
// Memory that must stay free for the engine, the heap and the network beside the model.
constexpr uint64_t kReserveBytes = 4 << 20;
// Memory that a machine must have beside the model, about (ModelLoader::create_engine computes the
// exact sum).
constexpr uint64_t kMib = 1 << 20;
constexpr uint64_t kLeastOtherBytes = 8 * kMib;

bool is_gguf(std::span<const uint8_t> bytes) {
    return bytes.size() >= kGgufMagic.size() &&
           std::equal(kGgufMagic.begin(), kGgufMagic.end(), bytes.begin());
}

// The first sectors of a disk, enough to know what it holds. Static, because a stack is not
// reachable by DMA.
constexpr size_t kHeadBytes = kImageHeadSectors * kSectorBytes;
alignas(4096) constinit std::array<uint8_t, kHeadBytes> head{};

struct Region {
    BlockDevice *disk = nullptr;
    uint64_t first_sector = 0;
    uint64_t len_bytes = 0;
};

Status read_head(BlockDevice &disk) {
    head.fill(0);
    const uint64_t sectors = std::min<uint64_t>(kImageHeadSectors, disk.sector_count());
    if (sectors == 0) {
        return {ErrorCode::kNotFound, "the disk is empty"};
    }
    return disk.read(0, std::span(head).first(sectors * kSectorBytes));
}

// kNotFound: this disk holds no model of this kind.
Result<Region> find_on_disk(BlockDevice &disk, ModelSource kind) {
    BF_TRY(read_head(disk));
    if (kind == ModelSource::kDisk) {
        if (!is_gguf(head)) {
            return Error{ErrorCode::kNotFound, "no GGUF file on this disk"};
        }
        return Region{&disk, 0, disk.sector_count() * kSectorBytes};
    }
    BF_ASSIGN(const ImageLayout layout, parse_image_layout(head));
    if (layout.model_len_bytes == 0) {
        return Error{ErrorCode::kNotFound, "the image holds no model"};
    }
    const uint64_t sectors = (layout.model_len_bytes + kSectorBytes - 1) / kSectorBytes;
    if (layout.model_first_sector > disk.sector_count() ||
        sectors > disk.sector_count() - layout.model_first_sector) {
        return Error{ErrorCode::kInvalid, "the image's model partition ends beyond its disk"};
    }
    return Region{&disk, layout.model_first_sector, layout.model_len_bytes};
}

Result<std::span<const uint8_t>> read_region(const Region &region, LoadListener &listener,
                                             TextWriter &detail) {
    const uint64_t pages = region.len_bytes / platform::kPageBytes + 1;
    const uint64_t free_bytes = platform::free_memory_bytes();
    const uint64_t needed_bytes = pages * platform::kPageBytes + kReserveBytes;
    auto *const memory = needed_bytes <= free_bytes
                             ? static_cast<uint8_t *>(platform::allocate_pages_unzeroed(pages))
                             : nullptr;
    if (memory == nullptr) {
        detail.put("this model needs ", (region.len_bytes + kLeastOtherBytes + kMib - 1) / kMib,
                   " MiB at least: model ", Bytes{region.len_bytes}, " + ", Bytes{kLeastOtherBytes},
                   " + its KV cache; the machine has ", Bytes{platform::total_memory_bytes()});
        return Error{ErrorCode::kTooLarge, "the model does not fit into memory"};
    }
    const uint64_t chunk_bytes = uint64_t{region.disk->max_sectors()} * kSectorBytes;
    const uint64_t padded = (region.len_bytes + kSectorBytes - 1) / kSectorBytes * kSectorBytes;
    std::fill(memory + padded, memory + pages * platform::kPageBytes, uint8_t{0});
    for (uint64_t done = 0; done < padded;) {
        const uint64_t step = std::min(chunk_bytes, padded - done);
        const Status status = region.disk->read(region.first_sector + done / kSectorBytes,
                                                {memory + done, static_cast<size_t>(step)});
        if (!status) {
            detail.put("reading the model failed at ", Bytes{done}, " (", region.disk->name(),
                       "): ", status.message());
            platform::free_pages(memory, pages);
            return status.error();
        }
        done += step;
        listener.on_load_progress(std::min(done, region.len_bytes));
    }
    return std::span<const uint8_t>(memory, region.len_bytes);
}

// The name is never freed. One buffer is enough, because there is one model.
std::string_view place_name(ModelSource kind, std::string_view disk) {
    static constinit std::array<char, 48> buffer{};
    TextWriter out(buffer);
    out.put(kind == ModelSource::kImage ? "image on " : "disk ", disk);
    return out.view();
}

Result<ModelFile> try_disks(std::span<BlockDevice *const> disks, ModelSource kind,
                            LoadListener &listener, TextWriter &detail) {
    Error last{ErrorCode::kNotFound, "no model"};
    for (BlockDevice *const disk : disks) {
        auto region = find_on_disk(*disk, kind);
        if (!region) {
            if (region.error().code != ErrorCode::kNotFound) {
                last = region.error();
                detail.clear();
                detail.put(disk->name(), ": ", last.message);
            }
            continue;
        }
        const std::string_view place = place_name(kind, disk->name());
        detail.clear();
        listener.on_load_begin(place, region->len_bytes);
        auto bytes = read_region(*region, listener, detail);
        listener.on_load_end(bytes.ok());
        if (!bytes) {
            return bytes.error();
        }
        return ModelFile{.bytes = *bytes, .place = place};
    }
    return last;
}

}  // namespace

Result<ModelFile> load_model(const ModelPlaces &places, ModelSource wanted, LoadListener &listener,
                             TextWriter &detail) {
    Error failure{ErrorCode::kNotFound, "no model was found"};
    for (const ModelSource kind : {ModelSource::kImage, ModelSource::kDisk}) {
        if (wanted != ModelSource::kAuto && wanted != kind) {
            continue;
        }
        auto file = try_disks(places.disks, kind, listener, detail);
        if (file) {
            return file;
        }
        // A disk has a model and cannot deliver it: say so instead of taking another model.
        if (file.error().code != ErrorCode::kNotFound && file.error().code != ErrorCode::kInvalid) {
            return file;
        }
        if (file.error().code == ErrorCode::kInvalid) {
            failure = file.error();
        }
    }
    if ((wanted == ModelSource::kAuto || wanted == ModelSource::kInitrd) &&
        !places.initrd.empty()) {
        if (is_gguf(places.initrd)) {
            detail.clear();
            return ModelFile{.bytes = places.initrd, .place = "initrd"};
        }
        detail.clear();
        detail.put("the initrd is no GGUF file");
        return Error{ErrorCode::kInvalid, "the initrd is no GGUF file"};
    }
    if (failure.code == ErrorCode::kNotFound) {
        detail.clear();
        detail.put("no model: none in the image, none on another disk, no initrd");
    }
    return failure;
}

}  // namespace bareflow
