// Names are compared by content only once: a cache by address finds a name that was seen before at
// the same place. What must hold: whatever order begins and ends come in, the stack of open calls
// and the counts of open calls agree.
#include "kernel_lib/jit/profile.h"

#include <algorithm>
#include <bit>

#include "kernel_lib/base/hash.h"
#include "kernel_lib/jit_runtime.h"

namespace bareflow {

namespace {

constinit Profiler the_profiler;

size_t address_hash(const char *name) {
    const auto address = reinterpret_cast<uintptr_t>(name);
    return address ^ (address >> 9);
}

}  // namespace

Profiler &profiler() {
    return the_profiler;
}

FunctionId Profiler::key(const char *name) {
    const CachedName &cached = cache_[address_hash(name) % kCacheSlots];
    return cached.name == name && name != nullptr ? cached.id : search(name, true);
}

FunctionId Profiler::find(const char *name) {
    const CachedName &cached = cache_[address_hash(name) % kCacheSlots];
    return cached.name == name && name != nullptr ? cached.id : search(name, false);
}

FunctionId Profiler::search(const char *name, bool add) {
    if (name == nullptr) {
        return kNoFunction;
    }
    const std::string_view text(name);
    const uint64_t hash = fnv1a_64(text);
    size_t slot = hash % kTableSlots;
    FunctionId id = kNoFunction;
    // At most half full: there is always a free slot to stop at.
    for (; table_[slot] != 0; slot = (slot + 1) % kTableSlots) {
        const auto candidate = static_cast<FunctionId>(table_[slot] - 1);
        if (functions_[candidate].hash == hash && functions_[candidate].name == text) {
            id = candidate;
            break;
        }
    }
    if (id == kNoFunction) {
        if (!add || count_ == kMaxFunctions) {
            return kNoFunction;
        }
        id = static_cast<FunctionId>(count_++);
        functions_[id].name = text;
        functions_[id].hash = hash;
        table_[slot] = static_cast<uint16_t>(id + 1);
    }
    cache_[address_hash(name) % kCacheSlots] = {name, id};
    return id;
}

void Profiler::begin(FunctionId id, uint64_t now_ticks) {
    if (off_) {
        return;
    }
    if (depth_ == kMaxNesting) {
        ++too_deep_;
        ++unbalanced_;
        return;
    }
    if (id < count_) {
        ++functions_[id].open;
    } else {
        ++overflowed_;  // still on the stack, so that the pairs around it stay right
        id = kNoFunction;
    }
    stack_[depth_++] = {id, now_ticks};
}

void Profiler::end(FunctionId id, uint64_t now_ticks, uint32_t units) {
    if (off_) {
        return;
    }
    if (too_deep_ != 0) {
        --too_deep_;
        return;
    }
    if (depth_ == 0 || stack_[depth_ - 1].id != id) [[unlikely]] {
        size_t at = depth_;
        while (at != 0 && stack_[at - 1].id != id) {
            --at;
        }
        if (at == 0) {
            ++unbalanced_;
            return;
        }
        drop_open_calls(at);
    }
    const uint64_t cycles = now_ticks - stack_[--depth_].start_ticks;
    if (id >= count_) {
        return;
    }
    Function &function = functions_[id];
    ++function.calls;
    if (--function.open != 0) {
        return;
    }
    function.total_cycles += cycles;
    if (function.timed_calls++ == 0 || cycles < function.min_cycles) {
        function.min_cycles = cycles;
    }
    function.max_cycles = std::max(function.max_cycles, cycles);
    const auto bucket = static_cast<size_t>(std::bit_width(cycles | 1) - 1);
    ++function.histogram[std::min(bucket, kBuckets - 1)];
    function.work += units;
    if (units == 1) {
        constexpr uint64_t kAverageOver = 32;
        ++function.single_calls;
        function.single_cycles += cycles;
        uint64_t &recent = function.recent_cycles;
        recent = recent == 0 ? cycles : recent - recent / kAverageOver + cycles / kAverageOver;
    }
}

void Profiler::drop_open_calls(size_t down_to) {
    while (depth_ > down_to) {
        const FunctionId id = stack_[--depth_].id;
        if (id < count_) {
            --functions_[id].open;
        }
        ++unbalanced_;
    }
}

FunctionProfile Profiler::profile(FunctionId id) const {
    if (id >= count_) {
        return {};
    }
    const Function &function = functions_[id];
    FunctionProfile out;
    out.name = function.name;
    out.shape = function.shape;
    out.calls = function.calls;
    out.timed_calls = function.timed_calls;
    out.total_cycles = function.total_cycles;
    out.min_cycles = function.min_cycles;
    out.max_cycles = function.max_cycles;
    out.p50_cycles = percentile(function, 50);
    out.p99_cycles = percentile(function, 99);
    out.work = function.work;
    out.single_calls = function.single_calls;
    out.single_cycles = function.single_cycles;
    out.recent_cycles = function.recent_cycles;
    out.level = function.level;
    out.code_bytes = function.code_bytes;
    return out;
}

// The smallest number of ticks that `per_hundred` percent of the calls do not exceed. The calls of
// a bucket count as spread evenly over it; the result is never outside [minimum, maximum].
uint64_t Profiler::percentile(const Function &function, uint64_t per_hundred) {
    uint64_t total = 0;
    for (const uint32_t calls : function.histogram) {
        total += calls;
    }
    uint64_t left = (total * per_hundred + 99) / 100;
    for (size_t bucket = 0; bucket < kBuckets && left != 0; ++bucket) {
        const uint64_t calls = function.histogram[bucket];
        if (calls < left) {
            left -= calls;
            continue;
        }
        const uint64_t low = uint64_t{1} << bucket;
        const auto value =
            low + static_cast<uint64_t>(static_cast<unsigned __int128>(low) * left / calls);
        return std::clamp(value, function.min_cycles, function.max_cycles);
    }
    return 0;
}

void Profiler::set_level(FunctionId id, int level) {
    if (id < count_) {
        functions_[id].level = std::clamp(level, kLevelReference, kLevelCount - 1);
    }
}
void Profiler::set_code_bytes(FunctionId id, uint64_t bytes) {
    if (id < count_) {
        functions_[id].code_bytes = bytes;
    }
}
void Profiler::set_shape(FunctionId id, std::string_view shape) {
    if (id < count_) {
        functions_[id].shape = shape;
    }
}

void Profiler::clear_counters() {
    for (Function &function : functions_) {
        function.calls = 0;
        function.timed_calls = 0;
        function.total_cycles = 0;
        function.min_cycles = 0;
        function.max_cycles = 0;
        function.work = 0;
        function.single_calls = 0;
        function.single_cycles = 0;
        function.recent_cycles = 0;
        function.histogram.fill(0);
    }
    unbalanced_ = 0;
    overflowed_ = 0;
}

bool Profiler::set_thresholds(const JitThresholds &thresholds) {
    if (thresholds.warm == 0 || thresholds.warm > thresholds.hot ||
        thresholds.hot > thresholds.very_hot) {
        return false;
    }
    thresholds_ = thresholds;
    return true;
}

}  // namespace bareflow

