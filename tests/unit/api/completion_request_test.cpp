// Requests parsed from JSON text: every field, its default, and the sentence for each bad value.
#include "api/completion_request.h"

#include <gtest/gtest.h>

#include <memory>
#include <string>

namespace bareflow::api {
namespace {

struct Parsed {
    bool ok = false;
    CompletionRequest request;
    http::ErrorAnswer error{};
    std::string text;
    char message_bytes[256] = {};
    TextWriter message{message_bytes};
    std::array<ChatMessage, CompletionLimits::kMaxMessages> messages;
};

std::unique_ptr<Parsed> parse(const std::string &body, uint32_t max_tokens = 256) {
    auto parsed = std::make_unique<Parsed>();
    parsed->text = body;
    const CompletionLimits limits{.model_id = "stories", .max_tokens = max_tokens};
    parsed->ok = parse_completion_request({parsed->text.data(), parsed->text.size()}, limits,
                                          parsed->request, parsed->message, parsed->error);
    return parsed;
}

std::unique_ptr<Parsed> parse_chat(const std::string &body) {
    auto parsed = std::make_unique<Parsed>();
    parsed->text = body;
    const CompletionLimits limits{
        .model_id = "stories", .max_tokens = 256, .messages = parsed->messages};
    parsed->ok = parse_completion_request({parsed->text.data(), parsed->text.size()}, limits,
                                          parsed->request, parsed->message, parsed->error);
    return parsed;
}

TEST(CompletionRequest, Defaults) {
    const auto p = parse(R"({"prompt":"Once"})");
    ASSERT_TRUE(p->ok);
    EXPECT_EQ(p->request.prompt, "Once");
    EXPECT_EQ(p->request.max_tokens, 16u);
    EXPECT_FLOAT_EQ(p->request.sampling.temperature, 0.8f);
    EXPECT_FLOAT_EQ(p->request.sampling.top_p, 0.95f);
    EXPECT_EQ(p->request.sampling.top_k, 40u);
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
    EXPECT_EQ(p->request.sampling.temperature, 0.0f);
    EXPECT_EQ(p->request.sampling.top_p, 1.0f);
    EXPECT_EQ(p->request.sampling.top_k, 0u);
    EXPECT_TRUE(p->request.has_seed);
    EXPECT_EQ(p->request.sampling.seed, 18446744073709551615u);
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
    {R"({"prompt":"a","logprobs":6})", "logprobs", "invalid_value"},
    {R"({"prompt":"a","logprobs":true})", "logprobs", "invalid_type"},
    {R"({"prompt":"a","logprobs":"x"})", "logprobs", "invalid_type"},
    {R"({"prompt":"a","suffix":"x"})", "suffix", "unsupported_value"},
    {R"({"prompt":"a","suffix":1})", "suffix", "unsupported_value"},
    {R"({"prompt":"a","presence_penalty":2.1})", "presence_penalty", "invalid_value"},
    {R"({"prompt":"a","frequency_penalty":-2.1})", "frequency_penalty", "invalid_value"},
    {R"({"prompt":"a","repeat_penalty":0})", "repeat_penalty", "invalid_value"},
    {R"({"prompt":"a","repeat_last_n":257})", "repeat_last_n", "invalid_value"},
    {R"({"prompt":"a","min_p":1.5})", "min_p", "invalid_value"},
    {R"({"prompt":"a","typical_p":0})", "typical_p", "invalid_value"},
    {R"({"prompt":"a","top_p":1e-60})", "top_p", "invalid_value"},
    {R"({"prompt":"a","mirostat":1})", "mirostat", "unsupported_value"},
    {R"({"prompt":"a","mirostat":3})", "mirostat", "invalid_value"},
    {R"({"prompt":"a","mirostat_tau":-1})", "mirostat_tau", "invalid_value"},
    {R"({"prompt":"a","mirostat_eta":"x"})", "mirostat_eta", "invalid_type"},
    {R"({"prompt":"a","frequency_penalty":"x"})", "frequency_penalty", "invalid_type"},
    {R"({"prompt":"a","logit_bias":{"x":1}})", "logit_bias", "invalid_value"},
    {R"({"prompt":"a","logit_bias":{"":1}})", "logit_bias", "invalid_value"},
    {R"({"prompt":"a","logit_bias":{"-1":1}})", "logit_bias", "invalid_value"},
    {R"({"prompt":"a","logit_bias":{"4294967296":1}})", "logit_bias", "invalid_value"},
    {R"({"prompt":"a","logit_bias":{"5":101}})", "logit_bias", "invalid_value"},
    {R"({"prompt":"a","logit_bias":{"5":"x"}})", "logit_bias", "invalid_type"},
    {R"({"prompt":"a","logit_bias":{"5":{"6":1}}})", "logit_bias", "invalid_type"},
    {R"({"prompt":"a","logit_bias":[5]})", "logit_bias", "invalid_type"},
    {R"({"prompt":"a","stream_options":1})", "stream_options", "invalid_type"},
    {R"({"prompt":"a","user":1})", "user", "invalid_type"},
};

void expect_refused(const Bad &bad, const Parsed &p) {
    EXPECT_FALSE(p.ok) << bad.body;
    EXPECT_EQ(p.error.status, 400) << bad.body;
    EXPECT_EQ(p.error.param, bad.param) << bad.body;
    EXPECT_EQ(p.error.code, bad.code) << bad.body << ": " << p.error.message;
    EXPECT_TRUE(p.error.message.starts_with(bad.param)) << p.error.message;
    EXPECT_FALSE(p.message.truncated()) << bad.body;
}

TEST(CompletionRequest, ErrorsNameTheField) {
    for (const Bad &bad : kBad) {
        expect_refused(bad, *parse(bad.body));
    }
}

TEST(CompletionRequest, Sampling) {
    const auto p = parse(R"({"prompt":"x","min_p":0.5,"typical_p":0.25,"repeat_penalty":1.5,
        "repeat_last_n":256,"presence_penalty":-2,"frequency_penalty":2,"mirostat":2,
        "mirostat_tau":3,"mirostat_eta":0.5,"logit_bias":{"5":-100,"70":1.5},"logprobs":5})");
    ASSERT_TRUE(p->ok) << p->error.message;
    const llama::SamplingParams &sampling = p->request.sampling;
    EXPECT_EQ(sampling.min_p, 0.5f);
    EXPECT_EQ(sampling.typical_p, 0.25f);
    EXPECT_EQ(sampling.repeat_penalty, 1.5f);
    EXPECT_EQ(sampling.repeat_last_n, 256u);
    EXPECT_EQ(sampling.presence_penalty, -2.0f);
    EXPECT_EQ(sampling.frequency_penalty, 2.0f);
    EXPECT_TRUE(sampling.mirostat);
    EXPECT_EQ(sampling.mirostat_tau, 3.0f);
    EXPECT_EQ(sampling.mirostat_eta, 0.5f);
    ASSERT_EQ(sampling.logit_bias_count, 2u);
    EXPECT_EQ(sampling.logit_biases[0].token, 5);
    EXPECT_EQ(sampling.logit_biases[0].bias, -100.0f);
    EXPECT_EQ(sampling.logit_biases[1].token, 70);
    EXPECT_TRUE(sampling.wants_logprobs);
    EXPECT_EQ(sampling.top_logprobs, 5u);
    EXPECT_FALSE(
        parse(R"({"prompt":"x","mirostat":0,"logprobs":false})")->request.sampling.mirostat);
    std::string biases = "\"0\":1";
    for (int i = 1; i < 32; ++i) {
        biases += ",\"" + std::to_string(i) + "\":1";
    }
    EXPECT_TRUE(parse("{\"prompt\":\"x\",\"logit_bias\":{" + biases + "}}")->ok);
    EXPECT_FALSE(parse("{\"prompt\":\"x\",\"logit_bias\":{" + biases + ",\"32\":1}}")->ok);
}

TEST(ChatRequest, Messages) {
    const auto p = parse_chat(R"({"messages":[
        {"role":"system","content":"Be \"brief\"."},
        {"content":[{"type":"text","text":"one\n"},{"text":"tw\u006f","type":"text"},
                    {"type":"text","text":""}],"role":"user","name":"me"},
        {"role":"assistant","content":"","tool_calls":[{"deep":[{"type":5}]}]},
        {"role":"user","content":[]}],"max_completion_tokens":7,"stream":true,
        "stream_options":{"include_usage":true},"logprobs":true,"top_logprobs":20,
        "tools":[],"tool_choice":"none","response_format":{"type":"text"}})");
    ASSERT_TRUE(p->ok) << p->error.message;
    ASSERT_EQ(p->request.message_count, 4u);
    EXPECT_EQ(p->messages[0].role, ChatRole::kSystem);
    EXPECT_EQ(p->messages[0].content, "Be \"brief\".");
    EXPECT_EQ(p->messages[1].role, ChatRole::kUser);
    EXPECT_EQ(p->messages[1].content, "one\n\ntwo\n");
    EXPECT_EQ(p->messages[2].role, ChatRole::kAssistant);
    EXPECT_EQ(p->messages[2].content, "");
    EXPECT_EQ(p->messages[3].content, "");
    EXPECT_EQ(p->request.max_tokens, 7u);
    EXPECT_TRUE(p->request.include_usage);
    EXPECT_EQ(p->request.sampling.top_logprobs, 20u);
    EXPECT_EQ(parse_chat(R"({"messages":[{"role":"user","content":"x"}]})")->request.max_tokens,
              256u)
        << "as long as it gets";
}

