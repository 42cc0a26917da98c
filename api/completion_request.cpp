// One visitor checks the body while it is parsed. Nothing is allocated: texts stay where they are
// in the body. The first thing that is wrong ends the parse, and the error names its field.
//
// The fields are a table (kFields), and the numbers with a range are another one (kSettings).
// `depth_` says what an event is about:
//
//   1  a field's name or value          value()
//   2  inside an array or object        element(): prompt, stop, logit_bias, messages...
//   3  inside a message                 in_message()
//   4  inside a message's content       in_parts()
//   5  inside one part of a content     in_part()
#include "api/completion_request.h"

#include <algorithm>
#include <cstring>
#include <limits>

#include "http/json.h"

namespace bareflow::api {

namespace {

using llama::SamplingParams;

enum class Field : uint8_t {
    kUnknown,
    kModel,
    kPrompt,
    kMessages,
    kMaxTokens,
    kSetting,  // a number with a range, see kSettings
    kTopK,
    kRepeatLastN,
    kMirostat,
    kSeed,
    kStream,
    kStreamOptions,
    kStop,
    kOne,      // n, best_of
    kFalse,    // has no effect when false
    kNothing,  // has no effect when empty
    kLogprobs,
    kTopLogprobs,
    kLogitBias,
    kUser,
};

// Which route knows the field.
enum class In : uint8_t { kBoth, kCompletion, kChat };

struct FieldName {
    std::string_view name;
    Field field;
    In in = In::kBoth;
};
constexpr FieldName kFields[] = {
    {"model", Field::kModel},
    {"prompt", Field::kPrompt, In::kCompletion},
    {"messages", Field::kMessages, In::kChat},
    {"max_tokens", Field::kMaxTokens},
    {"max_completion_tokens", Field::kMaxTokens, In::kChat},
    {"temperature", Field::kSetting},
    {"top_p", Field::kSetting},
    {"min_p", Field::kSetting},
    {"typical_p", Field::kSetting},
    {"repeat_penalty", Field::kSetting},
    {"presence_penalty", Field::kSetting},
    {"frequency_penalty", Field::kSetting},
    {"mirostat_tau", Field::kSetting},
    {"mirostat_eta", Field::kSetting},
    {"top_k", Field::kTopK},
    {"repeat_last_n", Field::kRepeatLastN},
    {"mirostat", Field::kMirostat},
    {"seed", Field::kSeed},
    {"stream", Field::kStream},
    {"stream_options", Field::kStreamOptions},
    {"stop", Field::kStop},
    {"n", Field::kOne},
    {"best_of", Field::kOne, In::kCompletion},
    {"echo", Field::kFalse, In::kCompletion},
    {"suffix", Field::kNothing, In::kCompletion},
    {"tools", Field::kNothing, In::kChat},
    {"functions", Field::kNothing, In::kChat},
    {"logprobs", Field::kLogprobs},
    {"top_logprobs", Field::kTopLogprobs, In::kChat},
    {"logit_bias", Field::kLogitBias},
    {"user", Field::kUser},
};
static_assert(std::size(kFields) <= 32, "a bit for each in Visitor::seen_");

struct Setting {
    std::string_view name;
    float SamplingParams::*member;
    float low;
    float high;
    std::string_view range;
    bool above = false;  // `low` itself is not allowed
};
constexpr Setting kSettings[] = {
    {"temperature", &SamplingParams::temperature, 0, 2, "from 0 to 2"},
    {"top_p", &SamplingParams::top_p, 0, 1, "over 0 and at most 1", true},
    {"min_p", &SamplingParams::min_p, 0, 1, "from 0 to 1"},
    {"typical_p", &SamplingParams::typical_p, 0, 1, "over 0 and at most 1", true},
    {"repeat_penalty", &SamplingParams::repeat_penalty, 0, 10, "over 0 and at most 10", true},
    {"presence_penalty", &SamplingParams::presence_penalty, -2, 2, "from -2 to 2"},
    {"frequency_penalty", &SamplingParams::frequency_penalty, -2, 2, "from -2 to 2"},
    {"mirostat_tau", &SamplingParams::mirostat_tau, 0, 20, "from 0 to 20"},
    {"mirostat_eta", &SamplingParams::mirostat_eta, 0, 1, "from 0 to 1"},
};

// The answer to a completion shows at most five of the likeliest tokens.
constexpr uint32_t kMaxCompletionLogprobs = 5;
constexpr float kMaxBias = 100;

using Kind = http::JsonEvent::Kind;

class Visitor final : public http::JsonHandler {
  public:
    Visitor(std::span<char> body, const CompletionLimits &limits, CompletionRequest &out,
            TextWriter &message, http::ErrorAnswer &error)
        : body_(body), limits_(limits), out_(out), message_(message), error_(error) {}

