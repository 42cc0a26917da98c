#include "appliance/binding_index.h"

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

namespace bareflow {
namespace {

TEST(BindingIndexTest, JoinsByNumber) {
    const auto profile = std::make_unique<Profiler>();
    const FunctionId other = profile->key("http request");
    const FunctionId known = profile->key("q8_0_gemv 8x32");
    std::vector<compute::KernelBinding> kernels(2);
    kernels[0].name = "q4_0_gemv 8x32";
    kernels[1].name = "q8_0_gemv 8x32";
    std::vector<compute::FloatBinding> floats(1);
    floats[0].name = "rms_norm 32";

    BindingIndex index;
    EXPECT_EQ(index.kernel(known), nullptr);
    index.fill(*profile, kernels, floats);
    EXPECT_EQ(index.kernel(known), &kernels[1]);
    EXPECT_EQ(index.kernel(profile->find("q4_0_gemv 8x32")), kernels.data());
    EXPECT_EQ(index.float_op(profile->find("rms_norm 32")), floats.data());
    EXPECT_EQ(index.float_op(known), nullptr);
    EXPECT_EQ(index.kernel(other), nullptr);
    EXPECT_EQ(index.float_op(other), nullptr);
    EXPECT_EQ(index.kernel(kNoFunction), nullptr);
    EXPECT_EQ(index.float_op(kNoFunction), nullptr);
}

TEST(BindingIndexTest, AFullProfileHasNoNumberForThem) {
    const auto profile = std::make_unique<Profiler>();
    std::vector<std::string> names;
    for (size_t i = 0; i < Profiler::kMaxFunctions; ++i) {
        names.push_back("f" + std::to_string(i));
    }
    for (const std::string &name : names) {
        (void)profile->key(name.c_str());
    }
    std::vector<compute::KernelBinding> kernels(1);
    kernels[0].name = "q8_0_gemv 8x32";
    BindingIndex index;
    index.fill(*profile, kernels, {});
    for (size_t i = 0; i < Profiler::kMaxFunctions; ++i) {
        EXPECT_EQ(index.kernel(static_cast<FunctionId>(i)), nullptr);
    }
}

}  // namespace
}  // namespace bareflow
