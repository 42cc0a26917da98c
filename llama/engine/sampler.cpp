#include "llama/engine/sampler.h"

#include <algorithm>
#include <bit>
#include <limits>
#include <utility>

#include "compute/numbers/vec.h"
#include "kernel_lib/platform/platform.h"

namespace bareflow::llama {
namespace {

// Items between two looks at the clock: about 0.1 ms at worst, in an emulator.
constexpr uint32_t kPieceItems = 512;

// Logits passed over at once.
constexpr uint32_t kPassed = 16;

constexpr uint64_t rotate_left(uint64_t x, int by) {
    return (x << by) | (x >> (64 - by));
}

constexpr float kLowest = -std::numeric_limits<float>::infinity();
constexpr float kLog2E = 1.44269504f;

}  // namespace

float log_f32(float x) {
    x = x >= std::numeric_limits<float>::min() ? x : std::numeric_limits<float>::min();
    x = x <= std::numeric_limits<float>::max() ? x : std::numeric_limits<float>::max();
    const auto bits = std::bit_cast<uint32_t>(x);
    // x = m * 2^e with m from sqrt(1/2) to sqrt(2).
    auto e = static_cast<float>(static_cast<int32_t>(bits >> 23) - 126);
    float m = std::bit_cast<float>((bits & 0x007fffff) | 0x3f000000);
    if (m < 0.707106781f) {
        e = e - 1.0f;
        m = m + m;
    }
    m = m - 1.0f;
    constexpr float kCoefficients[] = {7.0376836292e-2f,  -1.1514610310e-1f, 1.1676998740e-1f,
                                       -1.2420140846e-1f, 1.4249322787e-1f,  -1.6668057665e-1f,
                                       2.0000714765e-1f,  -2.4999993993e-1f, 3.3333331174e-1f};
    float p = 0.0f;
    for (const float coefficient : kCoefficients) {
        p = p * m + coefficient;
    }
    const float square = m * m;
    float y = (p * m) * square;
    y = y + e * -2.12194440e-4f;
    y = y - square * 0.5f;
    return (m + y) + e * 0.693359375f;
}

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
    BF_ASSIGN(sampler.other_, Buffer<Candidate>::create(vocab));
    return sampler;
}

void SampledText::reset(const SamplingParams &params, std::span<const Token> prompt) {
    params_ = params;
    params_.repeat_last_n = std::min(params.repeat_last_n, SamplingParams::kMaxWindow);
    params_.logit_bias_count = std::min(params.logit_bias_count, SamplingParams::kMaxBiases);
    params_.top_logprobs = std::min(params.top_logprobs, SamplingParams::kMaxLogprobs);
    generator_ = RandomGenerator(params.seed);
    mirostat_mu_ = 2.0f * params.mirostat_tau;
    window_count_ = 0;
    window_next_ = 0;
    for (const Token token : prompt.last(std::min<size_t>(prompt.size(), params_.repeat_last_n))) {
        remember(token);
    }
}

void SampledText::remember(Token token) {
    if (params_.repeat_last_n == 0) {
        return;
    }
    window_[window_next_] = token;
    window_next_ = (window_next_ + 1) % params_.repeat_last_n;
    window_count_ = std::min(window_count_ + 1, params_.repeat_last_n);
}

void Sampler::begin(SampledText &text, std::span<const float> logits) {
    if (logits.empty() || logits.size() > candidates_.size()) {
        platform::panic("sampler: more logits than it was made for");
    }
    text_ = &text;
    logits_ = logits;
    make_changes();
    if (params().wants_logprobs) {
        top_count_ = 0;
        log_max_ = kLowest;
        enter(Stage::kLogMax, static_cast<uint32_t>(logits.size()));
        return;
    }
    choose();
}

void Sampler::choose() {
    const auto count = static_cast<uint32_t>(logits_.size());
    // Written so that a NaN is greedy.
    if (!(params().temperature >= kMinTemperature)) {
        best_ = {kLowest, 0};
        enter(Stage::kGreedy, count);
        return;
    }
    const bool all = params().mirostat || params().top_k == 0 || params().top_k > count;
    kept_ = all ? count : 0;
    limit_ = params().top_k;
    purpose_ = Purpose::kTopK;
    enter(all ? Stage::kFill : Stage::kSelect, count);
}

// ------------------------------------------------------------------ changed logits

float Sampler::clean(float logit) {
    return logit == logit ? logit : kLowest;
}