    bool on_event(const http::JsonEvent &event) override;
    // Checks what is known only at the end. False: `error` says what is missing.
    bool finish();

  private:
    bool fail(std::string_view code);
    bool wrong(std::string_view code, std::string_view before, std::string_view what = {},
               std::string_view after = {});
    bool invalid(std::string_view before, std::string_view what = {}, std::string_view after = {}) {
        return wrong("invalid_value", before, what, after);
    }
    bool type_error(std::string_view wanted) {
        return wrong("invalid_type", " must be ", wanted, ".");
    }
    bool too_many(uint64_t most, std::string_view of_what);
    bool select(std::string_view key);
    bool value(const http::JsonEvent &event);
    bool text_value(const http::JsonEvent &event);
    bool number_value(const http::JsonEvent &event);
    bool element(const http::JsonEvent &event);
    bool add_stop(std::string_view text);
    bool add_bias(const http::JsonEvent &event);
    bool whole(const http::JsonEvent &event, uint32_t low, uint64_t high, uint32_t &to);
    bool number(const http::JsonEvent &event, const Setting &setting);
    bool seed(const http::JsonEvent &event);
    bool logprobs(const http::JsonEvent &event);
    bool only_neutral(bool neutral);

    // messages: [ { "role": "", "content": "" or [ { "type": "text", "text": "" } ] } ]
    bool begin_message(const http::JsonEvent &event);
    bool in_message(const http::JsonEvent &event);
    bool in_parts(const http::JsonEvent &event);
    bool in_part(const http::JsonEvent &event);
    bool end_message();
    bool end_part();
    void name_member(std::string_view member);
    bool add_content(std::string_view text);

    std::span<char> body_;
    const CompletionLimits &limits_;
    CompletionRequest &out_;
    TextWriter &message_;
    http::ErrorAnswer &error_;
    uint32_t depth_ = 0;
    uint32_t seen_ = 0;  // a bit for each entry of kFields
    Field field_ = Field::kUnknown;
    std::string_view name_;  // of the field or member that an error names
    bool has_prompt_ = false;
    bool has_tokens_ = false;
    std::string_view key_;  // inside an object that is a field's value

