#include "llama/jit_gemv.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cstring>
#include <map>
#include <memory>
#include <string>
#include <tuple>
#include <vector>

#include "kernel_lib/platform/platform.h"
#include "llama/gemv_codegen.h"
#include "tests/unit/llama/fenced.h"
#include "tests/unit/llama/random_numbers.h"

namespace bareflow::llama {
namespace {

using testing::Fenced;
using testing::Random;

constexpr TensorType kTypes[] = {TensorType::kQ8_0, TensorType::kQ4_0, TensorType::kQ4_1};

// Operands, each at the very end of its memory.
struct Operands {
    Operands(TensorType type, uint32_t rows, uint32_t cols)
        : weights(testing::row_bytes(type, cols) * rows),
          q(cols),
          sums(cols / 32 * 4),
          scales(uint64_t{group_count(cols)} * 4),
          pairs(cols / 32 * 128),
          quads(cols / 32 * 64),
          y(uint64_t{rows} * 4) {
        args.weights = weights.as<uint8_t>();
        args.row_bytes = testing::row_bytes(type, cols);
        args.cols = cols;
        args.xq = {.count = cols,
                   .q = q.as<int8_t>(),
                   .block_sums = sums.as<int32_t>(),
                   .group_scales = scales.as<float>(),
                   .pairs = pairs.as<uint64_t>(),
                   .quads = quads.as<uint64_t>()};
        args.y = y.as<float>();
    }
    void quantize(const std::vector<float> &x) {
        quantize_activation(x.data(), args.xq, kFormPairs | kFormQuads, 0, group_count(args.cols));
    }

    Fenced weights, q, sums, scales, pairs, quads, y;
    GemvArgs args;
};

class Generated {
  public:
    Generated(const GemvShape &shape, const GemvPlan &plan) {
        EXPECT_TRUE(buffer_.create(16).ok());
        const auto region = buffer_.open("test", gemv_code_room(plan));
        EXPECT_TRUE(region.ok());
        const auto bytes = generate_gemv(shape, plan, buffer_.room(region.value()));
        EXPECT_TRUE(bytes.ok()) << bytes.error().message;
        if (bytes.ok()) {
            bytes_ = bytes.value();
            const void *const code = buffer_.seal(region.value(), bytes_);
            kernel_ = reinterpret_cast<GemvKernel>(reinterpret_cast<uintptr_t>(code));
        }
    }
    [[nodiscard]] GemvKernel kernel() const { return kernel_; }
    [[nodiscard]] size_t bytes() const { return bytes_; }

