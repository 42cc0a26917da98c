// The kernel's unpacker: for any stream it must end, and stay inside of its three regions of
// memory. A stream that it accepted it must accept again, also with more bytes after it.
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

// The first three bytes are the unpacked length (less than 128 KiB). Then comes the stream.
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
