// A model with the file that it lies in, for tests that look at it.
#pragma once

#include <gtest/gtest.h>

#include <memory>

#include "llama/model/model.h"
#include "tests/unit/llama/file/gguf_builder.h"

namespace bareflow::llama::testing {

struct DestroyModel {
    void operator()(Model *model) const { model->destroy(); }
};
using ModelPointer = std::unique_ptr<Model, DestroyModel>;

// nullptr, and a failed test, if the file is refused. `bytes` must outlive the model.
inline ModelPointer create_model(const FileBytes &bytes) {
    Detail detail;
    auto model = Model::create(bytes.span(), detail.writer);
    EXPECT_TRUE(model) << detail.str();
    return ModelPointer(model ? *model : nullptr);
}

}  // namespace bareflow::llama::testing
