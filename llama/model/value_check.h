// Reads every number of a model that the numeric contract sets a condition on: F32, F16 and BF16
// weights are finite; f16 block scales and minimums are finite and below their type's limit in
// magnitude. Works in slices, because a large file takes long under an emulator.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernel_lib/base/result.h"
#include "kernel_lib/base/text_writer.h"
#include "llama/model/model.h"

namespace bareflow::llama {

class ValueCheck {
  public:
    explicit ValueCheck(const Model &model) : model_(model) {}

    // Checks whole rows until at least `budget_bytes` of weights were looked at or all are done.
    // After an error `detail` names the tensor, row and column; do not call again.
    [[nodiscard]] Status step(uint64_t budget_bytes, TextWriter &detail);
    [[nodiscard]] bool done() const { return tensor_ == model_.tensors().size(); }
    // Of model.weight_bytes().
    [[nodiscard]] uint64_t checked_bytes() const { return checked_bytes_; }
    // The same in one go.
    [[nodiscard]] static Status run(const Model &model, TextWriter &detail);

  private:
    const Model &model_;
    size_t tensor_ = 0;
    uint32_t row_ = 0;
    uint64_t checked_bytes_ = 0;
};

}  // namespace bareflow::llama
