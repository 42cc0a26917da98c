// Which binding of the engine serves a function of the profile. Names are compared once, when the
// bindings exist; after that /profile joins its rows by the function's number.
#pragma once

#include <array>
#include <span>

#include "compute/kernels/bindings.h"
#include "compute/kernels/float_ops.h"
#include "kernel_lib/jit/profile.h"

namespace bareflow {

class BindingIndex {
  public:
    // The bindings must stay where they are. Their names are functions of `profile` from now on.
    void fill(Profiler &profile, std::span<const compute::KernelBinding> kernels,
              std::span<const compute::FloatBinding> float_ops);

    // nullptr: this function is no matrix product, no float operation.
    [[nodiscard]] const compute::KernelBinding *kernel(FunctionId id) const {
        return id < kernels_.size() ? kernels_[id] : nullptr;
    }
    [[nodiscard]] const compute::FloatBinding *float_op(FunctionId id) const {
        return id < float_ops_.size() ? float_ops_[id] : nullptr;
    }

  private:
    std::array<const compute::KernelBinding *, Profiler::kMaxFunctions> kernels_{};
    std::array<const compute::FloatBinding *, Profiler::kMaxFunctions> float_ops_{};
};

}  // namespace bareflow
