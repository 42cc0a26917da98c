// Layout (GGUF specification, "File structure"): magic, version, tensor count, key count; the keys
// and values; the tensors' names, shapes, types and offsets; padding; the tensors' data.
//
// What must hold: the file may hold anything. So every count and length is compared with the bytes
// that are left before it is used, and memory is taken only for what the file really has.
#include "llama/file/gguf.h"

#include <limits>

#include "kernel_lib/base/byte_reader.h"
#include "llama/file/refusal.h"
#include "llama/file/sort_numbers.h"

namespace bareflow::llama {

namespace {

constexpr uint32_t kMagic = 0x46554747;                      // "GGUF", little-endian
constexpr uint64_t kMinEntryBytes = 8 + 1 + 4 + 1;           // key, type, smallest value
constexpr uint64_t kMinTensorBytes = 8 + 1 + 4 + 8 + 4 + 8;  // name, dims, type, offset

// 0 for strings and arrays, whose size is in the file.
uint32_t fixed_bytes(GgufType type) {
    switch (type) {
        case GgufType::kUint8:
        case GgufType::kInt8:
        case GgufType::kBool:
            return 1;
        case GgufType::kUint16:
        case GgufType::kInt16:
            return 2;
        case GgufType::kUint32:
        case GgufType::kInt32:
        case GgufType::kFloat32:
            return 4;
        case GgufType::kUint64:
        case GgufType::kInt64:
        case GgufType::kFloat64:
            return 8;
        case GgufType::kString:
        case GgufType::kArray:
            return 0;
    }
    return 0;
}

bool known_value_type(uint32_t type) {
    return type <= static_cast<uint32_t>(GgufType::kFloat64);
}

// The place of `name` in a sorted index, or its length when it is not there.
template <typename Item>
size_t find_sorted(std::span<const Item> items, std::span<const uint32_t> sorted,
                   std::string_view Item::*name, std::string_view wanted) {
    size_t low = 0;
    size_t high = sorted.size();
    while (low < high) {
        const size_t middle = low + (high - low) / 2;
        if (items[sorted[middle]].*name < wanted) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low < sorted.size() && items[sorted[low]].*name == wanted ? low : sorted.size();
}

}  // namespace

std::string_view gguf_type_name(GgufType type) {
    constexpr std::string_view kNames[] = {"uint8",  "int8",    "uint16", "int16",  "uint32",
                                           "int32",  "float32", "bool",   "string", "array",
                                           "uint64", "int64",   "float64"};
    return kNames[static_cast<uint32_t>(type)];
}

std::string_view GgufArray::next_text(uint64_t &offset) const {
    uint64_t len;
    __builtin_memcpy(&len, bytes.subspan(offset, sizeof(len)).data(), sizeof(len));
    const auto text = bytes.subspan(offset + sizeof(len), len);
    offset += sizeof(len) + len;
    return {reinterpret_cast<const char *>(text.data()), text.size()};
}

// Walks through the file once. Each step says what is wrong in `detail` and returns the error.
class GgufParser : private Refusals {
  public:
    GgufParser(std::span<const uint8_t> bytes, TextWriter &detail)
        : Refusals(detail), reader_(bytes) {
        file_.bytes_ = bytes;
    }

    [[nodiscard]] Result<GgufFile> parse() {
        BF_TRY(read_header());
        BF_TRY(read_entries());
        BF_TRY(index_entries());
        BF_TRY(read_alignment());
        BF_TRY(read_tensors());
        BF_TRY(index_tensors());
        return std::move(file_);
    }

