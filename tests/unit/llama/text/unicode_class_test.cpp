#include "llama/text/unicode_class.h"

#include <gtest/gtest.h>

namespace bareflow::llama {
namespace {

TEST(CharacterClass, KnowsUnicodesCategories) {
    const auto is = [](uint32_t c, CharacterClass kind) { return character_class(c) == kind; };
    for (const uint32_t c : {0x41u, 0x7Au, 0xAAu, 0xE9u, 0x17Fu, 0x3B1u, 0x5D0u, 0x904u, 0x3042u,
                             0x4E00u, 0x9FFFu, 0xAC00u, 0x1D400u, 0x2A6DFu, 0x3134Au}) {
        EXPECT_TRUE(is(c, CharacterClass::kLetter)) << std::hex << c;
    }
    for (const uint32_t c :
         {0x30u, 0x39u, 0xB2u, 0xBDu, 0x660u, 0x967u, 0x2160u, 0x3007u, 0xFF15u, 0x1D7FFu}) {
        EXPECT_TRUE(is(c, CharacterClass::kNumber)) << std::hex << c;
    }
    for (const uint32_t c : {0x21u, 0x27u, 0x5Fu, 0xA1u, 0x2014u, 0x3001u, 0xFF01u}) {
        EXPECT_TRUE(is(c, CharacterClass::kPunctuation)) << std::hex << c;
    }
    for (const uint32_t c : {0x9u, 0xDu, 0x20u, 0x85u, 0xA0u, 0x1680u, 0x2000u, 0x200Au, 0x2028u,
                             0x202Fu, 0x205Fu, 0x3000u}) {
        EXPECT_TRUE(is(c, CharacterClass::kSpace)) << std::hex << c;
    }
    for (const uint32_t c :
         {0x0u, 0x8u, 0xEu, 0x1Cu, 0x24u, 0x2Bu, 0x60u, 0x301u, 0x200Bu, 0x20ACu, 0xFEFFu, 0xFFFDu,
          0x1F600u, 0xE000u, 0x10FFFFu, 0x110000u, 0xFFFFFFFFu}) {
        EXPECT_TRUE(is(c, CharacterClass::kOther)) << std::hex << c;
    }
}

}  // namespace
}  // namespace bareflow::llama
