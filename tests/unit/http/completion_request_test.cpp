#include "http/completion_request.h"

#include <gtest/gtest.h>

#include <memory>
#include <string>

namespace bareflow::http {
namespace {

struct Parsed {
    bool ok = false;
    CompletionRequest request;
    ApiError error{};
    std::string text;
    char message_bytes[256] = {};
    TextWriter message{message_bytes};
};

std::unique_ptr<Parsed> parse(const std::string &body, uint32_t max_tokens = 256) {
    auto parsed = std::make_unique<Parsed>();
    parsed->text = body;
    const CompletionLimits limits{.model_id = "stories", .max_tokens = max_tokens};
    parsed->ok = parse_completion_request({parsed->text.data(), parsed->text.size()}, limits,
                                          parsed->request, parsed->message, parsed->error);
    return parsed;
}

TEST(CompletionRequest, Defaults) {
    const auto p = parse(R"({"prompt":"Once"})");
    ASSERT_TRUE(p->ok);
    EXPECT_EQ(p->request.prompt, "Once");
    EXPECT_EQ(p->request.max_tokens, 16u);
    EXPECT_FLOAT_EQ(p->request.temperature, 0.8f);
    EXPECT_FLOAT_EQ(p->request.top_p, 0.95f);
    EXPECT_EQ(p->request.top_k, 40u);
    EXPECT_FALSE(p->request.has_seed);
    EXPECT_FALSE(p->request.stream);
    EXPECT_EQ(p->request.stop_count, 0u);
    EXPECT_EQ(parse(R"({"prompt":"x"})", 5)->request.max_tokens, 5u) << "cut to the limit";
}

TEST(CompletionRequest, EveryField) {
    const auto p = parse(R"({"model":"stories","prompt":["Once\nmore"],"max_tokens":256,
        "temperature":0,"top_p":1,"top_k":0,"seed":18446744073709551615,"stream":true,
        "stop":["a","b","c","\u00e9"],"n":1,"best_of":1,"echo":false,"logprobs":null,"suffix":"",
        "presence_penalty":0,"frequency_penalty":0.0,"logit_bias":{},"user":"me",
        "stream_options":{"include_usage":true},"metadata":{"deep":[1,{"x":[]}]},"prompts":5})");
    ASSERT_TRUE(p->ok) << p->error.message;
    EXPECT_EQ(p->request.prompt, "Once\nmore");
    EXPECT_EQ(p->request.max_tokens, 256u);
    EXPECT_EQ(p->request.temperature, 0.0f);
    EXPECT_EQ(p->request.top_p, 1.0f);
    EXPECT_EQ(p->request.top_k, 0u);
    EXPECT_TRUE(p->request.has_seed);
    EXPECT_EQ(p->request.seed, 18446744073709551615u);
    EXPECT_TRUE(p->request.stream);
    ASSERT_EQ(p->request.stop_count, 4u);
    EXPECT_EQ(p->request.stops[3], "é");
}

TEST(CompletionRequest, NullMeansNotGiven) {
    const auto p = parse(R"({"model":null,"prompt":"x","max_tokens":null,"temperature":null,
        "top_p":null,"top_k":null,"seed":null,"stream":null,"stop":null,"n":null,"echo":null,
        "logprobs":null,"user":null})");
    ASSERT_TRUE(p->ok) << p->error.message;
    EXPECT_EQ(p->request.max_tokens, 16u);
    EXPECT_FALSE(p->request.has_seed);
}

struct Bad {
    const char *body;
    const char *param;  // "" for the body as a whole
    const char *code;
};