    enum class Member : uint8_t { kOther, kRole, kContent };
    enum class PartMember : uint8_t { kOther, kType, kText };
    char path_[48] = {};
    Member member_ = Member::kOther;
    bool has_role_ = false;
    bool has_content_ = false;
    PartMember part_member_ = PartMember::kOther;
    bool part_is_text_ = false;
    bool part_has_text_ = false;
};

[[gnu::noinline]] bool Visitor::wrong(std::string_view code, std::string_view before,
                                      std::string_view what, std::string_view after) {
    message_.clear();
    message_.put(name_, before, what, after);
    return fail(code);
}

bool Visitor::too_many(uint64_t most, std::string_view of_what) {
    message_.clear();
    message_.put(name_, " may have at most ", most, of_what);
    return fail("invalid_value");
}

// The message begins with the field's name.
bool Visitor::fail(std::string_view code) {
    error_ = {400, message_.view(), code, message_.view().substr(0, name_.size())};
    return false;
}

bool Visitor::on_event(const http::JsonEvent &event) {
    const bool begins = event.kind == Kind::kBeginObject || event.kind == Kind::kBeginArray;
    const bool ends = event.kind == Kind::kEndObject || event.kind == Kind::kEndArray;
    if (depth_ == 0 && event.kind != Kind::kBeginObject) {
        return wrong("invalid_json", "The body must be a JSON object.");
    }
    bool good = true;
    if (ends) {
        --depth_;
        if (field_ == Field::kMessages) {
            good = depth_ == 2 ? end_message() : depth_ == 4 ? end_part() : true;
        }
    } else if (depth_ == 1) {
        good = event.kind == Kind::kKey ? select(event.text) : value(event);
    } else if (depth_ == 2) {
        good = element(event);
    } else if (field_ == Field::kMessages) {
        good = depth_ == 3   ? in_message(event)
               : depth_ == 4 ? in_parts(event)
               : depth_ == 5 ? in_part(event)
                             : true;
    }
    depth_ += begins ? 1 : 0;
    return good;
}

bool Visitor::select(std::string_view key) {
    field_ = Field::kUnknown;
    name_ = {};
    uint32_t bit = 0;
    for (uint32_t i = 0; i < std::size(kFields); ++i) {
        const FieldName &known = kFields[i];
        if (known.name == key &&
            (known.in == In::kBoth || (known.in == In::kChat) == limits_.chat())) {
            field_ = known.field;
            name_ = known.name;
            bit = 1u << i;
        }
    }
    if ((seen_ & bit) != 0) {
        return wrong("duplicate_field", " is given twice.");
    }
    seen_ |= bit;
    return true;
}

// Doubles of at least this magnitude are whole numbers.
constexpr double kAllWhole = 4503599627370496.0;  // 2^52

bool is_whole(double number) {
    return number >= kAllWhole || number <= -kAllWhole ||
           static_cast<double>(static_cast<int64_t>(number)) == number;
}

bool Visitor::whole(const http::JsonEvent &event, uint32_t low, uint64_t high, uint32_t &to) {
    const bool is_number = event.kind == Kind::kNumber;
    if (!is_number || !event.is_integer || event.integer < low || event.integer > high) {
        const bool out_of_range = is_number && is_whole(event.number);
        message_.clear();
        if (low == high) {
            message_.put(name_, " must be ", low, ".");
        } else {
            message_.put(name_, " must be a whole number from ", low, " to ", high, ".");
        }
        return fail(out_of_range ? "invalid_value" : "invalid_type");
    }
    to = static_cast<uint32_t>(event.integer);
    return true;
}

bool Visitor::number(const http::JsonEvent &event, const Setting &setting) {
    if (event.kind != Kind::kNumber) {
        return type_error("a number");
    }
    const auto given = static_cast<float>(event.number);
    out_.sampling.*setting.member = given;
    return (event.number >= setting.low && event.number <= setting.high &&
            !(setting.above && !(given > setting.low))) ||
           invalid(" must be ", setting.range, ".");
}

bool Visitor::seed(const http::JsonEvent &event) {
    const bool is_number = event.kind == Kind::kNumber;
    if (!is_number || !event.is_integer) {
        return wrong(is_number && is_whole(event.number) ? "invalid_value" : "invalid_type",
                     " must be a whole number from 0 to 18446744073709551615.");
    }
    out_.has_seed = true;
    out_.sampling.seed = event.integer;
    return true;
}

bool Visitor::only_neutral(bool neutral) {
    return neutral || wrong("unsupported_value", " is not supported by this server.");
}

bool Visitor::logprobs(const http::JsonEvent &event) {
    if (event.kind == Kind::kBool) {
        if (event.boolean && !limits_.chat()) {
            return whole(event, 0, kMaxCompletionLogprobs, out_.sampling.top_logprobs);
        }
        out_.sampling.wants_logprobs = event.boolean;
        return true;
    }
    if (limits_.chat()) {
        return type_error("true or false");
    }
    out_.sampling.wants_logprobs = true;
    return whole(event, 0, kMaxCompletionLogprobs, out_.sampling.top_logprobs);
}

bool Visitor::value(const http::JsonEvent &event) {
    // null means "not given", everywhere.
    if (event.kind == Kind::kNull) {
        return true;
    }
    const bool is_string = event.kind == Kind::kString;
    const bool is_bool = event.kind == Kind::kBool;
    switch (field_) {
        case Field::kUnknown:
            return true;
        case Field::kModel:
        case Field::kPrompt:
        case Field::kMessages:
        case Field::kStop:
            return text_value(event);
        case Field::kStream:
            out_.stream = event.boolean;
            return is_bool || type_error("true or false");
        case Field::kFalse:
            return is_bool ? only_neutral(!event.boolean) : type_error("true or false");
        case Field::kNothing:
            return event.kind == Kind::kBeginArray || only_neutral(is_string && event.text.empty());
        case Field::kLogprobs:
            return logprobs(event);
        case Field::kLogitBias:
        case Field::kStreamOptions:
            return event.kind == Kind::kBeginObject || type_error("an object");
        case Field::kUser:
            return is_string || type_error("a string");
        default:
            return number_value(event);
    }
}

// The fields that are texts, or arrays of texts.
bool Visitor::text_value(const http::JsonEvent &event) {
    const bool is_string = event.kind == Kind::kString;
    const bool begins_array = event.kind == Kind::kBeginArray;
    switch (field_) {
        case Field::kModel:
            if (!is_string) {
                return type_error("a string");
            }
            return event.text == limits_.model_id ||
                   wrong("model_not_found", ": this server has one model, \"", limits_.model_id,
                         "\".");
        case Field::kPrompt:
            if (begins_array) {
                return true;
            }
            if (!is_string) {
                return type_error("a string, or an array of one string");
            }
            out_.prompt = event.text;
            has_prompt_ = true;
            return true;
        case Field::kMessages:
            has_prompt_ = true;
            return begins_array || type_error("an array of messages");
        default:  // kStop
            if (begins_array) {
                return true;
            }
            return is_string ? add_stop(event.text)
                             : type_error("a string, or an array of at most 4 strings");
    }
}

bool Visitor::number_value(const http::JsonEvent &event) {
    uint32_t small = 0;
    switch (field_) {
        case Field::kMaxTokens:
            has_tokens_ = true;
            return whole(event, 1, limits_.max_tokens, out_.max_tokens);
        case Field::kTopK:
            return whole(event, 0, std::numeric_limits<uint32_t>::max(), out_.sampling.top_k);
        case Field::kRepeatLastN:
            return whole(event, 0, SamplingParams::kMaxWindow, out_.sampling.repeat_last_n);
        case Field::kMirostat:
            if (!whole(event, 0, 2, small)) {
                return false;
            }
            out_.sampling.mirostat = small == 2;
            return small != 1 || wrong("unsupported_value", " must be 0 or 2 on this server.");
        case Field::kSeed:
            return seed(event);
        case Field::kOne:
            return whole(event, 1, 1, small);
        case Field::kTopLogprobs:
            return whole(event, 0, SamplingParams::kMaxLogprobs, out_.sampling.top_logprobs);
        default:  // kSetting
            for (const Setting &setting : kSettings) {
                if (setting.name == name_) {
                    return number(event, setting);
                }
            }
            return true;
    }
}

// Inside an array or object that is the value of a field.
bool Visitor::element(const http::JsonEvent &event) {
    const bool is_key = event.kind == Kind::kKey;
    if (is_key) {
        key_ = event.text;
    }
    switch (field_) {
        case Field::kPrompt:
            if (event.kind != Kind::kString || has_prompt_) {
                return type_error("a string, or an array of one string");
            }
            out_.prompt = event.text;
            has_prompt_ = true;
            return true;
        case Field::kMessages:
            return begin_message(event);
        case Field::kStop:
            return event.kind == Kind::kString
                       ? add_stop(event.text)
                       : type_error("a string, or an array of at most 4 strings");
        case Field::kLogitBias:
            return is_key || add_bias(event);
        case Field::kStreamOptions:
            if (is_key || key_ != "include_usage" || event.kind == Kind::kNull) {
                return true;
            }
            out_.include_usage = event.boolean;
            return event.kind == Kind::kBool || type_error("an object with true or false in it");
        case Field::kNothing:
            return only_neutral(false);
        default:
            return true;
    }
}

bool Visitor::add_stop(std::string_view text) {
    if (out_.stop_count == CompletionRequest::kMaxStops) {
        return invalid(" may have at most 4 strings.");
    }
    if (text.empty() || text.size() > CompletionRequest::kMaxStopBytes) {
        return invalid(": a stop string must have 1 to 64 bytes.");
    }
    out_.stops[out_.stop_count++] = text;
    return true;
}

bool Visitor::add_bias(const http::JsonEvent &event) {
    uint64_t token = 0;
    bool good = !key_.empty() && key_.size() <= 9;
    for (const char c : key_) {
        good = good && c >= '0' && c <= '9';
        token = token * 10 + static_cast<uint64_t>(c - '0');
    }
    if (!good) {
        return invalid(": its keys must be numbers of tokens.");
    }
    if (event.kind != Kind::kNumber) {
        return wrong("invalid_type", ": its values must be numbers.");
    }
    if (event.number < -kMaxBias || event.number > kMaxBias) {
        return invalid(": its values must be from -100 to 100.");
    }
    SamplingParams &sampling = out_.sampling;
    if (sampling.logit_bias_count == SamplingParams::kMaxBiases) {
        return too_many(SamplingParams::kMaxBiases, " tokens.");
    }
    sampling.logit_biases[sampling.logit_bias_count++] = {static_cast<llama::Token>(token),
                                                          static_cast<float>(event.number)};
    return true;
}

// ------------------------------------------------------------------ messages

void Visitor::name_member(std::string_view member) {
    TextWriter path(path_);
    path.put("messages[", out_.message_count, "]", member);
    name_ = path.view();
}

bool Visitor::begin_message(const http::JsonEvent &event) {
    if (out_.message_count == limits_.messages.size()) {
        name_ = "messages";
        return too_many(limits_.messages.size(), " messages.");
    }
    name_member({});
    limits_.messages[out_.message_count] = {};
    has_role_ = false;
    has_content_ = false;
    return event.kind == Kind::kBeginObject || type_error("an object");
}

bool Visitor::in_message(const http::JsonEvent &event) {
    ChatMessage &message = limits_.messages[out_.message_count];
    if (event.kind == Kind::kKey) {
        member_ = event.text == "role"      ? Member::kRole
                  : event.text == "content" ? Member::kContent
                                            : Member::kOther;
        name_member(member_ == Member::kRole      ? ".role"
                    : member_ == Member::kContent ? ".content"
                                                  : "");
        const bool twice = member_ == Member::kRole ? has_role_ : has_content_;
        return member_ == Member::kOther || !twice || wrong("duplicate_field", " is given twice.");
    }
    switch (member_) {
        case Member::kOther:
            return true;
        case Member::kRole:
            for (const ChatRole role : {ChatRole::kSystem, ChatRole::kUser, ChatRole::kAssistant}) {
                if (event.kind == Kind::kString && event.text == chat_role_name(role)) {
                    message.role = role;
                    has_role_ = true;
                    return true;
                }
            }
            return wrong(event.kind == Kind::kString ? "invalid_value" : "invalid_type",
                         " must be \"system\", \"user\" or \"assistant\".");
        case Member::kContent:
            has_content_ = true;
            if (event.kind == Kind::kString) {
                message.content = event.text;
                return true;
            }
            return event.kind == Kind::kBeginArray ||
                   type_error("a string, or an array of text parts");
    }
    return true;
}

bool Visitor::in_parts(const http::JsonEvent &event) {
    if (member_ != Member::kContent) {
        return true;
    }
    part_is_text_ = false;
    part_has_text_ = false;
    return event.kind == Kind::kBeginObject || type_error("a string, or an array of text parts");
}

bool Visitor::in_part(const http::JsonEvent &event) {
    if (member_ != Member::kContent) {
        return true;
    }
    if (event.kind == Kind::kKey) {
        part_member_ = event.text == "type"   ? PartMember::kType
                       : event.text == "text" ? PartMember::kText
                                              : PartMember::kOther;
        return true;
    }
    const bool is_string = event.kind == Kind::kString;
    switch (part_member_) {
        case PartMember::kOther:
            return true;
        case PartMember::kType:
            part_is_text_ = is_string && event.text == "text";
            return part_is_text_ ||
                   wrong(is_string ? "unsupported_value" : "invalid_type",
                         ": a part's type must be \"text\", this model reads nothing else.");
        case PartMember::kText:
            if (!is_string || part_has_text_) {
                return wrong("invalid_type", ": a part's text must be one string.");
            }
            part_has_text_ = true;
            return add_content(event.text);
    }
    return true;
}

// Joins parts with a line break, in place: the bytes of the body between them were read already.
bool Visitor::add_content(std::string_view text) {
    std::string_view &content = limits_.messages[out_.message_count].content;
    if (content.data() == nullptr) {
        content = text;
        return true;
    }
    char *const end = body_.data() + (content.data() - body_.data()) + content.size();
    *end = '\n';
    std::memmove(end + 1, text.data(), text.size());
    content = {content.data(), content.size() + 1 + text.size()};
    return true;
}

bool Visitor::end_part() {
    return member_ != Member::kContent || (part_is_text_ && part_has_text_) ||
           wrong("missing_field", ": a part needs \"type\":\"text\" and a text.");
}

bool Visitor::end_message() {
    if (!has_role_ || !has_content_) {
        name_member(has_role_ ? ".content" : ".role");
        return wrong("missing_field", " is missing.");
    }
    ++out_.message_count;
    return true;
}

bool Visitor::finish() {
    const bool chat = limits_.chat();
    name_ = chat ? "messages" : "prompt";
    if (!has_prompt_) {
        return wrong("missing_field", chat ? " is missing: it must be an array of messages."
                                           : " is missing: it must be a string.");
    }
    if (chat && out_.message_count == 0) {
        return invalid(" must have at least one message.");
    }
    if (chat && !out_.sampling.wants_logprobs && out_.sampling.top_logprobs > 0) {
        name_ = "top_logprobs";
        return invalid(" needs \"logprobs\": true.");
    }
    if (!has_tokens_) {
        // A chat's answer ends by itself. A text may never end, so it gets a limit.
        out_.max_tokens = chat ? limits_.max_tokens
                               : std::min(CompletionRequest::kDefaultTokens, limits_.max_tokens);
    }
    return true;
}

}  // namespace

bool parse_completion_request(std::span<char> body, const CompletionLimits &limits,
                              CompletionRequest &out, TextWriter &message,
                              http::ErrorAnswer &error) {
    out = {};
    if (body.empty()) {
        error = {400, "The body is empty; it must be a JSON object.", "invalid_json"};
        return false;
    }
    Visitor visitor(body, limits, out, message, error);
    const http::JsonResult result = http::parse_json(body, visitor);
    if (result.stopped) {
        return false;
    }
    if (!result.ok) {
        message.clear();
        message.put("The body is not valid JSON: ", result.message, " (at byte ",
                    result.offset_bytes, ").");
        error = {400, message.view(), "invalid_json"};
        return false;
    }
    return visitor.finish();
}

}  // namespace bareflow::api
