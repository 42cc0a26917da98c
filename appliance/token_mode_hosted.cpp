#include "appliance/token_mode_hosted.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <bit>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string_view>

#include "kernel_lib/cpu/worker_pool.h"
#include "kernel_lib/memory/buffer.h"
#include "kernel_lib/platform/platform.h"
#include "llama/model.h"
#include "llama/tokenizer.h"

namespace bareflow {
namespace {

constexpr uint32_t kMaxPromptTokens = 1u << 16;

// The file, mapped read-only for the rest of the process.
Result<std::span<const uint8_t>> map_file(const char *path) {
    const int file = open(path, O_RDONLY | O_CLOEXEC);
    if (file < 0) {
        return Error{ErrorCode::kNotFound, "cannot open the model file"};
    }
    struct stat info{};
    void *memory = MAP_FAILED;
    if (fstat(file, &info) == 0 && info.st_size > 0) {
        memory = mmap(nullptr, static_cast<size_t>(info.st_size), PROT_READ, MAP_PRIVATE, file, 0);
    }
    close(file);
    if (memory == MAP_FAILED) {
        return Error{ErrorCode::kInvalid, "cannot map the model file"};
    }
    return std::span(static_cast<const uint8_t *>(memory), static_cast<size_t>(info.st_size));
}

class Printer final : public llama::TokenSink {
  public:
    Printer(const llama::Engine &engine, const llama::Tokenizer *tokenizer, bool logits)
        : engine_(engine),
          decoder_(tokenizer == nullptr
                       ? nullptr
                       : new llama::StreamDecoder(*tokenizer,
                                                  llama::StreamDecoder::Start::kContinuation)),
          logits_(logits) {}
    ~Printer() { delete decoder_; }
    Printer(const Printer &) = delete;
    Printer &operator=(const Printer &) = delete;

    void on_token(llama::SlotId, llama::Token token) override {
        if (logits_) {
            print_logits();
        }
        if (decoder_ != nullptr) {
            print(decoder_->put(token));
        } else {
            std::printf("token %d\n", token);
            print_logprobs();
        }
    }
    void on_finished(llama::SlotId, llama::FinishReason reason,
                     const llama::Usage &usage) override {
        usage_ = usage;
        if (decoder_ != nullptr) {
            print(decoder_->finish());
            std::printf("\n");
            return;
        }
        // The logits that made the model stop are of interest, too.
        if (logits_ && reason == llama::FinishReason::kStop) {
            print_logits();
        }
        std::printf("finish %s\n", reason == llama::FinishReason::kStop ? "stop" : "length");
    }
    [[nodiscard]] const llama::Usage &usage() const { return usage_; }

  private:
    static void print(std::string_view text) {
        std::fwrite(text.data(), 1, text.size(), stdout);
        std::fflush(stdout);
    }
    void print_logits() const {
        std::printf("logits ");
        for (const float logit : engine_.logits()) {
            std::printf("%08x", std::bit_cast<uint32_t>(logit));
        }
        std::printf("\n");
    }

    void print_logprobs() const {
        const std::span<const llama::TokenLogprob> entries = engine_.logprobs();
        if (entries.empty()) {
            return;
        }
        std::printf("logprobs ");
        for (const llama::TokenLogprob &entry : entries) {
            std::printf("%s%d:%08x", &entry == entries.data() ? "" : ",", entry.token,
                        std::bit_cast<uint32_t>(entry.logprob));
        }
        std::printf("\n");
    }

