// The record of tuned choices, written and read back. Records that are cut, damaged, random or of
// another machine must be refused.
#include "appliance/kept_profile/tuned_profile.h"

#include <gtest/gtest.h>

#include <memory>
#include <random>
#include <string>
#include <vector>

namespace bareflow {
namespace {

using Bytes = std::vector<uint8_t>;

class TunedProfileTest : public ::testing::Test {
  protected:
    TunedProfileTest() : profile_(std::make_unique<TunedProfile>()) {
        ProfileIdentity &who = profile_->identity;
        who = {.model_bytes = 1234567,
               .model_hash = 0x123456789ABCDEF0,
               .cpu_features = 0xFF00FF,
               .cpu_family = 25,
               .cpu_model = 97,
               .cpu_stepping = 2,
               .cpu_vendor = ShortText<16>("AuthenticAMD"),
               .hypervisor = ShortText<16>("TCGTCGTCGTCG"),
               .version = ShortText<16>("0.1.0")};
        profile_->milli_tokens_per_second = 34567;
        for (int i = 0; i < 3; ++i) {
            add("q8_0_gemv 288x" + std::to_string(i), "jit r" + std::to_string(i));
        }
    }
    void add(const std::string &function, const std::string &variant) {
        TunedChoice &choice = profile_->choices[profile_->count++];
        choice.function = std::string_view(function);
        choice.variant = std::string_view(variant);
        choice.level = static_cast<uint8_t>(1 + profile_->count % 3);
        choice.ticks = profile_->count * 1000;
        choice.rule_ticks = profile_->count * 5000;
    }
    Bytes encoded() {
        Bytes bytes(TunedProfile::kMaxBytes);
        bytes.resize(encode_profile(*profile_, bytes));
        return bytes;
    }

