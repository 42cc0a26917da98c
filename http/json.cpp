// JSON text from outside: every text must be safe, however it is nested or escaped. RapidJSON does
// the grammar, without recursion. This file bounds the depth, gives the reader one fixed block of
// memory, checks UTF-8 before and after escapes, and converts numbers.
#include "http/json.h"

#include <algorithm>
#include <array>
#include <cstddef>
#include <limits>

#include "kernel_lib/base/utf8.h"
#include "kernel_lib/platform/platform.h"

// RapidJSON, in a program without exceptions, operator new and iostream. Its assertions
// are about its own state, never about the text.
#define RAPIDJSON_ASSERT(condition) \
    ((condition) ? static_cast<void>(0) : ::bareflow::platform::panic("rapidjson: " #condition))
#define RAPIDJSON_NEW(x) nullptr
#define RAPIDJSON_DELETE(x) static_cast<void>(x)
// Its stack compares null + n before it has memory: harmless, but undefined, and reported.
#pragma clang attribute push(__attribute__((no_sanitize("pointer-overflow"))), apply_to = function)
#include "rapidjson/reader.h"
#pragma clang attribute pop

namespace bareflow::http {

namespace {

// The reader's stack in one fixed block. It holds two 32-bit values for each open object or array.
// The handler below limits the depth, so the block never has to grow. A nullptr would be a wild
// write in the reader, hence the panic.
class StackBlock {
  public:
    static constexpr size_t kBytes = 16 * (kMaxJsonDepth + 2);

    void *Malloc(size_t) { platform::panic("json: the reader asked for memory"); }
    void *Realloc(void *old, size_t, size_t bytes) {
        if (old != nullptr || bytes > kBytes) {
            platform::panic("json: the reader's stack grew past its block");
        }
        return block_.data();
    }
    static void Free(void *) {}

  private:
    alignas(8) std::array<std::byte, kBytes> block_;
};

// Converts a number that the reader found to be well formed. Whole numbers up to 2^64-1 are exact,
// others have about 15 digits, enough for settings. False: not finite as a double.
bool parse_json_number(std::string_view text, JsonEvent &event) {
    const bool negative = text.starts_with('-');
    text.remove_prefix(negative ? 1 : 0);
    uint64_t digits = 0;
    int exponent = 0;  // of ten
    bool whole = true;
    bool exact = true;
    bool after_point = false;
    size_t at = 0;
    for (; at < text.size() && text[at] != 'e' && text[at] != 'E'; ++at) {
        if (text[at] == '.') {
            whole = false;
            after_point = true;
            continue;
        }
        const auto digit = static_cast<uint64_t>(text[at] - '0');
        if (digits > (~uint64_t{0} - digit) / 10) {
            exact = false;  // from here on, digits count only for the magnitude
        }
        if (exact) {
            digits = digits * 10 + digit;
        }
        exponent += (exact ? 0 : 1) - (after_point ? 1 : 0);
    }
    if (at < text.size()) {
        whole = false;
        ++at;
        const bool minus = text[at] == '-';
        at += text[at] == '-' || text[at] == '+' ? 1 : 0;
        int value = 0;
        for (; at < text.size(); ++at) {
            value = std::min(value * 10 + (text[at] - '0'), 100'000);
        }
        exponent += minus ? -value : value;
    }
    double number = static_cast<double>(digits);
    for (; exponent > 0 && number != 0 && number < 1e308; --exponent) {
        number *= 10;
    }
    for (; exponent < 0 && number != 0; ++exponent) {
        number /= 10;
    }
    if (number > std::numeric_limits<double>::max() || (exponent > 0 && number != 0)) {
        return false;
    }
    event.is_integer = whole && exact && (!negative || digits == 0);
    event.integer = event.is_integer ? digits : 0;
    event.number = negative ? -number : number;
    return true;
}

// RapidJSON's handler: makes a JsonEvent of each call.
class Bridge {
  public:
    explicit Bridge(JsonHandler &handler) : handler_(handler) {}

    using Kind = JsonEvent::Kind;
    bool Null() { return handler_.on_event({.kind = Kind::kNull}); }
    bool Bool(bool value) { return handler_.on_event({.kind = Kind::kBool, .boolean = value}); }
    // Never called: kFlags asks for numbers as text.
    bool Int(int) { return false; }
    bool Uint(unsigned) { return false; }
    bool Int64(int64_t) { return false; }
    bool Uint64(uint64_t) { return false; }
    bool Double(double) { return false; }
    bool RawNumber(const char *text, rapidjson::SizeType len, bool) {
        JsonEvent event{.kind = Kind::kNumber};
        if (!parse_json_number({text, len}, event)) {
            refused = "a number is too big";
            return false;
        }
        return handler_.on_event(event);
    }
    bool String(const char *text, rapidjson::SizeType len, bool) {
        return put_text(Kind::kString, {text, len});
    }
    bool Key(const char *text, rapidjson::SizeType len, bool) {
        return put_text(Kind::kKey, {text, len});
    }
    bool StartObject() { return open(Kind::kBeginObject); }
    bool EndObject(rapidjson::SizeType) { return close(Kind::kEndObject); }
    bool StartArray() { return open(Kind::kBeginArray); }
    bool EndArray(rapidjson::SizeType) { return close(Kind::kEndArray); }

    std::string_view refused;  // why this bridge, not the handler, ended the parse

  private:
    bool put_text(Kind kind, std::string_view text) {
        if (!utf8_valid(text)) {  // a lone low surrogate, written as an escape
            refused = "a string has half a surrogate pair";
            return false;
        }
        return handler_.on_event({.kind = kind, .text = text});
    }
    bool open(Kind kind) {
        if (++depth_ > kMaxJsonDepth) {
            refused = "objects and arrays are nested too deeply";
            return false;
        }
        return handler_.on_event({.kind = kind});
    }
    bool close(Kind kind) {
        --depth_;
        return handler_.on_event({.kind = kind});
    }

    JsonHandler &handler_;
    uint32_t depth_ = 0;
};

std::string_view describe(rapidjson::ParseErrorCode code) {
    switch (code) {
        case rapidjson::kParseErrorDocumentEmpty:
            return "the text is empty";
        case rapidjson::kParseErrorDocumentRootNotSingular:
            return "something follows the value";
        case rapidjson::kParseErrorObjectMissName:
            return "an object's key is missing";
        case rapidjson::kParseErrorObjectMissColon:
            return "a ':' is missing";
        case rapidjson::kParseErrorObjectMissCommaOrCurlyBracket:
            return "a ',' or '}' is missing";
        case rapidjson::kParseErrorArrayMissCommaOrSquareBracket:
            return "a ',' or ']' is missing";
        case rapidjson::kParseErrorStringUnicodeEscapeInvalidHex:
        case rapidjson::kParseErrorStringEscapeInvalid:
            return "a string has an invalid escape or a control character";
        case rapidjson::kParseErrorStringUnicodeSurrogateInvalid:
            return "a string has half a surrogate pair";
        case rapidjson::kParseErrorStringMissQuotationMark:
            return "a string does not end";
        case rapidjson::kParseErrorNumberTooBig:
            return "a number is too big";
        case rapidjson::kParseErrorNumberMissFraction:
        case rapidjson::kParseErrorNumberMissExponent:
            return "a number is not complete";
        default:
            return "this is not a value";
    }
}

}  // namespace

JsonResult parse_json(std::span<char> text, JsonHandler &handler) {
    JsonResult result;
    const std::string_view view(text.data(), text.size());
    // The reader takes a NUL as the end, and copies bytes of strings unseen.
    if (const size_t nul = view.find('\0'); nul != std::string_view::npos) {
        result.offset_bytes = nul;
        result.message = "there is a NUL byte";
        return result;
    }
    if (!utf8_valid(view)) {
        result.message = "the text is not valid UTF-8";
        return result;
    }
    if (view.empty()) {
        result.message = "the text is empty";
        return result;
    }
    StackBlock block;
    rapidjson::GenericReader<rapidjson::UTF8<>, rapidjson::UTF8<>, StackBlock> reader(
        &block, StackBlock::kBytes);
    rapidjson::InsituStringStream stream(text.data());
    Bridge bridge(handler);
    // Numbers as text: the reader's own conversion costs 4 KiB of code and tables.
    constexpr unsigned kFlags = rapidjson::kParseInsituFlag | rapidjson::kParseIterativeFlag |
                                rapidjson::kParseNumbersAsStringsFlag;
    const rapidjson::ParseResult parsed = reader.Parse<kFlags>(stream, bridge);
    result.ok = !parsed.IsError();
    result.offset_bytes = std::min(parsed.Offset(), text.size());
    if (parsed.Code() == rapidjson::kParseErrorTermination) {
        result.message = bridge.refused;
        result.stopped = bridge.refused.empty();
    } else if (!result.ok) {
        result.message = describe(parsed.Code());
    }
    return result;
}

}  // namespace bareflow::http
