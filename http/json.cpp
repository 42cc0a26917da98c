#include "http/json.h"

#include <algorithm>
#include <array>
#include <cstddef>

#include "kernel_lib/base/utf8.h"
#include "kernel_lib/platform/platform.h"

// RapidJSON, made fit for a program without exceptions, operator new and iostream. Its assertions
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

// The reader's stack in one fixed block. It holds two 32-bit values for each open object or array,
// and depth is limited by the handler below, so the block never has to grow; nullptr would be a
// wild write in the reader, hence the panic.
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

// RapidJSON's handler concept in terms of JsonEvent.
class Bridge {
  public:
    explicit Bridge(JsonHandler &handler) : handler_(handler) {}

    using Kind = JsonEvent::Kind;
    bool Null() { return handler_.on_event({.kind = Kind::kNull}); }
    bool Bool(bool value) { return handler_.on_event({.kind = Kind::kBool, .boolean = value}); }
    bool Int(int value) { return Int64(value); }
    bool Uint(unsigned value) { return Uint64(value); }
    bool Int64(int64_t value) {
        return value >= 0 ? Uint64(static_cast<uint64_t>(value))
                          : Double(static_cast<double>(value));
    }
    bool Uint64(uint64_t value) {
        return handler_.on_event({.kind = Kind::kNumber,
                                  .is_integer = true,
                                  .integer = value,
                                  .number = static_cast<double>(value)});
    }
    bool Double(double value) {
        return handler_.on_event({.kind = Kind::kNumber, .number = value});
    }
    bool RawNumber(const char *, rapidjson::SizeType, bool) { return false; }
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
    constexpr unsigned kFlags = rapidjson::kParseInsituFlag | rapidjson::kParseIterativeFlag;
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
