// The modes --tokens and --prompt: loads the model, keeps every slot busy while there are prompts,
// and prints what the engine makes. tests/golden compares the printed bits, so nothing here may
// change a token, a logit or their order.
#include "appliance/hosted/token_mode.h"

#include <bit>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string_view>

#include "appliance/hosted/model_memory.h"
#include "compute/kernels/float_ops.h"
#include "compute/kernels/instruction_set.h"
#include "compute/kernels/registry.h"
#include "kernel_lib/cpu/worker_pool.h"
#include "kernel_lib/memory/buffer.h"
#include "kernel_lib/platform/platform.h"
#include "kernel_lib/platform/ticks.h"
#include "llama/model/model.h"
#include "llama/model/value_check.h"
#include "llama/text/stream_decoder.h"
#include "llama/text/tokenizer.h"

namespace bareflow {
namespace {

constexpr uint32_t kMaxPromptTokens = 1u << 16;  // of all prompts together
constexpr uint32_t kMaxPrompts = 1024;

// All prompts, one after another in `tokens`; prompt i ends before ends[i].
struct Prompts {
    Buffer<llama::Token> tokens;
    Buffer<uint32_t> ends;
    uint32_t count = 0;

    [[nodiscard]] std::span<const llama::Token> operator[](uint32_t i) const {
        const uint32_t begin = i == 0 ? 0 : ends[i - 1];
        return tokens.span().subspan(begin, ends[i] - begin);
    }
};

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

    // The slot works on this prompt from now on.
    void begin(llama::SlotId slot, uint32_t prompt, bool several) {
        prompt_of_[slot] = prompt;
        several_ = several;
    }
    void on_token(llama::SlotId slot, llama::Token token) override {
        name(slot);
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
    void on_finished(llama::SlotId slot, llama::FinishReason reason,
                     const llama::Usage &usage) override {
        name(slot);
        usage_.prompt_tokens += usage.prompt_tokens;
        usage_.completion_tokens += usage.completion_tokens;
        usage_.prompt_ticks += usage.prompt_ticks;
        usage_.decode_ticks += usage.decode_ticks;
        if (decoder_ != nullptr) {
            print(decoder_->finish());
            std::printf("\n");
            return;
        }
        // Also print the logits from which the end of the text was chosen.
        if (logits_ && reason == llama::FinishReason::kStop) {
            print_logits();
        }
        std::printf("finish %s\n", reason == llama::FinishReason::kStop ? "stop" : "length");
    }
    [[nodiscard]] const llama::Usage &usage() const { return usage_; }

  private:
    // Says which prompt the next lines belong to, if there are several and it is another one.
    void name(llama::SlotId slot) {
        if (several_ && prompt_of_[slot] != named_) {
            named_ = prompt_of_[slot];
            std::printf("text %u\n", named_);
        }
    }
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
    uint32_t prompt_of_[llama::EngineConfig::kMaxSlots] = {};
    uint32_t named_ = UINT32_MAX;
    bool several_ = false;
};

Status parse_tokens(const char *text, Prompts &out) {
    uint32_t count = 0;
    for (const char *at = text; *at != '\0';) {
        char *end = nullptr;
        const long value = std::strtol(at, &end, 10);
        const bool last = *end == ';' || *end == '\0';
        if (end == at || (*end != ',' && !last) || count == out.tokens.size() ||
            (last && out.count == out.ends.size())) {
            return {ErrorCode::kInvalid, "--tokens wants numbers between commas"};
        }
        out.tokens[count++] = static_cast<llama::Token>(value);
        if (last) {
            out.ends[out.count++] = count;
        }
        at = *end == '\0' ? end : end + 1;
    }
    return {};
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

// Puts the last relaxed variant of each operation into force. The lists have relaxed variants only
// after allow_relaxed_numerics(true).
void use_relaxed(std::span<compute::FloatBinding> bindings) {
    for (compute::FloatBinding &binding : bindings) {
        for (const compute::FloatVariant *const variant : compute::float_variants()) {
            if (variant->relaxed && variant->does(binding.op, binding.head_size)) {
                binding.variant = variant;
            }
        }
    }
}

Status run(const TokenModeOptions &options, TextWriter &detail) {
    (void)start_workers(options.threads);
    if (options.most.has_value()) {
        compute::limit_instruction_set(*options.most);
    }
    const std::span<const uint8_t> file = model_file_bytes(options.model_path).bytes;
    if (file.empty()) {
        return {ErrorCode::kNotFound, "cannot read the model file"};
    }
    BF_ASSIGN(llama::Model *const model, llama::Model::create(file, detail));
    BF_TRY(llama::ValueCheck::run(*model, detail));
    compute::allow_relaxed_numerics(options.relaxed);
    BF_ASSIGN(llama::Engine *const engine, llama::Engine::create(*model, options.engine));
    use_relaxed(engine->float_bindings());
    Prompts prompts;
    BF_ASSIGN(prompts.tokens, Buffer<llama::Token>::create(kMaxPromptTokens));
    BF_ASSIGN(prompts.ends, Buffer<uint32_t>::create(kMaxPrompts));
    llama::Tokenizer *tokenizer = nullptr;
    if (options.tokens != nullptr) {
        BF_TRY(parse_tokens(options.tokens, prompts));
    } else {
        BF_ASSIGN(tokenizer, llama::Tokenizer::create(model->file(), detail));
        BF_ASSIGN(prompts.ends[0], tokenizer->encode(options.prompt, prompts.tokens.span()));
        prompts.count = 1;
        std::printf("%s", options.prompt);
    }
    Printer printer(*engine, tokenizer, options.logits);
    const uint64_t slice_ticks = us_to_ticks(options.slice_us);
    for (uint32_t next = 0; next < prompts.count || engine->busy();) {
        while (next < prompts.count) {
            const auto slot = engine->start({.prompt = prompts[next],
                                             .max_tokens = options.max_tokens,
                                             .sampling = options.sampling},
                                            printer);
            if (!slot && slot.error().code == ErrorCode::kExhausted) {
                break;
            }
            BF_TRY(slot.status());
            printer.begin(*slot, next++, prompts.count > 1);
        }
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
        std::fprintf(
            stderr,
            "usage: %s --model FILE (--tokens 1,2,3[;4,5] | --prompt TEXT) [--max-tokens N] "
            "[--slots N] [--batch N] [--kv f16|q8_0] "
            "[--logits] [--context N] [--slice-us N] [--threads N] [--isa NAME] [--numerics "
            "exact|fast] "
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
