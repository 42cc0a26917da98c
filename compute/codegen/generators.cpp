#include "compute/codegen/generators.h"

#include "kernel_lib/platform/platform.h"

namespace bareflow::compute {

const Generator *generator_for(TensorType type, PlanKind kind, InstructionSet set) {
    for (const Generator &generator : linked_generators()) {
        if (generator.kind == kind && generator.writes(type, set)) {
            return &generator;
        }
    }
    return nullptr;
}

const Generator *generator_for(TensorType type, const GemvPlan &plan) {
    return generator_for(type, plan.kind(), plan.set);
}

bool can_generate(const GemvShape &shape, const GemvPlan &plan) {
    const Generator *const generator = generator_for(shape.type, plan);
    return generator != nullptr && generator->fits(shape, plan);
}

Result<size_t> generate_gemv(const GemvShape &shape, const GemvPlan &plan, std::span<uint8_t> out,
                             jit::ConstantPool constants) {
    const Generator *const generator = generator_for(shape.type, plan);
    if (generator == nullptr || !generator->fits(shape, plan)) {
        platform::panic("a shape that cannot be generated");
    }
    return generator->generate(shape, plan, out, constants);
}

}  // namespace bareflow::compute