    std::unique_ptr<TunedProfile> profile_;
};

void expect_same(const TunedProfile &a, const TunedProfile &b) {
    EXPECT_EQ(identity_mismatch(a.identity, b.identity), "");
    EXPECT_EQ(a.milli_tokens_per_second, b.milli_tokens_per_second);
    ASSERT_EQ(a.count, b.count);
    for (size_t i = 0; i < a.count; ++i) {
        EXPECT_TRUE(a.choices[i].same_choice(b.choices[i])) << i;
        EXPECT_EQ(a.choices[i].ticks, b.choices[i].ticks);
        EXPECT_EQ(a.choices[i].rule_ticks, b.choices[i].rule_ticks);
    }
}

TEST_F(TunedProfileTest, ComesBackAsItWas) {
    auto out = std::make_unique<TunedProfile>();
    ASSERT_TRUE(decode_profile(encoded(), *out).ok());
    expect_same(*profile_, *out);
    profile_->count = 0;
    ASSERT_TRUE(decode_profile(encoded(), *out).ok());
    EXPECT_EQ(out->count, 0u);
}

TEST_F(TunedProfileTest, TheLongestFits) {
    profile_->count = 0;
    for (size_t i = 0; i < TunedProfile::kMaxChoices; ++i) {
        add(std::string(100, static_cast<char>('a' + i % 26)), std::string(100, 'v'));
    }
    profile_->identity.cpu_vendor = std::string_view("a vendor with a very long name");
    const Bytes bytes = encoded();
    auto out = std::make_unique<TunedProfile>();
    ASSERT_TRUE(decode_profile(bytes, *out).ok());
    expect_same(*profile_, *out);
    EXPECT_EQ(out->choices[0].function.view().size(), 63u);
    EXPECT_LE(bytes.size(), 16352u);  // the most that a state disk takes
}

TEST_F(TunedProfileTest, WhatIsCutOrTooLongIsRefused) {
    Bytes bytes = encoded();
    auto out = std::make_unique<TunedProfile>();
    out->count = 7;
    for (size_t len = 0; len < bytes.size(); ++len) {
        ASSERT_EQ(decode_profile(std::span(bytes).first(len), *out).code(), ErrorCode::kInvalid)
            << len;
        ASSERT_EQ(out->count, 7u);
    }
    bytes.push_back(0);
    EXPECT_EQ(decode_profile(bytes, *out).code(), ErrorCode::kInvalid);
    bytes.pop_back();
    bytes[0] ^= 2;
    EXPECT_EQ(decode_profile(bytes, *out).code(), ErrorCode::kUnsupported);
}

TEST_F(TunedProfileTest, LevelsAndNamesAreChecked) {
    auto out = std::make_unique<TunedProfile>();
    for (const int level : {0, 4, 255}) {
        profile_->choices[1].level = static_cast<uint8_t>(level);
        EXPECT_EQ(decode_profile(encoded(), *out).code(), ErrorCode::kInvalid) << level;
    }
    profile_->choices[1].level = 2;
    profile_->choices[1].variant = std::string_view();
    EXPECT_EQ(decode_profile(encoded(), *out).code(), ErrorCode::kInvalid);
}

TEST_F(TunedProfileTest, AnythingAtAllIsRefusedOrWellFormed) {
    const Bytes good = encoded();
    auto out = std::make_unique<TunedProfile>();
    std::mt19937 random(3);
    for (int i = 0; i < 20000; ++i) {
        Bytes bytes = good;
        for (unsigned changes = 1 + random() % 4; changes > 0; --changes) {
            bytes[random() % bytes.size()] = static_cast<uint8_t>(random());
        }
        if (decode_profile(bytes, *out)) {
            ASSERT_LE(out->count, TunedProfile::kMaxChoices);
            Bytes again(TunedProfile::kMaxBytes);
            again.resize(encode_profile(*out, again));
            ASSERT_EQ(again, bytes);
        }
    }
}

TEST_F(TunedProfileTest, WhoseItIsNot) {
    const ProfileIdentity ours = profile_->identity;
    const auto changed = [&](auto change) {
        ProfileIdentity other = ours;
        change(other);
        return identity_mismatch(ours, other);
    };
    EXPECT_EQ(identity_mismatch(ours, ours), "");
    EXPECT_EQ(changed([](auto &o) { o.model_hash ^= 1; }), "another model");
    EXPECT_EQ(changed([](auto &o) { o.model_bytes += 1; }), "another model");
    EXPECT_EQ(changed([](auto &o) { o.cpu_features ^= 1; }), "another processor");
    EXPECT_EQ(changed([](auto &o) { o.cpu_family += 1; }), "another processor");
    EXPECT_EQ(changed([](auto &o) { o.cpu_model += 1; }), "another processor");
    EXPECT_EQ(changed([](auto &o) { o.cpu_stepping += 1; }), "another processor");
    EXPECT_EQ(changed([](auto &o) { o.cpu_vendor = std::string_view("GenuineIntel"); }),
              "another processor");
    EXPECT_EQ(changed([](auto &o) { o.hypervisor = std::string_view("KVMKVMKVM"); }),
              "another hypervisor");
    EXPECT_EQ(changed([](auto &o) { o.version = std::string_view("0.1.1"); }),
              "another version of the program");
    EXPECT_EQ(changed([](auto &o) { o.relaxed = true; }), "another setting of numerics");
}

// Choices made with numerics=fast have another format: a program that does not know it ignores
// them.
TEST_F(TunedProfileTest, RelaxedOnesSaySo) {
    const Bytes exact = encoded();
    profile_->identity.relaxed = true;
    const Bytes relaxed = encoded();
    ASSERT_EQ(exact.size(), relaxed.size());
    EXPECT_FALSE(std::equal(exact.begin(), exact.begin() + 4, relaxed.begin()));
    EXPECT_TRUE(std::equal(exact.begin() + 4, exact.end(), relaxed.begin() + 4));
    TunedProfile back;
    ASSERT_TRUE(decode_profile(relaxed, back));
    EXPECT_TRUE(back.identity.relaxed);
    ASSERT_TRUE(decode_profile(exact, back));
    EXPECT_FALSE(back.identity.relaxed);
}

TEST(SampledHashTest, TellsFilesApart) {
    std::mt19937_64 random(1);
    for (const size_t len : {size_t{0}, size_t{1}, size_t{100}, size_t{65536}, size_t{65537},
                             size_t{66000}, size_t{1} << 20}) {
        Bytes file(len);
        for (uint8_t &byte : file) {
            byte = static_cast<uint8_t>(random());
        }
        const uint64_t hash = sampled_hash(file);
        EXPECT_EQ(sampled_hash(file), hash);
        Bytes longer = file;
        longer.push_back(0);
        EXPECT_NE(sampled_hash(longer), hash);
        // Every byte of the beginning and of the end changes the hash.
        for (int i = 0; i < 200 && len > 0; ++i) {
            const size_t span = std::min<size_t>(len, i % 2 == 0 ? 65536 : 256);
            const size_t at = i % 2 == 0 ? random() % span : len - 1 - random() % span;
            file[at] ^= 0x10;
            EXPECT_NE(sampled_hash(file), hash);
            file[at] ^= 0x10;
        }
        // Other weights everywhere, with the same header.
        if (len > 100'000) {
            for (size_t at = 70'000; at < len; at += 500) {
                file[at] ^= 1;
            }
            EXPECT_NE(sampled_hash(file), hash);
        }
    }
}

}  // namespace
}  // namespace bareflow
