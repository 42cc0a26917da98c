// The appliance as an ordinary Linux program: the same server, engine and pages over POSIX sockets.
//
//     build/hosted/bareflow --model models/stories.gguf --port 8080
#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <cstdio>
#include <cstring>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "appliance/token_mode_hosted.h"
#include "http/completion_api.h"
#include "http/health.h"
#include "http/llama_generator.h"
#include "http/posix_transport_hosted.h"
#include "http/profile.h"
#include "http/router.h"
#include "http/server.h"
#include "http/web_page.h"
#include "kernel_lib/jit/profile.h"
#include "kernel_lib/platform/platform.h"
#include "llama/engine.h"
#include "llama/model.h"
#include "llama/tokenizer.h"

namespace bareflow {
namespace {

constexpr char kHelp[] =
    "usage: bareflow --model FILE.gguf [--host ADDRESS] [--port N] [--context N] [--help]\n"
    "\n"
    "Serves the model over HTTP, as the bootable image does.\n"
    "\n"
    "  --model FILE     a GGUF file of a Llama-family model\n"
    "  --host ADDRESS   IPv4 address to listen on (default 127.0.0.1)\n"
    "  --port N         TCP port (default 8080; 0: any free one)\n"
    "  --context N      context length in tokens (default: the model's own)\n"
    "  --connections N  clients at once (default 32)\n"
    "  --queue N        requests that may wait (default 8)\n"
    "\n"
    "Without a server: --prompt TEXT or --tokens N,N,... (appliance/token_mode_hosted.h).\n";

// How long the engine works before the network gets its turn.
constexpr uint64_t kSliceMs = 10;
constexpr uint64_t kCheckBytes = 16 * 1024 * 1024;

volatile sig_atomic_t stop_requested = 0;
void on_signal(int) {
    stop_requested = 1;
}

struct Options {
    std::string model;
    std::string host = "127.0.0.1";
    uint16_t port = 8080;
    uint32_t context = 0;
    uint32_t connections = 32;
    uint32_t queue = 8;
};

template <typename T>
bool parse_number(const char *text, T &out) {
    const char *end = text + std::strlen(text);
    const auto [at, error] = std::from_chars(text, end, out);
    return error == std::errc() && at == end;
}

// Exit code, when there is nothing to run.
std::optional<int> parse_options(int argc, char **argv, Options &options) {
    for (int i = 1; i < argc; ++i) {
        const std::string_view key = argv[i];
        if (key == "--help" || key == "-h") {
            std::fputs(kHelp, stdout);
            return 0;
        }
        const char *value = i + 1 < argc ? argv[++i] : nullptr;
        bool good = value != nullptr;
        if (good && key == "--model") {
            options.model = value;
        } else if (good && key == "--host") {
            options.host = value;
        } else if (good && key == "--port") {
            good = parse_number(value, options.port);
        } else if (good && key == "--context") {
            good = parse_number(value, options.context);
        } else if (good && key == "--connections") {
            good = parse_number(value, options.connections);
        } else if (good && key == "--queue") {
            good = parse_number(value, options.queue);
        } else {
            good = false;
        }
        if (!good) {
            std::fprintf(stderr, "bareflow: bad argument '%s' (see --help)\n", argv[i]);
            return 2;
        }
    }
    return std::nullopt;
}

// A file mapped for reading; empty when it can't be had.
class MappedFile {
  public:
    explicit MappedFile(const std::string &path) {
        const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
        struct stat info{};
        if (fd >= 0 && ::fstat(fd, &info) == 0 && info.st_size > 0) {
            void *at =
                ::mmap(nullptr, static_cast<size_t>(info.st_size), PROT_READ, MAP_PRIVATE, fd, 0);
            if (at != MAP_FAILED) {
                bytes_ = {static_cast<const uint8_t *>(at), static_cast<size_t>(info.st_size)};
            }
        }
        if (fd >= 0) {
            ::close(fd);
        }
    }
    ~MappedFile() {
        if (!bytes_.empty()) {
            ::munmap(const_cast<uint8_t *>(bytes_.data()), bytes_.size());
        }
    }
    MappedFile(const MappedFile &) = delete;
    MappedFile &operator=(const MappedFile &) = delete;
    [[nodiscard]] std::span<const uint8_t> bytes() const { return bytes_; }

  private:
    std::span<const uint8_t> bytes_;
};

// "models/stories.gguf" -> "stories": what /v1/models calls it.
std::string model_id_of(const std::string &path) {
    const size_t slash = path.rfind('/');
    std::string name = slash == std::string::npos ? path : path.substr(slash + 1);
    if (name.ends_with(".gguf")) {
        name.resize(name.size() - 5);
    }
    return name.empty() ? "model" : name;
}

class HostedApp final : public http::CompletionObserver {
  public:
    explicit HostedApp(Options options)
        : options_(std::move(options)), file_(options_.model), id_(model_id_of(options_.model)) {}
    ~HostedApp();
    HostedApp(const HostedApp &) = delete;
    HostedApp &operator=(const HostedApp &) = delete;

