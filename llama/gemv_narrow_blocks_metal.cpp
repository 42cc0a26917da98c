// Bare metal has the generator for floats only: in emulators SWAR multiplies blocks four to nine
// times faster than 128-bit vectors (docs/decisions/0004), and the image is small.
#include "kernel_lib/platform/platform.h"
#include "llama/gemv_narrow_generator.h"

namespace bareflow::llama::gemv_narrow {

const Format *format_of(TensorType) {
    return nullptr;
}

void NarrowGenerator::groups() {
    platform::panic("no generator for this tensor type");
}

}  // namespace bareflow::llama::gemv_narrow
