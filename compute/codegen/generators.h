// The generators: which of them writes the machine code of a matrix-vector kernel for which plan.
// Each generator is one line of a table. The build decides which lines there are
// (linked_generators_hosted.cpp, linked_generators_metal.cpp).
//
// The code that a generator writes is a GemvKernel (compute/kernels/gemv.h) for one exact shape. It
// has the bits of the portable reference. It may refer to tables of this program, so it is valid in
// this process only, and the processor must have the plan's instruction set.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <span>
#include <string_view>

#include "compute/codegen/plan.h"
#include "compute/kernels/instruction_set.h"
#include "compute/numbers/quant.h"
#include "compute/numbers/tensor_types.h"
#include "kernel_lib/base/result.h"
#include "kernel_lib/jit/assembler.h"

namespace bareflow::compute {

// A set of weight types.
class TypeSet {
  public:
    constexpr TypeSet() = default;
    constexpr TypeSet(std::initializer_list<TensorType> types) {
        for (const TensorType type : types) {
            bits_ |= bit(type);
        }
    }
    [[nodiscard]] constexpr bool contains(TensorType type) const {
        return (bits_ & bit(type)) != 0;
    }
    [[nodiscard]] constexpr TypeSet operator|(TypeSet other) const {
        other.bits_ |= bits_;
        return other;
    }

  private:
    static_assert(kLastTensorTypeId < 64);
    static constexpr uint64_t bit(TensorType type) {
        return uint64_t{1} << static_cast<uint32_t>(type);
    }
    uint64_t bits_ = 0;
};

inline constexpr TypeSet kFloatTypes = {TensorType::kF32, TensorType::kF16, TensorType::kBF16};
// Types with blocks of 32. IQ4_NL looks its weights up in a table; the linear types do not.
inline constexpr TypeSet kLinearBlockTypes = {
    TensorType::kQ8_0, TensorType::kQ4_0, TensorType::kQ4_1, TensorType::kQ5_0, TensorType::kQ5_1};
inline constexpr TypeSet kBlockTypes = kLinearBlockTypes | TypeSet{TensorType::kIQ4_NL};
inline constexpr TypeSet kSuperBlockTypes = {
    TensorType::kQ2_K, TensorType::kQ3_K, TensorType::kQ4_K, TensorType::kQ5_K, TensorType::kQ6_K};

// One line of the table.
struct Generator {
    // The weight types for which it writes code of one instruction set.
    struct Ability {
        InstructionSet set = InstructionSet::kSse2;
        TypeSet types;
    };
    using CodeRoom = size_t (*)(const GemvPlan &plan);
    using Fits = bool (*)(const GemvShape &shape, const GemvPlan &plan);
    using Forms = ActivationForms (*)(TensorType type);
    using Generate = Result<size_t> (*)(const GemvShape &shape, const GemvPlan &plan,
                                        std::span<uint8_t> out, jit::ConstantPool constants);

    std::string_view name;             // "swar", "narrow blocks"
    PlanKind kind = PlanKind::kSwar;   // the plans that it takes
    std::array<Ability, 3> abilities;  // unused entries have no types
    CodeRoom code_room = nullptr;      // bytes that are always enough for the code
    size_t constant_room = 0;          // bytes that are always enough for its constants
    Forms forms = nullptr;             // activation forms that the code reads; nullptr: none
    // Of a plan and a type that it takes: whether it knows the plan's numbers, and the shape's
    // distances fit into instructions.
    Fits fits = nullptr;
    // Writes the code and returns its length. Where `fits` is true, this fails only for want of
    // room.
    Generate generate = nullptr;

    [[nodiscard]] constexpr bool writes(TensorType type, InstructionSet set) const {
        for (const Ability &ability : abilities) {
            if (ability.set == set && ability.types.contains(type)) {
                return true;
            }
        }
        return false;
    }
    [[nodiscard]] ActivationForms forms_of(TensorType type) const {
        return forms == nullptr ? 0 : forms(type);
    }
};

// The table of this build.
[[nodiscard]] std::span<const Generator> linked_generators();

// The generator that writes code for this type, kind of plan and instruction set. There is at most
// one; nullptr: there is none.
[[nodiscard]] const Generator *generator_for(TensorType type, PlanKind kind, InstructionSet set);
[[nodiscard]] const Generator *generator_for(TensorType type, const GemvPlan &plan);

// There is a generator, and it can write this shape by this plan.
[[nodiscard]] bool can_generate(const GemvShape &shape, const GemvPlan &plan);
// Writes the kernel and returns the length of its code. can_generate() must hold.
[[nodiscard]] Result<size_t> generate_gemv(const GemvShape &shape, const GemvPlan &plan,
                                           std::span<uint8_t> out,
                                           jit::ConstantPool constants = {});

}  // namespace bareflow::compute
