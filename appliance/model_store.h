// Where the model comes from: the image's second partition, a disk that begins with a GGUF file, or
// the initrd. Loads it into memory. Knows disks only as BlockDevice.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "appliance/settings.h"
#include "drivers/block/block_device.h"
#include "kernel_lib/base/result.h"
#include "kernel_lib/base/text_writer.h"

namespace bareflow {

struct ModelFile {
    std::span<const uint8_t> bytes;  // the whole file, 4096-byte aligned; never freed
    std::string_view place;          // "image on ata0", "disk ata1", "initrd"
    bool writable = true;            // the memory is ours: weights may be repacked in it
};

struct ModelPlaces {
    std::span<BlockDevice *const> disks;
    std::span<const uint8_t> initrd;  // empty: none
};

// Is told about a load while it runs: its begin, some updates, its end.
class LoadListener {
  public:
    virtual void on_load_begin(std::string_view place, uint64_t total_bytes) = 0;
    virtual void on_load_progress(uint64_t done_bytes) = 0;
    virtual void on_load_end(bool ok) = 0;

  protected:
    ~LoadListener() = default;
};

// Looks at the places in the order of ModelSource, or at `wanted` only. After a failure `detail`
// holds the sentence to show. kNotFound: there is no model; kInvalid: only something that is no
// model; kTooLarge: the model does not fit into memory; kDevice, kTimeout: a disk failed.
[[nodiscard]] Result<ModelFile> load_model(const ModelPlaces &places, ModelSource wanted,
                                           LoadListener &listener, TextWriter &detail);

}  // namespace bareflow