    const llama::Engine &engine_;
    llama::StreamDecoder *decoder_;
    bool logits_;
    llama::Usage usage_;
};

Result<uint32_t> parse_tokens(const char *text, std::span<llama::Token> out) {
    uint32_t count = 0;
    for (const char *at = text; *at != '\0';) {
        char *end = nullptr;
        const long value = std::strtol(at, &end, 10);
        if (end == at || (*end != ',' && *end != '\0') || count == out.size()) {
            return Error{ErrorCode::kInvalid, "--tokens wants numbers between commas"};
        }
        out[count++] = static_cast<llama::Token>(value);
        at = *end == ',' ? end + 1 : end;
    }
    return count;
}

void print_speed(const llama::Usage &usage) {
    const auto per_second = [](uint64_t count, uint64_t ticks) {
        return ticks == 0 ? 0.0
                          : static_cast<double>(count) *
                                static_cast<double>(platform::ticks_per_second()) /
                                static_cast<double>(ticks);
    };
    std::fprintf(stderr, "prompt %u tokens, %.1f/s; decode %u tokens, %.1f/s\n",
                 usage.prompt_tokens, per_second(usage.prompt_tokens, usage.prompt_ticks),
                 usage.completion_tokens,
                 per_second(usage.completion_tokens == 0 ? 0 : usage.completion_tokens - 1,
                            usage.decode_ticks));
}

Status run(const TokenModeOptions &options, TextWriter &detail) {
    (void)start_workers(options.threads);
    llama::limit_instruction_set(options.most);
    BF_ASSIGN(const std::span<const uint8_t> file, map_file(options.model_path));
    BF_ASSIGN(llama::Model *const model, llama::Model::create(file, detail));
    BF_TRY(llama::ValueCheck::run(*model, detail));
    BF_ASSIGN(llama::Engine *const engine,
              llama::Engine::create(*model, {.context_length = options.context_length}));
    BF_ASSIGN(Buffer<llama::Token> tokens, Buffer<llama::Token>::create(kMaxPromptTokens));
    llama::Tokenizer *tokenizer = nullptr;
    uint32_t count = 0;
    if (options.tokens != nullptr) {
        BF_ASSIGN(count, parse_tokens(options.tokens, tokens.span()));
    } else {
        BF_ASSIGN(tokenizer, llama::Tokenizer::create(model->file(), detail));
        BF_ASSIGN(count, tokenizer->encode(options.prompt, tokens.span()));
        std::printf("%s", options.prompt);
    }
    Printer printer(*engine, tokenizer, options.logits);
    const auto started = engine->start({.prompt = tokens.span().first(count),
                                        .max_tokens = options.max_tokens,
                                        .sampling = options.sampling},
                                       printer);
    BF_TRY(started.status());
    const uint64_t slice_ticks = platform::ticks_per_second() / 1000000 * options.slice_us;
    while (engine->busy()) {
        engine->advance(slice_ticks == 0 ? 0 : platform::ticks() + slice_ticks);
    }
    print_speed(printer.usage());
    engine->destroy();
    if (tokenizer != nullptr) {
        tokenizer->destroy();
    }
    model->destroy();
    return {};
}

}  // namespace

bool token_mode_wanted(int argc, char **argv) {
    for (int i = 1; i < argc; ++i) {
        const std::string_view name = argv[i];
        if (name == "--tokens" || name == "--prompt") {
            return true;
        }
    }
    return false;
}

int run_token_mode(int argc, char **argv) {
    TokenModeOptions options;
    if (!parse_token_mode(argc, argv, options)) {
        std::fprintf(stderr,
                     "usage: %s --model FILE (--tokens 1,2,3 | --prompt TEXT) [--max-tokens N] "
                     "[--logits] [--context N] [--slice-us N] [--threads N] [--isa NAME] "
                     "[--seed S] "
                     "[--temperature T] [--top-k K] [--top-p P] [--min-p P] [--typical-p P] "
                     "[--repeat-penalty R] [--presence-penalty P] [--frequency-penalty F] "
                     "[--repeat-last-n N] [--mirostat 0|2] [--mirostat-tau T] [--mirostat-eta E] "
                     "[--logit-bias TOKEN:BIAS,...] [--logprobs N]\n",
                     argv[0]);
        return 2;
    }
    char detail_text[512];
    TextWriter detail(detail_text);
    if (const Status status = run(options, detail); !status.ok()) {
        const std::string_view message = detail.size() != 0 ? detail.view() : status.message();
        std::fprintf(stderr, "%.*s\n", static_cast<int>(message.size()), message.data());
        return 1;
    }
    return 0;
}

}  // namespace bareflow