  private:
    jit::CodeBuffer buffer_;
    GemvKernel kernel_ = nullptr;
    size_t bytes_ = 0;
};

std::vector<GemvPlan> all_plans() {
    std::vector<GemvPlan> plans;
    for (uint8_t rows = 1; rows <= kMaxPlanRows; ++rows) {
        for (const uint8_t unroll : {1, 2, 4, 8}) {
            plans.push_back({rows, unroll});
            if (rows <= 2) {
                plans.push_back({rows, unroll, true});
            }
        }
    }
    return plans;
}

// Every row, in two ranges that meet at every place.
void expect_twin(GemvKernel kernel, const Operands &operands, uint32_t rows, TensorType type) {
    std::vector<float> reference(rows);
    GemvArgs args = operands.args;
    args.y = reference.data();
    gemv_variants(type)[0].kernel(args, 0, rows);
    args.y = operands.args.y;
    for (uint32_t split = 0; split <= rows; ++split) {
        std::fill_n(args.y, rows, 12345.0f);
        kernel(args, 0, split);
        for (uint32_t row = split; row < rows; ++row) {
            ASSERT_EQ(args.y[row], 12345.0f) << "written outside the range: row " << row;
        }
        kernel(args, split, rows);
        ASSERT_EQ(memcmp(args.y, reference.data(), rows * sizeof(float)), 0) << "split " << split;
    }
}

TEST(GemvCodegenTest, EveryPlanEqualsTheReferenceAtEveryLength) {
    Random random(1);
    for (const TensorType type : kTypes) {
        for (uint32_t cols = 32; cols <= 1024; cols += 32) {
            const uint32_t rows = 1 + cols / 32 % 9;
            Operands operands(type, rows, cols);
            const auto weights = testing::random_weights(type, rows, cols, random);
            std::copy(weights.begin(), weights.end(), operands.weights.as<uint8_t>());
            operands.quantize(random.floats(cols, 3.0f));
            for (const GemvPlan &plan : all_plans()) {
                SCOPED_TRACE(::testing::Message() << static_cast<int>(type) << " cols " << cols
                                                  << " rows " << rows << " plan " << int{plan.rows}
                                                  << "x" << int{plan.unroll} << plan.direct);
                const Generated generated({type, cols, operands.args.row_bytes}, plan);
                ASSERT_NE(generated.kernel(), nullptr);
                expect_twin(generated.kernel(), operands, rows, type);
                if (HasFatalFailure()) {
                    return;
                }
            }
        }
    }
}

// Weights and activations at either end of their range, in every arrangement of signs that repeats
// within a word or a block, and scales of every kind.
TEST(GemvCodegenTest, ExtremesDoNotOverflow) {
    const uint16_t scales[] = {0x57ff, 0xd7ff, 0x0001, 0x83ff, 0x0400, 0x0000, 0x8000};
    const uint8_t fills[] = {0x80, 0x7f, 0xff, 0x00, 0xf0, 0x0f, 0x88, 0x77};
    constexpr uint32_t kRows = 5;
    for (const TensorType type : kTypes) {
        for (const uint32_t cols : {32u, 288u, 512u}) {
            const GemvShape shape = {type, cols, testing::row_bytes(type, cols)};
            const Generated by_four(shape, {4, 2});
            const Generated by_one(shape, {1, 8});
            const Generated direct(shape, {2, 1, true});
            Operands operands(type, kRows, cols);
            for (const uint16_t scale : scales) {
                for (const uint8_t fill : fills) {
                    std::vector<uint8_t> weights(shape.row_bytes * kRows, fill);
                    for (size_t at = 0; at < weights.size(); at += testing::block_bytes(type)) {
                        testing::put_u16(weights, at, scale);
                        if (type == TensorType::kQ4_1) {
                            testing::put_u16(weights, at + 2, scale);
                        }
                    }
                    std::copy(weights.begin(), weights.end(), operands.weights.as<uint8_t>());
                    for (uint32_t signs = 0; signs < 7; ++signs) {
                        std::vector<float> x(cols);
                        for (uint32_t i = 0; i < cols; ++i) {
                            const bool negative = signs == 0   ? false
                                                  : signs == 1 ? true
                                                               : (i >> (signs - 2) & 1) != 0;
                            x[i] = negative ? -2.5f : 2.5f;
                        }
                        operands.quantize(x);
                        ASSERT_EQ(std::abs(operands.args.xq.q[0]), 127);
                        SCOPED_TRACE(::testing::Message()
                                     << static_cast<int>(type) << " cols " << cols << " scale "
                                     << scale << " fill " << int{fill} << " signs " << signs);
                        expect_twin(by_four.kernel(), operands, kRows, type);
                        expect_twin(by_one.kernel(), operands, kRows, type);
                        expect_twin(direct.kernel(), operands, kRows, type);
                        if (HasFatalFailure()) {
                            return;
                        }
                    }
                }
            }
        }
    }
}

// All 65,536 scales that the loader lets through, as the mantissa table sees them.
TEST(GemvCodegenTest, EveryScale) {
    constexpr uint32_t kCols = 1024;
    for (const TensorType type : kTypes) {
        const Generated generated({type, kCols, testing::row_bytes(type, kCols)}, {2, 2});
        const uint32_t rows = 0x5800 / 32 * 2;
        Operands operands(type, rows, kCols);
        std::vector<uint8_t> weights(operands.args.row_bytes * rows, 0x35);
        uint32_t scale = 0;
        for (size_t at = 0; at < weights.size(); at += testing::block_bytes(type), ++scale) {
            const auto half = static_cast<uint16_t>(scale / 2 | (scale % 2 << 15));
            testing::put_u16(weights, at, half);
            if (type == TensorType::kQ4_1) {
                testing::put_u16(weights, at + 2, static_cast<uint16_t>(half ^ 0x8000));
            }
        }
        ASSERT_EQ(scale, 0x5800u * 2);
        std::copy(weights.begin(), weights.end(), operands.weights.as<uint8_t>());
        Random random(9);
        operands.quantize(random.floats(kCols));
        std::vector<float> reference(rows);
        GemvArgs args = operands.args;
        args.y = reference.data();
        gemv_variants(type)[0].kernel(args, 0, rows);
        generated.kernel()(operands.args, 0, rows);
        EXPECT_EQ(memcmp(operands.args.y, reference.data(), rows * sizeof(float)), 0);
    }
}

TEST(GemvCodegenTest, RowsMayBeFurtherApartThanTheirLength) {
    Random random(5);
    for (const TensorType type : kTypes) {
        const uint32_t cols = 96;
        const uint64_t row_bytes = testing::row_bytes(type, cols) + 7;
        auto weights = testing::random_weights(type, 40, cols, random);
        Operands operands(type, 6, cols);
        operands.quantize(random.floats(cols));
        operands.args.weights = weights.data();
        operands.args.row_bytes = row_bytes;
        // Scales anywhere in the rows must be finite and below 128, or the contract says nothing.
        for (uint8_t &byte : weights) {
            byte &= 0x57;
        }
        const Generated generated({type, cols, row_bytes}, {3, 1});
        expect_twin(generated.kernel(), operands, 6, type);
    }
}

TEST(GemvCodegenTest, RoomIsAlwaysEnough) {
    std::vector<uint8_t> out(1 << 20);
    for (const TensorType type : kTypes) {
        for (const GemvPlan &plan : all_plans()) {
            for (const uint32_t cols : {32u, 480u, 1024u - 32, 2048u, 1u << 20}) {
                const GemvShape shape = {type, cols, testing::row_bytes(type, cols)};
                ASSERT_TRUE(can_generate(shape, plan));
                const size_t room = gemv_code_room(plan);
                EXPECT_TRUE(generate_gemv(shape, plan, std::span(out).first(room)).ok())
                    << static_cast<int>(type) << " " << cols << " " << int{plan.rows} << "x"
                    << int{plan.unroll};
            }
        }
    }
    // And too little is refused, not exceeded.
    const GemvShape shape = {TensorType::kQ8_0, 64, testing::row_bytes(TensorType::kQ8_0, 64)};
    EXPECT_FALSE(generate_gemv(shape, {1, 1}, std::span(out).first(300)).ok());
}

TEST(GemvCodegenTest, WhatCannotBeGenerated) {
    const GemvPlan plan = {4, 2};
    EXPECT_TRUE(can_generate({TensorType::kQ8_0, 64, 68}, plan));
    EXPECT_FALSE(can_generate({TensorType::kF32, 64, 256}, plan));
    EXPECT_FALSE(can_generate({TensorType::kF16, 64, 128}, plan));
    EXPECT_FALSE(can_generate({TensorType::kQ8_0, 0, 0}, plan));
    EXPECT_FALSE(can_generate({TensorType::kQ8_0, 40, 68}, plan));
    EXPECT_FALSE(can_generate({TensorType::kQ8_0, 64, 67}, plan));
    EXPECT_FALSE(can_generate({TensorType::kQ8_0, 64, 1ull << 40}, plan));
    EXPECT_FALSE(can_generate({TensorType::kQ8_0, 64, 68}, {5, 1}));
    EXPECT_FALSE(can_generate({TensorType::kQ8_0, 64, 68}, {3, 1, true}));
    EXPECT_FALSE(can_generate({TensorType::kQ8_0, 64, 68}, {1, 3}));
}

// ------------------------------------------------------------------ with the optimiser

struct Model {
    void add(const char *name, TensorType type, uint32_t rows, uint32_t cols) {
        weights.push_back(testing::random_weights(type, rows, cols, random));
        KernelSlot slot;
        slot.name = name;
        slot.type = type;
        slot.rows = rows;
        slot.cols = cols;
        slot.row_bytes = testing::row_bytes(type, cols);
        slot.kernel = kernel_for(type).kernel;
        slot.forms = kernel_for(type).forms;
        slot.active = slot.kernel;
        slot.reference = gemv_variants(type)[0].kernel;
        slot.sample = weights.back().data();
        slot.matrices = 1;
        slots.push_back(slot);
    }
    Random random{7};
    std::vector<std::vector<uint8_t>> weights;
    std::vector<KernelSlot> slots;
};

std::unique_ptr<Profiler> test_profiler;
Profiler &profile() {
    return *test_profiler;
}

class GemvJitTest : public ::testing::Test {
  protected:
    GemvJitTest() {
        test_profiler = std::make_unique<Profiler>();
        EXPECT_TRUE(profile().set_thresholds({.warm = 2, .hot = 4, .very_hot = 8}));
    }
    ~GemvJitTest() override {
        if (jit_ != nullptr) {
            jit_->destroy();
        }
    }
    void start(size_t code_pages = GemvJit::kCodePages) {
        auto made = GemvJit::create(model_.slots, optimizer_, code_pages);
        ASSERT_TRUE(made.ok());
        jit_ = made.value();
    }
    void heat(uint64_t calls) {
        for (const KernelSlot &slot : model_.slots) {
            const FunctionId id = profile().key(slot.name);
            while (profile().calls(id) < calls) {
                profile().begin(id, 0);
                profile().end(id, 1);
            }
        }
    }
    void work() {
        for (int slices = 0; optimizer_.has_work(); ++slices) {
            ASSERT_LT(slices, 10000);
            optimizer_.work(platform::ticks() + platform::ticks_per_second() / 100);
        }
    }
    int level(const char *name) { return profile().profile(profile().find(name)).level; }
    size_t count(TryVerdict verdict) { return optimizer_.tries(verdict); }
    void expect_slots_right() {
        for (const KernelSlot &slot : model_.slots) {
            auto buffer = ActivationBuffer::create(slot.cols);
            const std::vector<float> x = model_.random.floats(slot.cols);
            GemvArgs args;
            args.weights = slot.sample;
            args.row_bytes = slot.row_bytes;
            args.cols = slot.cols;
            args.x = x.data();
            if (takes_quantized(slot.type)) {
                args.xq = buffer.value().view(slot.cols);
                quantize_activation(x.data(), args.xq, slot.forms, 0, group_count(slot.cols));
            }
            std::vector<float> expected(slot.rows);
            std::vector<float> y(slot.rows);
            args.y = expected.data();
            gemv_variants(slot.type)[0].kernel(args, 0, slot.rows);
            args.y = y.data();
            slot.kernel(args, 0, slot.rows);
            EXPECT_EQ(memcmp(y.data(), expected.data(), slot.rows * 4), 0) << slot.name;
        }
    }