  private:
    [[nodiscard]] Status read_header() {
        uint32_t magic;
        if (!reader_.read(magic)) {
            return invalid("not a GGUF file: too short");
        }
        if (magic != kMagic) {
            return invalid("not a GGUF file: it does not start with \"GGUF\"");
        }
        uint32_t version;
        if (!reader_.read(version)) {
            return invalid("GGUF file ends inside its header");
        }
        if (version != 2 && version != 3) {
            if (version != 0 && (version & 0xFFFF) == 0) {
                return unsupported("GGUF file in big-endian byte order is not supported");
            }
            return unsupported("GGUF version not supported",
                               "GGUF version % is not supported, only 2 and 3", {version});
        }
        file_.version_ = version;
        if (!reader_.read(tensor_count_) || !reader_.read(entry_count_)) {
            return invalid("GGUF file ends inside its header");
        }
        if (tensor_count_ > GgufFile::kMaxTensors) {
            return too_large("GGUF file claims too many tensors",
                             "GGUF file claims % tensors, more than %",
                             {tensor_count_, GgufFile::kMaxTensors});
        }
        if (entry_count_ > GgufFile::kMaxKeys) {
            return too_large("GGUF file claims too many keys",
                             "GGUF file claims % keys, more than %",
                             {entry_count_, GgufFile::kMaxKeys});
        }
        if (entry_count_ * kMinEntryBytes + tensor_count_ * kMinTensorBytes > reader_.remaining()) {
            return invalid("GGUF file is too short for what it claims",
                           "GGUF file claims % keys and % tensors, but is too short to hold them",
                           {entry_count_, tensor_count_});
        }
        return {};
    }

    [[nodiscard]] Status read_entries() {
        auto entries = Buffer<GgufEntry>::create(entry_count_);
        if (!entries) {
            return passed_on(detail(), entries.error());
        }
        file_.entries_ = std::move(entries).value();
        for (uint64_t i = 0; i < entry_count_; ++i) {
            GgufEntry entry;
            BF_TRY(read_name("key", i, entry.key));
            BF_TRY(read_value(entry));
            file_.entries_[i] = entry;
        }
        return {};
    }

    // Reads the name of a key or of a tensor.
    [[nodiscard]] Status read_name(std::string_view what, uint64_t index, std::string_view &name) {
        uint64_t len;
        if (!reader_.read(len)) {
            return invalid("GGUF file ends before its last name",
                           "GGUF file ends before % number %", {what, index});
        }
        if (len == 0 || len > GgufFile::kMaxNameBytes) {
            return invalid("GGUF name is empty or too long",
                           "GGUF % number % has a name of % bytes, outside 1 to %",
                           {what, index, len, GgufFile::kMaxNameBytes});
        }
        if (!reader_.read_text(len, name)) {
            return invalid("GGUF file ends inside a name",
                           "GGUF file ends inside the name of % number %", {what, index});
        }
        return {};
    }

    [[nodiscard]] Status ends_inside_value(std::string_view key) {
        return invalid("GGUF file ends inside a value", "GGUF file ends inside the value of @",
                       {key});
    }
    [[nodiscard]] Status unknown_value_type(std::string_view key, uint32_t type) {
        return invalid("GGUF value of unknown type", "GGUF key @ has a value of unknown type %",
                       {key, type});
    }

    [[nodiscard]] Status read_value(GgufEntry &entry) {
        uint32_t type;
        if (!reader_.read(type)) {
            return ends_inside_value(entry.key);
        }
        if (!known_value_type(type)) {
            return unknown_value_type(entry.key, type);
        }
        entry.type = static_cast<GgufType>(type);
        if (entry.type == GgufType::kArray) {
            return read_array(entry);
        }
        uint64_t len = fixed_bytes(entry.type);
        if (entry.type == GgufType::kString && !reader_.read(len)) {
            return ends_inside_value(entry.key);
        }
        if (!reader_.read_bytes(len, entry.bytes)) {
            return ends_inside_value(entry.key);
        }
        if (entry.type == GgufType::kBool && entry.bytes[0] > 1) {
            return invalid("GGUF bool is neither 0 nor 1",
                           "GGUF key @ has a bool that is neither 0 nor 1", {entry.key});
        }
        return {};
    }

