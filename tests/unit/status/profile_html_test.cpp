#include "status/profile.h"

#include <gtest/gtest.h>

#include "tests/unit/status/fake_snapshot.h"

namespace bareflow::status {
namespace {

TEST(ProfileHtml, HtmlEscapesWhatComesFromOutside) {
    Awkward source;
    source.nasty = "<script>alert(1)</script>\"&";
    source.names.assign(256, "<img src=x>");
    const std::string page = render(render_profile_html, source);
    EXPECT_EQ(page.find("<script>alert"), std::string::npos);
    EXPECT_EQ(page.find("<img"), std::string::npos);
    EXPECT_NE(page.find("&lt;img src=x&gt;"), std::string::npos);
    EXPECT_TRUE(page.ends_with("</html>\n"));
}

TEST(ProfileHtml, HtmlIsWholeWithTheWorstValues) {
    Awkward source;
    const std::string page = render(render_profile_html, source);
    EXPECT_TRUE(page.ends_with("</html>\n"));
    EXPECT_NE(page.find("f255"), std::string::npos);
}

TEST(ProfileHtml, TheTimelineIsAChart) {
    Awkward source;
    source.points = {{.end_s = 1, .took_s = 1, .tokens = 10, .promotions = 0},
                     {.end_s = 2, .took_s = 1, .tokens = 40, .promotions = 3},
                     {.end_s = 4, .took_s = 2, .tokens = 40, .promotions = 0}};
    const std::string page = render(render_profile_html, source);
    // x is time; y is speed, upside down.
    EXPECT_NE(page.find("points=\"252,121 500,4 996,82 \""), std::string::npos) << page;
    EXPECT_NE(page.find("d=\"M500 162v14\""), std::string::npos);
    EXPECT_NE(page.find("20.0 tokens/s now, after 4 s of making text; at most 40.0."),
              std::string::npos);
    EXPECT_EQ(occurrences(page, "</svg>"), 1u);
    source.points.clear();
    EXPECT_EQ(render(render_profile_html, source).find("<svg"), std::string::npos);
}

TEST(ProfileHtml, CandidatesHaveTheNameOfTheFunctionWithTheirNumber) {
    Awkward source;
    source.functions = 0;
    source.names[7] = "seven";
    source.tried = 7;
    EXPECT_EQ(occurrences(render(render_profile_html, source), "seven"), source.tries);
    source.tried = TryRow::kNoFunction;
    EXPECT_EQ(occurrences(render(render_profile_html, source), "seven"), 0u);
}

TEST(ProfileHtml, EveryCandidateTriedIsShown) {
    for (const size_t tries : {size_t{0}, size_t{1}, size_t{40}}) {
        for (const size_t functions : {size_t{0}, size_t{2}}) {
            Awkward source;
            source.tries = tries;
            source.functions = functions;
            EXPECT_EQ(occurrences(render(render_profile_html, source), "<td>differed"), tries);
        }
    }
}

}  // namespace
}  // namespace bareflow::status
