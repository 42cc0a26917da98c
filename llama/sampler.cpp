#include "llama/sampler.h"

#include <limits>

#include "kernel_lib/platform/platform.h"

namespace bareflow::llama {
namespace {

// Items between two looks at the clock: about 0.1 ms at worst, in an emulator.
constexpr uint32_t kPieceItems = 512;

constexpr uint64_t rotate_left(uint64_t x, int by) {
    return (x << by) | (x >> (64 - by));
}

}  // namespace

RandomGenerator::RandomGenerator(uint64_t seed) {
    for (uint64_t &word : state_) {
        seed += 0x9e3779b97f4a7c15;  // splitmix64
        uint64_t z = seed;
        z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
        z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
        word = z ^ (z >> 31);
    }
}

uint64_t RandomGenerator::next() {
    const uint64_t result = rotate_left(state_[1] * 5, 7) * 9;
    const uint64_t t = state_[1] << 17;
    state_[2] ^= state_[0];
    state_[3] ^= state_[1];
    state_[1] ^= state_[2];
    state_[0] ^= state_[3];
    state_[2] ^= t;
    state_[3] = rotate_left(state_[3], 45);
    return result;
}

Result<Sampler> Sampler::create(uint32_t vocab) {
    Sampler sampler;
    BF_ASSIGN(sampler.candidates_, Buffer<Candidate>::create(vocab));
    BF_ASSIGN(sampler.weights_, Buffer<float>::create(vocab));
    return sampler;
}

void Sampler::reset(const SamplingParams &params) {
    params_ = params;
    generator_ = RandomGenerator(params.seed);
}

void Sampler::begin(std::span<const float> logits) {
    if (logits.empty() || logits.size() > candidates_.size()) {
        platform::panic("sampler: more logits than it was made for");
    }
    logits_ = logits;
    const auto count = static_cast<uint32_t>(logits.size());
    // Written so that a NaN is greedy.
    if (!(params_.temperature >= kMinTemperature)) {
        best_ = {-std::numeric_limits<float>::infinity(), 0};
        enter(Stage::kGreedy, count);
        return;
    }
    limit_ = params_.top_k == 0 || params_.top_k > count ? count : params_.top_k;
    kept_ = 0;
    enter(Stage::kSelect, count);
}

bool Sampler::advance(uint64_t deadline_ticks) {
    while (stage_ != Stage::kDone) {
        const uint32_t left = items_ - done_;
        const uint32_t end = done_ + (left < kPieceItems ? left : kPieceItems);
        work(end);
        done_ = end;
        if (done_ == items_ || found_) {
            finish_stage();
        }
        if (platform::ticks() >= deadline_ticks) {
            break;
        }
    }
    return stage_ == Stage::kDone;
}

void Sampler::enter(Stage stage, uint32_t items) {
    stage_ = stage;
    items_ = items;
    done_ = 0;
    found_ = false;
}

void Sampler::work(uint32_t end) {
    switch (stage_) {
        case Stage::kGreedy:
            for (uint32_t i = done_; i < end; ++i) {
                if (logits_[i] > best_.logit) {
                    best_ = {logits_[i], i};
                }
            }
            return;
        case Stage::kSelect:
            for (uint32_t i = done_; i < end; ++i) {
                const float logit = logits_[i];
                // A NaN equals nothing, itself included.
                offer({logit == logit ? logit : -std::numeric_limits<float>::infinity(), i});
            }
            return;
        case Stage::kSort:
            for (uint32_t i = done_; i < end; ++i) {
                const uint32_t last = kept_ - 1 - i;
                const Candidate worst = candidates_[0];
                candidates_[0] = candidates_[last];
                candidates_[last] = worst;
                sift_down(0, last);
                weights_[last] = worst.logit / params_.temperature;
            }
            return;
        case Stage::kMax:
            return softmax_max(weights_.data(), done_, end, softmax_);
        case Stage::kExp:
            return softmax_exp(weights_.data(), done_, end, softmax_);
        case Stage::kScale:
            return softmax_scale(weights_.data(), done_, end, softmax_inverse(softmax_));
        case Stage::kCut:
            for (uint32_t i = done_; i < end && !found_; ++i) {
                running_ = running_ + weights_[i];
                if (params_.top_p < 1.0f && running_ >= params_.top_p) {
                    kept_ = i + 1;
                    found_ = true;
                }
            }
            return;
        case Stage::kPick:
            for (uint32_t i = done_; i < end && !found_; ++i) {
                running_ = running_ + weights_[i];
                if (running_ > threshold_) {
                    token_ = static_cast<Token>(candidates_[i].index);
                    found_ = true;
                }
            }
            return;
        case Stage::kDone:
            return;
    }
}

void Sampler::finish_stage() {
    switch (stage_) {
        case Stage::kGreedy:
            token_ = static_cast<Token>(best_.index);
            return enter(Stage::kDone, 0);
        case Stage::kSelect:
            return enter(Stage::kSort, kept_);
        case Stage::kSort:
            return enter(Stage::kMax, kept_);
        case Stage::kMax:
            return enter(Stage::kExp, kept_);
        case Stage::kExp:
            return enter(Stage::kScale, kept_);
        case Stage::kScale:
            running_ = 0.0f;
            return enter(Stage::kCut, kept_);
        case Stage::kCut:
            threshold_ = generator_.uniform() * running_;
            running_ = 0.0f;
            // What is chosen should rounding (or a NaN) let none exceed the threshold.
            token_ = static_cast<Token>(candidates_[kept_ - 1].index);
            return enter(Stage::kPick, kept_);
        case Stage::kPick:
            return enter(Stage::kDone, 0);
        case Stage::kDone:
            return;
    }
}

// Keeps the best `limit_` seen so far.
void Sampler::offer(Candidate candidate) {
    Candidate *const heap = candidates_.data();
    if (kept_ == limit_) {
        if (better(candidate, heap[0])) {
            heap[0] = candidate;
            sift_down(0, kept_);
        }
        return;
    }
    uint32_t at = kept_++;
    while (at > 0 && better(heap[(at - 1) / 2], candidate)) {
        heap[at] = heap[(at - 1) / 2];
        at = (at - 1) / 2;
    }
    heap[at] = candidate;
}

// Restores the heap (no parent better than its children) after the root was replaced.
void Sampler::sift_down(uint32_t root, uint32_t count) {
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

}  // namespace bareflow::llama