    [[nodiscard]] Status read_array(GgufEntry &entry) {
        uint32_t element;
        uint64_t count;
        if (!reader_.read(element) || !reader_.read(count)) {
            return ends_inside_value(entry.key);
        }
        if (!known_value_type(element)) {
            return unknown_value_type(entry.key, element);
        }
        entry.array.element = static_cast<GgufType>(element);
        entry.array.count = count;
        if (entry.array.element == GgufType::kArray) {
            return unsupported("GGUF arrays of arrays not supported",
                               "GGUF key @ is an array of arrays, which is not supported",
                               {entry.key});
        }
        if (entry.array.element == GgufType::kString) {
            return read_texts(entry);
        }
        uint64_t bytes;
        if (__builtin_mul_overflow(count, uint64_t{fixed_bytes(entry.array.element)}, &bytes) ||
            !reader_.read_bytes(bytes, entry.array.bytes)) {
            return array_too_long(entry);
        }
        return {};
    }

    [[nodiscard]] Status read_texts(GgufEntry &entry) {
        const size_t begin = reader_.offset();
        if (entry.array.count > reader_.remaining() / sizeof(uint64_t)) {
            return array_too_long(entry);
        }
        for (uint64_t i = 0; i < entry.array.count; ++i) {
            uint64_t len;
            if (!reader_.read(len) || !reader_.skip(len)) {
                return invalid("GGUF file ends inside an array of strings",
                               "GGUF file ends inside string % of the array @", {i, entry.key});
            }
        }
        entry.array.bytes = file_.bytes_.subspan(begin, reader_.offset() - begin);
        return {};
    }

    [[nodiscard]] Status array_too_long(const GgufEntry &entry) {
        return invalid("GGUF array is longer than the file",
                       "GGUF key @ claims an array of % elements, more than the file holds",
                       {entry.key, entry.array.count});
    }

    [[nodiscard]] Status index_entries() {
        auto sorted = Buffer<uint32_t>::create(entry_count_);
        if (!sorted) {
            return passed_on(detail(), sorted.error());
        }
        file_.entries_by_key_ = std::move(sorted).value();
        const std::span<uint32_t> index = file_.entries_by_key_.span();
        fill_with_places(index);
        sort_numbers(index, file_.entries_.data(), [](const void *items, uint32_t a, uint32_t b) {
            const auto *entries = static_cast<const GgufEntry *>(items);
            return entries[a].key < entries[b].key;
        });
        for (size_t i = 1; i < index.size(); ++i) {
            const std::string_view key = file_.entries_[index[i]].key;
            if (file_.entries_[index[i - 1]].key == key) {
                return invalid("GGUF key appears twice", "GGUF key @ appears twice", {key});
            }
        }
        return {};
    }

    [[nodiscard]] Status read_alignment() {
        if (file_.find("general.alignment") == nullptr) {
            return {};
        }
        BF_ASSIGN(file_.alignment_, file_.u64("general.alignment", detail()));
        const uint64_t alignment = file_.alignment_;
        if (alignment < GgufFile::kMinAlignment || alignment > GgufFile::kMaxAlignment ||
            (alignment & (alignment - 1)) != 0) {
            return invalid("GGUF alignment is not a sensible power of two",
                           "GGUF alignment % is not a power of two from % to %",
                           {alignment, GgufFile::kMinAlignment, GgufFile::kMaxAlignment});
        }
        return {};
    }

    // Offsets count from the start of the data, which is known only after all descriptions were
    // read.
    [[nodiscard]] Status read_tensors() {
        auto tensors = Buffer<GgufTensor>::create(tensor_count_);
        auto offsets = Buffer<uint64_t>::create(tensor_count_);
        if (!tensors || !offsets) {
            return passed_on(detail(), tensors ? offsets.error() : tensors.error());
        }
        file_.tensors_ = std::move(tensors).value();
        offsets_ = std::move(offsets).value();
        for (uint64_t i = 0; i < tensor_count_; ++i) {
            GgufTensor tensor;
            BF_TRY(read_name("tensor", i, tensor.name));
            BF_TRY(read_shape(tensor, offsets_[i]));
            file_.tensors_[i] = tensor;
        }
        const uint64_t mask = file_.alignment_ - 1;
        file_.data_offset_ = (reader_.offset() + mask) & ~mask;
        for (uint64_t i = 0; i < tensor_count_; ++i) {
            BF_TRY(place(file_.tensors_[i], offsets_[i]));
        }
        return {};
    }