// The logit of this token, to be changed; kept in order of the tokens.
Sampler::Candidate &Sampler::change_of(uint32_t index) {
    uint32_t at = change_count_;
    while (at > 0 && changes_[at - 1].index >= index) {
        --at;
    }
    if (at == change_count_ || changes_[at].index != index) {
        for (uint32_t i = change_count_; i > at; --i) {
            changes_[i] = changes_[i - 1];
        }
        ++change_count_;
        changes_[at] = {clean(logits_[index]), index};
    }
    return changes_[at];
}

void Sampler::make_changes() {
    change_count_ = 0;
    next_change_ = 0;
    for (uint32_t i = 0; i < params().logit_bias_count; ++i) {
        const LogitBias &bias = params().logit_biases[i];
        if (bias.token >= 0 && static_cast<size_t>(bias.token) < logits_.size()) {
            Candidate &to = change_of(static_cast<uint32_t>(bias.token));
            to.logit = to.logit + bias.bias;
        }
    }
    if (params().repeat_penalty == 1.0f && params().presence_penalty == 0.0f &&
        params().frequency_penalty == 0.0f) {
        return;
    }
    for (uint32_t i = 0; i < text_->window_count_; ++i) {
        const Token token = text_->window_[i];
        uint32_t count = 0;
        bool seen = token < 0 || static_cast<size_t>(token) >= logits_.size();
        for (uint32_t k = 0; k < text_->window_count_ && !seen; ++k) {
            count += text_->window_[k] == token ? 1 : 0;
            seen = k < i && text_->window_[k] == token;
        }
        if (seen) {
            continue;
        }
        Candidate &to = change_of(static_cast<uint32_t>(token));
        to.logit = to.logit <= 0.0f ? to.logit * params().repeat_penalty
                                    : to.logit / params().repeat_penalty;
        const float often = static_cast<float>(count) * params().frequency_penalty;
        to.logit = to.logit - (often + params().presence_penalty);
    }
}

uint32_t Sampler::pass_over(uint32_t begin, uint32_t end, float floor) const {
    if (next_change_ < change_count_) {
        end = std::min(end, changes_[next_change_].index);
    }
    const compute::F32x4 floors = compute::splat4(floor);
    for (; begin + kPassed <= end; begin += kPassed) {
        const float *const at = logits_.data() + begin;
        const auto above = (compute::load4(at) > floors) | (compute::load4(at + 4) > floors) |
                           (compute::load4(at + 8) > floors) | (compute::load4(at + 12) > floors);
        const auto words = std::bit_cast<std::array<uint64_t, 2>>(above);
        if ((words[0] | words[1]) != 0) {
            break;
        }
    }
    return begin;
}

float Sampler::changed(uint32_t index) {
    if (next_change_ < change_count_ && changes_[next_change_].index == index) {
        return changes_[next_change_++].logit;
    }
    return clean(logits_[index]);
}

float Sampler::logit_of(uint32_t index) const {
    const std::span<const Candidate> changes = std::span(changes_).first(change_count_);
    const auto at = std::ranges::lower_bound(changes, index, {}, &Candidate::index);
    return at != changes.end() && at->index == index ? at->logit : clean(logits_[index]);
}

void Sampler::look_at_likeliest(TokenLogprob seen) {
    uint32_t at = top_count_;
    while (at > 0 && seen.logprob > logprobs_[at].logprob) {
        --at;
    }
    if (at == params().top_logprobs) {
        return;
    }
    top_count_ = std::min(top_count_ + 1, params().top_logprobs);
    for (uint32_t i = top_count_; i > at + 1; --i) {
        logprobs_[i] = logprobs_[i - 1];
    }
    logprobs_[at + 1] = seen;
}

// ------------------------------------------------------------------ stages

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

void Sampler::sort(Purpose purpose) {
    purpose_ = purpose;
    places_ = {};
    enter(Stage::kCount, kept_);
}

void Sampler::weigh(Purpose purpose, float temperature) {
    purpose_ = purpose;
    temperature_ = temperature;
    softmax_ = {};
    enter(Stage::kWeigh, kept_);
}

