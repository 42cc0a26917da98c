#include "status/profile.h"

#include <gtest/gtest.h>

#include "http/json.h"
#include "tests/unit/status/fake_snapshot.h"

namespace bareflow::status {
namespace {

class Count final : public http::JsonHandler {
  public:
    int names = 0;
    std::string last_key;
    bool on_event(const http::JsonEvent &event) override {
        if (event.kind == http::JsonEvent::Kind::kKey) {
            last_key = event.text;
        }
        names += event.kind == http::JsonEvent::Kind::kString && last_key == "name" ? 1 : 0;
        return true;
    }
};

TEST(ProfileJson, JsonIsValidWithTheWorstValues) {
    Awkward source;
    for (const size_t functions : {size_t{0}, size_t{1}, size_t{256}}) {
        source.functions = functions;
        std::string page = render(render_profile_json, source);
        Count count;
        EXPECT_TRUE(http::parse_json({page.data(), page.size()}, count).ok);
        EXPECT_EQ(count.names, static_cast<int>(functions) + 2 + 24) << "cpu, model, stages";
    }
}

TEST(ProfileJson, TheTimelineIsAList) {
    Awkward source;
    source.points = {{.end_s = 1, .took_s = 1, .tokens = 10, .promotions = 0},
                     {.end_s = 2, .took_s = 1, .tokens = 40, .promotions = 3},
                     {.end_s = 4, .took_s = 2, .tokens = 40, .promotions = 0}};
    EXPECT_NE(render(render_profile_json, source)
                  .find("\"timeline\":[[1.0,10.0,0],[2.0,40.0,3],[4.0,20.0,0]]"),
              std::string::npos);
    source.points.clear();
    EXPECT_NE(render(render_profile_json, source).find("\"timeline\":[]"), std::string::npos);
}

TEST(ProfileJson, CandidatesHaveTheNameOfTheFunctionWithTheirNumber) {
    Awkward source;
    source.functions = 0;
    source.names[7] = "seven";
    source.tried = 7;
    EXPECT_EQ(occurrences(render(render_profile_json, source), "seven"), source.tries);
    source.tried = TryRow::kNoFunction;
    EXPECT_EQ(occurrences(render(render_profile_json, source), "seven"), 0u);
}

TEST(ProfileJson, EveryCandidateTriedIsShown) {
    for (const size_t tries : {size_t{0}, size_t{1}, size_t{40}}) {
        for (const size_t functions : {size_t{0}, size_t{2}}) {
            Awkward source;
            source.tries = tries;
            source.functions = functions;
            EXPECT_EQ(occurrences(render(render_profile_json, source), "\"verdict\":\"differed\""),
                      tries);
        }
    }
}

}  // namespace
}  // namespace bareflow::status