    [[nodiscard]] Status read_shape(GgufTensor &tensor, uint64_t &offset) {
        const auto ends_inside = [&] {
            return invalid("GGUF file ends inside a tensor's description",
                           "GGUF file ends inside the description of tensor @", {tensor.name});
        };
        if (!reader_.read(tensor.dim_count)) {
            return ends_inside();
        }
        if (tensor.dim_count < 1 || tensor.dim_count > 4) {
            return invalid("GGUF tensor has not 1 to 4 dimensions",
                           "GGUF tensor @ has % dimensions, outside 1 to 4",
                           {tensor.name, tensor.dim_count});
        }
        for (uint32_t i = 0; i < tensor.dim_count; ++i) {
            if (!reader_.read(tensor.dims[i])) {
                return ends_inside();
            }
            if (tensor.dims[i] == 0) {
                return invalid("GGUF tensor has a dimension of zero",
                               "GGUF tensor @ has a dimension of zero", {tensor.name});
            }
        }
        uint32_t type;
        if (!reader_.read(type) || !reader_.read(offset)) {
            return ends_inside();
        }
        tensor.type = compute::find_tensor_type(type);
        if (tensor.type == nullptr) {
            return unsupported("GGUF tensor of unknown type",
                               "GGUF tensor @ has the unknown type %", {tensor.name, type});
        }
        return {};
    }

    [[nodiscard]] Status place(GgufTensor &tensor, uint64_t offset) {
        if (tensor.dims[0] % tensor.type->block_elements != 0) {
            return invalid(
                "GGUF tensor's rows are no whole number of blocks",
                "GGUF tensor @ has rows of % elements, no whole number of % blocks of %",
                {tensor.name, tensor.dims[0], tensor.type->name, tensor.type->block_elements});
        }
        uint64_t bytes = tensor.dims[0] / tensor.type->block_elements;
        bool overflow = __builtin_mul_overflow(bytes, tensor.type->block_bytes, &bytes);
        for (uint32_t i = 1; i < tensor.dim_count; ++i) {
            overflow = __builtin_mul_overflow(bytes, tensor.dims[i], &bytes) || overflow;
        }
        if (overflow) {
            return invalid("GGUF tensor's size overflows",
                           "GGUF tensor @ has a size that overflows", {tensor.name});
        }
        if (offset % file_.alignment_ != 0) {
            return invalid("GGUF tensor's offset is not aligned",
                           "GGUF tensor @ lies at offset %, no multiple of the alignment %",
                           {tensor.name, offset, file_.alignment_});
        }
        const uint64_t file_len = file_.bytes_.size();
        const uint64_t available =
            file_len > file_.data_offset_ ? file_len - file_.data_offset_ : 0;
        if (offset > available || bytes > available - offset) {
            return invalid("GGUF tensor lies outside the file",
                           "GGUF tensor @ (% bytes at offset %) lies outside the file, which has % "
                           "bytes of data",
                           {tensor.name, bytes, offset, available});
        }
        tensor.bytes = file_.bytes_.subspan(file_.data_offset_ + offset, bytes);
        return {};
    }

