// The hosted program has every generator.
#include "compute/codegen/floats.h"
#include "compute/codegen/generators.h"
#include "compute/codegen/narrow.h"
#include "compute/codegen/swar.h"
#include "compute/codegen/vector.h"

namespace bareflow::compute {

std::span<const Generator> linked_generators() {
    static constexpr Generator kLinked[] = {kSwarGenerator, kVectorGenerator, kFloatGenerator,
                                            kNarrowFloatGenerator, kNarrowBlockGenerator};
    return kLinked;
}

}  // namespace bareflow::compute