void Sampler::work(uint32_t end) {
    switch (stage_) {
        case Stage::kLogMax:
            for (uint32_t i = done_; i < end;) {
                if (top_count_ == params().top_logprobs) {
                    i = pass_over(i, end,
                                  top_count_ == 0 ? log_max_ : logprobs_[top_count_].logprob);
                }
                for (const uint32_t last = std::min(i + kPassed, end); i < last; ++i) {
                    const float logit = clean(logits_[i]);
                    log_max_ = logit > log_max_ ? logit : log_max_;
                    look_at_likeliest({static_cast<Token>(i), logit});
                }
            }
            return;
        case Stage::kLogSum:
            for (uint32_t i = done_; i < end; ++i) {
                weights()[i] = clean(logits_[i]);
            }
            return compute::softmax_exp(weights(), done_, end, softmax_);
        case Stage::kGreedy:
            for (uint32_t i = done_; i < end;) {
                i = pass_over(i, end, best_.logit);
                for (const uint32_t last = std::min(i + kPassed, end); i < last; ++i) {
                    const float logit = changed(i);
                    if (logit > best_.logit) {
                        best_ = {logit, i};
                    }
                }
            }
            return;
        case Stage::kSelect:
            for (uint32_t i = done_; i < end;) {
                // Of two that are equal the earlier one is better.
                if (kept_ == limit_) {
                    i = pass_over(i, end, candidates_[0].logit);
                }
                for (const uint32_t last = std::min(i + kPassed, end); i < last; ++i) {
                    offer({changed(i), i});
                }
            }
            return;
        case Stage::kSort:
            for (uint32_t i = done_; i < end; ++i) {
                const uint32_t last = kept_ - 1 - i;
                const Candidate worst = candidates_[0];
                candidates_[0] = candidates_[last];
                candidates_[last] = worst;
                sift_down(0, last);
            }
            return;
        case Stage::kFill:
            for (uint32_t i = done_; i < end; ++i) {
                candidates_[i] = {changed(i), i};
            }
            return;
        case Stage::kCount:
            for (uint32_t i = done_; i < end; ++i) {
                const uint32_t key = sort_key(candidates_[i].logit);
                for (uint32_t byte = 0; byte < kKeyBytes; ++byte) {
                    ++places_[byte][key >> 8 * byte & 0xff];
                }
            }
            return;
        case Stage::kDeal: {
            const bool back = key_byte_ % 2 != 0;
            const Candidate *const from = back ? other_.data() : candidates_.data();
            Candidate *const to = back ? candidates_.data() : other_.data();
            for (uint32_t i = done_; i < end; ++i) {
                const uint32_t key = sort_key(from[i].logit);
                to[places_[key_byte_][key >> 8 * key_byte_ & 0xff]++] = from[i];
            }
            return;
        }
        case Stage::kStrange:
            for (uint32_t i = done_; i < end; ++i) {
                candidates_[i].logit = strangeness(candidates_[i].logit);
            }
            return;
        case Stage::kWeigh:
            for (uint32_t i = done_; i < end; ++i) {
                weights()[i] = candidates_[i].logit / temperature_;
            }
            return;
        case Stage::kMax:
            return compute::softmax_max(weights(), done_, end, softmax_);
        case Stage::kExp:
            return compute::softmax_exp(weights(), done_, end, softmax_);
        case Stage::kScale:
            return compute::softmax_scale(weights(), done_, end, inverse_);
        case Stage::kEntropy:
            for (uint32_t i = done_; i < end; ++i) {
                running_ = running_ - weights()[i] * log_f32(weights()[i]);
            }
            return;
        case Stage::kTypical:
        case Stage::kCut:
        case Stage::kSum:
            return cut(end);
        case Stage::kPick:
            for (uint32_t i = done_; i < end && !found_; ++i) {
                running_ = running_ + weights()[i];
                if (running_ > threshold_) {
                    best_ = {weights()[i], candidates_[i].index};
                    found_ = true;
                }
            }
            return;
        case Stage::kDone:
            return;
    }
}

// Looks at what is kept, in order, for the place where it ends.
void Sampler::cut(uint32_t end) {
    for (uint32_t i = done_; i < end && !found_; ++i) {
        float weight = weights()[i];
        float enough = params().top_p;
        bool too_small = false;
        if (stage_ == Stage::kTypical) {
            candidates_[i].logit = logit_of(candidates_[i].index);
            weight = compute::exp_f32(candidates_[i].logit - softmax_.max) * inverse_;
            enough = params().typical_p;
        } else if (stage_ == Stage::kSum) {
            enough = 1.0f;
            too_small = params().mirostat && log_f32(weight) * -kLog2E > text_->mirostat_mu_;
        } else {
            too_small = weight < params().min_p * weights()[0];
        }
        if (too_small && i > 0) {
            kept_ = i;
            found_ = true;
            return;
        }
        running_ = running_ + weight;
        if (enough < 1.0f && running_ >= enough) {
            kept_ = i + 1;
            found_ = true;
        }
    }
}

