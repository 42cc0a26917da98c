// The tokens that a choice is still between, and the two ways to put them in order. A heap keeps
// the best k while all logits pass by. A radix sort puts all of them in order. Both work on ranges
// [begin, end) of their items, so that the caller can stop between two ranges and go on later.
#pragma once

#include <array>
#include <cstdint>

#include "kernel_lib/base/result.h"
#include "kernel_lib/memory/buffer.h"

namespace bareflow::llama {

struct Candidate {
    float logit;
    uint32_t index;  // the token
};

class CandidateList {
  public:
    enum class Order : uint8_t { kGreatestFirst, kLeastFirst };

    CandidateList() = default;
    // Memory for `vocab` candidates: scratch_bytes().
    [[nodiscard]] static Result<CandidateList> create(uint32_t vocab);
    [[nodiscard]] static uint64_t scratch_bytes(uint32_t vocab) {
        return uint64_t{vocab} * 2 * sizeof(Candidate);
    }

    [[nodiscard]] size_t capacity() const { return candidates_.size(); }
    [[nodiscard]] uint32_t size() const { return count_; }
    Candidate &operator[](uint32_t index) { return candidates_[index]; }
    void resize(uint32_t count) { count_ = count; }

    // Selection: after start_selection(), offer() all candidates by increasing index. Those that
    // stay lie in a heap whose root is the worst of them; of two equal ones the first stays.
    void start_selection(uint32_t limit);
    [[nodiscard]] bool full() const { return count_ == limit_; }
    [[nodiscard]] float worst() const { return candidates_[0].logit; }
    void offer(Candidate candidate);
    // Makes the heap a list, best first. Items: the candidates.
    void sort_heap(uint32_t begin, uint32_t end);

    // Radix sort: start_sort(), count() all candidates, finish_count(), then deal() all candidates
    // until finish_deal() is true. Equal ones keep their order; a NaN is last.
    void start_sort(Order order);
    void count(uint32_t begin, uint32_t end);
    void finish_count();
    void deal(uint32_t begin, uint32_t end);
    [[nodiscard]] bool finish_deal();

    // A number for each candidate, in the memory that only the radix sort uses otherwise.
    [[nodiscard]] float *weights() { return reinterpret_cast<float *>(other_.data()); }

  private:
    static constexpr uint32_t kKeyBytes = 4;

    [[nodiscard]] static bool better(const Candidate &a, const Candidate &b);
    [[nodiscard]] uint32_t sort_key(float value) const;
    void sift_down(uint32_t root, uint32_t count);

    Buffer<Candidate> candidates_;
    Buffer<Candidate> other_;  // where deal() puts them; or the weights
    uint32_t count_ = 0;
    uint32_t limit_ = 0;  // of the selection
    Order order_ = Order::kGreatestFirst;
    // For each byte of the keys: how often it has which value, then the next place for that value.
    std::array<std::array<uint32_t, 256>, kKeyBytes> places_{};
    uint32_t key_byte_ = 0;  // deal() works by this byte, the lowest first
};

}  // namespace bareflow::llama
