// A choice is a sequence of stages. Each stage works on its items in order, kPieceItems at a time,
// so that advance() can stop at a deadline after any piece; finish_stage() then decides which stage
// follows. What must hold: every sum runs over the items in order and in f32, and every tie goes to
// the lower token, so where the pieces end changes no bit.
//
//   logprobs:  kLogMax kLogSum, before the choice
//   greedy:    kGreedy
//   otherwise: a list in order     kSelect kSort, or kFill kCount kDeal
//              typical_p           kWeigh kMax kExp kScale kEntropy kStrange, sorted; kTypical,
//              sorted top_p, min_p        kWeigh kMax kExp kScale kCut the choice          kWeigh
//              kMax kExp kScale kSum kPick
#include "llama/engine/sampler.h"

#include <algorithm>

#include "kernel_lib/platform/platform.h"
#include "llama/engine/log_f32.h"

namespace bareflow::llama {
namespace {

// Items between two looks at the clock: about 0.1 ms at worst, in an emulator.
constexpr uint32_t kPieceItems = 512;

constexpr float kLog2E = 1.44269504f;

}  // namespace

Result<Sampler> Sampler::create(uint32_t vocab) {
    Sampler sampler;
    BF_ASSIGN(sampler.candidates_, CandidateList::create(vocab));
    return sampler;
}

void Sampler::begin(SampledText &text, std::span<const float> logits) {
    if (logits.empty() || logits.size() > candidates_.capacity()) {
        platform::panic("sampler: more logits than it was made for");
    }
    text_ = &text;
    logits_.start(text, logits);
    logprobs_.start(params().wants_logprobs, params().top_logprobs);
    if (logprobs_.wanted()) {
        return enter(Stage::kLogMax, logits_.size());
    }
    choose();
}

void Sampler::choose() {
    const uint32_t count = logits_.size();
    // Written so that a NaN is greedy.
    if (!(params().temperature >= kMinTemperature)) {
        best_ = {ChangedLogits::kLowest, 0};
        return enter(Stage::kGreedy, count);
    }
    purpose_ = Purpose::kTopK;
    if (params().mirostat || params().top_k == 0 || params().top_k > count) {
        candidates_.resize(count);
        return enter(Stage::kFill, count);
    }
    candidates_.start_selection(params().top_k);
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

void Sampler::start_sort(Purpose purpose) {
    purpose_ = purpose;
    candidates_.start_sort(purpose == Purpose::kTypical ? CandidateList::Order::kLeastFirst
                                                        : CandidateList::Order::kGreatestFirst);
    enter(Stage::kCount, candidates_.size());
}

void Sampler::start_weighing(Purpose purpose, float temperature) {
    purpose_ = purpose;
    temperature_ = temperature;
    softmax_ = {};
    enter(Stage::kWeigh, candidates_.size());
}

// ------------------------------------------------------------------ one piece of a stage

void Sampler::work(uint32_t end) {
    switch (stage_) {
        case Stage::kLogMax:
            return logprobs_.look_at(logits_, done_, end);
        case Stage::kLogSum:
            return sum_exponentials(end);
        case Stage::kGreedy:
            return find_greatest(end);
        case Stage::kSelect:
            return select(end);
        case Stage::kSort:
            return candidates_.sort_heap(done_, end);
        case Stage::kFill:
            return fill(end);
        case Stage::kCount:
            return candidates_.count(done_, end);
        case Stage::kDeal:
            return candidates_.deal(done_, end);
        case Stage::kStrange:
            return measure_strangeness(end);
        case Stage::kWeigh:
            return weigh(end);
        case Stage::kMax:
            return compute::softmax_max(weights(), done_, end, softmax_);
        case Stage::kExp:
            return compute::softmax_exp(weights(), done_, end, softmax_);
        case Stage::kScale:
            return compute::softmax_scale(weights(), done_, end, inverse_);
        case Stage::kEntropy:
            return add_to_entropy(end);
        case Stage::kTypical:
        case Stage::kCut:
        case Stage::kSum:
            return cut(end);
        case Stage::kPick:
            return pick(end);
        case Stage::kDone:
            return;
    }
}

void Sampler::sum_exponentials(uint32_t end) {
    for (uint32_t i = done_; i < end; ++i) {
        weights()[i] = logits_.original(i);
    }
    compute::softmax_exp(weights(), done_, end, softmax_);
}

void Sampler::find_greatest(uint32_t end) {
    for (uint32_t i = done_; i < end;) {
        i = logits_.pass_over(i, end, best_.logit);
        for (const uint32_t last = std::min(i + ChangedLogits::kPassed, end); i < last; ++i) {
            const float logit = logits_.next(i);
            if (logit > best_.logit) {
                best_ = {logit, i};
            }
        }
    }
}

void Sampler::select(uint32_t end) {
    for (uint32_t i = done_; i < end;) {
        // Of two equal logits the earlier one is better: one that is not greater than the worst
        // cannot get in.
        if (candidates_.full()) {
            i = logits_.pass_over(i, end, candidates_.worst());
        }
        for (const uint32_t last = std::min(i + ChangedLogits::kPassed, end); i < last; ++i) {
            candidates_.offer({logits_.next(i), i});
        }
    }
}

void Sampler::fill(uint32_t end) {
    for (uint32_t i = done_; i < end; ++i) {
        candidates_[i] = {logits_.next(i), i};
    }
}

void Sampler::weigh(uint32_t end) {
    for (uint32_t i = done_; i < end; ++i) {
        weights()[i] = candidates_[i].logit / temperature_;
    }
}

void Sampler::add_to_entropy(uint32_t end) {
    for (uint32_t i = done_; i < end; ++i) {
        running_ = running_ - weights()[i] * log_f32(weights()[i]);
    }
}

// Replaces the logits; cut() reads them again once the candidates are sorted.
void Sampler::measure_strangeness(uint32_t end) {
    for (uint32_t i = done_; i < end; ++i) {
        candidates_[i].logit = strangeness(candidates_[i].logit);
    }
}

// How far the surprise of a token is from the expected one.
float Sampler::strangeness(float logit) const {
    const float surprise = -log_f32(compute::exp_f32(logit - softmax_.max) * inverse_);
    const float distance = surprise - entropy_;
    return distance < 0.0f ? -distance : distance;
}

// Looks for the place in the list where the candidates that are kept end.
void Sampler::cut(uint32_t end) {
    for (uint32_t i = done_; i < end && !found_; ++i) {
        float weight = weights()[i];
        float enough = params().top_p;
        bool too_small = false;
        if (stage_ == Stage::kTypical) {
            candidates_[i].logit = logits_.at(candidates_[i].index);
            weight = compute::exp_f32(candidates_[i].logit - softmax_.max) * inverse_;
            enough = params().typical_p;
        } else if (stage_ == Stage::kSum) {
            enough = 1.0f;
            too_small = params().mirostat && log_f32(weight) * -kLog2E > text_->greatest_surprise();
        } else {
            too_small = weight < params().min_p * weights()[0];
        }
        if (too_small && i > 0) {
            candidates_.resize(i);
            found_ = true;
            return;
        }
        running_ = running_ + weight;
        if (enough < 1.0f && running_ >= enough) {
            candidates_.resize(i + 1);
            found_ = true;
        }
    }
}

void Sampler::pick(uint32_t end) {
    for (uint32_t i = done_; i < end && !found_; ++i) {
        running_ = running_ + weights()[i];
        if (running_ > threshold_) {
            best_ = {weights()[i], candidates_[i].index};
            found_ = true;
        }
    }
}

// ------------------------------------------------------------------ the end of a stage

void Sampler::finish_stage() {
    switch (stage_) {
        case Stage::kLogMax:
            softmax_ = {.max = logprobs_.greatest()};
            return enter(Stage::kLogSum, items_);
        case Stage::kLogSum:
            logprobs_.set_log_sum(log_f32(compute::fold_lanes(softmax_.lanes)));
            return choose();
        case Stage::kGreedy:
            return finish_pick();
        case Stage::kSelect:
            return enter(Stage::kSort, candidates_.size());
        case Stage::kSort:
            return finish_list();
        case Stage::kFill:
            return start_sort(Purpose::kTopK);
        case Stage::kCount:
            candidates_.finish_count();
            return enter(Stage::kDeal, candidates_.size());
        case Stage::kDeal:
            if (!candidates_.finish_deal()) {
                return enter(Stage::kDeal, candidates_.size());
            }
            return finish_list();
        case Stage::kWeigh:
            return enter(Stage::kMax, candidates_.size());
        case Stage::kMax:
            return enter(Stage::kExp, candidates_.size());
        case Stage::kExp:
            inverse_ = compute::softmax_inverse(softmax_);
            return enter(Stage::kScale, candidates_.size());
        case Stage::kScale:
            return finish_weights();
        case Stage::kEntropy:
            entropy_ = running_;
            return enter(Stage::kStrange, candidates_.size());
        case Stage::kStrange:
            return start_sort(Purpose::kTypical);
        case Stage::kTypical:
            // Equal logits are equally strange, and have kept their order.
            return start_sort(Purpose::kAfterTypical);
        case Stage::kCut:
            return start_weighing(Purpose::kPick, params().temperature);
        case Stage::kSum:
            return start_pick();
        case Stage::kPick:
            if (params().mirostat) {
                text_->learn_surprise(log_f32(best_.logit / kept_sum_) * -kLog2E);
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
        return enter(Stage::kTypical, candidates_.size());
    }
    if (params().mirostat) {
        return start_weighing(Purpose::kPick, params().temperature);
    }
    if (purpose_ == Purpose::kTopK && params().typical_p < 1.0f) {
        return start_weighing(Purpose::kTypical, 1.0f);
    }
    if (params().top_p < 1.0f || params().min_p > 0.0f) {
        return start_weighing(Purpose::kCut, 1.0f);
    }
    start_weighing(Purpose::kPick, params().temperature);
}

// The weights are probabilities.
void Sampler::finish_weights() {
    running_ = 0.0f;
    enter(purpose_ == Purpose::kTypical ? Stage::kEntropy
          : purpose_ == Purpose::kCut   ? Stage::kCut
                                        : Stage::kSum,
          candidates_.size());
}

// running_ is the sum of the weights that are kept.
void Sampler::start_pick() {
    const uint32_t last = candidates_.size() - 1;
    threshold_ = text_->next_uniform() * running_;
    // Rounding (or a NaN) may leave every sum at or below the threshold: then the last is chosen.
    best_ = {weights()[last], candidates_[last].index};
    kept_sum_ = running_;
    running_ = 0.0f;
    enter(Stage::kPick, candidates_.size());
}

void Sampler::finish_pick() {
    token_ = static_cast<Token>(best_.index);
    text_->remember(token_);
    if (logprobs_.wanted()) {
        logprobs_.finish(token_, logits_.original(best_.index));
    }
    enter(Stage::kDone, 0);
}

}  // namespace bareflow::llama
