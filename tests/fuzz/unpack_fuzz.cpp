// The kernel's unpacker: whatever the stream says, it stays inside of its three places and ends;
// what it accepted it accepts again, with more bytes behind it too.
#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <memory>

#include "boot/bios/unpack.h"

namespace {

using namespace bareflow;

struct Result {
    bool ok;
    std::unique_ptr<uint8_t[]> bytes;
};

Result unpack(const uint8_t *data, size_t size, size_t room, size_t len) {
    const auto packed = std::make_unique<uint8_t[]>(room);
    std::copy_n(data, size, packed.get());
    const auto scratch = std::make_unique<uint16_t[]>(kLzmaScratchBytes / sizeof(uint16_t));
    Result result{false, std::make_unique<uint8_t[]>(len)};
    result.ok = unpack_kernel(packed.get(), room, result.bytes.get(), len, scratch.get());
    return result;
}

}  // namespace

// Three bytes: how many bytes it should become (less than 128 KiB). Then the stream.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size < 3) {
        return 0;
    }
    const size_t len = data[0] | data[1] << 8 | (data[2] & 1) << 16;
    const Result first = unpack(data + 3, size - 3, size - 3, len);
    if (first.ok) {
        const Result again = unpack(data + 3, size - 3, size - 3 + 100, len);
        if (!again.ok ||
            !std::equal(first.bytes.get(), first.bytes.get() + len, again.bytes.get())) {
            abort();
        }
    }
    return 0;
}
