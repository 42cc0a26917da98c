// Bare metal has the generator for floats only: in emulators SWAR multiplies blocks four to nine
// times faster than 128-bit vectors (docs/decisions/0004), and the image is small.
#include "compute/codegen/narrow_generator.h"
#include "compute/numbers/tensor_types.h"
#include "kernel_lib/platform/platform.h"

namespace bareflow::compute::gemv_narrow {

const Format *format_of(TensorType) {
    return nullptr;
}

void NarrowGenerator::groups() {
    platform::panic("no generator for this tensor type");
}

}  // namespace bareflow::compute::gemv_narrow