constexpr Bad kBad[] = {
    {"", "", "invalid_json"},
    {"not json", "", "invalid_json"},
    {"{", "", "invalid_json"},
    {"[]", "", "invalid_json"},
    {"\"text\"", "", "invalid_json"},
    {"null", "", "invalid_json"},
    {"{} {}", "", "invalid_json"},
    {"{\"prompt\":\"\xff\"}", "", "invalid_json"},
    {R"({"prompt":"\ud800"})", "", "invalid_json"},
    {"{}", "prompt", "missing_field"},
    {R"({"prompt":null})", "prompt", "missing_field"},
    {R"({"prompt":[]})", "prompt", "missing_field"},
    {R"({"prompt":5})", "prompt", "invalid_type"},
    {R"({"prompt":{}})", "prompt", "invalid_type"},
    {R"({"prompt":[1,2]})", "prompt", "invalid_type"},
    {R"({"prompt":["a","b"]})", "prompt", "invalid_type"},
    {R"({"prompt":[["a"]]})", "prompt", "invalid_type"},
    {R"({"prompt":"a","prompt":"b"})", "prompt", "duplicate_field"},
    {R"({"prompt":"a","model":"gpt-4"})", "model", "model_not_found"},
    {R"({"prompt":"a","model":7})", "model", "invalid_type"},
    {R"({"prompt":"a","max_tokens":0})", "max_tokens", "invalid_value"},
    {R"({"prompt":"a","max_tokens":-1})", "max_tokens", "invalid_value"},
    {R"({"prompt":"a","max_tokens":257})", "max_tokens", "invalid_value"},
    {R"({"prompt":"a","max_tokens":99999999999999999999999})", "max_tokens", "invalid_value"},
    {R"({"prompt":"a","max_tokens":4294967297})", "max_tokens", "invalid_value"},
    {R"({"prompt":"a","max_tokens":1.5})", "max_tokens", "invalid_type"},
    {R"({"prompt":"a","max_tokens":"5"})", "max_tokens", "invalid_type"},
    {R"({"prompt":"a","max_tokens":[5]})", "max_tokens", "invalid_type"},
    {R"({"prompt":"a","temperature":-0.1})", "temperature", "invalid_value"},
    {R"({"prompt":"a","temperature":2.1})", "temperature", "invalid_value"},
    {R"({"prompt":"a","temperature":"hot"})", "temperature", "invalid_type"},
    {R"({"prompt":"a","top_p":0})", "top_p", "invalid_value"},
    {R"({"prompt":"a","top_p":1.01})", "top_p", "invalid_value"},
    {R"({"prompt":"a","top_p":true})", "top_p", "invalid_type"},
    {R"({"prompt":"a","top_k":-1})", "top_k", "invalid_value"},
    {R"({"prompt":"a","seed":-1})", "seed", "invalid_value"},
    {R"({"prompt":"a","seed":1.5})", "seed", "invalid_type"},
    {R"({"prompt":"a","seed":"x"})", "seed", "invalid_type"},
    {R"({"prompt":"a","stream":1})", "stream", "invalid_type"},
    {R"({"prompt":"a","stream":"true"})", "stream", "invalid_type"},
    {R"({"prompt":"a","stop":5})", "stop", "invalid_type"},
    {R"({"prompt":"a","stop":[5]})", "stop", "invalid_type"},
    {R"({"prompt":"a","stop":[["x"]]})", "stop", "invalid_type"},
    {R"({"prompt":"a","stop":""})", "stop", "invalid_value"},
    {R"({"prompt":"a","stop":["a","b","c","d","e"]})", "stop", "invalid_value"},
    {R"({"prompt":"a","n":2})", "n", "invalid_value"},
    {R"({"prompt":"a","n":"1"})", "n", "invalid_type"},
    {R"({"prompt":"a","echo":true})", "echo", "unsupported_value"},
    {R"({"prompt":"a","echo":"no"})", "echo", "invalid_type"},
    {R"({"prompt":"a","logprobs":3})", "logprobs", "unsupported_value"},
    {R"({"prompt":"a","suffix":"x"})", "suffix", "unsupported_value"},
    {R"({"prompt":"a","presence_penalty":1})", "presence_penalty", "unsupported_value"},
    {R"({"prompt":"a","frequency_penalty":"x"})", "frequency_penalty", "invalid_type"},
    {R"({"prompt":"a","logit_bias":{"5":1}})", "logit_bias", "unsupported_value"},
    {R"({"prompt":"a","stream_options":1})", "stream_options", "invalid_type"},
    {R"({"prompt":"a","user":1})", "user", "invalid_type"},
};

TEST(CompletionRequest, ErrorsNameTheField) {
    for (const Bad &bad : kBad) {
        const auto p = parse(bad.body);
        EXPECT_FALSE(p->ok) << bad.body;
        EXPECT_EQ(p->error.status, 400) << bad.body;
        EXPECT_EQ(p->error.param, bad.param) << bad.body;
        EXPECT_EQ(p->error.code, bad.code) << bad.body << ": " << p->error.message;
        EXPECT_TRUE(p->error.message.starts_with(bad.param)) << p->error.message;
        EXPECT_FALSE(p->message.truncated()) << bad.body;
    }
}

TEST(CompletionRequest, LongStopStringsAreRefused) {
    EXPECT_TRUE(parse(R"({"prompt":"a","stop":")" + std::string(64, 'x') + "\"}")->ok);
    EXPECT_FALSE(parse(R"({"prompt":"a","stop":")" + std::string(65, 'x') + "\"}")->ok);
}

}  // namespace
}  // namespace bareflow::http
