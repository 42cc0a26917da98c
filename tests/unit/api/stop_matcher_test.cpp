// Stop strings in texts that come in pieces, also random ones, compared with a search of the whole
// text.
#include "api/stop_matcher.h"

#include <gtest/gtest.h>

#include <random>
#include <string>
#include <vector>

namespace bareflow::api {
namespace {

struct Shown {
    std::string text;
    bool matched = false;
};

Shown run(const std::vector<std::string> &pieces, const std::vector<std::string> &stops) {
    static StopMatcher matcher;  // static: shows that reset() forgets
    std::vector<std::string_view> views(stops.begin(), stops.end());
    matcher.reset(views);
    Shown shown;
    for (const std::string &piece : pieces) {
        shown.text += matcher.put(piece);
    }
    shown.matched = matcher.matched();
    shown.text += matcher.finish();
    return shown;
}

TEST(StopMatcher, NothingToFind) {
    const Shown shown = run({"abc", "", "def"}, {});
    EXPECT_EQ(shown.text, "abcdef");
    EXPECT_FALSE(shown.matched);
}

TEST(StopMatcher, InsideOnePieceAndAcrossBorders) {
    EXPECT_EQ(run({"one STOP two"}, {"STOP"}).text, "one ");
    EXPECT_EQ(run({"one ST", "OP two", "three"}, {"STOP"}).text, "one ");
    EXPECT_EQ(run({"one ", "S", "T", "O", "P", "x"}, {"STOP"}).text, "one ");
    EXPECT_EQ(run({"one STO", "NE STOP"}, {"STOP"}).text, "one STONE ");
    EXPECT_EQ(run({"aaa", "ab"}, {"aab"}).text, "aa");
}

TEST(StopMatcher, HoldsBackOnlyWhatMayBecomeAStop) {
    StopMatcher matcher;
    const std::string_view stops[] = {"\n\n"};
    matcher.reset(stops);
    EXPECT_EQ(matcher.put("line\n"), "line");
    EXPECT_EQ(matcher.put("next"), "\nnext");
    EXPECT_EQ(matcher.put("\n"), "");
    EXPECT_EQ(matcher.finish(), "\n");
}

TEST(StopMatcher, TheOneThatIsCompleteFirstWins) {
    EXPECT_EQ(run({"x. Then y! End"}, {"!", "."}).text, "x");
    EXPECT_EQ(run({"ab", "cd"}, {"cd", "bc"}).text, "a");
    EXPECT_EQ(run({"abcd"}, {"abcd", "bc"}).text, "a");
    EXPECT_EQ(run({"abcd"}, {"cd", "bcd"}).text, "a");
}

TEST(StopMatcher, NothingComesAfterAMatch) {
    StopMatcher matcher;
    const std::string_view stops[] = {"b"};
    matcher.reset(stops);
    EXPECT_EQ(matcher.put("abc"), "a");
    EXPECT_EQ(matcher.put("more"), "");
    EXPECT_EQ(matcher.finish(), "");
    EXPECT_TRUE(matcher.matched());
}

// Compared with a search of the whole text.
TEST(StopMatcher, AgreesWithASearchOfTheWholeText) {
    std::mt19937 random(7);
    for (int round = 0; round < 3000; ++round) {
        std::vector<std::string> stops(random() % 4);
        for (std::string &stop : stops) {
            stop.resize(1 + random() % 4);
            for (char &c : stop) {
                c = static_cast<char>('a' + random() % 3);
            }
        }
        std::vector<std::string> pieces(random() % 12);
        std::string whole;
        for (std::string &piece : pieces) {
            piece.resize(random() % 5);
            for (char &c : piece) {
                c = static_cast<char>('a' + random() % 3);
            }
            whole += piece;
        }
        // Letter by letter. At the first letter where a stop is complete, the longest one wins.
        std::string expected = whole;
        bool found = false;
        for (size_t end = 1; end <= whole.size() && !found; ++end) {
            for (const std::string &stop : stops) {
                if (whole.substr(0, end).ends_with(stop) && end - stop.size() < expected.size()) {
                    expected = whole.substr(0, end - stop.size());
                    found = true;
                }
            }
        }
        const Shown shown = run(pieces, stops);
        EXPECT_EQ(shown.text, expected);
        EXPECT_EQ(shown.matched, found);
    }
}

}  // namespace
}  // namespace bareflow::api
