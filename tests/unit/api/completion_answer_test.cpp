// Whole and streamed answers, written piece by piece: JSON, events, probabilities and errors. Each
// piece is asked for again when it did not fit, as a connection does.
#include "api/completion_answer.h"

#include <gtest/gtest.h>

#include <string>

#include "tests/unit/api/fake_generator.h"

namespace bareflow::api {
namespace {

using Piece = http::AnswerSource::Piece;

class CompletionAnswerTest : public ::testing::Test {
  protected:
    void SetUp() override {
        generator_.script = {"One", "\"two\""};
        job_.asked.id = 0x2a;
        job_.asked.created_s = 1000;
        job_.asked.sampling.seed = 7;
        job_.summary = {.prompt_tokens = 3,
                        .cached_tokens = 1,
                        .completion_tokens = 2,
                        .prompt_ms = 1.5,
                        .decode_ms = 2.25,
                        .tokens_per_second = 10,
                        .finish = FinishKind::kLength};
    }
    void add(std::string_view text) { ASSERT_TRUE(job_.text.add(text, job_.asked.stream)); }
    // All pieces until the end or a wait. Each is asked for again when it does not fit at first,
    // as a connection does.
    std::string write() {
        std::string all;
        for (int i = 0; i < 10'000; ++i) {
            char small[60];
            char large[http::Exchange::kMaxPieceBytes];
            TextWriter out(small);
            const http::Cursor before = cursor_;
            Piece piece = write_answer(job_, generator_, cursor_, out);
            if (out.truncated()) {
                cursor_ = before;
                out = TextWriter(large);
                piece = write_answer(job_, generator_, cursor_, out);
                EXPECT_FALSE(out.truncated());
            }
            all += out.view();
            if (piece != Piece::kMore) {
                ended_ = piece == Piece::kEnd;
                return all;
            }
        }
        ADD_FAILURE() << "the answer never ends";
        return all;
    }

    FakeGenerator generator_;
    Job job_;
    http::Cursor cursor_;
    bool ended_ = false;
};

const std::string kUsageText =
    R"("usage":{"prompt_tokens":3,"completion_tokens":2,"total_tokens":5,)"
    R"("prompt_tokens_details":{"cached_tokens":1}})";
const std::string kFiguresText =
    R"("bareflow":{"seed":7,"cached_tokens":1,"prompt_ms":1.500,"decode_ms":2.250,)"
    R"("tokens_per_second":10.00})";

TEST_F(CompletionAnswerTest, WholeCompletion) {
    add("a\n");
    add("\"b\"");
    job_.done = true;
    const std::string expected =
        R"({"id":"cmpl-000000000000002a","object":"text_completion","created":1000,)"
        R"("model":"fake","choices":[{"index":0,"text":"a\n\"b\"","logprobs":null,)"
        R"("finish_reason":"length"}],)" +
        kUsageText + "," + kFiguresText + "}\n";
    EXPECT_EQ(answer_bytes(job_, generator_), expected.size());
    EXPECT_EQ(write(), expected);
    EXPECT_TRUE(ended_);
}

TEST_F(CompletionAnswerTest, WholeChat) {
    job_.asked.chat = true;
    job_.summary.finish = FinishKind::kStop;
    add("hi");
    job_.done = true;
    EXPECT_EQ(write(),
              R"({"id":"chatcmpl-000000000000002a","object":"chat.completion","created":1000,)"
              R"("model":"fake","choices":[{"index":0,"message":{"role":"assistant",)"
              R"("content":"hi"},"logprobs":null,"finish_reason":"stop"}],)" +
                  kUsageText + "," + kFiguresText + "}\n");
}

TEST_F(CompletionAnswerTest, LongTextsAreWrittenInPiecesOfTheSameLength) {
    std::string text;
    for (int i = 0; i < 500; ++i) {
        text += "é\x01";
    }
    add(text);
    job_.done = true;
    const std::string answer = write();
    EXPECT_EQ(answer.size(), answer_bytes(job_, generator_));
    std::string escaped;
    for (int i = 0; i < 500; ++i) {
        escaped += "é\\u0001";
    }
    EXPECT_NE(answer.find("\"text\":\"" + escaped + "\""), std::string::npos);
}

TEST_F(CompletionAnswerTest, AStreamHasOneEventForEachPieceAndOneToClose) {
    job_.asked.stream = true;
    add("One");
    add("\"two\"");
    const std::string head =
        R"(data: {"id":"cmpl-000000000000002a","object":"text_completion","created":1000,)"
        R"("model":"fake","choices":[{"index":0,"text":")";
    const std::string end = R"(","logprobs":null,"finish_reason":null}]})"
                            "\n\n";
    EXPECT_EQ(write(), head + "One" + end + head + R"(\"two\")" + end);
    EXPECT_FALSE(ended_) << "waits for more text";
    EXPECT_EQ(job_.text.size(), 0u);
    job_.done = true;
    EXPECT_EQ(write(), head + R"(","logprobs":null,"finish_reason":"length"}],)" + kUsageText +
                           "," + kFiguresText + "}\n\ndata: [DONE]\n\n");
    EXPECT_TRUE(ended_);
}