    Model model_;
    std::array<OptimizationTry, 128> log_;
    Optimizer optimizer_{profile, platform::ticks, log_};
    GemvJit *jit_ = nullptr;
};

TEST_F(GemvJitTest, FromReferenceToTheFastestMeasured) {
    model_.add("q8_0_gemv 352x128", TensorType::kQ8_0, 352, 128);
    model_.add("q4_0_gemv 70x288", TensorType::kQ4_0, 70, 288);
    model_.add("q4_1_gemv 1x32", TensorType::kQ4_1, 1, 32);
    model_.add("q8_0_gemv 3000x64", TensorType::kQ8_0, 3000, 64);
    model_.add("f16_gemv 20x100", TensorType::kF16, 20, 100);
    model_.add("f32_gemv 20x100", TensorType::kF32, 20, 100);
    start();
    for (const KernelSlot &slot : model_.slots) {
        EXPECT_EQ(slot.kernel, slot.reference);
        EXPECT_EQ(slot.forms, 0u);
        EXPECT_EQ(jit_->variant(slot), "portable");
    }
    heat(4);
    work();
    EXPECT_EQ(count(TryVerdict::kDiffered), 0u);
    EXPECT_EQ(count(TryVerdict::kUnavailable), 0u);
    EXPECT_GT(count(TryVerdict::kWon) + count(TryVerdict::kLost), 4u * 12);
    for (const KernelSlot &slot : model_.slots) {
        const bool is_reference = slot.kernel == slot.reference;
        EXPECT_EQ(jit_->variant(slot) == "portable", is_reference) << slot.name;
        EXPECT_EQ(level(slot.name) == 0, is_reference) << slot.name;
        const auto place = jit_->code().lookup(reinterpret_cast<uintptr_t>(slot.kernel));
        EXPECT_EQ(place.has_value(), jit_->variant(slot).starts_with("jit")) << slot.name;
        if (place.has_value()) {
            EXPECT_EQ(place->name, std::string(slot.name) + " " + std::string(jit_->variant(slot)));
            EXPECT_EQ(place->offset, 0u);
            EXPECT_GT(profile().profile(profile().find(slot.name)).code_bytes, 300u);
        }
    }
    expect_slots_right();
}

// A buffer too small for all: shapes that do more work take the room of those that do less, which
// go back to what is compiled, and everything stays right.
TEST_F(GemvJitTest, WhenRoomIsShortTheHotterShapesHaveIt) {
    static std::array<std::string, 12> names;
    for (uint32_t i = 0; i < names.size(); ++i) {
        names[i] = "q4_1_gemv 64x" + std::to_string(32 * (i + 1));
        model_.add(names[i].c_str(), TensorType::kQ4_1, 64, 32 * (i + 1));
    }
    constexpr size_t kPages = 6;
    start(kPages);
    // The coldest is looked at first.
    heat(4);
    size_t generated_before = 0;
    size_t given_up = 0;
    while (optimizer_.has_work()) {
        optimizer_.work(platform::ticks() + platform::ticks_per_second() / 5000);
        size_t generated = 0;
        for (const KernelSlot &slot : model_.slots) {
            const bool is_generated = jit_->variant(slot).starts_with("jit");
            generated += is_generated;
            ASSERT_EQ(jit_->code().lookup(reinterpret_cast<uintptr_t>(slot.kernel)).has_value(),
                      is_generated);
        }
        given_up += generated < generated_before;
        generated_before = generated;
        ASSERT_LE(jit_->code().pages_in_use(), kPages);
    }
    expect_slots_right();
    for (const KernelSlot &slot : model_.slots) {
        const bool generated = jit_->variant(slot).starts_with("jit");
        EXPECT_EQ(profile().profile(profile().find(slot.name)).code_bytes != 0, generated)
            << slot.name;
        EXPECT_EQ(level(slot.name) == 0, slot.kernel == slot.reference) << slot.name;
    }
    // The largest plans fill the buffer alone.
    EXPECT_GT(given_up + count(TryVerdict::kUnavailable), 0u);
}

// The engine may be in the middle of a token with a kernel that has been replaced meanwhile.
TEST_F(GemvJitTest, ReplacedCodeStaysUntilTheEngineLetsGo) {
    model_.add("q8_0_gemv 64x256", TensorType::kQ8_0, 64, 256);
    start();
    KernelSlot &slot = model_.slots[0];
    heat(4);
    // As an engine that takes over every kernel the moment it is published.
    const uint64_t short_ticks = platform::ticks_per_second() / 50000;
    size_t slices = 0;
    bool generated_in_use = false;
    GemvKernel held = nullptr;
    while (optimizer_.has_work()) {
        optimizer_.work(platform::ticks() + short_ticks);
        ASSERT_LT(++slices, 100000u);
        if (held == nullptr && jit_->variant(slot).starts_with("jit")) {
            held = slot.kernel;
            slot.active = held;
            generated_in_use = true;
        }
        if (held != nullptr) {
            ASSERT_TRUE(jit_->code().lookup(reinterpret_cast<uintptr_t>(held)).has_value());
        }
    }
    optimizer_.set_mode(JitMode::kOff);
    EXPECT_EQ(slot.kernel, slot.reference);
    if (generated_in_use) {
        EXPECT_TRUE(jit_->code().lookup(reinterpret_cast<uintptr_t>(held)).has_value());
        EXPECT_GT(jit_->code().pages_in_use(), 0u);
    }
    // The next token begins; the next candidate finds the old code free.
    slot.active = slot.kernel;
    optimizer_.set_mode(JitMode::kFull);
    optimizer_.work(platform::ticks() + short_ticks);
    EXPECT_FALSE(jit_->code().lookup(reinterpret_cast<uintptr_t>(held)).has_value());
    work();
    expect_slots_right();
}

// The right answer but for the last bit of one row in seven.
void almost_reference(const GemvArgs &args, uint32_t row_begin, uint32_t row_end) {
    gemv_variants(TensorType::kQ8_0)[0].kernel(args, row_begin, row_end);
    for (uint32_t row = row_begin; row < row_end; ++row) {
        if (row % 7 == 3) {
            args.y[row] = std::bit_cast<float>(std::bit_cast<uint32_t>(args.y[row]) ^ 1);
        }
    }
}

// Everything that is not like the reference is wrong, so a wrong reference makes wrong candidates.
TEST_F(GemvJitTest, ADifferentResultIsNeverInstalled) {
    model_.add("q8_0_gemv 40x96", TensorType::kQ8_0, 40, 96);
    model_.slots[0].reference = almost_reference;
    start();
    heat(1000);
    work();
    EXPECT_EQ(count(TryVerdict::kWon), 0u);
    EXPECT_EQ(count(TryVerdict::kLost), 0u);
    EXPECT_GT(count(TryVerdict::kDiffered), 10u);
    EXPECT_EQ(model_.slots[0].kernel, &almost_reference);
    EXPECT_EQ(level("q8_0_gemv 40x96"), 0);
    EXPECT_EQ(jit_->code().pages_in_use(), 0u);
}

// A reference that nothing can beat: it remembers its answers.
std::map<std::tuple<const uint8_t *, const int8_t *, uint32_t, uint32_t>, std::vector<float>>
    remembered;
void remembering_reference(const GemvArgs &args, uint32_t row_begin, uint32_t row_end) {
    std::vector<float> &known = remembered[{args.weights, args.xq.q, row_begin, row_end}];
    if (known.empty()) {
        gemv_variants(TensorType::kQ8_0)[0].kernel(args, row_begin, row_end);
        known.assign(args.y + row_begin, args.y + row_end);
    }
    std::copy(known.begin(), known.end(), args.y + row_begin);
}

TEST_F(GemvJitTest, ASlowerCandidateIsReportedAndNotInstalled) {
    remembered.clear();
    model_.add("q8_0_gemv 100x512", TensorType::kQ8_0, 100, 512);
    model_.slots[0].reference = remembering_reference;
    start();
    heat(1000);
    work();
    EXPECT_EQ(count(TryVerdict::kWon), 0u);
    EXPECT_EQ(count(TryVerdict::kDiffered), 0u);
    EXPECT_GT(count(TryVerdict::kLost), 10u);
    EXPECT_EQ(model_.slots[0].kernel, &remembering_reference);
    EXPECT_EQ(level("q8_0_gemv 100x512"), 0);
    for (size_t i = 0; i < optimizer_.try_count(); ++i) {
        EXPECT_GT(optimizer_.try_at(i).candidate_ticks, optimizer_.try_at(i).current_ticks);
    }
    remembered.clear();
}

TEST_F(GemvJitTest, BaselineStopsAtTheRuleOfThumb) {
    optimizer_.set_mode(JitMode::kBaseline);
    model_.add("q4_0_gemv 64x256", TensorType::kQ4_0, 64, 256);
    start();
    heat(1000);
    work();
    EXPECT_LE(level("q4_0_gemv 64x256"), 1);
    EXPECT_EQ(optimizer_.try_count(), 1u);
    EXPECT_EQ(jit_->code().pages_in_use(), 0u);
    EXPECT_EQ(optimizer_.try_at(0).variant(), kernel_for(TensorType::kQ4_0).name);
}

// One slice never takes much longer than it may, whatever the size of the matrix.
TEST_F(GemvJitTest, SlicesAreBounded) {
    model_.add("q8_0_gemv 4000x1024", TensorType::kQ8_0, 4000, 1024);
    start();
    heat(1000);
    uint64_t longest = 0;
    while (optimizer_.has_work()) {
        const uint64_t before = platform::ticks();
        optimizer_.work(before + platform::ticks_per_second() / 1000);
        longest = std::max(longest, platform::ticks() - before);
    }
    // A millisecond, a few runs beyond it (sanitizers!), and a preemption or two.
    EXPECT_LT(longest, platform::ticks_per_second() / 5);
}

}  // namespace
}  // namespace bareflow::llama