    int run();
    void on_completion(const http::CompletionSummary &summary) override;

  private:
    bool set_up();
    void load_step();
    void fail_load();

    Options options_;
    MappedFile file_;
    std::string id_;
    char detail_text_[512] = {};
    TextWriter detail_{detail_text_};
    http::Health health_;
    std::unique_ptr<http::PosixTransport> transport_;
    http::CompletionApi *completions_ = nullptr;
    http::Server *server_ = nullptr;
    llama::Model *model_ = nullptr;
    llama::Tokenizer *tokenizer_ = nullptr;
    llama::Engine *engine_ = nullptr;
    std::optional<llama::ValueCheck> check_;
    std::optional<http::LlamaGenerator> generator_;

    class Snapshot final : public http::SnapshotSource {
      public:
        explicit Snapshot(HostedApp &app) : app_(app) {}
        http::Health health() override { return app_.health_; }
        void fill(http::SystemSnapshot &out) override;
        size_t function_count() override { return profiler().count(); }
        http::FunctionRow function(size_t index) override;

      private:
        HostedApp &app_;
    };
    Snapshot snapshot_{*this};
    http::HealthHandler health_page_{snapshot_};
    http::ProfileHandler profile_page_{snapshot_};
    http::WebPageHandler web_page_;
    http::FaviconHandler favicon_;
    std::optional<http::Router> router_;
    std::vector<http::Route> routes_;
    uint64_t start_ticks_ = platform::ticks();
    uint64_t ready_ticks_ = 0;
};

http::FunctionRow HostedApp::Snapshot::function(size_t index) {
    const FunctionProfile profile = profiler().profile(static_cast<FunctionId>(index));
    return {.name = profile.name,
            .shape = profile.shape,
            .calls = profile.calls,
            .total_cycles = profile.total_cycles,
            .average_cycles = profile.average_cycles(),
            .minimum_cycles = profile.min_cycles,
            .level = static_cast<uint32_t>(profile.level),
            .code_bytes = static_cast<uint32_t>(profile.code_bytes)};
}

void HostedApp::Snapshot::fill(http::SystemSnapshot &out) {
    const double per_second = static_cast<double>(platform::ticks_per_second());
    out.platform = "hosted";
    out.uptime_s = static_cast<double>(platform::ticks() - app_.start_ticks_) / per_second;
    if (app_.ready_ticks_ != 0) {
        out.ready_ms =
            static_cast<double>(app_.ready_ticks_ - app_.start_ticks_) * 1000 / per_second;
    }
    out.health = app_.health_;
    out.cpu.processors = platform::processor_count();
    out.cpu.ticks_per_second = platform::ticks_per_second();
    out.memory.total_bytes = platform::total_memory_bytes();
    out.memory.free_bytes = platform::free_memory_bytes();
    if (app_.engine_ != nullptr) {
        const llama::EngineMemory memory = app_.engine_->memory();
        out.memory.kv_bytes = memory.kv_bytes;
        out.memory.model_bytes = memory.model_bytes;
        out.memory.scratch_bytes = memory.scratch_bytes;
        out.model.context_length = app_.engine_->context_length();
    }
    if (app_.model_ != nullptr) {
        out.model.name = app_.model_->name();
        out.model.weight_type = app_.model_->weight_type();
        out.model.parameters = app_.model_->parameter_count();
        out.model.file_bytes = app_.model_->file_bytes();
        out.model.layers = app_.model_->parameters().layers;
    }
    const JitThresholds &thresholds = profiler().thresholds();
    out.jit.warm_calls = thresholds.warm;
    out.jit.hot_calls = thresholds.hot;
    out.jit.very_hot_calls = thresholds.very_hot;
    out.jit.unbalanced = profiler().unbalanced();
    out.network.device = "sockets";
    out.network.address = app_.options_.host;
    out.network.link_up = true;
    out.network.received_bytes = app_.server_->counters().bytes_received;
    out.network.sent_bytes = app_.server_->counters().bytes_sent;
    out.http = app_.server_->counters();
    out.completions = app_.completions_->counters();
    out.memory.http_bytes = app_.server_->memory_bytes();
}

HostedApp::~HostedApp() {
    if (server_ != nullptr) {
        server_->destroy();
    }
    if (completions_ != nullptr) {
        completions_->destroy();
    }
    if (engine_ != nullptr) {
        engine_->destroy();
    }
    if (tokenizer_ != nullptr) {
        tokenizer_->destroy();
    }
    check_.reset();
    if (model_ != nullptr) {
        model_->destroy();
    }
}

bool HostedApp::set_up() {
    auto transport = http::PosixTransport::listen(options_.host, options_.port);
    if (!transport) {
        std::fprintf(stderr, "bareflow: cannot listen on %s:%u: %s\n", options_.host.c_str(),
                     options_.port, transport.error().message.data());
        return false;
    }
    transport_ = std::move(*transport);
    auto completions = http::CompletionApi::create(
        {.queue = std::min(options_.queue, 64u), .max_tokens = 1u << 20});
    if (!completions) {
        return false;
    }
    completions_ = *completions;
    completions_->set_observer(this);
    routes_ = {{http::Method::kGet, "/", &web_page_},
               {http::Method::kGet, "/favicon.ico", &favicon_},
               {http::Method::kGet, "/health", &health_page_},
               {http::Method::kGet, "/profile", &profile_page_},
               {http::Method::kGet, "/v1/models", &completions_->models()},
               {http::Method::kPost, "/v1/completions", completions_}};
    router_.emplace(routes_);
    http::ServerConfig config;
    config.connections = options_.connections;
    config.body_total_bytes = 16 * 1024 * 1024;
    auto server = http::Server::create(*transport_, *router_, config);
    if (!server) {
        return false;
    }
    server_ = *server;
    return true;
}

void HostedApp::fail_load() {
    check_.reset();
    health_ = {.state = http::HealthState::kError, .message = detail_.view()};
    completions_->set_unavailable(detail_.view(), false);
    std::fprintf(stderr, "bareflow: %.*s\n", static_cast<int>(detail_.size()), detail_text_);
}

// One slice of loading; the server answers in between.
void HostedApp::load_step() {
    if (model_ == nullptr) {
        if (file_.bytes().empty()) {
            detail_.clear();
            detail_.put(options_.model.empty() ? "No model was given (--model)."
                                               : "The model file cannot be read.");
            return fail_load();
        }
        auto model = llama::Model::create(file_.bytes(), detail_);
        if (!model) {
            return fail_load();
        }
        model_ = *model;
        check_.emplace(*model_);
        return;
    }
    if (!check_->done()) {
        if (!check_->step(kCheckBytes, detail_)) {
            fail_load();
        }
        return;
    }
    auto tokenizer = llama::Tokenizer::create(model_->file(), detail_);
    if (!tokenizer) {
        return fail_load();
    }
    tokenizer_ = *tokenizer;
    auto engine = llama::Engine::create(*model_, options_.context);
    if (!engine) {
        detail_.clear();
        detail_.put(engine.error().message);
        return fail_load();
    }
    engine_ = *engine;
    generator_.emplace(*engine_, *tokenizer_, id_);
    completions_->set_generator(*generator_);
    check_.reset();
    health_ = {.state = http::HealthState::kOk, .message = {}};
    ready_ticks_ = platform::ticks();
    std::fprintf(stderr, "bareflow: ready: http://%s:%u\n", options_.host.c_str(),
                 transport_->port());
}

void HostedApp::on_completion(const http::CompletionSummary &summary) {
    std::fprintf(stderr, "bareflow: %u + %u tokens, %.1f tokens/s%s\n", summary.prompt_tokens,
                 summary.completion_tokens, summary.tokens_per_second,
                 summary.finish == http::FinishKind::kCancelled ? ", cancelled" : "");
}

int HostedApp::run() {
    if (!set_up()) {
        return 1;
    }
    std::fprintf(stderr, "bareflow: listening on http://%s:%u\n", options_.host.c_str(),
                 transport_->port());
    const uint64_t ticks_per_ms = std::max<uint64_t>(platform::ticks_per_second() / 1000, 1);
    health_.message = "The model is still being loaded.";
    while (stop_requested == 0) {
        bool more = server_->poll();
        more = completions_->poll() || more;
        if (health_.state == http::HealthState::kLoading) {
            load_step();
            more = true;
        }
        if (engine_ != nullptr && engine_->busy() && completions_->may_advance()) {
            engine_->advance(platform::ticks() + kSliceMs * ticks_per_ms);
            more = true;
        }
        int timeout_ms = 0;
        if (!more) {
            const uint64_t deadline = server_->next_deadline();
            const uint64_t now = platform::ticks();
            timeout_ms = deadline == http::Connection::kNever ? -1
                         : deadline <= now                    ? 0
                                                              : static_cast<int>(std::min<uint64_t>(
                                                 (deadline - now) / ticks_per_ms + 1, 60'000));
        }
        transport_->wait(timeout_ms);
    }
    return 0;
}

}  // namespace
}  // namespace bareflow

int main(int argc, char **argv) {
    if (bareflow::token_mode_wanted(argc, argv)) {
        return bareflow::run_token_mode(argc, argv);
    }
    bareflow::Options options;
    if (const auto code = bareflow::parse_options(argc, argv, options)) {
        return *code;
    }
    struct sigaction action{};
    action.sa_handler = bareflow::on_signal;
    sigaction(SIGINT, &action, nullptr);
    sigaction(SIGTERM, &action, nullptr);
    signal(SIGPIPE, SIG_IGN);
    bareflow::HostedApp app(std::move(options));
    return app.run();
}
