// Batches of every shape against one token at a time: the same logits, bit for bit, whatever the
// slices, the processors, the fused steps and the other sequences are.
#include "llama/engine/transformer.h"

#include <gtest/gtest.h>

#include <map>
#include <thread>

#include "compute/numbers/tensor_types.h"
#include "kernel_lib/jit_runtime.h"
#include "kernel_lib/platform/platform.h"
#include "tests/unit/llama/model/random_model.h"

namespace bareflow::llama {
namespace {

using compute::testing::Random;
using testing::Detail;
using testing::FileBytes;
using testing::GgufBuilder;
using testing::kAllTypes;
using testing::random_model;
using testing::Shape;
using testing::shape_for;

constexpr uint64_t kNever = UINT64_MAX;
constexpr compute::KvType kKvTypes[] = {compute::KvType::kF16, compute::KvType::kQ8_0};

class Loaded {
  public:
    explicit Loaded(const GgufBuilder &builder) : file_(builder.build()) {
        Detail detail;
        auto model = Model::create(file_.span(), detail.writer);
        EXPECT_TRUE(model.ok()) << detail.str();
        model_ = *model;
    }
    ~Loaded() { model_->destroy(); }
    Loaded(const Loaded &) = delete;
    Loaded &operator=(const Loaded &) = delete;
    [[nodiscard]] const Model &operator*() const { return *model_; }
    [[nodiscard]] Transformer transformer(const TransformerConfig &config) const {
        auto made = Transformer::create(*model_, config);
        EXPECT_TRUE(made.ok()) << made.error().message;
        return std::move(made).value();
    }

  private:
    FileBytes file_;
    Model *model_ = nullptr;
};

std::vector<Token> random_tokens(Random &random, uint32_t count) {
    std::vector<Token> tokens;
    for (uint32_t i = 0; i < count; ++i) {
        tokens.push_back(static_cast<Token>(random.below(265)));
    }
    return tokens;
}

void compute(Transformer &transformer, const std::vector<BatchToken> &batch,
             uint64_t slice_ticks = kNever) {
    transformer.begin(batch);
    const auto deadline = [&] {
        return slice_ticks == kNever ? kNever : platform::ticks() + slice_ticks;
    };
    while (!transformer.advance(deadline())) {
    }
}

std::vector<float> copy(std::span<const float> values) {
    return {values.begin(), values.end()};
}

// Logits after every token, one token at a time: everything else is compared with these.
std::vector<std::vector<float>> one_by_one(Transformer &transformer, uint32_t sequence,
                                           const std::vector<Token> &tokens) {
    std::vector<std::vector<float>> logits;
    for (uint32_t position = 0; position < tokens.size(); ++position) {
        compute(transformer, {{sequence, tokens[position], position, true}});
        logits.push_back(copy(transformer.logits(0)));
    }
    return logits;
}

TEST(TransformerTest, PromptsInChunksOfEverySizeGiveTheSameLogits) {
    for (const compute::TensorType type : kAllTypes) {
        const Loaded model(random_model(type, shape_for(type)));
        Random random(3);
        const std::vector<Token> tokens = random_tokens(random, 21);
        for (const compute::KvType kv_type : kKvTypes) {
            Transformer slow = model.transformer({.positions = 40, .batch = 1, .kv_type = kv_type});
            const auto expected = one_by_one(slow, 0, tokens);
            EXPECT_NE(expected[0], expected[1]);
            for (uint32_t chunk = 1; chunk <= 21; chunk += chunk < 9 ? 1 : 4) {
                Transformer fast =
                    model.transformer({.positions = 40, .batch = 21, .kv_type = kv_type});
                for (uint32_t at = 0; at < 21; at += chunk) {
                    std::vector<BatchToken> batch;
                    const uint32_t end = std::min(at + chunk, 21u);
                    for (uint32_t i = at; i < end; ++i) {
                        batch.push_back({0, tokens[i], i, i + 1 == end});
                    }
                    compute(fast, batch);
                    ASSERT_EQ(copy(fast.logits(end - at - 1)), expected[end - 1])
                        << compute::tensor_type_info(type).name << " in chunks of " << chunk;
                }
            }
        }
    }
}

// Head sizes from the smallest to the largest, heads that do and don't share keys, vectors that are
// no multiple of anything.
const Shape kShapes[] = {
    {.dim = 32, .hidden = 64, .heads = 4, .kv_heads = 4},
    {.dim = 36, .hidden = 50, .heads = 2, .kv_heads = 1},
    {.dim = 64, .hidden = 172, .heads = 8, .kv_heads = 2},
    {.dim = 160, .hidden = 96, .layers = 1, .heads = 5, .kv_heads = 1},
    {.dim = 96, .hidden = 40, .layers = 3, .heads = 1, .kv_heads = 1},
    {.dim = 512, .hidden = 32, .layers = 1, .heads = 2, .kv_heads = 2},
};

// Workers for as long as it lives.
class Pool {
  public:
    explicit Pool(uint32_t processors) {
        for (uint32_t worker = 1; worker < processors; ++worker) {
            threads_.emplace_back([this, worker] { pool.serve(worker); });
        }
        while (pool.size() < processors) {
            std::this_thread::yield();
        }
    }
    ~Pool() {
        pool.stop();
        for (std::thread &thread : threads_) {
            thread.join();
        }
    }
    Pool(const Pool &) = delete;
    Pool &operator=(const Pool &) = delete;
    WorkerPool pool;