    [[nodiscard]] Status index_tensors() {
        auto sorted = Buffer<uint32_t>::create(tensor_count_);
        if (!sorted) {
            return passed_on(detail(), sorted.error());
        }
        file_.tensors_by_name_ = std::move(sorted).value();
        const std::span<uint32_t> index = file_.tensors_by_name_.span();
        // First sorted by place, to find overlaps, in the memory that then gets the order by name.
        fill_with_places(index);
        sort_numbers(index, file_.tensors_.data(), [](const void *items, uint32_t a, uint32_t b) {
            const auto *tensors = static_cast<const GgufTensor *>(items);
            return tensors[a].bytes.data() < tensors[b].bytes.data();
        });
        for (size_t i = 1; i < index.size(); ++i) {
            const GgufTensor &before = file_.tensors_[index[i - 1]];
            const GgufTensor &after = file_.tensors_[index[i]];
            if (before.bytes.data() + before.bytes.size() > after.bytes.data()) {
                return invalid("GGUF tensors overlap", "GGUF tensors @ and @ overlap",
                               {before.name, after.name});
            }
        }
        fill_with_places(index);
        sort_numbers(index, file_.tensors_.data(), [](const void *items, uint32_t a, uint32_t b) {
            const auto *tensors = static_cast<const GgufTensor *>(items);
            return tensors[a].name < tensors[b].name;
        });
        for (size_t i = 1; i < index.size(); ++i) {
            const std::string_view name = file_.tensors_[index[i]].name;
            if (file_.tensors_[index[i - 1]].name == name) {
                return invalid("GGUF tensor appears twice", "GGUF tensor @ appears twice", {name});
            }
        }
        return {};
    }

