// The appliance's classes with a small real model in memory.
#pragma once

#include <string>

#include "compute/kernels/instruction_set.h"
#include "compute/kernels/registry.h"
#include "tests/unit/appliance/scripted_machine.h"
#include "tests/unit/llama/model/random_model.h"

namespace bareflow::testing {

class LoadedAssembly {
  public:
    explicit LoadedAssembly(Surroundings &surroundings, const Settings &settings = {})
        : all(keep(new Assembly(settings, surroundings))) {}
    // What the program's own objects learnt from the model.
    ~LoadedAssembly() {
        if (all.parts.gemv_tuner != nullptr) {
            all.parts.gemv_tuner->destroy();
        }
        optimizer().remove_all();
        jit_set_mode(JitMode::kFull);
        profiler().set_on(true);
        compute::limit_instruction_set(compute::InstructionSet::kAmx);
        compute::allow_relaxed_numerics(false);
    }
    LoadedAssembly(const LoadedAssembly &) = delete;
    LoadedAssembly &operator=(const LoadedAssembly &) = delete;

    void take(const llama::testing::GgufBuilder &builder) {
        const auto &bytes = keep(new llama::testing::FileBytes(builder.build()));
        all.loader.take_model({.bytes = bytes.span(), .place = "the test"});
    }
    static llama::testing::GgufBuilder small_model() {
        return llama::testing::random_model(compute::TensorType::kQ8_0);
    }

    Assembly &all;
};

}  // namespace bareflow::testing
