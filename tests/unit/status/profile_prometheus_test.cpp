#include "status/profile.h"

#include <gtest/gtest.h>

#include <set>
#include <string>

#include "tests/unit/status/fake_snapshot.h"

namespace bareflow::status {
namespace {

TEST(ProfilePrometheus, PrometheusHasHelpTypeAndEachSeriesOnce) {
    Awkward source;
    for (const size_t functions : {size_t{0}, size_t{256}}) {
        source.functions = functions;
        const std::string page = render(render_profile_prometheus, source);
        std::set<std::string> metrics;
        std::set<std::string> series;
        std::string type_of;
        std::string help_of;
        size_t at = 0;
        size_t samples = 0;
        while (at < page.size()) {
            const size_t end = page.find('\n', at);
            ASSERT_NE(end, std::string::npos);
            const std::string line = page.substr(at, end - at);
            at = end + 1;
            if (line.starts_with("# HELP ")) {
                help_of = line.substr(7, line.find(' ', 7) - 7);
                EXPECT_TRUE(metrics.insert(help_of).second) << "twice: " << help_of;
                continue;
            }
            if (line.starts_with("# TYPE ")) {
                type_of = line.substr(7, line.find(' ', 7) - 7);
                const bool counter = line.ends_with(" counter");
                EXPECT_EQ(counter, type_of.ends_with("_total")) << line;
                EXPECT_EQ(type_of, help_of);
                continue;
            }
            ++samples;
            const std::string name = line.substr(0, line.find_first_of("{ "));
            EXPECT_EQ(name, type_of) << "a sample under its own metric";
            EXPECT_TRUE(name.starts_with("bareflow_"));
            EXPECT_TRUE(series.insert(line.substr(0, line.rfind(' '))).second) << line;
        }
        EXPECT_EQ(samples > 1500, functions == 256);
    }
}

TEST(ProfilePrometheus, CandidatesByVerdict) {
    Awkward source;
    const std::string page = render(render_profile_prometheus, source);
    EXPECT_EQ(occurrences(page, "bareflow_jit_candidates_total{verdict="), 8u);
    EXPECT_NE(page.find("bareflow_jit_candidates_total{verdict=\"a\"} 18446744073709551615\n"),
              std::string::npos);
}

}  // namespace
}  // namespace bareflow::status
