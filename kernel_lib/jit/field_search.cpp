// The guided search. What must hold: every candidate that was tried gets exactly one entry in the
// log, though it may be timed in several rounds. Every call of choose_next() either chooses a
// candidate or ends the level.
#include "kernel_lib/jit/field_search.h"

#include <algorithm>

namespace bareflow {

namespace {

// A field of this size is not worth a search.
constexpr uint32_t kSmallField = 3;
// Pairs of the first timing. Every later round takes twice as many as the one before.
constexpr size_t kFirstPairs = 2;
constexpr size_t kMostRoundPairs = 12;
// A candidate that is slower than what is in force by this factor has no chance.
constexpr uint64_t kHopelessPerMille = 1100;
constexpr uint64_t kSamePerMille = 1000;
constexpr uint32_t kFinalists = 2;

}  // namespace

void FieldSearch::start(OptimizationTarget &target, int level, uint32_t first, uint32_t end) {
    candidate_ = {&target, level, first};
    begin_ = first;
    end_ = std::min(end, kMaxField);
    const bool search = level > 1 && end - first > kSmallField;
    stage_ = search ? Stage::kFamilies : Stage::kJudge;
    round_pairs_ = kFirstPairs;
    for (Score &score : scores_) {
        score = {};
    }
    for (uint32_t i = first; i < end_ && !search; ++i) {
        scores_[i].in_round = true;
    }
}

bool FieldSearch::choose_next(TryLog &log) {
    for (;;) {
        if (stage_ == Stage::kFamilies) {
            if (choose_untried(kNone)) {
                return true;
            }
            stage_ = Stage::kNeighbours;
        } else if (stage_ == Stage::kNeighbours) {
            const uint32_t center =
                lowest([](const Score &s) { return s.standing == Standing::kScored; });
            if (center != kNone && choose_untried(center)) {
                return true;
            }
            next_round(log);
        } else {
            // The best first. Without scores: in the order of the field.
            candidate_.index = lowest([](const Score &s) { return s.in_round; });
            if (candidate_.index != kNone || stage_ == Stage::kJudge) {
                return candidate_.index != kNone;
            }
            next_round(log);
        }
    }
}

// With a center: one of its neighbours. Without: a candidate of a family that has no score yet. So
// a family whose first candidate cannot be used is represented by its second.
bool FieldSearch::choose_untried(uint32_t center) {
    for (uint32_t index = begin_; index < end_; ++index) {
        if (scores_[index].standing != Standing::kUntried) {
            continue;
        }
        const CandidatePlace place = place_of(index);
        bool wanted = center == kNone || place.is_neighbour(place_of(center));
        for (uint32_t i = begin_; i < index && wanted && center == kNone; ++i) {
            wanted = scores_[i].standing != Standing::kScored || place_of(i).family != place.family;
        }
        if (wanted) {
            candidate_.index = index;
            return true;
        }
    }
    return false;
}

// Of the candidates wanted, the one with the lowest score; kNone: there is none.
uint32_t FieldSearch::lowest(bool (*wanted)(const Score &)) const {
    uint32_t found = kNone;
    for (uint32_t i = begin_; i < end_; ++i) {
        if (wanted(scores_[i]) &&
            (found == kNone || scores_[i].per_mille < scores_[found].per_mille)) {
            found = i;
        }
    }
    return found;
}

// The better half goes on to a longer timing, or to be judged. The others have lost.
void FieldSearch::next_round(TryLog &log) {
    const auto undecided = [](const Score &s) {
        return s.standing == Standing::kScored && !s.logged && !s.in_round;
    };
    uint32_t alive = 0;
    for (const Score &s : scores_) {
        alive += undecided(s);
    }
    const uint32_t places = alive <= kFinalists + 1 ? kFinalists : (alive + 1) / 2;
    stage_ = places <= kFinalists ? Stage::kJudge : Stage::kHalve;
    round_pairs_ = std::min(2 * round_pairs_, kMostRoundPairs);
    for (uint32_t taken = 0;; ++taken) {
        const uint32_t next = lowest(undecided);
        if (next == kNone) {
            return;
        }
        Score &s = scores_[next];
        if (taken < places && s.per_mille < kHopelessPerMille) {
            s.in_round = true;
        } else {
            s.logged = true;
            OptimizationTry &entry =
                log.add({candidate_.target, candidate_.level, next}, TryVerdict::kLost);
            entry.candidate_ticks = s.candidate_ticks;
            entry.current_ticks = s.current_ticks;
        }
    }
}

void FieldSearch::set_in_force() {
    chosen().standing = Standing::kScored;
    chosen().logged = true;
    chosen().per_mille = kSamePerMille;
}

void FieldSearch::set_score(const PairedTimes &times) {
    const auto narrow = [](uint64_t ticks) {
        return static_cast<uint32_t>(std::clamp<uint64_t>(ticks, 1, ~uint32_t{0}));
    };
    Score &s = chosen();
    s.standing = Standing::kScored;
    s.candidate_ticks = narrow(smallest(times.candidate()));
    s.current_ticks = narrow(smallest(times.current()));
    s.per_mille = uint64_t{s.candidate_ticks} * 1000 / s.current_ticks;
}

void FieldSearch::set_decided() {
    chosen().standing = Standing::kOut;
    chosen().logged = true;
}

uint32_t FieldSearch::untried() const {
    uint32_t count = 0;
    for (uint32_t i = begin_; i < end_; ++i) {
        count += scores_[i].standing == Standing::kUntried;
    }
    return count;
}

}  // namespace bareflow
