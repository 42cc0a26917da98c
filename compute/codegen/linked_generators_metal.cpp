// Bare metal has fewer generators, because the image is small. Emulators compute floats faster with
// SSE2 than with AVX2, and blocks four to nine times faster with SWAR than with 128-bit vectors
// (docs/decisions/0004-generated-code.md).
#include "compute/codegen/generators.h"
#include "compute/codegen/narrow.h"
#include "compute/codegen/swar.h"
#include "compute/codegen/vector.h"

namespace bareflow::compute {

std::span<const Generator> linked_generators() {
    static constexpr Generator kLinked[] = {kSwarGenerator, kVectorGenerator,
                                            kNarrowFloatGenerator};
    return kLinked;
}

}  // namespace bareflow::compute
