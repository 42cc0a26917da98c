#include "http/completion_request.h"

#include <limits>

#include "http/json.h"

namespace bareflow::http {

namespace {

enum class Field : uint8_t {
    kUnknown,
    kModel,
    kPrompt,
    kMaxTokens,
    kTemperature,
    kTopP,
    kTopK,
    kSeed,
    kStream,
    kStop,
    kN,
    kBestOf,
    kEcho,
    kLogprobs,
    kSuffix,
    kPresencePenalty,
    kFrequencyPenalty,
    kLogitBias,
    kStreamOptions,
    kUser,
};

struct FieldName {
    std::string_view name;
    Field field;
};
constexpr FieldName kFields[] = {
    {"model", Field::kModel},
    {"prompt", Field::kPrompt},
    {"max_tokens", Field::kMaxTokens},
    {"temperature", Field::kTemperature},
    {"top_p", Field::kTopP},
    {"top_k", Field::kTopK},
    {"seed", Field::kSeed},
    {"stream", Field::kStream},
    {"stop", Field::kStop},
    {"n", Field::kN},
    {"best_of", Field::kBestOf},
    {"echo", Field::kEcho},
    {"logprobs", Field::kLogprobs},
    {"suffix", Field::kSuffix},
    {"presence_penalty", Field::kPresencePenalty},
    {"frequency_penalty", Field::kFrequencyPenalty},
    {"logit_bias", Field::kLogitBias},
    {"stream_options", Field::kStreamOptions},
    {"user", Field::kUser},
};

using Kind = JsonEvent::Kind;

class Visitor final : public JsonHandler {
  public:
    Visitor(const CompletionLimits &limits, CompletionRequest &out, TextWriter &message,
            ApiError &error)
        : limits_(limits), out_(out), message_(message), error_(error) {}

    bool on_event(const JsonEvent &event) override;
    [[nodiscard]] bool has_prompt() const { return has_prompt_; }

  private:
    bool fail(std::string_view code, std::string_view text);
    template <typename... Args>
    bool wrong(std::string_view code, const Args &...args) {
        message_.clear();
        message_.put(name_, args...);
        return fail(code, message_.view());
    }
    bool type_error(std::string_view wanted) {
        return wrong("invalid_type", " must be ", wanted, ".");
    }
    bool select(std::string_view key);
    bool value(const JsonEvent &event);
    bool element(const JsonEvent &event);
    bool add_stop(std::string_view text);
    bool whole(const JsonEvent &event, uint32_t low, uint64_t high, uint32_t &to);
    bool only_neutral(bool neutral);

