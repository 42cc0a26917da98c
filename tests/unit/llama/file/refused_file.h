// Gives one entry of a catalogue of malformed files to the function that must refuse it.
#pragma once

#include <gtest/gtest.h>

#include <span>

#include "kernel_lib/base/text_writer.h"
#include "llama/text/tokenizer.h"
#include "tests/unit/llama/file/gguf_builder.h"

namespace bareflow::llama::testing {

// make(bytes of the file, `detail`) gives a Result.
template <typename Make>
void expect_refused(const BadFile &bad, GgufBuilder builder, Make make) {
    bad.spoil(builder);
    const FileBytes bytes = builder.file();
    Detail detail;
    const auto made = make(bytes.span(), detail.writer);
    ASSERT_FALSE(made);
    EXPECT_EQ(detail.str(), bad.sentence);
    EXPECT_EQ(made.error().code, bad.code);
    EXPECT_FALSE(made.error().message.empty());
}

// A `make` for files in which only the vocabulary may be bad.
inline Result<Tokenizer *> make_tokenizer(std::span<const uint8_t> bytes, TextWriter &detail) {
    auto file = GgufFile::parse(bytes, detail);
    EXPECT_TRUE(file);
    return file ? Tokenizer::create(*file, detail) : Result<Tokenizer *>(file.error());
}

}  // namespace bareflow::llama::testing
