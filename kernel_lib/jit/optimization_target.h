// A function that the optimiser can make faster, as its owner describes it.
//
// The owner knows how to make candidates, how to compare their results with the portable reference,
// how to run them and how to put one into force. The optimiser knows none of that: it decides what
// is tried, takes the time, and judges.
//
// A candidate may be wrong in every way. The optimiser therefore calls check_some(), and the first
// run_candidate() of each work(), as guarded calls (cpu/guarded_call.h). Such a call may end
// anywhere inside, so neither of the two functions may allocate. drop() follows.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "kernel_lib/jit/adaptive.h"

namespace bareflow {

// Where a candidate stands in its field. Neighbours are of one family and differ in one knob.
struct CandidatePlace {
    uint16_t family = 0;
    std::array<uint8_t, 3> knobs{};  // what varies within the family: rows, unroll, ...

    [[nodiscard]] constexpr bool is_neighbour(const CandidatePlace &other) const {
        int differences = 0;
        for (size_t i = 0; i < knobs.size(); ++i) {
            differences += knobs[i] != other.knobs[i];
        }
        return family == other.family && differences == 1;
    }
};

// At most one candidate is in hand at a time: from the prepare() that returned kReady to the
// install() or drop() that ends it.
class OptimizationTarget {
  public:
    enum class Prepared : uint8_t {
        kReady,
        kInForce,      // it is what runs now: nothing to try
        kUnavailable,  // it cannot be made for this shape, this processor or this memory
        kMore,         // not finished: call prepare() again with the same candidate
    };
    enum class Check : uint8_t { kMore, kEqual, kDiffers };

    // The name in the profile; static text.
    [[nodiscard]] virtual const char *name() const = 0;
    // The number of candidates at a level (1..3); 0: the level offers nothing for this function.
    // The optimiser looks at the first FieldSearch::kMaxField. At level 1, the first candidate is
    // the one that start() puts into force, and is timed against the reference. The last is the
    // rule of thumb by CPUID.
    [[nodiscard]] virtual uint32_t candidate_count(int level) const = 0;
    // Short text, static or owned by the target.
    [[nodiscard]] virtual std::string_view candidate_name(int level, uint32_t index) const = 0;
    // By default each candidate is a family of its own.
    [[nodiscard]] virtual CandidatePlace candidate_place(int level, uint32_t index) const {
        return {.family = static_cast<uint16_t>(index + 0 * level)};
    }

    // Never kInForce for the first candidate of level 1.
    [[nodiscard]] virtual Prepared prepare(int level, uint32_t index) = 0;
    // Compares another part of the candidate's results with the reference's; takes about a
    // millisecond.
    [[nodiscard]] virtual Check check_some() = 0;
    // One piece of work, the same for all three: by the candidate, by what is in force, and by the
    // portable reference.
    virtual void run_candidate() = 0;
    virtual void run_current() = 0;
    virtual void run_reference() = 0;
    // Bytes of generated code that the candidate has.
    [[nodiscard]] virtual uint64_t code_bytes() const = 0;
    virtual void install() = 0;
    virtual void drop() = 0;
    // Puts into force what runs in this mode before anything was measured, and returns its level:
    // 0 for the portable reference, 1 for what a rule names. kOff: the reference.
    virtual int start(JitMode mode) = 0;
    // The start computes the right results but is slower than the reference: puts the reference
    // into force and returns the level. Kernels for work that was not timed may stay.
    virtual int prefer_reference() { return start(JitMode::kOff); }

  protected:
    ~OptimizationTarget() = default;
};

// One candidate of a target.
struct Candidate {
    OptimizationTarget *target = nullptr;
    int level = 0;
    uint32_t index = 0;

    [[nodiscard]] std::string_view name() const { return target->candidate_name(level, index); }
    [[nodiscard]] CandidatePlace place() const { return target->candidate_place(level, index); }
    // What start() puts into force. It is timed against the reference, because it may be in force.
    [[nodiscard]] bool is_start() const { return level == 1 && index == 0; }
};

}  // namespace bareflow
