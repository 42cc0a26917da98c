// What the program measures about itself: calls and cycles of every named function.
//
// The C functions of jit_runtime.h use the program's profiler(). Tests make their own profiler and
// pass the time themselves. Boot processor only, not from interrupt handlers. No allocation: the
// table has a fixed size, and calls of functions that do not fit are counted.
//
// Recursion: every pair of begin() and end() counts as a call. Only the outermost call of a
// function adds to its cycles, minimum, maximum and histogram, so the total is time that really
// passed.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace bareflow {

// Index of a function in the table, for the life of the program.
using FunctionId = uint16_t;
inline constexpr FunctionId kNoFunction = 0xFFFF;

// Levels of jit_runtime.h.
inline constexpr int kLevelReference = 0;
inline constexpr int kLevelCount = 4;

struct JitThresholds {
    uint64_t warm = 16;
    uint64_t hot = 128;
    uint64_t very_hot = 1024;
};
// The level that a function is considered for after `calls` calls.
[[nodiscard]] constexpr int level_for_calls(uint64_t calls, const JitThresholds &thresholds) {
    return calls >= thresholds.very_hot ? 3
           : calls >= thresholds.hot    ? 2
           : calls >= thresholds.warm   ? 1
                                        : 0;
}

// A copy of what is known about one function.
struct FunctionProfile {
    std::string_view name;
    std::string_view shape;  // "352x128", or empty
    uint64_t calls = 0;
    uint64_t timed_calls = 0;  // outermost ones
    uint64_t total_cycles = 0;
    uint64_t min_cycles = 0;  // 0 while there is no timed call
    uint64_t max_cycles = 0;
    // Percentiles: interpolated in a histogram of powers of two, so wrong by a factor of two at
    // most.
    uint64_t p50_cycles = 0;
    uint64_t p99_cycles = 0;
    uint64_t work = 0;           // units of all timed calls; a call has one unit or more
    uint64_t single_calls = 0;   // timed calls of one unit
    uint64_t single_cycles = 0;  // sum of their cycles
    uint64_t recent_cycles = 0;  // cycles of such a call, averaged over the last few dozen
    int level = kLevelReference;
    uint64_t code_bytes = 0;  // size of the generated code that is in force

    // Over all calls, so that calls * average = total.
    [[nodiscard]] uint64_t average_cycles() const { return calls == 0 ? 0 : total_cycles / calls; }
};

class Profiler {
  public:
    static constexpr size_t kMaxFunctions = 256;
    static constexpr size_t kMaxNesting = 64;

    constexpr Profiler() = default;
    Profiler(const Profiler &) = delete;
    Profiler &operator=(const Profiler &) = delete;

    // The function of that name, added when it is new. `name` must stay valid for ever. kNoFunction
    // when the table is full (counted) or `name` is nullptr.
    [[nodiscard]] FunctionId key(const char *name);
    // The same without adding.
    [[nodiscard]] FunctionId find(const char *name);

    void begin(FunctionId id, uint64_t now_ticks);
    // Ends the innermost open call of `id`. Calls that were opened inside it and never ended are
    // dropped and counted as unbalanced. Without an open call, only that is counted. `units`: the
    // size of the call where calls differ in size, for example the tokens of a batch.
    void end(FunctionId id, uint64_t now_ticks, uint32_t units = 1);

    // Off: begin() and end() do nothing, for measuring what they cost. Not to be called between a
    // begin() and its end().
    void set_on(bool on) { off_ = !on; }