extern "C" {

// The time is read as late as possible at the begin and as early as possible at the end, so that it
// does not include the search for the name.
void jit_profile_begin(const char *name) {
    const bareflow::FunctionId id = bareflow::the_profiler.key(name);
    bareflow::the_profiler.begin(id, bareflow::profile_ticks());
}
void jit_profile_end(const char *name) {
    const uint64_t now_ticks = bareflow::profile_ticks();
    bareflow::the_profiler.end(bareflow::the_profiler.find(name), now_ticks);
}

uint64_t jit_get_call_count(const char *name) {
    return bareflow::the_profiler.profile(bareflow::the_profiler.find(name)).calls;
}
uint64_t jit_get_avg_cycles(const char *name) {
    return bareflow::the_profiler.profile(bareflow::the_profiler.find(name)).average_cycles();
}
uint64_t jit_get_unbalanced_count(void) {
    return bareflow::the_profiler.unbalanced();
}

int jit_set_threshold(uint64_t warm, uint64_t hot, uint64_t very_hot) {
    return bareflow::the_profiler.set_thresholds({warm, hot, very_hot}) ? 0 : -1;
}
int jit_get_optimization_level(const char *name) {
    const bareflow::FunctionId id = bareflow::the_profiler.find(name);
    return id == bareflow::kNoFunction ? -1 : bareflow::the_profiler.profile(id).level;
}
}
