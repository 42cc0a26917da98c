// A GGUF file (version 2 or 3) that lies in memory and may hold anything. parse() checks everything
// that can be checked without knowing the architecture. After it, every key, value and tensor that
// the class hands out lies inside the file. Values are used in place: the bytes must outlive the
// object and stay unchanged.
//
// Memory: an index of the keys and tensors that the file really has, at most the limits below.
// Errors: `Error::message` is a static sentence. The sentence to show, with names and numbers, is
// written to `detail`, which is cleared first and never empty after a failure.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

#include "compute/numbers/tensor_types.h"
#include "kernel_lib/base/result.h"
#include "kernel_lib/base/text_writer.h"
#include "kernel_lib/memory/buffer.h"

namespace bareflow::llama {

// Value types as numbered in the file.
enum class GgufType : uint32_t {
    kUint8 = 0,
    kInt8 = 1,
    kUint16 = 2,
    kInt16 = 3,
    kUint32 = 4,
    kInt32 = 5,
    kFloat32 = 6,
    kBool = 7,
    kString = 8,
    kArray = 9,
    kUint64 = 10,
    kInt64 = 11,
    kFloat64 = 12,
};
[[nodiscard]] std::string_view gguf_type_name(GgufType type);

// An array value. Elements of fixed size are read by index; strings by a walk with a cursor.
struct GgufArray {
    GgufType element = GgufType::kUint8;
    uint64_t count = 0;
    std::span<const uint8_t> bytes;  // of all elements, exactly

    // For arrays of 4-byte elements; index < count.
    [[nodiscard]] float f32(uint64_t index) const { return load<float>(index); }
    [[nodiscard]] int32_t i32(uint64_t index) const { return load<int32_t>(index); }
    [[nodiscard]] uint32_t u32(uint64_t index) const { return load<uint32_t>(index); }
    // For arrays of strings: the string whose length field starts at byte `offset`. Moves `offset`
    // to the next string. `offset` starts at 0 and must be below bytes.size().
    [[nodiscard]] std::string_view next_text(uint64_t &offset) const;

  private:
    template <typename T>
    [[nodiscard]] T load(uint64_t index) const {
        T value;
        __builtin_memcpy(&value, bytes.subspan(index * sizeof(T), sizeof(T)).data(), sizeof(T));
        return value;
    }
};

struct GgufEntry {
    std::string_view key;
    GgufType type = GgufType::kUint8;
    GgufArray array;                 // when type is kArray
    std::span<const uint8_t> bytes;  // otherwise: the value (a string's text without its length)
};

struct GgufTensor {
    std::string_view name;
    const compute::TensorTypeInfo *type = nullptr;
    uint32_t dim_count = 0;           // 1..4
    uint64_t dims[4] = {1, 1, 1, 1};  // dims[0] is the row length; all non-zero
    std::span<const uint8_t> bytes;   // inside the file, `alignment` aligned in it
};

class GgufFile {
  public:
    // Real files have about 40 keys and at most a few thousand tensors.
    static constexpr uint64_t kMaxKeys = 4096;
    static constexpr uint64_t kMaxTensors = 65536;
    static constexpr uint64_t kMaxNameBytes = 256;  // of a key or a tensor
    static constexpr uint64_t kDefaultAlignment = 32;
    static constexpr uint64_t kMinAlignment = 8;
    static constexpr uint64_t kMaxAlignment = 65536;

    [[nodiscard]] static Result<GgufFile> parse(std::span<const uint8_t> bytes, TextWriter &detail);

    [[nodiscard]] uint32_t version() const { return version_; }
    [[nodiscard]] uint64_t alignment() const { return alignment_; }
    [[nodiscard]] std::span<const uint8_t> bytes() const { return bytes_; }
    // Where the tensors' data starts in the file.
    [[nodiscard]] uint64_t data_offset() const { return data_offset_; }
    [[nodiscard]] std::span<const GgufEntry> entries() const { return entries_.span(); }
    [[nodiscard]] std::span<const GgufTensor> tensors() const { return tensors_.span(); }

    // nullptr: not there.
    [[nodiscard]] const GgufEntry *find(std::string_view key) const;
    [[nodiscard]] const GgufTensor *find_tensor(std::string_view name) const;

    // Typed lookups. kNotFound: no such key. kInvalid: the value has another type, or is an integer
    // out of range. An integer of any type in the file is accepted if its value fits.
    [[nodiscard]] Result<std::string_view> text(std::string_view key, TextWriter &detail) const;
    [[nodiscard]] Result<uint32_t> u32(std::string_view key, TextWriter &detail) const;
    [[nodiscard]] Result<int32_t> i32(std::string_view key, TextWriter &detail) const;
    [[nodiscard]] Result<uint64_t> u64(std::string_view key, TextWriter &detail) const;
    [[nodiscard]] Result<float> f32(std::string_view key, TextWriter &detail) const;
    [[nodiscard]] Result<bool> boolean(std::string_view key, TextWriter &detail) const;
    [[nodiscard]] Result<GgufArray> array(std::string_view key, GgufType element,
                                          TextWriter &detail) const;
    // The same for keys that may be missing; a missing key gives `fallback`.
    [[nodiscard]] Result<std::string_view> text_or(std::string_view key, std::string_view fallback,
                                                   TextWriter &detail) const;
    [[nodiscard]] Result<uint32_t> u32_or(std::string_view key, uint32_t fallback,
                                          TextWriter &detail) const;
    [[nodiscard]] Result<float> f32_or(std::string_view key, float fallback,
                                       TextWriter &detail) const;
    [[nodiscard]] Result<bool> boolean_or(std::string_view key, bool fallback,
                                          TextWriter &detail) const;

  private:
    friend class GgufParser;
    GgufFile() = default;

    std::span<const uint8_t> bytes_;
    uint32_t version_ = 0;
    uint64_t alignment_ = kDefaultAlignment;
    uint64_t data_offset_ = 0;
    Buffer<GgufEntry> entries_;         // in file order
    Buffer<uint32_t> entries_by_key_;   // indices, sorted by key
    Buffer<GgufTensor> tensors_;        // in file order
    Buffer<uint32_t> tensors_by_name_;  // indices, sorted by name
};

}  // namespace bareflow::llama