    // Functions are numbered 0 .. count() - 1 in the order in which they were first seen.
    [[nodiscard]] size_t count() const { return count_; }
    [[nodiscard]] FunctionProfile profile(FunctionId id) const;
    // Single fields of profile(id), which are cheaper to get. 0 for an id outside the table.
    [[nodiscard]] uint64_t calls(FunctionId id) const {
        return id < count_ ? functions_[id].calls : 0;
    }
    [[nodiscard]] std::string_view name(FunctionId id) const {
        return id < count_ ? functions_[id].name : std::string_view();
    }
    // Calls of one unit: they can be compared with each other.
    [[nodiscard]] uint64_t single_calls(FunctionId id) const {
        return id < count_ ? functions_[id].single_calls : 0;
    }
    [[nodiscard]] uint64_t single_cycles(FunctionId id) const {
        return id < count_ ? functions_[id].single_cycles : 0;
    }
    [[nodiscard]] uint64_t recent_cycles(FunctionId id) const {
        return id < count_ ? functions_[id].recent_cycles : 0;
    }
    // Sets calls, cycles and histograms of all functions to zero. Names, levels and code stay. A
    // call that is open now will count in full.
    void clear_counters();
    [[nodiscard]] uint64_t unbalanced() const { return unbalanced_; }
    // Calls of functions that found no place in the table.
    [[nodiscard]] uint64_t overflowed() const { return overflowed_; }

    // For the owner of the code that is in force. `shape` is static text. An id outside the table
    // is ignored.
    void set_level(FunctionId id, int level);
    void set_code_bytes(FunctionId id, uint64_t bytes);
    void set_shape(FunctionId id, std::string_view shape);

    // False, and nothing changed, unless 0 < warm <= hot <= very_hot.
    [[nodiscard]] bool set_thresholds(const JitThresholds &thresholds);
    [[nodiscard]] JitThresholds thresholds() const {
        return thresholds_.warm == 0 ? JitThresholds{} : thresholds_;
    }

  private:
    static constexpr size_t kTableSlots = 2 * kMaxFunctions;
    static constexpr size_t kCacheSlots = 2 * kMaxFunctions;
    static constexpr size_t kBuckets = 40;  // the last one takes all from 2^39 ticks on

    struct Function {
        std::string_view name;
        std::string_view shape;
        uint64_t hash = 0;
        uint64_t calls = 0;
        uint64_t timed_calls = 0;
        uint64_t total_cycles = 0;
        uint64_t min_cycles = 0;
        uint64_t max_cycles = 0;
        uint64_t work = 0;
        uint64_t single_calls = 0;
        uint64_t single_cycles = 0;
        uint64_t recent_cycles = 0;
        uint64_t code_bytes = 0;
        int level = kLevelReference;
        uint32_t open = 0;  // calls on the stack
        std::array<uint32_t, kBuckets> histogram{};
    };
    struct OpenCall {
        FunctionId id;
        uint64_t start_ticks;
    };
    struct CachedName {
        const char *name = nullptr;
        FunctionId id = 0;
    };

    FunctionId search(const char *name, bool add);
    void drop_open_calls(size_t down_to);
    [[nodiscard]] static uint64_t percentile(const Function &function, uint64_t per_hundred);

    // All zero at first, so that the program's own profiler takes no room in the image.
    std::array<Function, kMaxFunctions> functions_{};
    // Open addressing by content: index + 1, 0 is free.
    std::array<uint16_t, kTableSlots> table_{};
    // By address: a name that was seen before at the same place is not read again.
    std::array<CachedName, kCacheSlots> cache_{};
    std::array<OpenCall, kMaxNesting> stack_{};
    size_t count_ = 0;
    size_t depth_ = 0;
    bool off_ = false;
    uint64_t too_deep_ = 0;  // open calls beyond the stack
    uint64_t unbalanced_ = 0;
    uint64_t overflowed_ = 0;
    JitThresholds thresholds_{0, 0, 0};  // zeros: the defaults
};

// The program's.
[[nodiscard]] Profiler &profiler();

// The time-stamp counter as the profiler reads it: not ordered, to stay cheap.
[[nodiscard]] inline uint64_t profile_ticks() {
    return __builtin_ia32_rdtsc();
}

// A call that lasts as long as the object.
class ProfileScope {
  public:
    explicit ProfileScope(FunctionId id) : id_(id) { profiler().begin(id, profile_ticks()); }
    explicit ProfileScope(const char *name) : ProfileScope(profiler().key(name)) {}
    ~ProfileScope() { profiler().end(id_, profile_ticks()); }
    ProfileScope(const ProfileScope &) = delete;
    ProfileScope &operator=(const ProfileScope &) = delete;

  private:
    FunctionId id_;
};

}  // namespace bareflow
