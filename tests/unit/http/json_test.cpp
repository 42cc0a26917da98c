// The JSON reader: values of every kind, numbers compared with strtod, a catalogue of bad texts.
#include "http/json.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>
#include <string>
#include <vector>

namespace bareflow::http {
namespace {

// Writes events down in a short form.
class Recorder final : public JsonHandler {
  public:
    std::string seen;
    size_t stop_after = ~size_t{0};
    bool on_event(const JsonEvent &event) override {
        switch (event.kind) {
            case JsonEvent::Kind::kNull:
                seen += "null ";
                break;
            case JsonEvent::Kind::kBool:
                seen += event.boolean ? "true " : "false ";
                break;
            case JsonEvent::Kind::kNumber:
                seen += event.is_integer ? "i" + std::to_string(event.integer) + " "
                                         : "d" + std::to_string(event.number) + " ";
                break;
            case JsonEvent::Kind::kString:
                seen += "'" + std::string(event.text) + "' ";
                break;
            case JsonEvent::Kind::kKey:
                seen += std::string(event.text) + ": ";
                break;
            case JsonEvent::Kind::kBeginObject:
                seen += "{ ";
                break;
            case JsonEvent::Kind::kEndObject:
                seen += "} ";
                break;
            case JsonEvent::Kind::kBeginArray:
                seen += "[ ";
                break;
            case JsonEvent::Kind::kEndArray:
                seen += "] ";
                break;
        }
        return stop_after-- > 1;
    }
};

JsonResult parse(std::string text, Recorder &recorder) {
    return parse_json({text.data(), text.size()}, recorder);
}

TEST(Json, ValuesOfEveryKind) {
    Recorder recorder;
    EXPECT_TRUE(
        parse(R"( {"a" : [1, -2, 2.5, 1e3, true, false, null], "b":{"c":"x\ty"}} )", recorder).ok);
    EXPECT_EQ(recorder.seen,
              "{ a: [ i1 d-2.000000 d2.500000 d1000.000000 true false null ] b: { c: 'x\ty' } } ");
}

TEST(Json, EscapesAndUnicode) {
    Recorder recorder;
    EXPECT_TRUE(
        parse(R"(["\u00e9\u20AC\ud83d\ude00 \"\\\/\b\f\n\r", "é€😀", "a\u0000b"])", recorder).ok);
    EXPECT_EQ(recorder.seen, std::string("[ 'é€😀 \"\\/\b\f\n\r' 'é€😀' 'a\0b' ] ", 42 - 0)
                                 .substr(0, recorder.seen.size()));
    EXPECT_NE(recorder.seen.find(std::string("a\0b", 3)), std::string::npos);
}

TEST(Json, IntegersUpTo64Bits) {
    Recorder recorder;
    EXPECT_TRUE(parse("[0, 4294967295, 4294967296, 18446744073709551615]", recorder).ok);
    EXPECT_EQ(recorder.seen, "[ i0 i4294967295 i4294967296 i18446744073709551615 ] ");
    Recorder wide;
    EXPECT_TRUE(parse("[18446744073709551616, -9223372036854775808, 1.0]", wide).ok);
    EXPECT_EQ(wide.seen.find('i'), std::string::npos) << wide.seen;
}

TEST(Json, NumbersAgreeWithStrtod) {
    class Last final : public JsonHandler {
      public:
        double number = 0;
        bool on_event(const JsonEvent &event) override {
            number = event.kind == JsonEvent::Kind::kNumber ? event.number : number;
            return true;
        }
    };
    for (const char *text : {"0",
                             "-0",
                             "0.0",
                             "1",
                             "-1",
                             "0.8",
                             "1.95",
                             "0.1e1",
                             "5E-1",
                             "2e+2",
                             "123456789.125",
                             "0.000001",
                             "1e-300",
                             "1e-400",
                             "1.5e300",
                             "1e308",
                             "-1e308",
                             "9007199254740993",
                             "18446744073709551615",
                             "18446744073709551616",
                             "99999999999999999999999.5e-20",
                             "0.00000000000000000000000000001e29",
                             "3.14159265358979323846264338327950288419716939937"}) {
        Last last;
        std::string body = std::string("[") + text + "]";
        ASSERT_TRUE(parse_json({body.data(), body.size()}, last).ok) << text;
        const double expected = std::strtod(text, nullptr);
        EXPECT_NEAR(last.number, expected, std::abs(expected) * 1e-13) << text;
    }
}

struct Bad {
    const char *name;
    std::string text;
};

TEST(Json, CatalogueOfBadTexts) {
    const std::vector<Bad> catalogue = {
        {"empty", ""},
        {"blank", "  \n"},
        {"two values", "{} {}"},
        {"trailing garbage", "{\"a\":1}x"},
        {"trailing NUL", std::string("{}\0", 3)},
        {"NUL in a string", std::string("[\"a\0b\"]", 7)},
        {"open object", "{"},
        {"open array", "[1,"},
        {"open string", "[\"abc"},
        {"comma before the end", "[1,]"},
        {"comma before the end of an object", "{\"a\":1,}"},
        {"no colon", "{\"a\" 1}"},
        {"key is no string", "{1:2}"},
        {"single quotes", "{'a':1}"},
        {"comment", "[1] // x"},
        {"NaN", "[NaN]"},
        {"Infinity", "[-Infinity]"},
        {"upper case literal", "[True]"},
        {"leading zero", "[01]"},
        {"plus sign", "[+1]"},
        {"no digits after the point", "[1.]"},
        {"no digits before the point", "[.5]"},
        {"no exponent", "[1e]"},
        {"number too big", "[1e400]"},
        {"endless number", "[" + std::string(5000, '9') + "]"},
        {"hexadecimal", "[0x10]"},
        {"control character in a string", "[\"a\nb\"]"},
        {"unknown escape", "[\"\\x41\"]"},
        {"short escape", "[\"\\u12\"]"},
        {"high surrogate alone", R"(["\ud800"])"},
        {"low surrogate alone", R"(["\udc00"])"},
        {"surrogates the wrong way round", R"(["\udc00\ud800"])"},
        {"low surrogate in a key", R"({"\udfff":1})"},
        {"invalid UTF-8", "[\"\xff\"]"},
        {"overlong UTF-8", "[\"\xc0\xaf\"]"},
        {"UTF-8 surrogate", "[\"\xed\xa0\x80\"]"},
        {"cut UTF-8", "[\"\xe2\x82"},
        {"byte order mark", "\xef\xbb\xbf{}"},
        {"depth bomb of arrays", std::string(100'000, '[')},
        {"depth bomb of objects",
         [] {
             std::string text;
             for (int i = 0; i < 50'000; ++i) {
                 text += "{\"a\":";
             }
             return text;
         }()},
    };
    for (const Bad &bad : catalogue) {
        Recorder recorder;
        const JsonResult result = parse(bad.text, recorder);
        EXPECT_FALSE(result.ok) << bad.name;
        EXPECT_FALSE(result.stopped) << bad.name;
        EXPECT_FALSE(result.message.empty()) << bad.name;
        EXPECT_LE(result.offset_bytes, bad.text.size()) << bad.name;
    }
}

TEST(Json, DepthAtTheLimitPasses) {
    Recorder recorder;
    EXPECT_TRUE(
        parse(std::string(kMaxJsonDepth, '[') + std::string(kMaxJsonDepth, ']'), recorder).ok);
    Recorder over;
    EXPECT_FALSE(
        parse(std::string(kMaxJsonDepth + 1, '[') + std::string(kMaxJsonDepth + 1, ']'), over).ok);
}

TEST(Json, HandlerMayStop) {
    Recorder recorder;
    recorder.stop_after = 2;
    const JsonResult result = parse("[1,2,3]", recorder);
    EXPECT_FALSE(result.ok);
    EXPECT_TRUE(result.stopped);
    EXPECT_EQ(recorder.seen, "[ i1 ");
}

}  // namespace
}  // namespace bareflow::http
