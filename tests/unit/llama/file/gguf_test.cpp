// A well-formed file, and a catalogue of files that are wrong at one place: each is refused with
// its sentence.
#include "llama/file/gguf.h"

#include <gtest/gtest.h>

#include "compute/numbers/tensor_types.h"
#include "tests/unit/llama/file/gguf_builder.h"
#include "tests/unit/llama/file/refused_file.h"

namespace bareflow::llama {
namespace {

using testing::BadFile;
using testing::Detail;
using testing::FileBytes;
using testing::GgufBuilder;

// Two keys, two tensors.
GgufBuilder small_builder() {
    GgufBuilder builder;
    builder.set("general.name", "small");
    builder.set("a.number", 7u);
    builder.add_tensor("first", {32, 4}, compute::TensorType::kQ8_0);
    builder.add_tensor("second", {3, 2, 2});
    return builder;
}

TEST(GgufFile, HandsOutKeysAndTensorsInFileOrder) {
    for (const uint32_t version : {2u, 3u}) {
        GgufBuilder builder = small_builder();
        builder.version = version;
        builder.tensor("second").data.assign(48, 'x');
        const FileBytes bytes = builder.file();
        Detail detail;
        auto file = GgufFile::parse(bytes.span(), detail.writer);
        ASSERT_TRUE(file) << detail.str();
        EXPECT_EQ(file->version(), version);
        EXPECT_EQ(file->alignment(), 32u);
        ASSERT_EQ(file->entries().size(), 2u);
        EXPECT_EQ(file->entries()[0].key, "general.name");
        EXPECT_EQ(file->entries()[1].key, "a.number");
        ASSERT_EQ(file->tensors().size(), 2u);
        const GgufTensor &first = file->tensors()[0];
        EXPECT_EQ(first.name, "first");
        EXPECT_EQ(first.type->name, "Q8_0");
        EXPECT_EQ(first.bytes.size(), 4u * 34);
        EXPECT_EQ(first.bytes.data(), bytes.span().data() + file->data_offset());
        const GgufTensor *second = file->find_tensor("second");
        ASSERT_EQ(second, &file->tensors()[1]);
        EXPECT_EQ(second->dim_count, 3u);
        EXPECT_EQ(second->dims[2], 2u);
        EXPECT_EQ(second->dims[3], 1u);
        EXPECT_EQ(second->bytes[0], 'x');
        EXPECT_EQ(file->find_tensor("third"), nullptr);
        EXPECT_EQ(file->find("general.nam"), nullptr);
        EXPECT_EQ(file->find(""), nullptr);
    }
}

TEST(GgufFile, FindsEveryKeyAndTensorAmongMany) {
    GgufBuilder builder;
    for (uint32_t i = 0; i < 500; ++i) {
        builder.entries.push_back({"key" + std::to_string(i * 7919 % 500), 4, builder.raw(i)});
        builder.add_tensor("tensor" + std::to_string(i * 6007 % 500), {i + 1});
    }
    const FileBytes bytes = builder.file();
    Detail detail;
    auto file = GgufFile::parse(bytes.span(), detail.writer);
    ASSERT_TRUE(file) << detail.str();
    for (uint32_t i = 0; i < 500; ++i) {
        auto value = file->u32("key" + std::to_string(i * 7919 % 500), detail.writer);
        ASSERT_TRUE(value);
        EXPECT_EQ(*value, i);
        const GgufTensor *tensor = file->find_tensor("tensor" + std::to_string(i * 6007 % 500));
        ASSERT_NE(tensor, nullptr);
        EXPECT_EQ(tensor->dims[0], i + 1);
    }
}

TEST(GgufFile, AVocabularyWithoutTensorsIsAFile) {
    GgufBuilder builder;
    builder.set("general.architecture", "llama");
    const FileBytes bytes = builder.file();
    ASSERT_NE(bytes.span().size() % 32, 0u);  // so the data would start after the end
    Detail detail;
    auto file = GgufFile::parse(bytes.span(), detail.writer);
    ASSERT_TRUE(file) << detail.str();
    EXPECT_TRUE(file->tensors().empty());
}

TEST(GgufFile, AnotherAlignmentMovesTheData) {
    GgufBuilder builder = small_builder();
    builder.alignment = 128;
    builder.set("general.alignment", 128u);
    const FileBytes bytes = builder.file();
    Detail detail;
    auto file = GgufFile::parse(bytes.span(), detail.writer);
    ASSERT_TRUE(file) << detail.str();
    EXPECT_EQ(file->data_offset() % 128, 0u);
    EXPECT_EQ(file->tensors()[1].bytes.data() - file->tensors()[0].bytes.data(), 256);
}

TEST(GgufFile, ReadsEveryValueType) {
    GgufBuilder b;
    b.set_raw("u8", GgufType::kUint8, b.raw(uint8_t{200}));
    b.set_raw("i8", GgufType::kInt8, b.raw(int8_t{-3}));
    b.set_raw("u16", GgufType::kUint16, b.raw(uint16_t{60000}));
    b.set_raw("i16", GgufType::kInt16, b.raw(int16_t{-300}));
    b.set("u32", 4294967295u);
    b.set("i32", -70000);
    b.set("u64", uint64_t{1} << 40);
    b.set_raw("i64", GgufType::kInt64, b.raw(int64_t{-5}));
    b.set("f32", 0.25f);
    b.set_raw("f64", GgufType::kFloat64, b.raw(0.5));
    b.set("yes", true);
    b.set("no", false);
    b.set("text", "h\xC3\xA4llo");
    b.set("empty", "");
    b.set("texts", std::vector<std::string>{"a", "", "bcd"});
    b.set("floats", std::vector<float>{1.5f, -2.5f});
    b.set("ints", std::vector<int32_t>{-1, 2, -3});
    b.set("none", std::vector<std::string>{});
    const FileBytes bytes = b.file();
    Detail d;
    auto file = GgufFile::parse(bytes.span(), d.writer);
    ASSERT_TRUE(file) << d.str();

    EXPECT_EQ(file->u32("u8", d.writer).value(), 200u);
    EXPECT_EQ(file->i32("i8", d.writer).value(), -3);
    EXPECT_EQ(file->u32("u16", d.writer).value(), 60000u);
    EXPECT_EQ(file->i32("i16", d.writer).value(), -300);
    EXPECT_EQ(file->u32("u32", d.writer).value(), 4294967295u);
    EXPECT_EQ(file->u64("u32", d.writer).value(), 4294967295u);
    EXPECT_EQ(file->i32("i32", d.writer).value(), -70000);
    EXPECT_EQ(file->u64("u64", d.writer).value(), uint64_t{1} << 40);
    EXPECT_EQ(file->i32("i64", d.writer).value(), -5);
    EXPECT_EQ(file->f32("f32", d.writer).value(), 0.25f);
    EXPECT_EQ(file->f32("f64", d.writer).value(), 0.5f);
    EXPECT_TRUE(file->boolean("yes", d.writer).value());
    EXPECT_FALSE(file->boolean("no", d.writer).value());
    EXPECT_EQ(file->text("text", d.writer).value(), "h\xC3\xA4llo");
    EXPECT_EQ(file->text("empty", d.writer).value(), "");

    const GgufArray texts = file->array("texts", GgufType::kString, d.writer).value();
    ASSERT_EQ(texts.count, 3u);
    uint64_t offset = 0;
    EXPECT_EQ(texts.next_text(offset), "a");
    EXPECT_EQ(texts.next_text(offset), "");
    EXPECT_EQ(texts.next_text(offset), "bcd");
    EXPECT_EQ(offset, texts.bytes.size());
    EXPECT_EQ(file->array("floats", GgufType::kFloat32, d.writer).value().f32(1), -2.5f);
    EXPECT_EQ(file->array("ints", GgufType::kInt32, d.writer).value().i32(2), -3);
    EXPECT_EQ(file->array("none", GgufType::kString, d.writer).value().count, 0u);
}

TEST(GgufFile, SaysWhichKeyIsMissingOrOfWrongType) {
    GgufBuilder b;
    b.set("text", "x");
    b.set("number", 5u);
    b.set("negative", -1);
    b.set("large", uint64_t{1} << 32);
    b.set("floats", std::vector<float>{1.0f});
    const FileBytes bytes = b.file();
    Detail d;
    auto file = GgufFile::parse(bytes.span(), d.writer);
    ASSERT_TRUE(file);

    EXPECT_EQ(file->u32("nothing", d.writer).error().code, ErrorCode::kNotFound);
    EXPECT_EQ(d.str(), "the model file lacks the key \"nothing\"");
    EXPECT_EQ(file->u32("text", d.writer).error().code, ErrorCode::kInvalid);
    EXPECT_EQ(d.str(), "the key \"text\" has a value of type string instead of an integer");
    EXPECT_FALSE(file->text("number", d.writer));
    EXPECT_EQ(d.str(), "the key \"number\" has a value of type uint32 instead of a string");
    EXPECT_FALSE(file->u32("negative", d.writer));
    EXPECT_EQ(d.str(), "the integer \"negative\" is out of range");
    EXPECT_FALSE(file->u64("negative", d.writer));
    EXPECT_FALSE(file->u32("large", d.writer));
    EXPECT_FALSE(file->i32("large", d.writer));
    EXPECT_FALSE(file->f32("number", d.writer));
    EXPECT_FALSE(file->boolean("number", d.writer));
    EXPECT_FALSE(file->array("number", GgufType::kString, d.writer));
    EXPECT_FALSE(file->array("floats", GgufType::kInt32, d.writer));
    EXPECT_EQ(
        d.str(),
        "the key \"floats\" has a value of type array of float32 instead of an array of int32");
    EXPECT_EQ(file->u32_or("nothing", 9, d.writer).value(), 9u);
    EXPECT_EQ(file->u32_or("number", 9, d.writer).value(), 5u);
    EXPECT_FALSE(file->u32_or("text", 9, d.writer));
    EXPECT_EQ(file->f32_or("nothing", 2.5f, d.writer).value(), 2.5f);
    EXPECT_TRUE(file->boolean_or("nothing", true, d.writer).value());
    EXPECT_EQ(file->text_or("nothing", "y", d.writer).value(), "y");
    EXPECT_FALSE(file->text_or("number", "y", d.writer));
}

// ---------------------------------------------------------------- malformed files

class MalformedGguf : public ::testing::TestWithParam<BadFile> {};

TEST_P(MalformedGguf, IsRefusedWithItsSentence) {
    testing::expect_refused(GetParam(), small_builder(), GgufFile::parse);
}

std::string array_of(GgufType element, uint64_t count, std::string_view data) {
    return GgufBuilder::array_head(element, count) + std::string(data);
}

const BadFile kCatalogue[] = {
    {"WrongMagic", [](GgufBuilder &b) { b.magic = "GGML"; },
     "not a GGUF file: it does not start with \"GGUF\""},
    {"Version1", [](GgufBuilder &b) { b.version = 1; },
     "GGUF version 1 is not supported, only 2 and 3", ErrorCode::kUnsupported},
    {"Version0", [](GgufBuilder &b) { b.version = 0; },
     "GGUF version 0 is not supported, only 2 and 3", ErrorCode::kUnsupported},
    {"Version99", [](GgufBuilder &b) { b.version = 99; },
     "GGUF version 99 is not supported, only 2 and 3", ErrorCode::kUnsupported},
    {"BigEndian", [](GgufBuilder &b) { b.version = 3u << 24; },
     "GGUF file in big-endian byte order is not supported", ErrorCode::kUnsupported},
    {"HugeTensorCount", [](GgufBuilder &b) { b.tensor_count = ~uint64_t{0}; },
     "GGUF file claims 18446744073709551615 tensors, more than 65536", ErrorCode::kTooLarge},
    {"HugeKeyCount", [](GgufBuilder &b) { b.key_count = uint64_t{1} << 60; },
     "GGUF file claims 1152921504606846976 keys, more than 4096", ErrorCode::kTooLarge},
    {"MoreTensorsThanTheFileHolds", [](GgufBuilder &b) { b.tensor_count = 65536; },
     "GGUF file claims 2 keys and 65536 tensors, but is too short to hold them"},
    {"MoreKeysThanTheFileHolds", [](GgufBuilder &b) { b.key_count = 4096; },
     "GGUF file claims 4096 keys and 2 tensors, but is too short to hold them"},
    {"OneKeyTooMany",  // the first tensor is read as a key with a uint16, the rest is garbage
     [](GgufBuilder &b) { b.key_count = 3; },
     "GGUF tensor number 0 has a name of 1125899906842624 bytes, outside 1 to 256"},
    {"EmptyKey", [](GgufBuilder &b) { b.entries[1].key = ""; },
     "GGUF key number 1 has a name of 0 bytes, outside 1 to 256"},
    {"LongKey", [](GgufBuilder &b) { b.entries[1].key = std::string(257, 'k'); },
     "GGUF key number 1 has a name of 257 bytes, outside 1 to 256"},
    {"UnknownValueType", [](GgufBuilder &b) { b.entries[1].type = 13; },
     "GGUF key \"a.number\" has a value of unknown type 13"},
    {"ControlCharactersInAKey",
     [](GgufBuilder &b) {
         b.entries[1].key = "a\x1B[2J\n";
         b.entries[1].type = 77;
     },
     "GGUF key \"a\\u001b[2J\\n\" has a value of unknown type 77"},
    {"BoolOfTwo", [](GgufBuilder &b) { b.set_raw("flag", GgufType::kBool, std::string(1, '\2')); },
     "GGUF key \"flag\" has a bool that is neither 0 nor 1"},
    {"StringOf4GiB",
     [](GgufBuilder &b) {
         b.set_raw("s", GgufType::kString, b.raw(uint64_t{1} << 32) + "only this");
     },
     "GGUF file ends inside the value of \"s\""},
    {"StringLengthOverflows",
     [](GgufBuilder &b) { b.set_raw("s", GgufType::kString, b.raw(~uint64_t{0})); },
     "GGUF file ends inside the value of \"s\""},
    {"ArrayOfArrays",
     [](GgufBuilder &b) {
         b.set_raw("x", GgufType::kArray,
                   array_of(GgufType::kArray, 1, array_of(GgufType::kUint8, 1, "a")));
     },
     "GGUF key \"x\" is an array of arrays, which is not supported", ErrorCode::kUnsupported},
    {"ArrayOfUnknownType",
     [](GgufBuilder &b) {
         b.set_raw("x", GgufType::kArray, array_of(static_cast<GgufType>(99), 1, "a"));
     },
     "GGUF key \"x\" has a value of unknown type 99"},
    {"ArrayLongerThanTheFile",
     [](GgufBuilder &b) {
         b.set_raw("x", GgufType::kArray, array_of(GgufType::kFloat32, 1000000, "abcd"));
     },
     "GGUF key \"x\" claims an array of 1000000 elements, more than the file holds"},
    {"ArrayLengthOverflows",  // 2^61 + 1 elements of 8 bytes are 8 bytes modulo 2^64
     [](GgufBuilder &b) {
         b.set_raw("x", GgufType::kArray,
                   array_of(GgufType::kUint64, (uint64_t{1} << 61) + 1, "abcdefgh"));
     },
     "GGUF key \"x\" claims an array of 2305843009213693953 elements, more than the file holds"},
    {"StringArrayLongerThanTheFile",
     [](GgufBuilder &b) {
         b.set_raw("x", GgufType::kArray, array_of(GgufType::kString, uint64_t{1} << 40, ""));
     },
     "GGUF key \"x\" claims an array of 1099511627776 elements, more than the file holds"},
    {"StringInArrayOutsideTheFile",
     [](GgufBuilder &b) {
         b.set_raw("x", GgufType::kArray,
                   array_of(GgufType::kString, 2, b.text("a") + b.raw(uint64_t{1} << 20)));
     },
     "GGUF file ends inside string 1 of the array \"x\""},
    {"KeyTwice", [](GgufBuilder &b) { b.entries.push_back(b.entries[0]); },
     "GGUF key \"general.name\" appears twice"},
    {"AlignmentZero", [](GgufBuilder &b) { b.set("general.alignment", 0u); },
     "GGUF alignment 0 is not a power of two from 8 to 65536"},
    {"AlignmentNoPowerOfTwo", [](GgufBuilder &b) { b.set("general.alignment", 48u); },
     "GGUF alignment 48 is not a power of two from 8 to 65536"},
    {"AlignmentHuge", [](GgufBuilder &b) { b.set("general.alignment", 1u << 31); },
     "GGUF alignment 2147483648 is not a power of two from 8 to 65536"},
    {"AlignmentIsAString", [](GgufBuilder &b) { b.set("general.alignment", "32"); },
     "the key \"general.alignment\" has a value of type string instead of an integer"},
    {"TensorNameEmpty", [](GgufBuilder &b) { b.tensors[0].name = ""; },
     "GGUF tensor number 0 has a name of 0 bytes, outside 1 to 256"},
    {"TensorTwice", [](GgufBuilder &b) { b.tensors[1].name = "first"; },
     "GGUF tensor \"first\" appears twice"},
    {"NoDimensions", [](GgufBuilder &b) { b.tensors[1].dims = {}; },
     "GGUF tensor \"second\" has 0 dimensions, outside 1 to 4"},
    {"FiveDimensions", [](GgufBuilder &b) { b.tensors[1].dims = {1, 1, 1, 1, 1}; },
     "GGUF tensor \"second\" has 5 dimensions, outside 1 to 4"},
    {"ZeroDimension", [](GgufBuilder &b) { b.tensors[1].dims = {3, 0}; },
     "GGUF tensor \"second\" has a dimension of zero"},
    {"UnknownTensorType", [](GgufBuilder &b) { b.tensors[1].type = 4; },  // withdrawn Q4_2
     "GGUF tensor \"second\" has the unknown type 4", ErrorCode::kUnsupported},
    {"RowsOfPartBlocks", [](GgufBuilder &b) { b.tensors[0].dims = {33, 4}; },
     "GGUF tensor \"first\" has rows of 33 elements, no whole number of Q8_0 blocks of 32"},
    {"SizeOverflows",
     [](GgufBuilder &b) { b.tensors[1].dims = {uint64_t{1} << 40, uint64_t{1} << 40}; },
     "GGUF tensor \"second\" has a size that overflows"},
    {"SizeOverflowsToSmall",  // 2^31 * 2^31 * 4 elements of 4 bytes are 0 bytes modulo 2^64
     [](GgufBuilder &b) { b.tensors[1].dims = {uint64_t{1} << 31, uint64_t{1} << 31, 4}; },
     "GGUF tensor \"second\" has a size that overflows"},
    {"OffsetNotAligned", [](GgufBuilder &b) { b.tensors[1].offset = 168; },
     "GGUF tensor \"second\" lies at offset 168, no multiple of the alignment 32"},
    {"OffsetOutsideTheFile", [](GgufBuilder &b) { b.tensors[1].offset = 1 << 20; },
     "GGUF tensor \"second\" (48 bytes at offset 1048576) lies outside the file, which has 224 "
     "bytes of data"},
    {"OffsetOverflows", [](GgufBuilder &b) { b.tensors[1].offset = ~uint64_t{31}; },
     "GGUF tensor \"second\" (48 bytes at offset 18446744073709551584) lies outside the file, "
     "which has 224 bytes of data"},
    {"TensorLongerThanTheFile", [](GgufBuilder &b) { b.tensors[1].dims = {3, 1000}; },
     "GGUF tensor \"second\" (12000 bytes at offset 160) lies outside the file, which has 224 "
     "bytes of data"},
    {"TensorsOverlap", [](GgufBuilder &b) { b.tensors[1].offset = 96; },
     "GGUF tensors \"first\" and \"second\" overlap"},
    {"TensorsAtOnePlace", [](GgufBuilder &b) { b.tensors[1].offset = 0; },
     "GGUF tensors \"second\" and \"first\" overlap"},
};
INSTANTIATE_TEST_SUITE_P(Catalogue, MalformedGguf, ::testing::ValuesIn(kCatalogue),
                         [](const auto &param) { return param.param.name; });

TEST(GgufFile, EveryTruncationIsRefused) {
    GgufBuilder builder = small_builder();
    builder.set("texts", std::vector<std::string>{"one", "two"});
    builder.tensor("second").data.resize(64);  // no padding after it
    const std::string whole = builder.build();
    for (size_t len = 0; len < whole.size() - 16; ++len) {
        const FileBytes bytes(std::string_view(whole).substr(0, len));
        Detail detail;
        EXPECT_FALSE(GgufFile::parse(bytes.span(), detail.writer)) << len;
        EXPECT_FALSE(detail.str().empty()) << len;
    }
    Detail detail;  // "second" has 48 bytes: the padding after it may be missing
    const FileBytes bytes(std::string_view(whole).substr(0, whole.size() - 16));
    EXPECT_TRUE(GgufFile::parse(bytes.span(), detail.writer)) << detail.str();
}

TEST(GgufFile, ADetailBufferTooSmallIsNotOverrun) {
    GgufBuilder builder = small_builder();
    builder.version = 99;
    const FileBytes bytes = builder.file();
    char small[10];
    TextWriter detail(small);
    EXPECT_FALSE(GgufFile::parse(bytes.span(), detail));
    EXPECT_EQ(detail.view(), "GGUF versi");
}

}  // namespace
}  // namespace bareflow::llama
