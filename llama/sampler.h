// Chooses the next token from logits: greedy, or temperature, top-k, top-p with a seeded generator,
// exactly as docs/decisions/0001-numeric-contract.md ("Sampling") has it, so that a seed gives the
// same text everywhere. Work is cut into pieces, since a vocabulary may have 128,000 tokens.
#pragma once

#include <cstdint>
#include <span>

#include "kernel_lib/base/result.h"
#include "kernel_lib/memory/buffer.h"
#include "llama/engine.h"
#include "llama/ops.h"
#include "llama/token.h"

namespace bareflow::llama {

// xoshiro256** (Blackman and Vigna), its state filled by splitmix64 from one seed.
class RandomGenerator {
  public:
    explicit RandomGenerator(uint64_t seed = 0);
    uint64_t next();
    // In [0, 1): 24 bits.
    float uniform() { return static_cast<float>(next() >> 40) * 0x1p-24f; }

  private:
    uint64_t state_[4];
};

class Sampler {
  public:
    // Below this a temperature counts as 0: dividing by it could leave the range of f32.
    static constexpr float kMinTemperature = 0x1p-20f;

    Sampler() = default;
    // Scratch for a vocabulary of that many tokens: 12 bytes each.
    [[nodiscard]] static Result<Sampler> create(uint32_t vocab);
    [[nodiscard]] uint64_t scratch_bytes() const {
        return candidates_.size() * sizeof(Candidate) + weights_.size() * sizeof(float);
    }

    // Starts a new text: its settings and its random numbers.
    void reset(const SamplingParams &params);
    // Starts choosing. `logits` (vocab long) must stay until advance() was true. NaN counts as the
    // smallest of all.
    void begin(std::span<const float> logits);
    // Works until the choice is made (true) or `deadline_ticks` has passed (false), in pieces of a
    // fraction of a millisecond; does at least one piece.
    [[nodiscard]] bool advance(uint64_t deadline_ticks);
    // The choice, after advance() was true.
    [[nodiscard]] Token token() const { return token_; }

  private:
    struct Candidate {
        float logit;
        uint32_t index;
    };
    enum class Stage : uint8_t {
        kGreedy,  // first index with the greatest logit
        kSelect,  // the best top_k into a heap whose root is the worst of them
        kSort,    // the heap into a list, best first
        kMax,     // the softmax's three passes
        kExp,
        kScale,
        kCut,  // top_p
        kPick,
        kDone,
    };

    // a comes before b.
    [[nodiscard]] static bool better(const Candidate &a, const Candidate &b) {
        return a.logit > b.logit || (a.logit == b.logit && a.index < b.index);
    }
    // One piece of the present stage: items [done_, end). The stage's last piece has end == items.
    void work(uint32_t end);
    void enter(Stage stage, uint32_t items);
    void finish_stage();
    void sift_down(uint32_t root, uint32_t count);
    void offer(Candidate candidate);

    SamplingParams params_;
    RandomGenerator generator_;
    std::span<const float> logits_;
    Buffer<Candidate> candidates_;
    Buffer<float> weights_;  // of the candidates in order: scaled logits, then probabilities

    Stage stage_ = Stage::kDone;
    uint32_t items_ = 0;  // of this stage
    uint32_t done_ = 0;
    uint32_t limit_ = 0;  // candidates wanted
    uint32_t kept_ = 0;   // candidates there are
    Candidate best_{};
    SoftmaxState softmax_;
    float running_ = 0.0f;
    float threshold_ = 0.0f;
    bool found_ = false;
    Token token_ = 0;
};

}  // namespace bareflow::llama