    ByteReader reader_;
    GgufFile file_;
    uint64_t tensor_count_ = 0;
    uint64_t entry_count_ = 0;
    Buffer<uint64_t> offsets_;
};

Result<GgufFile> GgufFile::parse(std::span<const uint8_t> bytes, TextWriter &detail) {
    return GgufParser(bytes, detail).parse();
}

const GgufEntry *GgufFile::find(std::string_view key) const {
    const size_t place =
        find_sorted<GgufEntry>(entries(), entries_by_key_.span(), &GgufEntry::key, key);
    return place == entries_by_key_.size() ? nullptr : &entries_[entries_by_key_[place]];
}

const GgufTensor *GgufFile::find_tensor(std::string_view name) const {
    const size_t place =
        find_sorted<GgufTensor>(tensors(), tensors_by_name_.span(), &GgufTensor::name, name);
    return place == tensors_by_name_.size() ? nullptr : &tensors_[tensors_by_name_[place]];
}

// ---------------------------------------------------------------- typed lookups

namespace {

Error missing(TextWriter &detail, std::string_view key) {
    return refuse(detail, ErrorCode::kNotFound, "the model file lacks a key",
                  "the model file lacks the key @", {key});
}

Error wrong_type(TextWriter &detail, const GgufEntry &entry, std::string_view wanted) {
    const bool is_array = entry.type == GgufType::kArray;
    return refuse(detail, ErrorCode::kInvalid, "a key of the model file has a value of wrong type",
                  "the key @ has a value of type %% instead of %",
                  {entry.key, std::string_view(is_array ? "array of " : ""),
                   gguf_type_name(is_array ? entry.array.element : entry.type), wanted});
}

template <typename T>
T load(const GgufEntry &entry) {
    T value;
    __builtin_memcpy(&value, entry.bytes.first(sizeof(T)).data(), sizeof(T));
    return value;
}

// An integer of any type, as its value modulo 2^64 and its sign.
struct Integer {
    uint64_t bits = 0;
    bool negative = false;
};

std::optional<Integer> load_integer(const GgufEntry &entry) {
    const auto from_signed = [](int64_t value) {
        return Integer{static_cast<uint64_t>(value), value < 0};
    };
    switch (entry.type) {
        case GgufType::kUint8:
            return Integer{load<uint8_t>(entry)};
        case GgufType::kUint16:
            return Integer{load<uint16_t>(entry)};
        case GgufType::kUint32:
            return Integer{load<uint32_t>(entry)};
        case GgufType::kUint64:
            return Integer{load<uint64_t>(entry)};
        case GgufType::kInt8:
            return from_signed(load<int8_t>(entry));
        case GgufType::kInt16:
            return from_signed(load<int16_t>(entry));
        case GgufType::kInt32:
            return from_signed(load<int32_t>(entry));
        case GgufType::kInt64:
            return from_signed(load<int64_t>(entry));
        default:
            return std::nullopt;
    }
}

template <typename T>
Result<T> integer(const GgufFile &file, std::string_view key, TextWriter &detail) {
    const GgufEntry *entry = file.find(key);
    if (entry == nullptr) {
        return missing(detail, key);
    }
    const std::optional<Integer> value = load_integer(*entry);
    if (!value) {
        return wrong_type(detail, *entry, "an integer");
    }
    const T narrow = static_cast<T>(value->bits);
    const bool fits =
        value->negative
            ? narrow < 0 && static_cast<uint64_t>(static_cast<int64_t>(narrow)) == value->bits
            : !(narrow < 0) && static_cast<uint64_t>(narrow) == value->bits;
    if (!fits) {
        return refuse(detail, ErrorCode::kInvalid, "an integer of the model file is out of range",
                      "the integer @ is out of range", {key});
    }
    return narrow;
}

}  // namespace

Result<std::string_view> GgufFile::text(std::string_view key, TextWriter &detail) const {
    const GgufEntry *entry = find(key);
    if (entry == nullptr) {
        return missing(detail, key);
    }
    if (entry->type != GgufType::kString) {
        return wrong_type(detail, *entry, "a string");
    }
    return std::string_view(reinterpret_cast<const char *>(entry->bytes.data()),
                            entry->bytes.size());
}

Result<uint32_t> GgufFile::u32(std::string_view key, TextWriter &detail) const {
    return integer<uint32_t>(*this, key, detail);
}
Result<int32_t> GgufFile::i32(std::string_view key, TextWriter &detail) const {
    return integer<int32_t>(*this, key, detail);
}
Result<uint64_t> GgufFile::u64(std::string_view key, TextWriter &detail) const {
    return integer<uint64_t>(*this, key, detail);
}

Result<float> GgufFile::f32(std::string_view key, TextWriter &detail) const {
    const GgufEntry *entry = find(key);
    if (entry == nullptr) {
        return missing(detail, key);
    }
    if (entry->type == GgufType::kFloat64) {
        return static_cast<float>(load<double>(*entry));
    }
    if (entry->type != GgufType::kFloat32) {
        return wrong_type(detail, *entry, "a float32");
    }
    return load<float>(*entry);
}

Result<bool> GgufFile::boolean(std::string_view key, TextWriter &detail) const {
    const GgufEntry *entry = find(key);
    if (entry == nullptr) {
        return missing(detail, key);
    }
    if (entry->type != GgufType::kBool) {
        return wrong_type(detail, *entry, "a bool");
    }
    return entry->bytes[0] == 1;
}

Result<GgufArray> GgufFile::array(std::string_view key, GgufType element,
                                  TextWriter &detail) const {
    const GgufEntry *entry = find(key);
    if (entry == nullptr) {
        return missing(detail, key);
    }
    if (entry->type != GgufType::kArray || entry->array.element != element) {
        Error error = wrong_type(detail, *entry, "an array of ");
        detail.put(gguf_type_name(element));
        return error;
    }
    return entry->array;
}

Result<std::string_view> GgufFile::text_or(std::string_view key, std::string_view fallback,
                                           TextWriter &detail) const {
    return find(key) == nullptr ? Result<std::string_view>(fallback) : text(key, detail);
}
Result<uint32_t> GgufFile::u32_or(std::string_view key, uint32_t fallback,
                                  TextWriter &detail) const {
    return find(key) == nullptr ? Result<uint32_t>(fallback) : u32(key, detail);
}
Result<float> GgufFile::f32_or(std::string_view key, float fallback, TextWriter &detail) const {
    return find(key) == nullptr ? Result<float>(fallback) : f32(key, detail);
}
Result<bool> GgufFile::boolean_or(std::string_view key, bool fallback, TextWriter &detail) const {
    return find(key) == nullptr ? Result<bool>(fallback) : boolean(key, detail);
}

}  // namespace bareflow::llama