constexpr Bad kBadChats[] = {
    {"{}", "messages", "missing_field"},
    {R"({"prompt":"x"})", "messages", "missing_field"},
    {R"({"messages":null})", "messages", "missing_field"},
    {R"({"messages":[]})", "messages", "invalid_value"},
    {R"({"messages":"x"})", "messages", "invalid_type"},
    {R"({"messages":{"role":"user"}})", "messages", "invalid_type"},
    {R"({"messages":["x"]})", "messages[0]", "invalid_type"},
    {R"({"messages":[[]]})", "messages[0]", "invalid_type"},
    {R"({"messages":[{}]})", "messages[0].role", "missing_field"},
    {R"({"messages":[{"role":"user","content":"x"},null]})", "messages[1]", "invalid_type"},
    {R"({"messages":[{"role":"user","content":"x"},{"role":"user"}]})", "messages[1].content",
     "missing_field"},
    {R"({"messages":[{"role":"user","content":"x"},{"content":"x"}]})", "messages[1].role",
     "missing_field"},
    {R"({"messages":[{"role":"tool","content":"x"}]})", "messages[0].role", "invalid_value"},
    {R"({"messages":[{"role":5,"content":"x"}]})", "messages[0].role", "invalid_type"},
    {R"({"messages":[{"role":["user"],"content":"x"}]})", "messages[0].role", "invalid_type"},
    {R"({"messages":[{"role":"user","role":"user","content":"x"}]})", "messages[0].role",
     "duplicate_field"},
    {R"({"messages":[{"role":"user","content":"x","content":"x"}]})", "messages[0].content",
     "duplicate_field"},
    {R"({"messages":[{"role":"user","content":null}]})", "messages[0].content", "invalid_type"},
    {R"({"messages":[{"role":"user","content":{}}]})", "messages[0].content", "invalid_type"},
    {R"({"messages":[{"role":"user","content":["x"]}]})", "messages[0].content", "invalid_type"},
    {R"({"messages":[{"role":"user","content":[{}]}]})", "messages[0].content", "missing_field"},
    {R"({"messages":[{"role":"user","content":[{"type":"image_url","image_url":{}}]}]})",
     "messages[0].content", "unsupported_value"},
    {R"({"messages":[{"role":"user","content":[{"type":"text","text":5}]}]})",
     "messages[0].content", "invalid_type"},
    {R"({"messages":[{"role":"user","content":[{"type":"text","text":"a","text":"b"}]}]})",
     "messages[0].content", "invalid_type"},
    {R"({"messages":[{"role":"user","content":"x"}],"logprobs":3})", "logprobs", "invalid_type"},
    {R"({"messages":[{"role":"user","content":"x"}],"top_logprobs":3})", "top_logprobs",
     "invalid_value"},
    {R"({"messages":[{"role":"user","content":"x"}],"logprobs":true,"top_logprobs":21})",
     "top_logprobs", "invalid_value"},
    {R"({"messages":[{"role":"user","content":"x"}],"tools":[{"type":"function"}]})", "tools",
     "unsupported_value"},
    {R"({"messages":[{"role":"user","content":"x"}],"stream_options":{"include_usage":1}})",
     "stream_options", "invalid_type"},
    {R"({"messages":[{"role":"user","content":"x"}],"max_completion_tokens":0})",
     "max_completion_tokens", "invalid_value"},
};

TEST(ChatRequest, ErrorsNameTheField) {
    for (const Bad &bad : kBadChats) {
        expect_refused(bad, *parse_chat(bad.body));
    }
}

TEST(ChatRequest, ThereIsAMostOfMessages) {
    std::string list = R"({"role":"user","content":"x"})";
    std::string all = list;
    for (size_t i = 1; i < CompletionLimits::kMaxMessages; ++i) {
        all += "," + list;
    }
    EXPECT_TRUE(parse_chat("{\"messages\":[" + all + "]}")->ok);
    const auto p = parse_chat("{\"messages\":[" + all + "," + list + "]}");
    EXPECT_FALSE(p->ok);
    EXPECT_EQ(p->error.param, "messages");
}

TEST(CompletionRequest, LongStopStringsAreRefused) {
    EXPECT_TRUE(parse(R"({"prompt":"a","stop":")" + std::string(64, 'x') + "\"}")->ok);
    EXPECT_FALSE(parse(R"({"prompt":"a","stop":")" + std::string(65, 'x') + "\"}")->ok);
}

}  // namespace
}  // namespace bareflow::api
