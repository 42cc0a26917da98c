// Which candidate of a field is tried next: the guided search through one level of one target.
//
// A field of at most three candidates, or of level 1, is tried from beginning to end. In a greater
// one, the first candidate of every family is timed for a moment. Then the neighbours of the
// fastest are, and again those of the fastest of all. The better half of what was timed is timed
// for longer, and the better half of that, until two candidates remain. These two must beat what is
// in force. A candidate that is not near the fastest is never made.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "kernel_lib/jit/adaptive.h"
#include "kernel_lib/jit/optimization_target.h"
#include "kernel_lib/jit/try_log.h"

namespace bareflow {

class FieldSearch {
  public:
    static constexpr uint32_t kMaxField = 96;  // candidates of a level

    // The candidates [first, end) of a level, as far as kMaxField.
    void start(OptimizationTarget &target, int level, uint32_t first, uint32_t end);

    // Chooses the candidate to try next; false: the level is done. What drops out of the search on
    // the way has lost and is logged.
    [[nodiscard]] bool choose_next(TryLog &log);
    // The one that was chosen.
    [[nodiscard]] const Candidate &candidate() const { return candidate_; }
    // It must beat what is in force. Otherwise it is timed for round_pairs() pairs and gets a
    // score.
    [[nodiscard]] bool is_judging() const { return stage_ == Stage::kJudge; }
    // An earlier round compared its results with the reference's.
    [[nodiscard]] bool was_checked() const { return stage_ == Stage::kHalve; }
    [[nodiscard]] size_t round_pairs() const { return round_pairs_; }

    // What came of candidate(). Its preparation took place, or is to be continued.
    void set_prepared(bool more) { chosen().in_round = more && chosen().in_round; }
    // It is in force: nothing to try, but its neighbours are candidates as any other's.
    void set_in_force();
    void set_score(const PairedTimes &times);
    // It has its verdict, in the log too.
    void set_decided();

    // Candidates that were never tried.
    [[nodiscard]] uint32_t untried() const;

  private:
    // kFamilies to kHalve give scores; kJudge compares with what is in force.
    enum class Stage : uint8_t { kFamilies, kNeighbours, kHalve, kJudge };
    enum class Standing : uint8_t { kUntried, kScored, kOut };
    struct Score {
        Standing standing = Standing::kUntried;
        bool in_round = false;  // to be timed (again) in this stage
        bool logged = false;    // it has its verdict
        uint32_t candidate_ticks = 0;
        uint32_t current_ticks = 0;
        uint64_t per_mille = 0;  // time of the candidate by that of what is in force
    };
    static constexpr uint32_t kNone = ~uint32_t{0};

    [[nodiscard]] Score &chosen() { return scores_[candidate_.index]; }
    [[nodiscard]] CandidatePlace place_of(uint32_t index) const {
        return Candidate{candidate_.target, candidate_.level, index}.place();
    }
    [[nodiscard]] bool choose_untried(uint32_t center);
    void next_round(TryLog &log);
    [[nodiscard]] uint32_t lowest(bool (*wanted)(const Score &)) const;

    Candidate candidate_;
    uint32_t begin_ = 0;
    uint32_t end_ = 0;
    Stage stage_ = Stage::kFamilies;
    size_t round_pairs_ = 0;
    std::array<Score, kMaxField> scores_{};
};

}  // namespace bareflow
