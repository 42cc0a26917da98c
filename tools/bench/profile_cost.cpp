// Prints what a pair of jit_profile_begin and jit_profile_end costs on this machine, in TSC ticks.
// The figures are the best and the median of kRounds rounds. They are for one warm name, for nested
// pairs, and for 64 names one after the other.
// Build and run: make -C kernel_lib -f Makefile.lib profile_cost
#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdio>
#include <string>
#include <vector>

#include "kernel_lib/jit/profile.h"
#include "kernel_lib/jit_runtime.h"

namespace {

constexpr int kRounds = 501;
constexpr int kPairs = 1024;

template <typename F>
void measure(const char *what, F pair) {
    std::vector<double> cost;
    for (int round = 0; round < kRounds; ++round) {
        const uint64_t start = bareflow::profile_ticks();
        for (int i = 0; i < kPairs; ++i) {
            pair(i);
        }
        cost.push_back(static_cast<double>(bareflow::profile_ticks() - start) / kPairs);
    }
    std::sort(cost.begin(), cost.end());
    std::printf("%-22s best %6.1f  median %6.1f ticks a pair\n", what, cost.front(),
                cost[kRounds / 2]);
}

}  // namespace

int main() {
    std::array<std::string, 64> names;
    for (size_t i = 0; i < names.size(); ++i) {
        names[i] = "function number " + std::to_string(i);
    }
    measure("(two readings of TSC)", [](int) {
        const volatile uint64_t a = bareflow::profile_ticks();
        const volatile uint64_t b = bareflow::profile_ticks();
        (void)a;
        (void)b;
    });
    measure("one name", [](int) {
        jit_profile_begin("one name");
        jit_profile_end("one name");
    });
    measure("64 names", [&names](int i) {
        const char *name = names[static_cast<size_t>(i) % names.size()].c_str();
        jit_profile_begin(name);
        jit_profile_end(name);
    });
    jit_profile_begin("outer");
    measure("nested", [](int) {
        jit_profile_begin("inner");
        jit_profile_end("inner");
    });
    jit_profile_end("outer");
    const bareflow::FunctionId id = bareflow::profiler().key("by id");
    measure("ProfileScope by id", [id](int) { const bareflow::ProfileScope scope(id); });
    return jit_get_unbalanced_count() == 0 ? 0 : 1;
}
