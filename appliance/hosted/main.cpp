// The appliance as an ordinary Linux program: the same server, engine, console and pages, over
// POSIX sockets and standard input.
//
//     build/hosted/bareflow --model models/stories.gguf --port 8080
//
// The modes without a server (--tokens, --encode and others) have files of their own.
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <cstdio>
#include <cstring>
#include <memory>
#include <optional>
#include <string>

#include "appliance/appliance.h"
#include "appliance/hosted/crash_report.h"
#include "appliance/hosted/dequantize_mode.h"
#include "appliance/hosted/encode_mode.h"
#include "appliance/hosted/file_disk.h"
#include "appliance/hosted/model_memory.h"
#include "appliance/hosted/render_chat_mode.h"
#include "appliance/hosted/token_mode.h"
#include "appliance/kept_profile/disk_profile_store.h"
#include "appliance/settings.h"
#include "kernel_lib/cpu/worker_pool.h"
#include "kernel_lib/io/log.h"
#include "kernel_lib/platform/platform.h"
#include "kernel_lib/platform/ticks.h"
#include "net/posix_transport_hosted.h"

namespace bareflow {
namespace {

constexpr char kHelp[] =
    "usage: bareflow --model FILE.gguf [--host ADDRESS] [--port N] [--context N] [--state FILE]\n"
    "                [KEY=VALUE ...]\n"
    "\n"
    "Serves the model over HTTP, as the bootable image does.\n"
    "\n"
    "  --model FILE     a GGUF file of a Llama-family model\n"
    "  --host ADDRESS   IPv4 address to listen on (default 127.0.0.1)\n"
    "  --port N         TCP port (default 8080; 0: any free one)\n"
    "  --context N      context length in tokens (default: the model's own)\n"
    "  --state FILE     where the tuned profile is kept; made when it is not there\n"
    "  KEY=VALUE        any setting of the appliance that has a meaning here:\n";
constexpr char kHelpEnd[] =
    "\n"
    "Without a server: --prompt TEXT or --tokens N,N,... (appliance/hosted/token_mode.h).\n";

volatile sig_atomic_t stop_requested = 0;
void on_signal(int) {
    stop_requested = 1;
}

struct Options {
    std::string model;
    std::string host = "127.0.0.1";
    uint16_t port = 8080;
    std::string state;
    Settings settings;
};

class SettingErrors final : public SettingsListener {
  public:
    bool any = false;
    void on_bad_setting(std::string_view sentence) override {
        any = true;
        std::fprintf(stderr, "bareflow: %.*s (see --help)\n", static_cast<int>(sentence.size()),
                     sentence.data());
    }
};

template <typename T>
bool parse_number(const char *text, T &out) {
    const char *end = text + std::strlen(text);
    const auto [at, error] = std::from_chars(text, end, out);
    return error == std::errc() && at == end;
}

void print_help() {
    std::fputs(kHelp, stdout);
    for (const SettingDescription &row : setting_descriptions()) {
        const std::string key(row.key);
        const std::string values(row.values);
        const std::string meaning(row.meaning);
        std::printf("    %s=%s  %s\n", key.c_str(), values.c_str(), meaning.c_str());
    }
    std::fputs(kHelpEnd, stdout);
}

// The exit code if the program ends here; nothing if it goes on.
std::optional<int> parse_options(int argc, char **argv, Options &options) {
    SettingErrors errors;
    for (int i = 1; i < argc; ++i) {
        const std::string_view key = argv[i];
        if (key == "--help" || key == "-h") {
            print_help();
            return 0;
        }
        if (!key.starts_with('-') && key.find('=') != std::string_view::npos) {
            apply_settings(key, "the command line", options.settings, errors);
            if (errors.any) {
                return 2;
            }
            continue;
        }
        const char *value = i + 1 < argc ? argv[++i] : nullptr;
        bool good = value != nullptr;
        if (good && key == "--model") {
            options.model = value;
        } else if (good && key == "--host") {
            options.host = value;
        } else if (good && key == "--state") {
            options.state = value;
        } else if (good && key == "--port") {
            good = parse_number(value, options.port);
        } else if (good && key == "--context") {
            good = parse_number(value, options.settings.context);
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

class HostedSurroundings final : public Surroundings {
  public:
    HostedSurroundings(http::PosixTransport &transport, std::string_view host)
        : transport_(transport), host_(host) {}

    bool poll_network() override { return transport_.wait(0); }
    [[nodiscard]] uint64_t network_deadline() override { return ~uint64_t{0}; }
    [[nodiscard]] bool network_settled() override { return true; }
    [[nodiscard]] status::NetworkInfo network_info() override {
        status::NetworkInfo info;
        info.device = "sockets";
        info.address = host_;
        info.link_up = true;
        info.received_bytes = transport_.bytes_received();
        info.sent_bytes = transport_.bytes_sent();
        return info;
    }
    [[nodiscard]] std::string_view platform_name() const override { return "hosted"; }
    [[nodiscard]] uint64_t image_bytes() const override {
        struct stat info{};
        return ::stat("/proc/self/exe", &info) == 0 ? static_cast<uint64_t>(info.st_size) : 0;
    }

  private:
    http::PosixTransport &transport_;
    std::string_view host_;
};

void use_state_file(const std::string &path, Appliance &appliance) {
    alignas(16) static StateDisk::Buffer buffer;
    static std::optional<DiskProfileStore> store;
    auto file = FileDisk::open(path);
    if (!file) {
        log_line("profile: ", path, ": ", file.error().message);
        return;
    }
    auto state = StateDisk::open(**file, buffer);
    if (!state) {
        log_line("profile: ", path, ": ", state.error().message);
        return;
    }
    appliance.use_profile_store(store.emplace(*state));
}

int run(Options &options) {
    log_start(platform::ticks());
    auto transport = http::PosixTransport::listen(options.host, options.port);
    if (!transport) {
        std::fprintf(stderr, "bareflow: cannot listen on %s:%u: %.*s\n", options.host.c_str(),
                     options.port, static_cast<int>(transport.error().message.size()),
                     transport.error().message.data());
        return 1;
    }
    http::PosixTransport &sockets = **transport;
    options.settings.port = sockets.port();
    sockets.wake_on(STDIN_FILENO);
    HostedSurroundings surroundings(sockets, options.host);
    static Appliance appliance(options.settings, surroundings);
    if (const Status status = appliance.start_http(sockets); !status) {
        log_line(status.message());
        return 1;
    }
    (void)start_workers(options.settings.threads);
    if (!options.state.empty() && options.settings.state != StateMode::kOff) {
        use_state_file(options.state, appliance);
    }
    const ModelMemory file = model_file_bytes(
        options.model.c_str(), options.settings.weights == compute::WeightMode::kMapped);
    if (file.bytes.empty()) {
        appliance.loader().refuse_model(options.model.empty() ? "no model was given (--model)"
                                                              : "the model file cannot be read");
    } else {
        appliance.loader().take_model(
            {.bytes = file.bytes, .place = options.model, .writable = file.writable});
    }

    while (stop_requested == 0) {
        if (appliance.turn()) {
            continue;
        }
        const uint64_t now = platform::ticks();
        const uint64_t deadline = std::max(appliance.idle_deadline(), now);
        const uint64_t wait_ms = std::min<uint64_t>(ticks_to_us(deadline - now) / 1000 + 1, 60'000);
        sockets.wait(static_cast<int>(wait_ms));
    }
    return 0;
}

}  // namespace
}  // namespace bareflow

int main(int argc, char **argv) {
    if (bareflow::dequantize_mode_wanted(argc, argv)) {
        return bareflow::run_dequantize_mode(argc, argv);
    }
    if (bareflow::encode_mode_wanted(argc, argv)) {
        return bareflow::run_encode_mode(argc, argv);
    }
    if (bareflow::render_chat_mode_wanted(argc, argv)) {
        return bareflow::run_render_chat_mode(argc, argv);
    }
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
    bareflow::report_crashes();
    return bareflow::run(options);
}