TEST_F(CompletionAnswerTest, AStreamedChatBeginsWithItsRoleAndMayEndWithItsUsage) {
    job_.asked.stream = true;
    job_.asked.chat = true;
    job_.asked.include_usage = true;
    add("hi");
    job_.done = true;
    const std::string head =
        R"(data: {"id":"chatcmpl-000000000000002a","object":"chat.completion.chunk",)"
        R"("created":1000,"model":"fake","choices":[)";
    EXPECT_EQ(write(),
              head +
                  R"({"index":0,"delta":{"role":"assistant","content":""},)"
                  R"("logprobs":null,"finish_reason":null}]})"
                  "\n\n" +
                  head +
                  R"({"index":0,"delta":{"content":"hi"},"logprobs":null,)"
                  R"("finish_reason":null}]})"
                  "\n\n" +
                  head + R"({"index":0,"delta":{},"logprobs":null,"finish_reason":"length"}],)" +
                  kFiguresText + "}\n\n" + head + "]," + kUsageText + "}\n\ndata: [DONE]\n\n");
}

TEST_F(CompletionAnswerTest, AStreamWithoutMemorySaysSo) {
    job_.asked.stream = true;
    job_.done = true;
    job_.failed = true;
    EXPECT_EQ(write(),
              "data: {\"error\":{\"message\":\"There is no memory for the whole text.\","
              "\"type\":\"server_error\",\"param\":null,\"code\":\"out_of_memory\"}}\n\n"
              "data: [DONE]\n\n");
}

TEST_F(CompletionAnswerTest, ProbabilitiesAreSentOnce) {
    job_.asked.stream = true;
    job_.logprobs.start(1);
    const llama::TokenLogprob given[] = {{0, -0.5f}, {1, -0.25f}};
    ASSERT_TRUE(job_.logprobs.add(given, "One"));
    add("One");
    const std::string list = R"("logprobs":{"tokens":["One"],"token_logprobs":[-0.500000],)"
                             R"("top_logprobs":[{"\"two\"":-0.250000}],"text_offset":[0]})";
    EXPECT_NE(write().find(list), std::string::npos);
    EXPECT_EQ(job_.logprobs.sent(), 1u);
    job_.done = true;
    EXPECT_NE(write().find("\"logprobs\":null"), std::string::npos);
}

TEST_F(CompletionAnswerTest, ProbabilitiesBehindTheLastTextComeWithTheClosingEvent) {
    job_.asked.stream = true;
    job_.asked.chat = true;
    job_.logprobs.start(0);
    const llama::TokenLogprob given[] = {{0, -0.5f}};
    ASSERT_TRUE(job_.logprobs.add(given, ""));
    job_.done = true;
    EXPECT_NE(write().find(R"("delta":{},"logprobs":{"content":[{"token":"One",)"
                           R"("bytes":[79,110,101],"logprob":-0.500000,"top_logprobs":[]}]},)"
                           R"("finish_reason":"length")"),
              std::string::npos);
}

}  // namespace
}  // namespace bareflow::api
