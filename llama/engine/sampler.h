// Chooses the next token from logits: greedy, or through penalties, top-k, typical-p, top-p, min-p
// or mirostat, and temperature, with a seeded generator. The arithmetic is fixed by
// docs/decisions/0001-numeric-contract.md ("Sampling"), so that a seed gives the same text
// everywhere. Work is cut into pieces, since a vocabulary may have 128,000 tokens.
#pragma once

#include <cstdint>
#include <span>

#include "compute/numbers/ops.h"
#include "kernel_lib/base/result.h"
#include "llama/engine/candidate_list.h"
#include "llama/engine/changed_logits.h"
#include "llama/engine/logprob_list.h"
#include "llama/engine/request.h"
#include "llama/engine/sampled_text.h"
#include "llama/text/token.h"

namespace bareflow::llama {

// One for all texts: the memory that grows with the vocabulary exists once.
class Sampler {
  public:
    // Below this a temperature counts as 0: dividing by it could leave the range of f32.
    static constexpr float kMinTemperature = 0x1p-20f;

    Sampler() = default;
    // Takes scratch_bytes() for a vocabulary of `vocab` tokens: 16 bytes each.
    [[nodiscard]] static Result<Sampler> create(uint32_t vocab);
    [[nodiscard]] static uint64_t scratch_bytes(uint32_t vocab) {
        return CandidateList::scratch_bytes(vocab);
    }

    // Starts choosing the next token of `text`. A choice that was not finished is forgotten. `text`
    // and `logits` (one for each token of the vocabulary) must stay until advance() has returned
    // true. A NaN counts as the smallest of all.
    void begin(SampledText &text, std::span<const float> logits);
    // Works until the choice is made (true) or `deadline_ticks` has passed (false), in pieces of a
    // fraction of a millisecond; does at least one piece.
    [[nodiscard]] bool advance(uint64_t deadline_ticks);
    // The choice, after advance() has returned true.
    [[nodiscard]] Token token() const { return token_; }
    // Log probabilities of the choice and of the text's top_logprobs likeliest tokens, until the
    // next begin(); empty if not wanted.
    [[nodiscard]] std::span<const TokenLogprob> logprobs() const { return logprobs_.entries(); }

  private:
    enum class Stage : uint8_t {
        kLogMax,  // logprobs: the greatest logit, the likeliest tokens
        kLogSum,  // logprobs: the sum that makes logits probabilities
        kGreedy,  // the first index with the greatest logit
        kSelect,  // the best limit_ candidates into a heap
        kSort,    // the heap becomes a list, best first
        kFill,    // all tokens become candidates
        kCount,   // radix sort: counts the values of the keys' bytes
        kDeal,    // radix sort: orders by one byte, the lowest first
        kWeigh,   // logits, divided by a temperature, become weights
        kMax,     // the softmax's three passes make the weights probabilities
        kExp,
        kScale,
        kEntropy,  // typical_p: the expected surprise
        kStrange,  // typical_p: how far each candidate is from the entropy
        kTypical,  // typical_p: keeps the first candidates in that order
        kCut,      // top_p and min_p
        kSum,      // the sum of the weights that are kept; mirostat's cut
        kPick,     // the candidate at which the running sum exceeds the threshold
        kDone,
    };
    // What a softmax, or a sorted list, is for.
    enum class Purpose : uint8_t { kTopK, kTypical, kAfterTypical, kCut, kPick };

    [[nodiscard]] const SamplingParams &params() const { return text_->params(); }
    [[nodiscard]] float *weights() { return candidates_.weights(); }
    void enter(Stage stage, uint32_t items);

    // One piece of the present stage: items [done_, end). The stage's last piece has end == items_.
    void work(uint32_t end);
    void sum_exponentials(uint32_t end);
    void find_greatest(uint32_t end);
    void select(uint32_t end);
    void fill(uint32_t end);
    void weigh(uint32_t end);
    void add_to_entropy(uint32_t end);
    void measure_strangeness(uint32_t end);
    void cut(uint32_t end);
    void pick(uint32_t end);
    [[nodiscard]] float strangeness(float logit) const;

    void finish_stage();
    void choose();
    // Puts the candidates in order; equal ones keep their order.
    void start_sort(Purpose purpose);
    void start_weighing(Purpose purpose, float temperature);
    void finish_list();
    void finish_weights();
    void start_pick();
    void finish_pick();

    SampledText *text_ = nullptr;
    ChangedLogits logits_;
    CandidateList candidates_;
    LogprobList logprobs_;

    Stage stage_ = Stage::kDone;
    Purpose purpose_ = Purpose::kTopK;
    uint32_t items_ = 0;  // of this stage
    uint32_t done_ = 0;   // items of this stage that were worked on
    bool found_ = false;  // the stage needs none of the other items

    Candidate best_{};
    compute::SoftmaxState softmax_;
    float temperature_ = 1.0f;
    float inverse_ = 0.0f;  // 1 / the softmax's sum
    float entropy_ = 0.0f;
    float running_ = 0.0f;    // sum over the items of this stage so far
    float kept_sum_ = 0.0f;   // of the weights that kPick chooses from
    float threshold_ = 0.0f;  // of kPick
    Token token_ = 0;
};

}  // namespace bareflow::llama
