// The order of candidates must not depend on the machine: ties go to the lower token, and no
// library sort, whose order of equal elements is free, is used.
#include "llama/engine/candidate_list.h"

#include <bit>
#include <utility>

namespace bareflow::llama {

Result<CandidateList> CandidateList::create(uint32_t vocab) {
    CandidateList list;
    BF_ASSIGN(list.candidates_, Buffer<Candidate>::create(vocab));
    BF_ASSIGN(list.other_, Buffer<Candidate>::create(vocab));
    return list;
}

// ------------------------------------------------------------------ selection

void CandidateList::start_selection(uint32_t limit) {
    count_ = 0;
    limit_ = limit;
}

// Whether a comes before b.
bool CandidateList::better(const Candidate &a, const Candidate &b) {
    return a.logit > b.logit || (a.logit == b.logit && a.index < b.index);
}

void CandidateList::offer(Candidate candidate) {
    Candidate *const heap = candidates_.data();
    if (full()) {
        if (better(candidate, heap[0])) {
            heap[0] = candidate;
            sift_down(0, count_);
        }
        return;
    }
    uint32_t at = count_++;
    while (at > 0 && better(heap[(at - 1) / 2], candidate)) {
        heap[at] = heap[(at - 1) / 2];
        at = (at - 1) / 2;
    }
    heap[at] = candidate;
}

// Each step moves the worst of the heap behind it.
void CandidateList::sort_heap(uint32_t begin, uint32_t end) {
    for (uint32_t i = begin; i < end; ++i) {
        const uint32_t last = count_ - 1 - i;
        std::swap(candidates_[0], candidates_[last]);
        sift_down(0, last);
    }
}

// Restores the heap (no parent better than its children) after the root was replaced.
void CandidateList::sift_down(uint32_t root, uint32_t count) {
    Candidate *const heap = candidates_.data();
    const Candidate moved = heap[root];
    uint32_t at = root;
    while (2 * at + 1 < count) {
        uint32_t child = 2 * at + 1;
        if (child + 1 < count && better(heap[child], heap[child + 1])) {
            ++child;
        }
        if (!better(moved, heap[child])) {
            break;
        }
        heap[at] = heap[child];
        at = child;
    }
    if (count > 0) {
        heap[at] = moved;
    }
}

// ------------------------------------------------------------------ radix sort

void CandidateList::start_sort(Order order) {
    order_ = order;
    places_ = {};
}

// An unsigned number for each float, the lowest for the first in order. The bits of floats rise
// with their values, those of negative ones fall. Both zeros have one key.
uint32_t CandidateList::sort_key(float value) const {
    const float rising = order_ == Order::kLeastFirst ? -value : value;
    const float number = rising == rising ? rising : -__builtin_inff();
    const auto bits = std::bit_cast<uint32_t>(number + 0.0f);
    return ~(bits ^ ((bits >> 31) != 0 ? 0xffffffff : 0x80000000));
}

void CandidateList::count(uint32_t begin, uint32_t end) {
    for (uint32_t i = begin; i < end; ++i) {
        const uint32_t key = sort_key(candidates_[i].logit);
        for (uint32_t byte = 0; byte < kKeyBytes; ++byte) {
            ++places_[byte][key >> 8 * byte & 0xff];
        }
    }
}

void CandidateList::finish_count() {
    for (std::array<uint32_t, 256> &places : places_) {
        uint32_t before = 0;
        for (uint32_t &place : places) {
            before += std::exchange(place, before);
        }
    }
    key_byte_ = 0;
}

void CandidateList::deal(uint32_t begin, uint32_t end) {
    const bool back = key_byte_ % 2 != 0;
    const Candidate *const from = back ? other_.data() : candidates_.data();
    Candidate *const to = back ? candidates_.data() : other_.data();
    for (uint32_t i = begin; i < end; ++i) {
        const uint32_t key = sort_key(from[i].logit);
        to[places_[key_byte_][key >> 8 * key_byte_ & 0xff]++] = from[i];
    }
}

bool CandidateList::finish_deal() {
    static_assert(kKeyBytes % 2 == 0);  // so the result lies in candidates_ again
    return ++key_byte_ == kKeyBytes;
}

}  // namespace bareflow::llama