  private:
    std::vector<std::thread> threads_;
};

// Batches that are computed in panels, shared by processors, with slices that end anywhere.
TEST(TransformerTest, LargeBatchesGiveTheSameLogits) {
    constexpr uint32_t kTokens = 150;
    for (const compute::TensorType type :
         {compute::TensorType::kF32, compute::TensorType::kF16, compute::TensorType::kQ8_0,
          compute::TensorType::kQ4_1, compute::TensorType::kQ6_K}) {
        const Loaded model(random_model(type, shape_for(type)));
        Random random(5);
        const std::vector<Token> tokens = random_tokens(random, kTokens);
        Transformer slow = model.transformer({.positions = kTokens, .batch = 1});
        const auto expected = one_by_one(slow, 0, tokens);
        for (const uint32_t processors : {1u, 2u, 3u}) {
            Pool pool(processors);
            for (const uint32_t chunk : {63u, 64u, 65u, 97u, 128u, 129u, 150u}) {
                Transformer fast = model.transformer({.positions = kTokens, .batch = kTokens});
                fast.use_workers(&pool.pool, 0);
                for (uint32_t at = 0; at < kTokens; at += chunk) {
                    std::vector<BatchToken> batch;
                    const uint32_t end = std::min(at + chunk, kTokens);
                    for (uint32_t i = at; i < end; ++i) {
                        batch.push_back({0, tokens[i], i, i + 1 == end});
                    }
                    compute(fast, batch, random.below(2) == 0 ? kNever : random.below(100'000));
                    ASSERT_EQ(copy(fast.logits(end - at - 1)), expected[end - 1])
                        << compute::tensor_type_info(type).name << " in chunks of " << chunk << ", "
                        << processors << " processors";
                }
            }
        }
    }
}

// A table of 64 pages, doubled this often, holds the translations of all weights and is not full.
TEST(TransformerTest, TranslationsAreDroppedAsOftenAsTheirTableMustGrow) {
    for (const uint64_t bytes : {uint64_t{0}, uint64_t{1} << 18, uint64_t{16} << 20,
                                 uint64_t{600} << 20, uint64_t{1} << 40}) {
        const uint32_t drops = Transformer::translation_drops(bytes);
        const uint64_t pages = uint64_t{64} << drops;
        EXPECT_GT(pages * 7, bytes / 4096 * 10) << bytes;
        EXPECT_LE(pages, bytes / 4096 * 4 + 128) << bytes;
    }
}

// One token after the other, norms and quantisations fused with the products behind them, in slices
// that end anywhere; always fused, and measured.
TEST(TransformerTest, FusedStepsGiveTheSameLogits) {
    constexpr uint32_t kTokens = 140;
    for (const compute::TensorType type :
         {compute::TensorType::kF32, compute::TensorType::kQ8_0, compute::TensorType::kQ6_K}) {
        const Loaded model(random_model(type, shape_for(type)));
        Random random(8);
        const std::vector<Token> tokens = random_tokens(random, kTokens);
        Transformer slow = model.transformer({.positions = kTokens, .batch = 1});
        const auto expected = one_by_one(slow, 0, tokens);
        for (const uint32_t processors : {1u, 2u, 3u}) {
            Pool pool(processors);
            for (const Fusing fusing : {Fusing::kAlways, Fusing::kMeasured}) {
                Transformer fast = model.transformer({.positions = kTokens, .batch = 1});
                fast.use_workers(&pool.pool, fusing == Fusing::kAlways ? 0 : 1);
                fast.fused_steps().fusing = fusing;
                for (uint32_t at = 0; at < kTokens; ++at) {
                    if (random.below(9) == 0) {  // given up where it may be in between
                        fast.begin(std::vector<BatchToken>{{0, tokens[at], at, true}});
                        for (uint32_t i = random.below(20); i != 0; --i) {
                            (void)fast.advance(0);
                        }
                    }
                    compute(fast, {{0, tokens[at], at, true}},
                            random.below(2) == 0 ? kNever : random.below(30'000));
                    ASSERT_EQ(copy(fast.logits(0)), expected[at])
                        << compute::tensor_type_info(type).name << " token " << at << ", "
                        << processors << " processors";
                }
                const bool measured = processors > 1 && fusing == Fusing::kMeasured;
                EXPECT_EQ(fast.fused_steps().try_count() != 0, measured) << processors;
            }
        }
    }
}

// Several sequences advance by random numbers of tokens at a time, in random order. Slices end
// anywhere, and one, two and four processors are used. Each sequence gets what it gets alone.
TEST(TransformerTest, RandomBatchesGiveEachSequenceWhatItGetsAlone) {
    constexpr uint32_t kSequences = 4;
    constexpr uint32_t kPositions = 48;
    constexpr uint32_t kBatch = 20;
    for (const uint32_t processors : {1u, 2u, 4u}) {
        Pool pool(processors);
        for (const Shape &shape : kShapes) {
            for (const compute::KvType kv_type : kKvTypes) {
                const Loaded model(random_model(compute::TensorType::kF32, shape));
                Random random(processors + shape.dim);
                std::vector<Token> tokens[kSequences];
                std::vector<std::vector<float>> expected[kSequences];
                Transformer slow =
                    model.transformer({.positions = kPositions, .batch = 1, .kv_type = kv_type});
                for (uint32_t s = 0; s < kSequences; ++s) {
                    tokens[s] = random_tokens(random, 10 + random.below(kPositions - 10));
                    expected[s] = one_by_one(slow, 0, tokens[s]);
                }
                Transformer fast = model.transformer({.sequences = kSequences,
                                                      .positions = kPositions,
                                                      .batch = kBatch,
                                                      .kv_type = kv_type});
                fast.use_workers(&pool.pool, 0);
                fast.fused_steps().fusing = shape.dim % 64 == 0 ? Fusing::kAlways : Fusing::kNever;
                uint32_t done[kSequences] = {};
                for (bool more = true; more;) {
                    std::vector<BatchToken> batch;
                    uint32_t wanting = 0;
                    more = false;
                    const uint32_t first = random.below(kSequences);
                    for (uint32_t i = 0; i < kSequences; ++i) {
                        const uint32_t s = (first + i) % kSequences;
                        uint32_t count = random.below(4) == 0 ? random.below(16) : random.below(3);
                        count = std::min({count, kBatch - static_cast<uint32_t>(batch.size()),
                                          static_cast<uint32_t>(tokens[s].size()) - done[s]});
                        for (; count != 0; --count, ++done[s]) {
                            const bool want = wanting < kSequences && random.below(2) == 0;
                            wanting += want;
                            batch.push_back({s, tokens[s][done[s]], done[s], want});
                        }
                        more = more || done[s] < tokens[s].size();
                    }
                    if (batch.empty()) {
                        continue;
                    }
                    compute(fast, batch, random.below(3) == 0 ? kNever : random.below(30'000));
                    for (uint32_t i = 0; i < batch.size(); ++i) {
                        if (batch[i].want_logits) {
                            ASSERT_EQ(copy(fast.logits(i)),
                                      expected[batch[i].sequence][batch[i].position])
                                << shape.dim << ", token " << i << " of " << batch.size();
                        }
                    }
                }
            }
        }
    }
}

// At positions so late that the memory for scores does not hold those of all tokens at once. The
// contents of the earlier positions do not matter: they are the same for both ways.
TEST(TransformerTest, ScoresThatDoNotFitAreComputedInRounds) {
    constexpr uint32_t kPositions = 9000;
    constexpr uint32_t kTokens = 16;
    const Loaded model(
        random_model(compute::TensorType::kF32, {.dim = 64, .heads = 8, .kv_heads = 1}));
    Transformer transformer =
        model.transformer({.sequences = kTokens, .positions = kPositions, .batch = kTokens});
    EXPECT_LT(transformer.scratch_bytes(), 3u << 20);
    Random random(4);
    const std::vector<Token> tokens = random_tokens(random, kTokens);
    std::vector<BatchToken> batch;
    std::vector<std::vector<float>> expected;
    for (uint32_t i = 0; i < kTokens; ++i) {
        batch.push_back({3, tokens[i], kPositions - kTokens + i, true});
        compute(transformer, {batch.back()});
        expected.push_back(copy(transformer.logits(0)));
    }
    for (const uint32_t processors : {1u, 3u}) {
        Pool pool(processors);
        transformer.use_workers(&pool.pool, 0);
        compute(transformer, batch, 100'000);
        for (uint32_t i = 0; i < kTokens; ++i) {
            EXPECT_EQ(copy(transformer.logits(i)), expected[i]) << i;
        }
        transformer.use_workers(nullptr, 0);
    }
}

TEST(TransformerTest, ACopiedPrefixIsAsGoodAsAComputedOne) {
    const Loaded model(
        random_model(compute::TensorType::kQ8_0, {.dim = 96, .heads = 6, .kv_heads = 3}));
    Random random(5);
    const std::vector<Token> tokens = random_tokens(random, 700);
    Transformer transformer = model.transformer({.sequences = 3, .positions = 800, .batch = 350});
    for (uint32_t at = 0; at < 700; at += 350) {
        std::vector<BatchToken> batch;
        for (uint32_t i = at; i < at + 350; ++i) {
            batch.push_back({1, tokens[i], i, false});
        }
        compute(transformer, batch);
    }
    compute(transformer, {{1, 7, 700, true}});
    const std::vector<float> expected = copy(transformer.logits(0));
    int calls = 0;
    while (!transformer.copy_prefix(1, 2, 699, 0)) {
        ++calls;
    }
    EXPECT_GT(calls, 10);
    compute(transformer, {{2, tokens[699], 699, false}, {2, 7, 700, true}});
    EXPECT_EQ(copy(transformer.logits(1)), expected);
    // In one call; no positions; started and given up for another copy.
    EXPECT_TRUE(transformer.copy_prefix(2, 0, 701, kNever));
    EXPECT_TRUE(transformer.copy_prefix(2, 0, 0, 0));
    EXPECT_FALSE(transformer.copy_prefix(2, 1, 500, 0));
    EXPECT_FALSE(transformer.copy_prefix(1, 0, 500, 0));
    EXPECT_TRUE(transformer.copy_prefix(1, 0, 500, kNever));
    compute(transformer, {{0, 7, 700, true}});
    EXPECT_EQ(copy(transformer.logits(0)), expected);
}

TEST(TransformerTest, ABatchThatIsGivenUpLeavesNoTrace) {
    const uint64_t unbalanced = jit_get_unbalanced_count();
    const Loaded model(random_model(compute::TensorType::kQ4_0));
    Transformer transformer = model.transformer({.sequences = 2, .positions = 20, .batch = 8});
    const std::vector<BatchToken> batch = {{0, 5, 0, false}, {0, 6, 1, false}, {0, 7, 2, true}};
    compute(transformer, batch);
    const std::vector<float> expected = copy(transformer.logits(2));
    for (int calls = 0; calls < 200; calls += 3) {
        transformer.begin(std::vector<BatchToken>{{1, 9, 3, true}, {0, 5, 0, false}});
        for (int i = 0; i < calls && !transformer.advance(0); ++i) {
        }
        compute(transformer, batch, calls % 2 == 0 ? kNever : 0);
        ASSERT_EQ(copy(transformer.logits(2)), expected);
    }
    EXPECT_EQ(jit_get_unbalanced_count(), unbalanced);
}

TEST(TransformerTest, MemoryIsWhatWasPlanned) {
    const Loaded model(
        random_model(compute::TensorType::kQ8_0, {.dim = 96, .heads = 6, .kv_heads = 3}));
    for (const compute::KvType type : kKvTypes) {
        const TransformerConfig config = {
            .sequences = 3, .positions = 100, .batch = 9, .kv_type = type};
        const Transformer transformer = model.transformer(config);
        const HyperParameters &p = (*model).parameters();
        const uint64_t kv = 300 * Transformer::position_bytes(p, type);
        EXPECT_GE(transformer.kv_bytes(), kv);
        EXPECT_LE(transformer.kv_bytes(), kv + 4096);
        EXPECT_EQ(transformer.scratch_bytes(), Transformer::scratch_bytes(p, config));
    }
    EXPECT_EQ(Transformer::position_bytes((*model).parameters(), compute::KvType::kF16),
              2u * 2 * 48 * 2);  // layers, keys and values
}

TEST(TransformerTest, NumbersOutOfRangeAreASentence) {
    const Loaded model(random_model(compute::TensorType::kF32));
    for (const TransformerConfig &config : {TransformerConfig{},
                                            {.positions = 10, .batch = 0},
                                            {.sequences = 0, .positions = 10},
                                            {.positions = 10, .batch = 513},
                                            {.sequences = 3, .positions = 10, .batch = 2},
                                            {.positions = UINT32_MAX}}) {
        const auto made = Transformer::create(*model, config);
        ASSERT_FALSE(made.ok());
        EXPECT_EQ(made.error().code, ErrorCode::kTooLarge);
        EXPECT_FALSE(made.error().message.empty());
    }
}

TEST(TransformerDeathTest, OurOwnMistakesPanic) {
    const Loaded model(random_model(compute::TensorType::kF32));
    Transformer t = model.transformer({.sequences = 2, .positions = 10, .batch = 4});
    const auto begin = [&](const std::vector<BatchToken> &batch) { t.begin(batch); };
    EXPECT_DEATH(begin({}), "more tokens");
    EXPECT_DEATH(begin(std::vector<BatchToken>(5)), "more tokens");
    EXPECT_DEATH(begin({{0, 265, 0, true}}), "out of range");
    EXPECT_DEATH(begin({{0, -1, 0, true}}), "out of range");
    EXPECT_DEATH(begin({{2, 1, 0, true}}), "out of range");
    EXPECT_DEATH(begin({{0, 1, 10, true}}), "out of range");
    EXPECT_DEATH(begin({{0, 1, 1, true}, {0, 1, 1, true}}), "apart");
    EXPECT_DEATH(begin({{0, 1, 1, true}, {0, 1, 3, true}}), "apart");
    EXPECT_DEATH(begin({{0, 1, 1, true}, {1, 1, 1, true}, {0, 1, 2, true}}), "apart");
    EXPECT_DEATH(begin({{0, 1, 1, true}, {0, 1, 2, true}, {0, 1, 3, true}}), "too many");
    compute(t, {{0, 1, 0, false}, {0, 1, 1, true}});
    EXPECT_EQ(t.logits(1).size(), 265u);
    EXPECT_DEATH((void)t.logits(0), "did not want");
    EXPECT_DEATH((void)t.copy_prefix(0, 0, 1, 0), "no such prefix");
    EXPECT_DEATH((void)t.copy_prefix(0, 2, 1, 0), "no such prefix");
    EXPECT_DEATH((void)t.copy_prefix(0, 1, 11, 0), "no such prefix");
}

}  // namespace
}  // namespace bareflow::llama
