// Chooses the next token from logits: greedy, or through penalties, top-k, typical-p, top-p, min-p
// or mirostat, and temperature, with a seeded generator, exactly as
// docs/decisions/0001-numeric-contract.md ("Sampling") has it, so that a seed gives the same text
// everywhere. Work is cut into pieces, since a vocabulary may have 128,000 tokens.
#pragma once

#include <array>
#include <cstdint>
#include <span>

#include "compute/numbers/ops.h"
#include "kernel_lib/base/result.h"
#include "kernel_lib/memory/buffer.h"
#include "llama/engine/request.h"
#include "llama/text/token.h"

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

// Natural logarithm, error below 2^-22 relative or 2^-24 absolute. x <= 0, or below the smallest
// normal number, or NaN: as of the smallest normal number; infinity: as of the greatest number.
[[nodiscard]] float log_f32(float x);

// What belongs to one text: its settings, its random numbers, the tokens that penalties look at.
class SampledText {
  public:
    SampledText() = default;
    // Starts a new text. The end of `prompt` fills the window of the penalties; what is chosen
    // later goes into it by itself.
    void reset(const SamplingParams &params, std::span<const Token> prompt = {});

  private:
    friend class Sampler;
    void remember(Token token);

    SamplingParams params_;
    RandomGenerator generator_;
    float mirostat_mu_ = 0.0f;
    // The last tokens of the text, a ring.
    std::array<Token, SamplingParams::kMaxWindow> window_{};
    uint32_t window_count_ = 0;
    uint32_t window_next_ = 0;
};

// One for all texts: what it needs in proportion to the vocabulary is there once.
class Sampler {
  public:
    // Below this a temperature counts as 0: dividing by it could leave the range of f32.
    static constexpr float kMinTemperature = 0x1p-20f;

    Sampler() = default;
    // Scratch for a vocabulary of that many tokens: 16 bytes each.
    [[nodiscard]] static Result<Sampler> create(uint32_t vocab);
    [[nodiscard]] static uint64_t scratch_bytes(uint32_t vocab) {
        return uint64_t{vocab} * 2 * sizeof(Candidate);
    }

    // Starts choosing the next token of `text`; what was not chosen to the end is forgotten. Both,
    // `logits` vocab long, must stay until advance() was true. NaN counts as the smallest of all.
    void begin(SampledText &text, std::span<const float> logits);
    // Works until the choice is made (true) or `deadline_ticks` has passed (false), in pieces of a
    // fraction of a millisecond; does at least one piece.
    [[nodiscard]] bool advance(uint64_t deadline_ticks);
    // The choice, after advance() was true.
    [[nodiscard]] Token token() const { return token_; }
    // Of the choice, and of the text's top_logprobs likeliest tokens, until the next begin(); empty
    // if not wanted.
    [[nodiscard]] std::span<const TokenLogprob> logprobs() const {
        return std::span(logprobs_).first(
            text_ != nullptr && params().wants_logprobs ? 1 + top_count_ : 0);
    }

  private:
    struct Candidate {
        float logit;
        uint32_t index;
    };
    enum class Stage : uint8_t {
        kLogMax,  // logprobs: the greatest logit, the likeliest tokens
        kLogSum,
        kGreedy,  // first index with the greatest logit
        kSelect,  // the best into a heap whose root is the worst of them
        kSort,    // the heap into a list, best first
        kFill,    // all of them, to be put in order:
        kCount,   // how often each byte of their keys has which value,
        kDeal,    // and by one byte after the other, the lowest first
        kWeigh,   // logits, divided by a temperature, to be made probabilities
        kMax,     // the softmax's three passes
        kExp,
        kScale,
        kEntropy,  // typical_p: what is expected of a token
        kStrange,  // how far each of them is from that
        kTypical,  // the first ones of the list in that order
        kCut,      // top_p and min_p
        kSum,      // of what is kept; mirostat's cut
        kPick,
        kDone,
    };
    // What a softmax, or a sorted list, is for.
    enum class Purpose : uint8_t { kTopK, kTypical, kAfterTypical, kCut, kPick };

    [[nodiscard]] const SamplingParams &params() const { return text_->params_; }
    // A NaN equals nothing, itself included.
    [[nodiscard]] static float clean(float logit);
    // Of logits_[index], index increasing from call to call.
    [[nodiscard]] float changed(uint32_t index);
    void make_changes();
    Candidate &change_of(uint32_t index);
    // The first of [begin, end) that has to be looked at: those before it are none of the `changes`
    // and not greater than `floor`.
    [[nodiscard]] uint32_t pass_over(uint32_t begin, uint32_t end, float floor) const;
    void look_at_likeliest(TokenLogprob seen);

    // How far from typical.
    [[nodiscard]] float strangeness(float logit) const;
    // As the contract has it, changed or not.
    [[nodiscard]] float logit_of(uint32_t index) const;
    // a comes before b.
    [[nodiscard]] static bool better(const Candidate &a, const Candidate &b);
    // Of an order of unsigned numbers: greater logits first; typical_p: lesser distances first.
    [[nodiscard]] uint32_t sort_key(float value) const;
    // One piece of the present stage: items [done_, end). The stage's last piece has end == items.
    void work(uint32_t end);
    void enter(Stage stage, uint32_t items);
    void choose();
    // The candidates in order; those that are equal stay as they are.
    void sort(Purpose purpose);
    void weigh(Purpose purpose, float temperature);
    void finish_stage();
    void finish_list();
    void finish_weights();
    void finish_pick();
    void cut(uint32_t end);
    void sift_down(uint32_t root, uint32_t count);
    void offer(Candidate candidate);

    SampledText *text_ = nullptr;
    std::span<const float> logits_;
    // While there are weights, the other list is not in use: they lie in its memory.
    [[nodiscard]] float *weights() { return reinterpret_cast<float *>(other_.data()); }

    Buffer<Candidate> candidates_;
    Buffer<Candidate> other_;  // where kDeal puts them; and their weights, in order: scaled logits,
                               // then probabilities
    static constexpr uint32_t kKeyBytes = 4;
    std::array<std::array<uint32_t, 256>, kKeyBytes> places_{};  // counts, then the next place
    uint32_t key_byte_ = 0;

    // Logits that are not as the model gave them, by index.
    std::array<Candidate, SamplingParams::kMaxWindow + SamplingParams::kMaxBiases> changes_{};
    uint32_t change_count_ = 0;
    uint32_t next_change_ = 0;
    std::array<TokenLogprob, 1 + SamplingParams::kMaxLogprobs> logprobs_{};
    uint32_t top_count_ = 0;
    float log_max_ = 0.0f;
    float log_sum_ = 0.0f;

    Stage stage_ = Stage::kDone;
    Purpose purpose_ = Purpose::kTopK;
    uint32_t items_ = 0;  // of this stage
    uint32_t done_ = 0;
    uint32_t limit_ = 0;  // candidates wanted
    uint32_t kept_ = 0;   // candidates there are
    Candidate best_{};
    compute::SoftmaxState softmax_;
    float temperature_ = 1.0f;
    float inverse_ = 0.0f;  // of the softmax's sum
    float entropy_ = 0.0f;
    float running_ = 0.0f;
    float threshold_ = 0.0f;
    bool found_ = false;
    Token token_ = 0;
};

}  // namespace bareflow::llama
