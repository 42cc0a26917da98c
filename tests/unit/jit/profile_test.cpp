// The profiler: counts and times of nested, unbalanced and random pairs, compared with a slow twin,
// and the functions with C names.
#include "kernel_lib/jit/profile.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "kernel_lib/jit_runtime.h"

namespace bareflow {
namespace {

class ProfileTest : public testing::Test {
  protected:
    FunctionProfile get(const char *name) { return profiler->profile(profiler->find(name)); }
    void call(const char *name, uint64_t start, uint64_t end) {
        const FunctionId id = profiler->key(name);
        profiler->begin(id, start);
        profiler->end(id, end);
    }

    std::unique_ptr<Profiler> profiler = std::make_unique<Profiler>();
};

TEST_F(ProfileTest, CallsAndCycles) {
    call("f", 100, 150);
    call("f", 200, 230);
    call("f", 300, 400);
    const FunctionProfile f = get("f");
    EXPECT_EQ(f.name, "f");
    EXPECT_EQ(f.calls, 3U);
    EXPECT_EQ(f.timed_calls, 3U);
    EXPECT_EQ(f.total_cycles, 180U);
    EXPECT_EQ(f.min_cycles, 30U);
    EXPECT_EQ(f.max_cycles, 100U);
    EXPECT_EQ(f.average_cycles(), 60U);
    EXPECT_EQ(profiler->unbalanced(), 0U);
}

TEST_F(ProfileTest, NamesAreComparedByContent) {
    const std::string one = "same name";
    const std::string two = "same name";
    ASSERT_NE(one.c_str(), two.c_str());
    EXPECT_EQ(profiler->key(one.c_str()), profiler->key(two.c_str()));
    EXPECT_EQ(profiler->count(), 1U);
    EXPECT_NE(profiler->key("same nam"), profiler->key(one.c_str()));
    EXPECT_NE(profiler->key("same name "), profiler->key(one.c_str()));
    EXPECT_EQ(profiler->count(), 3U);
}

TEST_F(ProfileTest, FindDoesNotAdd) {
    EXPECT_EQ(profiler->find("never"), kNoFunction);
    EXPECT_EQ(profiler->find(nullptr), kNoFunction);
    EXPECT_EQ(profiler->key(nullptr), kNoFunction);
    EXPECT_EQ(profiler->count(), 0U);
    EXPECT_EQ(get("never").calls, 0U);
}

TEST_F(ProfileTest, NestingIncludesCallees) {
    const FunctionId outer = profiler->key("outer");
    const FunctionId inner = profiler->key("inner");
    profiler->begin(outer, 0);
    profiler->begin(inner, 10);
    profiler->end(inner, 30);
    profiler->begin(inner, 40);
    profiler->end(inner, 45);
    profiler->end(outer, 100);
    EXPECT_EQ(get("outer").total_cycles, 100U);
    EXPECT_EQ(get("inner").total_cycles, 25U);
    EXPECT_EQ(get("inner").calls, 2U);
}

TEST_F(ProfileTest, RecursionCountsTimeOnce) {
    const FunctionId f = profiler->key("f");
    const FunctionId g = profiler->key("g");
    profiler->begin(f, 0);
    profiler->begin(g, 10);
    profiler->begin(f, 20);
    profiler->begin(f, 30);
    profiler->end(f, 40);
    profiler->end(f, 50);
    profiler->end(g, 60);
    profiler->end(f, 100);
    EXPECT_EQ(get("f").calls, 3U);
    EXPECT_EQ(get("f").timed_calls, 1U);
    EXPECT_EQ(get("f").total_cycles, 100U);
    EXPECT_EQ(get("f").min_cycles, 100U);
    EXPECT_EQ(get("g").total_cycles, 50U);
    EXPECT_EQ(profiler->unbalanced(), 0U);
}

TEST_F(ProfileTest, EndWithoutBeginChangesNoCounter) {
    const FunctionId f = profiler->key("f");
    profiler->end(f, 10);
    EXPECT_EQ(profiler->unbalanced(), 1U);
    EXPECT_EQ(get("f").calls, 0U);
    profiler->end(profiler->find("unknown"), 10);
    EXPECT_EQ(profiler->unbalanced(), 2U);
    // And nothing about an open call of another name.
    const FunctionId g = profiler->key("g");
    profiler->begin(g, 100);
    profiler->end(f, 110);
    profiler->end(g, 120);
    EXPECT_EQ(profiler->unbalanced(), 3U);
    EXPECT_EQ(get("g").total_cycles, 20U);
    EXPECT_EQ(get("f").calls, 0U);
}

TEST_F(ProfileTest, BeginWithoutEndIsDroppedByTheCallAroundIt) {
    const FunctionId outer = profiler->key("outer");
    const FunctionId lost = profiler->key("lost");
    profiler->begin(outer, 0);
    profiler->begin(lost, 10);
    profiler->begin(lost, 20);
    profiler->end(outer, 100);
    EXPECT_EQ(profiler->unbalanced(), 2U);
    EXPECT_EQ(get("outer").total_cycles, 100U);
    EXPECT_EQ(get("lost").calls, 0U);
    // What was dropped does not count as open: the next call is an outermost one.
    call("lost", 200, 250);
    EXPECT_EQ(get("lost").total_cycles, 50U);
}

TEST_F(ProfileTest, NestingBeyondTheLimit) {
    constexpr size_t kDeep = Profiler::kMaxNesting + 10;
    std::vector<FunctionId> ids;
    std::vector<std::string> names(kDeep);
    for (size_t i = 0; i < kDeep; ++i) {
        names[i] = "level " + std::to_string(i);
        ids.push_back(profiler->key(names[i].c_str()));
    }
    for (size_t i = 0; i < kDeep; ++i) {
        profiler->begin(ids[i], i);
    }
    for (size_t i = kDeep; i-- > 0;) {
        profiler->end(ids[i], 1000 + kDeep - i);
    }
    EXPECT_EQ(profiler->unbalanced(), 10U);
    EXPECT_EQ(get("level 0").total_cycles, 1000 + kDeep);
    EXPECT_EQ(get("level 63").calls, 1U);
    EXPECT_EQ(get("level 64").calls, 0U);
    call("level 64", 5000, 5001);
    EXPECT_EQ(get("level 64").calls, 1U);
}

TEST_F(ProfileTest, MoreFunctionsThanTheTableHolds) {
    std::vector<std::string> names;
    for (size_t i = 0; i < Profiler::kMaxFunctions + 20; ++i) {
        names.push_back("function " + std::to_string(i));
    }
    for (int round = 0; round < 2; ++round) {
        for (const std::string &name : names) {
            call(name.c_str(), 10, 20);
        }
    }
    EXPECT_EQ(profiler->count(), Profiler::kMaxFunctions);
    EXPECT_EQ(profiler->overflowed(), 40U);
    EXPECT_EQ(profiler->unbalanced(), 0U);
    for (size_t i = 0; i < Profiler::kMaxFunctions; ++i) {
        ASSERT_EQ(get(names[i].c_str()).calls, 2U);
        ASSERT_EQ(profiler->profile(static_cast<FunctionId>(i)).name, names[i]);
    }
    // Pairs around one that has no place are still right.
    const FunctionId known = profiler->find(names[0].c_str());
    profiler->begin(known, 0);
    call(names.back().c_str(), 10, 20);
    profiler->end(known, 100);
    EXPECT_EQ(get(names[0].c_str()).total_cycles, 120U);
}

// Against a straightforward list of open calls and samples.
TEST_F(ProfileTest, RandomPairsAgainstASlowTwin) {
    const char *const names[] = {"a", "b", "c", "d", "e"};
    struct Open {
        int name;
        uint64_t start;
    };
    struct Twin {
        uint64_t calls = 0, total = 0, timed = 0, min = 0, max = 0;
    };
    std::vector<Open> open;
    Twin twin[5];
    uint64_t unbalanced = 0;
    uint64_t now = 0;
    std::mt19937 random(8);
    for (int i = 0; i < 50'000; ++i) {
        now += random() % 1000;
        const int name = static_cast<int>(random() % 5);
        if (random() % 2 == 0 && open.size() < Profiler::kMaxNesting) {
            profiler->begin(profiler->key(names[name]), now);
            open.push_back({name, now});
            continue;
        }
        profiler->end(profiler->find(names[name]), now);
        auto found = std::find_if(open.rbegin(), open.rend(),
                                  [name](const Open &o) { return o.name == name; });
        if (found == open.rend()) {
            ++unbalanced;
            continue;
        }
        const auto depth = static_cast<size_t>(open.rend() - found) - 1;
        unbalanced += open.size() - depth - 1;
        const uint64_t cycles = now - open[depth].start;
        open.resize(depth);
        Twin &t = twin[name];
        ++t.calls;
        if (std::none_of(open.begin(), open.end(),
                         [name](const Open &o) { return o.name == name; })) {
            t.total += cycles;
            t.min = t.timed == 0 ? cycles : std::min(t.min, cycles);
            t.max = std::max(t.max, cycles);
            ++t.timed;
        }
    }
    EXPECT_EQ(profiler->unbalanced(), unbalanced);
    for (int i = 0; i < 5; ++i) {
        const FunctionProfile f = get(names[i]);
        EXPECT_EQ(f.calls, twin[i].calls);
        EXPECT_EQ(f.timed_calls, twin[i].timed);
        EXPECT_EQ(f.total_cycles, twin[i].total);
        EXPECT_EQ(f.min_cycles, twin[i].min);
        EXPECT_EQ(f.max_cycles, twin[i].max);
    }
}

TEST_F(ProfileTest, PercentilesToAFactorOfTwo) {
    std::mt19937_64 random(9);
    std::vector<uint64_t> samples;
    for (int i = 0; i < 10'000; ++i) {
        const uint64_t cycles = 1 + (random() >> (24 + random() % 38));
        samples.push_back(cycles);
        call("f", 1000, 1000 + cycles);
    }
    std::sort(samples.begin(), samples.end());
    const FunctionProfile f = get("f");
    EXPECT_GE(f.p50_cycles, samples[4999] / 2);
    EXPECT_LE(f.p50_cycles, samples[4999] * 2);
    EXPECT_GE(f.p99_cycles, samples[9899] / 2);
    EXPECT_LE(f.p99_cycles, samples[9899] * 2);
    EXPECT_LE(f.p99_cycles, f.max_cycles);
    for (int i = 0; i < 10; ++i) {
        call("constant", 0, 777);
    }
    EXPECT_EQ(get("constant").p50_cycles, 777U);
    EXPECT_EQ(get("constant").p99_cycles, 777U);
    call("instant", 5, 5);
    EXPECT_EQ(get("instant").p50_cycles, 0U);
    call("for ever", 0, ~uint64_t{0});
    EXPECT_EQ(get("for ever").p99_cycles, ~uint64_t{0});
}

TEST_F(ProfileTest, WhatTheOptimiserRecords) {
    const FunctionId f = profiler->key("f");
    profiler->set_level(f, 2);
    profiler->set_code_bytes(f, 1234);
    profiler->set_shape(f, "352x128");
    EXPECT_EQ(get("f").level, 2);
    EXPECT_EQ(get("f").code_bytes, 1234U);
    EXPECT_EQ(get("f").shape, "352x128");
    profiler->set_level(f, 99);
    EXPECT_EQ(get("f").level, 3);
    profiler->set_level(kNoFunction, 1);  // ignored
    profiler->set_shape(7, "x");
    EXPECT_EQ(profiler->count(), 1U);
}

TEST_F(ProfileTest, Thresholds) {
    EXPECT_TRUE(profiler->set_thresholds({1, 1, 1}));
    EXPECT_TRUE(profiler->set_thresholds({2, 20, 200}));
    for (const JitThresholds &bad :
         {JitThresholds{0, 1, 2}, JitThresholds{3, 2, 4}, JitThresholds{1, 5, 4}}) {
        EXPECT_FALSE(profiler->set_thresholds(bad));
    }
    EXPECT_EQ(profiler->thresholds().hot, 20U);
    const JitThresholds &t = profiler->thresholds();
    EXPECT_EQ(level_for_calls(1, t), 0);
    EXPECT_EQ(level_for_calls(2, t), 1);
    EXPECT_EQ(level_for_calls(19, t), 1);
    EXPECT_EQ(level_for_calls(20, t), 2);
    EXPECT_EQ(level_for_calls(200, t), 3);
}

// The C names, on the program's own profiler.
TEST(ProfileApi, PairsByName) {
    EXPECT_EQ(jit_get_call_count("api test"), 0U);
    EXPECT_EQ(jit_get_avg_cycles("api test"), 0U);
    EXPECT_EQ(jit_get_optimization_level("api test"), -1);
    for (int i = 0; i < 5; ++i) {
        jit_profile_begin("api test");
        jit_profile_end("api test");
    }
    EXPECT_EQ(jit_get_call_count("api test"), 5U);
    EXPECT_GT(jit_get_avg_cycles("api test"), 0U);
    EXPECT_EQ(jit_get_optimization_level("api test"), 0);
    const uint64_t unbalanced = jit_get_unbalanced_count();
    jit_profile_end("api test");
    jit_profile_end("never begun");
    jit_profile_begin(nullptr);
    jit_profile_end(nullptr);
    EXPECT_EQ(jit_get_unbalanced_count(), unbalanced + 2);
    EXPECT_EQ(jit_get_call_count("never begun"), 0U);
    EXPECT_EQ(jit_get_optimization_level("never begun"), -1);
    EXPECT_EQ(jit_get_call_count("api test"), 5U);
    {
        const ProfileScope scope("scope");
        EXPECT_EQ(jit_get_call_count("scope"), 0U);
    }
    EXPECT_EQ(jit_get_call_count("scope"), 1U);
}

TEST(ProfileApi, Thresholds) {
    const JitThresholds before = profiler().thresholds();
    EXPECT_EQ(jit_set_threshold(5, 6, 7), 0);
    EXPECT_EQ(jit_set_threshold(0, 6, 7), -1);
    EXPECT_EQ(jit_set_threshold(5, 4, 7), -1);
    EXPECT_EQ(profiler().thresholds().warm, 5U);
    EXPECT_EQ(jit_set_threshold(before.warm, before.hot, before.very_hot), 0);
}

// A loose bound: sanitizers and a busy machine are allowed for. tools/profile_cost prints the
// figure that counts.
TEST(ProfileApi, APairIsCheap) {
    uint64_t best = ~uint64_t{0};
    for (int round = 0; round < 20; ++round) {
        const uint64_t start = profile_ticks();
        for (int i = 0; i < 1000; ++i) {
            jit_profile_begin("cheap");
            jit_profile_end("cheap");
        }
        best = std::min(best, (profile_ticks() - start) / 1000);
    }
    EXPECT_LT(best, 3000U);
}

TEST(ProfilerItems, CallsAboutOneItemAreKeptApart) {
    auto profiler = std::make_unique<Profiler>();
    const FunctionId id = profiler->key("f");
    const auto call = [&](uint64_t cycles, uint32_t units) {
        profiler->begin(id, 0);
        profiler->end(id, cycles, units);
    };
    call(100, 1);
    call(800, 16);
    call(200, 1);
    const FunctionProfile f = profiler->profile(id);
    EXPECT_EQ(f.calls, 3u);
    EXPECT_EQ(f.total_cycles, 1100u);
    EXPECT_EQ(f.work, 18u);
    EXPECT_EQ(f.single_calls, 2u);
    EXPECT_EQ(f.single_cycles, 300u);
    // The recent average follows a change, and a single call moves it little.
    EXPECT_GT(f.recent_cycles, 100u);
    EXPECT_LT(f.recent_cycles, 110u);
    for (int i = 0; i < 500; ++i) {
        call(6400, 1);
    }
    EXPECT_NEAR(static_cast<double>(profiler->recent_cycles(id)), 6400, 100);
    profiler->clear_counters();
    EXPECT_EQ(profiler->recent_cycles(id), 0u);
    EXPECT_EQ(profiler->single_calls(id) + profiler->single_cycles(id), 0u);
    EXPECT_EQ(profiler->name(id), "f");
}

TEST(ProfilerItems, ClearingLeavesOpenCallsWhole) {
    auto profiler = std::make_unique<Profiler>();
    const FunctionId id = profiler->key("f");
    profiler->set_level(id, 2);
    profiler->begin(id, 1000);
    profiler->clear_counters();
    profiler->end(id, 1500);
    const FunctionProfile f = profiler->profile(id);
    EXPECT_EQ(f.calls, 1u);
    EXPECT_EQ(f.min_cycles, 500u);
    EXPECT_EQ(f.level, 2);
    EXPECT_EQ(profiler->unbalanced(), 0u);
}

TEST(ProfileOffTest, NothingIsCounted) {
    Profiler profiler;
    const FunctionId id = profiler.key("f");
    profiler.set_on(false);
    profiler.begin(id, 10);
    profiler.end(id, 20);
    profiler.end(id, 30);
    EXPECT_EQ(profiler.calls(id), 0u);
    EXPECT_EQ(profiler.unbalanced(), 0u);
    profiler.set_on(true);
    profiler.begin(id, 10);
    profiler.end(id, 20);
    EXPECT_EQ(profiler.calls(id), 1u);
}

}  // namespace
}  // namespace bareflow
