#include "appliance/binding_index.h"

namespace bareflow {
namespace {

template <typename Binding>
void fill_one(Profiler &profile, std::span<const Binding> bindings,
              std::array<const Binding *, Profiler::kMaxFunctions> &out) {
    for (const Binding &binding : bindings) {
        if (const FunctionId id = profile.key(binding.name); id != kNoFunction) {
            out[id] = &binding;
        }
    }
}

}  // namespace

void BindingIndex::fill(Profiler &profile, std::span<const compute::KernelBinding> kernels,
                        std::span<const compute::FloatBinding> float_ops) {
    fill_one(profile, kernels, kernels_);
    fill_one(profile, float_ops, float_ops_);
}

}  // namespace bareflow
