// What a job keeps: text that the client has not taken yet, probabilities and stop strings. Long
// texts and bytes that are no text must come out as they went in.
#include "api/completion_job.h"

#include <gtest/gtest.h>

#include <string>

namespace bareflow::api {
namespace {

// All pieces of a stream, joined.
std::string take_pieces(PendingText &text) {
    std::string all;
    while (text.size() > 0) {
        const std::string_view piece = text.first_piece();
        EXPECT_LE(piece.size(), PendingText::kMaxPieceBytes);
        all += piece;
        text.drop_first_piece();
    }
    return all;
}

std::string whole(const PendingText &text) {
    std::string all;
    while (true) {
        const std::string_view piece = text.piece_at(all.size());
        if (piece.empty()) {
            return all;
        }
        EXPECT_LE(piece.size(), PendingText::kMaxPieceBytes);
        all += piece;
    }
}

TEST(PendingText, AStreamHasThePiecesThatWereAdded) {
    PendingText text;
    ASSERT_TRUE(text.add("One", true));
    ASSERT_TRUE(text.add("", true));
    ASSERT_TRUE(text.add(" two", true));
    EXPECT_EQ(text.first_piece(), "One");
    text.drop_first_piece();
    ASSERT_TRUE(text.add(" three", true));
    EXPECT_EQ(text.first_piece(), " two");
    text.drop_first_piece();
    EXPECT_EQ(text.first_piece(), " three");
    text.drop_first_piece();
    EXPECT_EQ(text.size(), 0u);
}

TEST(PendingText, LongTextsAreCutBetweenCharacters) {
    std::string expected;
    for (int i = 0; i < 1000; ++i) {
        expected += "aé€😀";
    }
    PendingText pieces;
    ASSERT_TRUE(pieces.add(expected, true));
    PendingText one;
    ASSERT_TRUE(one.add(expected, false));
    EXPECT_EQ(one.size(), expected.size());
    for (size_t at = 0; at < expected.size();) {
        const std::string_view piece = pieces.first_piece();
        EXPECT_EQ(piece, one.piece_at(at));
        EXPECT_NE(static_cast<uint8_t>(piece[0]) & 0xc0, 0x80) << at;
        at += piece.size();
        pieces.drop_first_piece();
    }
    EXPECT_EQ(whole(one), expected);
}

TEST(PendingText, BytesThatAreNoTextAreKeptToo) {
    const std::string bytes(1000, '\x80');
    PendingText text;
    ASSERT_TRUE(text.add(bytes, true));
    EXPECT_EQ(take_pieces(text), bytes);
}

// A piece that does not fit leaves nothing behind: neither a length nor a part of it.
TEST(PendingText, AtItsLimitAllThatWasKeptIsReadable) {
    const std::string piece(PendingText::kMaxPieceBytes, 'x');
    PendingText text;
    size_t added = 0;
    while (text.add(piece, true)) {
        ++added;
        ASSERT_LT(added, PendingText::kMaxBytes);
    }
    EXPECT_GT(added * piece.size(), PendingText::kMaxBytes / 4);
    EXPECT_EQ(text.size(), added * (piece.size() + 2));
    EXPECT_EQ(take_pieces(text).size(), added * piece.size());
    EXPECT_TRUE(text.add(piece, true)) << "there is room again";
}

TEST(PendingText, ReservedMemoryHoldsNothing) {
    PendingText text;
    text.reserve(10'000);
    EXPECT_EQ(text.size(), 0u);
    text.reserve(PendingText::kMaxBytes * 2);  // more than there may be: ignored
    ASSERT_TRUE(text.add("x", false));
    EXPECT_EQ(whole(text), "x");
}

TEST(JobLogprobs, EntriesHaveTokenPlaceAndTheLikeliest) {
    JobLogprobs kept;
    kept.start(2);
    const llama::TokenLogprob first[] = {{7, -1.0f}, {8, -0.5f}, {7, -1.0f}, {9, -2.0f}};
    ASSERT_TRUE(kept.add(first, "é€"));
    const llama::TokenLogprob second[] = {{5, -3.0f}};
    ASSERT_TRUE(kept.add(second, "x"));
    ASSERT_EQ(kept.count(), 2u);
    const llama::TokenLogprob *entry = kept.entry(0);
    EXPECT_EQ(entry[0].token, 7);
    EXPECT_EQ(static_cast<int>(entry[1].token), 0);
    EXPECT_EQ(entry[2].token, 8);
    EXPECT_EQ(entry[3].token, 7);
    entry = kept.entry(1);
    EXPECT_EQ(entry[0].token, 5);
    EXPECT_EQ(static_cast<int>(entry[1].token), 2) << "characters, not bytes";
    EXPECT_EQ(entry[2].token, llama::kNoToken);
    EXPECT_EQ(entry[3].token, llama::kNoToken);
}

TEST(StopStrings, AreCopied) {
    std::string a = "one";
    const std::string longest(CompletionRequest::kMaxStopBytes, 's');
    const std::string_view given[] = {a, longest};
    StopStrings stops;
    stops.copy(given);
    a = "two";
    StopStrings::Views room;
    const auto views = stops.views(room);
    ASSERT_EQ(views.size(), 2u);
    EXPECT_EQ(views[0], "one");
    EXPECT_EQ(views[1], longest);
}

}  // namespace
}  // namespace bareflow::api