void Sampler::finish_stage() {
    switch (stage_) {
        case Stage::kLogMax:
            softmax_ = {.max = log_max_};
            return enter(Stage::kLogSum, items_);
        case Stage::kLogSum:
            log_sum_ = log_f32(compute::fold_lanes(softmax_.lanes));
            return choose();
        case Stage::kGreedy:
            return finish_pick();
        case Stage::kSelect:
            return enter(Stage::kSort, kept_);
        case Stage::kSort:
            return finish_list();
        case Stage::kFill:
            return sort(Purpose::kTopK);
        case Stage::kCount:
            for (std::array<uint32_t, 256> &places : places_) {
                uint32_t before = 0;
                for (uint32_t &place : places) {
                    before += std::exchange(place, before);
                }
            }
            key_byte_ = 0;
            return enter(Stage::kDeal, kept_);
        case Stage::kDeal:
            if (++key_byte_ < kKeyBytes) {
                return enter(Stage::kDeal, kept_);
            }
            return finish_list();
        case Stage::kWeigh:
            return enter(Stage::kMax, kept_);
        case Stage::kMax:
            return enter(Stage::kExp, kept_);
        case Stage::kExp:
            inverse_ = compute::softmax_inverse(softmax_);
            return enter(Stage::kScale, kept_);
        case Stage::kScale:
            return finish_weights();
        case Stage::kEntropy:
            entropy_ = running_;
            return enter(Stage::kStrange, kept_);
        case Stage::kStrange:
            return sort(Purpose::kTypical);
        case Stage::kTypical:
            // Equal logits are equally strange, and have kept their order.
            return sort(Purpose::kAfterTypical);
        case Stage::kCut:
            return weigh(Purpose::kPick, params().temperature);
        case Stage::kSum:
            threshold_ = text_->generator_.uniform() * running_;
            best_ = {weights()[kept_ - 1], candidates_[kept_ - 1].index};
            inverse_ = running_;
            running_ = 0.0f;
            // What is chosen should rounding (or a NaN) let none exceed the threshold: the last.
            return enter(Stage::kPick, kept_);
        case Stage::kPick:
            if (params().mirostat) {
                const float surprise = log_f32(best_.logit / inverse_) * -kLog2E;
                text_->mirostat_mu_ = text_->mirostat_mu_ -
                                      params().mirostat_eta * (surprise - params().mirostat_tau);
            }
            return finish_pick();
        case Stage::kDone:
            return;
    }
}

// The candidates are in order.
void Sampler::finish_list() {
    if (purpose_ == Purpose::kTypical) {
        running_ = 0.0f;
        return enter(Stage::kTypical, kept_);
    }
    if (params().mirostat) {
        return weigh(Purpose::kPick, params().temperature);
    }
    if (purpose_ == Purpose::kTopK && params().typical_p < 1.0f) {
        return weigh(Purpose::kTypical, 1.0f);
    }
    if (params().top_p < 1.0f || params().min_p > 0.0f) {
        return weigh(Purpose::kCut, 1.0f);
    }
    weigh(Purpose::kPick, params().temperature);
}

// The weights are probabilities.
void Sampler::finish_weights() {
    running_ = 0.0f;
    enter(purpose_ == Purpose::kTypical ? Stage::kEntropy
          : purpose_ == Purpose::kCut   ? Stage::kCut
                                        : Stage::kSum,
          kept_);
}

void Sampler::finish_pick() {
    token_ = static_cast<Token>(best_.index);
    text_->remember(token_);
    if (params().wants_logprobs) {
        logprobs_[0] = {token_, clean(logits_[best_.index])};
        for (TokenLogprob &entry : std::span(logprobs_).first(1 + top_count_)) {
            entry.logprob = (entry.logprob - log_max_) - log_sum_;
        }
    }
    enter(Stage::kDone, 0);
}

float Sampler::strangeness(float logit) const {
    const float surprise = -log_f32(compute::exp_f32(logit - softmax_.max) * inverse_);
    const float distance = surprise - entropy_;
    return distance < 0.0f ? -distance : distance;
}

bool Sampler::better(const Candidate &a, const Candidate &b) {
    return a.logit > b.logit || (a.logit == b.logit && a.index < b.index);
}

// Bits of floats in the order of their values: negative ones the other way round. Zeros are equal;
// a NaN is the last of all.
uint32_t Sampler::sort_key(float value) const {
    const float rising = purpose_ == Purpose::kTypical ? -value : value;
    const auto bits = std::bit_cast<uint32_t>(clean(rising) + 0.0f);
    return ~(bits ^ ((bits >> 31) != 0 ? 0xffffffff : 0x80000000));
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