    const CompletionLimits &limits_;
    CompletionRequest &out_;
    TextWriter &message_;
    ApiError &error_;
    uint32_t depth_ = 0;
    uint32_t seen_ = 0;  // bit per Field
    Field field_ = Field::kUnknown;
    std::string_view name_;
    bool has_prompt_ = false;
};

bool Visitor::fail(std::string_view code, std::string_view text) {
    error_ = {400, text, code, name_};
    return false;
}

bool Visitor::on_event(const JsonEvent &event) {
    const bool begins = event.kind == Kind::kBeginObject || event.kind == Kind::kBeginArray;
    const bool ends = event.kind == Kind::kEndObject || event.kind == Kind::kEndArray;
    if (depth_ == 0 && event.kind != Kind::kBeginObject) {
        return fail("invalid_json", "The body must be a JSON object.");
    }
    bool good = true;
    if (ends) {
        --depth_;
    } else if (depth_ == 1) {
        good = event.kind == Kind::kKey ? select(event.text) : value(event);
    } else if (depth_ == 2) {
        good = element(event);
    }
    depth_ += begins ? 1 : 0;
    return good;
}

bool Visitor::select(std::string_view key) {
    field_ = Field::kUnknown;
    name_ = {};
    for (const FieldName &known : kFields) {
        if (known.name == key) {
            field_ = known.field;
            name_ = known.name;
        }
    }
    if (field_ == Field::kUnknown) {
        return true;
    }
    const uint32_t bit = 1u << static_cast<uint32_t>(field_);
    if ((seen_ & bit) != 0) {
        return wrong("duplicate_field", " is given twice.");
    }
    seen_ |= bit;
    return true;
}

// Every double from here on is a whole number.
constexpr double kAllWhole = 4503599627370496.0;  // 2^52

bool is_whole(double number) {
    return number >= kAllWhole || number <= -kAllWhole ||
           static_cast<double>(static_cast<int64_t>(number)) == number;
}

bool Visitor::whole(const JsonEvent &event, uint32_t low, uint64_t high, uint32_t &to) {
    const bool is_number = event.kind == Kind::kNumber;
    if (!is_number || !event.is_integer || event.integer < low || event.integer > high) {
        const bool out_of_range = is_number && is_whole(event.number);
        return wrong(out_of_range ? "invalid_value" : "invalid_type",
                     " must be a whole number from ", low, " to ", high, ".");
    }
    to = static_cast<uint32_t>(event.integer);
    return true;
}

bool Visitor::only_neutral(bool neutral) {
    return neutral || wrong("unsupported_value", " is not supported by this server.");
}

bool Visitor::value(const JsonEvent &event) {
    // null means "not given", everywhere.
    if (event.kind == Kind::kNull || field_ == Field::kUnknown) {
        return true;
    }
    const bool is_number = event.kind == Kind::kNumber;
    const bool is_string = event.kind == Kind::kString;
    const bool is_bool = event.kind == Kind::kBool;
    uint32_t ignored = 0;
    switch (field_) {
        case Field::kUnknown:
            return true;
        case Field::kModel:
            if (!is_string) {
                return type_error("a string");
            }
            return event.text == limits_.model_id ||
                   wrong("model_not_found", ": this server has one model, \"", limits_.model_id,
                         "\".");
        case Field::kPrompt:
            if (event.kind == Kind::kBeginArray) {
                return true;
            }
            if (!is_string) {
                return type_error("a string, or an array of one string");
            }
            out_.prompt = event.text;
            has_prompt_ = true;
            return true;
        case Field::kMaxTokens:
            return whole(event, 1, limits_.max_tokens, out_.max_tokens);
        case Field::kTemperature:
            if (!is_number) {
                return type_error("a number");
            }
            out_.temperature = static_cast<float>(event.number);
            return (event.number >= 0 && event.number <= 2) ||
                   wrong("invalid_value", " must be from 0 to 2.");
        case Field::kTopP:
            if (!is_number) {
                return type_error("a number");
            }
            out_.top_p = static_cast<float>(event.number);
            return (event.number > 0 && event.number <= 1) ||
                   wrong("invalid_value", " must be over 0 and at most 1.");
        case Field::kTopK:
            return whole(event, 0, std::numeric_limits<uint32_t>::max(), out_.top_k);
        case Field::kSeed:
            if (!is_number || !event.is_integer) {
                return wrong(is_number && is_whole(event.number) ? "invalid_value" : "invalid_type",
                             " must be a whole number from 0 to 18446744073709551615.");
            }
            out_.has_seed = true;
            out_.seed = event.integer;
            return true;
        case Field::kStream:
            out_.stream = event.boolean;
            return is_bool || type_error("true or false");
        case Field::kStop:
            if (event.kind == Kind::kBeginArray) {
                return true;
            }
            return is_string ? add_stop(event.text)
                             : type_error("a string, or an array of at most 4 strings");
        case Field::kN:
        case Field::kBestOf:
            return whole(event, 1, 1, ignored);
        case Field::kEcho:
            return is_bool ? only_neutral(!event.boolean) : type_error("true or false");
        case Field::kLogprobs:
            return is_number || is_bool ? only_neutral(is_bool && !event.boolean)
                                        : type_error("a number");
        case Field::kSuffix:
            return is_string ? only_neutral(event.text.empty()) : type_error("a string");
        case Field::kPresencePenalty:
        case Field::kFrequencyPenalty:
            return is_number ? only_neutral(event.number == 0) : type_error("a number");
        case Field::kLogitBias:
        case Field::kStreamOptions:
            return event.kind == Kind::kBeginObject || type_error("an object");
        case Field::kUser:
            return is_string || type_error("a string");
    }
    return true;
}

// Inside an array or object that is the value of a field.
bool Visitor::element(const JsonEvent &event) {
    switch (field_) {
        case Field::kPrompt:
            if (event.kind != Kind::kString || has_prompt_) {
                return type_error("a string, or an array of one string");
            }
            out_.prompt = event.text;
            has_prompt_ = true;
            return true;
        case Field::kStop:
            return event.kind == Kind::kString
                       ? add_stop(event.text)
                       : type_error("a string, or an array of at most 4 strings");
        case Field::kLogitBias:
            return only_neutral(false);
        default:
            return true;
    }
}

bool Visitor::add_stop(std::string_view text) {
    if (out_.stop_count == CompletionRequest::kMaxStops) {
        return wrong("invalid_value", " may have at most 4 strings.");
    }
    if (text.empty() || text.size() > CompletionRequest::kMaxStopBytes) {
        return wrong("invalid_value", ": a stop string must have 1 to 64 bytes.");
    }
    out_.stops[out_.stop_count++] = text;
    return true;
}

}  // namespace

bool parse_completion_request(std::span<char> body, const CompletionLimits &limits,
                              CompletionRequest &out, TextWriter &message, ApiError &error) {
    out = {};
    // The default must be within the range that is asked of everybody.
    if (out.max_tokens > limits.max_tokens) {
        out.max_tokens = limits.max_tokens;
    }
    if (body.empty()) {
        error = {400, "The body is empty; it must be a JSON object.", "invalid_json"};
        return false;
    }
    Visitor visitor(limits, out, message, error);
    const JsonResult result = parse_json(body, visitor);
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
    if (!visitor.has_prompt()) {
        error = {400, "prompt is missing: it must be a string.", "missing_field", "prompt"};
        return false;
    }
    return true;
}

}  // namespace bareflow::http
