#include "llama/engine/operators.h"

#include <gtest/gtest.h>

#include <fstream>
#include <iterator>
#include <set>
#include <string>

namespace bareflow::llama {
namespace {

TEST(OperatorsTest, EveryLineIsComplete) {
    for (uint32_t i = 0; i < kOperators; ++i) {
        const Operator &line = operators()[i];
        const bool has_products = line.run_panel != nullptr;
        EXPECT_EQ(static_cast<uint32_t>(line.id), i);
        EXPECT_FALSE(line.unit.empty()) << i;
        EXPECT_FALSE(line.twin.empty()) << i;
        EXPECT_NE(line.units, nullptr) << i;
        EXPECT_NE(line.run, nullptr) << i;
        ASSERT_NE(line.sharing, nullptr) << i;
        EXPECT_NE(line.sharing->until_barrier, nullptr) << i;
        EXPECT_NE(line.sharing->cut, nullptr) << i;
        EXPECT_NE(line.sharing->run, nullptr) << i;
        // What is no product has a name of its own in the profile, and a float operation has one.
        EXPECT_TRUE(has_products || !line.name.empty()) << i;
        EXPECT_EQ(line.name.empty(), line.shape == nullptr) << i;
        EXPECT_TRUE(!line.has_floats || line.shape != nullptr) << i;
        // A product's cost has parts, and a float operation among them has a measured share.
        EXPECT_EQ(line.measured_share != nullptr, has_products && line.has_floats) << i;
        // Named in the profile after the float operation.
        EXPECT_TRUE(!line.fuses || (line.has_floats && !has_products)) << i;
        EXPECT_TRUE(line.quantizes == Quantizes::kNever || line.has_floats) << i;
    }
}

TEST(OperatorsTest, NamesAreDistinct) {
    std::set<std::string_view> names;
    for (const Operator &line : operators()) {
        EXPECT_TRUE(line.name.empty() || names.insert(line.name).second) << line.name;
    }
}

TEST(OperatorsTest, TheNumpyReferenceHasEveryTwin) {
    std::ifstream file("tests/golden/reference.py");
    ASSERT_TRUE(file.is_open());
    const std::string text(std::istreambuf_iterator<char>(file), {});
    for (const Operator &line : operators()) {
        const std::string definition = "def " + std::string(line.twin) + "(";
        EXPECT_NE(text.find(definition), std::string::npos) << definition;
    }
}

}  // namespace
}  // namespace bareflow::llama
