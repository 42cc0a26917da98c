// The appliance without the machine: model, engine, HTTP API and console joined into one event
// loop. The same on bare metal and hosted; what differs comes in through Surroundings.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

#include "api/completion_api.h"
#include "api/llama_generator.h"
#include "appliance/console/console.h"
#include "appliance/kept_profile/profile_keeper.h"
#include "appliance/model_store.h"
#include "appliance/read_speed.h"
#include "appliance/routes.h"
#include "appliance/settings.h"
#include "appliance/timeline.h"
#include "compute/tuning/float_tuner.h"
#include "compute/tuning/gemv_tuner.h"
#include "http/server.h"
#include "kernel_lib/base/result.h"
#include "kernel_lib/io/progress.h"
#include "llama/engine/engine.h"
#include "llama/model/model.h"
#include "llama/text/tokenizer.h"
#include "status/profile_actions.h"
#include "status/profile_table.h"
#include "status/system_snapshot.h"

namespace bareflow {

inline constexpr std::string_view kVersion = "0.1.0";

// The machine around the appliance: its network, and what only it knows about itself.
class Surroundings {
  public:
    // Moves frames or sockets. True when anything happened.
    virtual bool poll_network() = 0;
    // platform::ticks() at which poll_network() must be called though nothing arrives.
    [[nodiscard]] virtual uint64_t network_deadline() = 0;
    // Says on the consoles what has changed; called where a line may begin.
    virtual void announce_network() {}
    // An address is there (or there will never be one): the ready line may be shown.
    [[nodiscard]] virtual bool network_settled() = 0;
    [[nodiscard]] virtual status::NetworkInfo network_info() = 0;
    [[nodiscard]] virtual std::string_view platform_name() const = 0;  // "metal", "hosted"
    [[nodiscard]] virtual uint64_t image_bytes() const = 0;  // code and data of the program

  protected:
    ~Surroundings() = default;
};

class Appliance final : private status::SnapshotSource,
                        private status::ProfileActions,
                        private api::LocalClient,
                        private api::CompletionObserver,
                        private ConsoleHost,
                        private LoadListener {
  public:
    // One a program: static storage, no allocation yet.
    Appliance(const Settings &settings, Surroundings &surroundings);

    // Serves on `streams` from now on. Until there is a model, /health says so.
    [[nodiscard]] Status start_http(StreamSource &streams);
    // Without a network card: the console still works.
    [[nodiscard]] Status start_without_network();

    // Where the tuned profile is kept; before take_model(). It stays for ever.
    void use_profile_store(ProfileStore &store) { profile_store_ = &store; }

    // For load_model(): shows a bar, and keeps the network alive meanwhile.
    [[nodiscard]] LoadListener &load_listener() { return *this; }
    // Checks the file and makes the engine; keeps the network alive meanwhile. What is wrong with
    // the file is said on the consoles and in /health, and the appliance goes on without a model.
    void take_model(const ModelFile &file);
    // There is no model: why, for the consoles and /health.
    void refuse_model(std::string_view why);

    // One turn of the event loop. False: nothing to do before idle_deadline() or an interrupt.
    bool turn();
    [[nodiscard]] uint64_t idle_deadline();

  private:
    // http::SnapshotSource
    status::Health health() override;
    void fill(status::SystemSnapshot &out) override;
    size_t function_count() override;
    status::FunctionRow function(size_t index) override;
    size_t try_count() override;
    status::TryRow try_at(size_t index) override;
    std::span<const status::TimelinePoint> timeline() override { return timeline_.points(); }
    // http::ProfileActions
    int optimize_now() override;
    [[nodiscard]] bool optimizer_has_work() override;
    void clear_profile() override;
    // http::LocalClient, http::CompletionObserver
    void on_text(std::string_view text) override;
    void on_done(const api::CompletionSummary &summary, std::string_view error) override;
    void on_completion(const api::CompletionSummary &summary) override;
    // ConsoleHost
    void write(std::string_view text) override;
    Status begin_prompt(std::string_view text) override;
    void cancel_prompt() override;
    void write_stats(TextWriter &out) override;
    void reboot() override;
    // LoadListener
    void on_load_begin(std::string_view place, uint64_t total_bytes) override;
    void on_load_progress(uint64_t done_bytes) override;
    void on_load_end(bool ok) override;

    Status build_model(const ModelFile &file, TextWriter &detail);
    Status create_engine(TextWriter &detail);
    void start_optimizer();
    void recall_profile();
    void restore_choices();
    void keep_alive();
    bool serve();
    void generate();
    bool optimize();
    void tend_profile();
    void note_speed();
    // Of all operations together, in the mix that decoding has now, over what they would cost at
    // another level.
    struct SpeedUp {
        double over_reference = 1;
        double over_rule = 1;
    };
    [[nodiscard]] SpeedUp speed_up() const;
    bool read_console();  // true: there may be more to read
    void show_ready();
    void show_status();

    Settings settings_;
    Surroundings &surroundings_;
    Console console_;

    api::CompletionApi *api_ = nullptr;
    http::Server *server_ = nullptr;
    Routes routes_;

    llama::Model *model_ = nullptr;
    llama::Tokenizer *tokenizer_ = nullptr;
    llama::Engine *engine_ = nullptr;
    compute::WeightPlacement placement_;
    compute::GemvJit *jit_ = nullptr;
    compute::FloatJit *float_jit_ = nullptr;
    // While text is made and the optimiser has work: the time, and its part in it.
    uint64_t busy_ticks_ = 0;
    uint64_t busy_optimizer_ticks_ = 0;
    bool tuning_ = false;                       // since the optimiser last had nothing to do
    uint64_t advance_ticks_ = 0;                // spent making text
    FunctionId sample_function_ = kNoFunction;  // called once for every token
    Timeline timeline_;
    ReadSpeed read_speed_;
    ProfileStore *profile_store_ = nullptr;
    ProfileKeeper profile_keeper_;
    std::optional<api::LlamaGenerator> generator_;
    ModelFile model_file_;
    uint64_t load_us_ = 0;

    std::optional<LoadProgress> progress_;
    uint64_t load_began_us_ = 0;
    uint64_t served_ticks_ = 0;  // keep_alive() was here last

    status::HealthState health_state_ = status::HealthState::kLoading;
    std::array<char, 240> health_message_{};
    size_t health_message_len_ = 0;

    uint64_t requests_logged_ = 0;
    bool ready_shown_ = false;
    uint64_t ready_us_ = 0;
    uint64_t status_ticks_ = 0;
    std::array<char, status::kMaxProfileList> features_{};
    size_t features_len_ = 0;
};

}  // namespace bareflow
