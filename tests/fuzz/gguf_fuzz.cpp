// Any bytes as a model file. It is parsed and every value is read. If it is a model, its numbers
// are checked and its vocabulary is used. The sanitizers watch; everything that was accepted must
// lie inside the file.
#include <cstdlib>
#include <string_view>
#include <vector>

#include "llama/model/model.h"
#include "llama/model/value_check.h"
#include "llama/text/stream_decoder.h"
#include "llama/text/tokenizer.h"
#include "tests/unit/llama/file/gguf_builder.h"

namespace {

using namespace bareflow;
using namespace bareflow::llama;

void require(bool condition) {
    if (!condition) {
        abort();
    }
}

bool inside(std::span<const uint8_t> part, std::span<const uint8_t> whole) {
    return part.empty() || (part.data() >= whole.data() &&
                            part.data() + part.size() <= whole.data() + whole.size());
}

uint8_t sum(std::span<const uint8_t> bytes) {
    uint8_t total = 0;
    for (const uint8_t byte : bytes) {
        total = static_cast<uint8_t>(total + byte);
    }
    return total;
}

void look_through(const GgufFile &file, TextWriter &detail) {
    for (const GgufEntry &entry : file.entries()) {
        require(file.find(entry.key) == &entry);
        require(inside(entry.bytes, file.bytes()) && inside(entry.array.bytes, file.bytes()));
        (void)file.u32(entry.key, detail);
        (void)file.i32(entry.key, detail);
        (void)file.u64(entry.key, detail);
        (void)file.f32(entry.key, detail);
        (void)file.text(entry.key, detail);
        (void)file.boolean(entry.key, detail);
        if (entry.type == GgufType::kArray && entry.array.element == GgufType::kString) {
            uint64_t offset = 0;
            for (uint64_t i = 0; i < entry.array.count; ++i) {
                require(entry.array.next_text(offset).size() <= file.bytes().size());
            }
            require(offset == entry.array.bytes.size());
        }
    }
    uint64_t tensor_bytes = 0;
    for (const GgufTensor &tensor : file.tensors()) {
        require(file.find_tensor(tensor.name) == &tensor);
        require(inside(tensor.bytes, file.bytes()));
        tensor_bytes += tensor.bytes.size();
        (void)sum(tensor.bytes);
    }
    require(tensor_bytes <= file.bytes().size());  // because no two overlap
}

void use_tokenizer(const GgufFile &file, TextWriter &detail) {
    auto tokenizer = Tokenizer::create(file, detail);
    require(tokenizer || !detail.view().empty());
    if (!tokenizer) {
        return;
    }
    std::vector<Token> tokens(256);
    auto count = (*tokenizer)->encode("Once upon a time \xF0\x9F\x98\x80 <s>", tokens);
    StreamDecoder decoder(**tokenizer, StreamDecoder::Start::kText);
    for (uint32_t i = 0; count && i < *count; ++i) {
        (void)decoder.put(tokens[i]);
    }
    (void)decoder.finish();
    (*tokenizer)->destroy();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    const llama::testing::FileBytes bytes({reinterpret_cast<const char *>(data), size});
    char text[300];
    TextWriter detail(text);
    auto file = GgufFile::parse(bytes.span(), detail);
    require(file || !detail.view().empty());
    if (!file) {
        return 0;
    }
    look_through(*file, detail);
    use_tokenizer(*file, detail);
    auto model = Model::create(bytes.span(), detail);
    require(model || !detail.view().empty());
    if (model) {
        uint64_t weight_bytes = 0;
        for (const Tensor &tensor : (*model)->tensors()) {
            weight_bytes += tensor.bytes();
            (void)sum({tensor.data, tensor.bytes()});
        }
        require(weight_bytes == (*model)->weight_bytes() && weight_bytes <= size);
        require(ValueCheck::run(**model, detail) || !detail.view().empty());
        (*model)->destroy();
    }
    return 0;
}
