// What the classes of the appliance share: the machine around them, the settings, and the objects
// of the loaded model. Appliance owns them; ModelLoader fills in the model's.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

#include "api/llama_generator.h"
#include "appliance/binding_index.h"
#include "appliance/model_store.h"
#include "appliance/settings.h"
#include "compute/tuning/float_tuner.h"
#include "compute/tuning/gemv_tuner.h"
#include "compute/tuning/weight_placement.h"
#include "kernel_lib/platform/ticks.h"
#include "llama/engine/engine.h"
#include "llama/model/model.h"
#include "llama/text/tokenizer.h"
#include "status/system_snapshot.h"

namespace bareflow {

inline constexpr std::string_view kVersion = "0.1.0";

// How far a result may differ from the reference's with numerics=fast, in words.
inline constexpr std::string_view kTolerance = "1/4096 of the greatest result";
static_assert(compute::kRelaxedTolerance == 1.0f / 4096);

// The engine and the optimiser work in slices of this length. Between two slices the network and
// the console are served.
inline constexpr uint64_t kSliceMs = 5;

// The machine around the appliance: its network, and the facts that only the machine knows.
class Surroundings {
  public:
    // Moves frames or socket data. True when anything happened.
    virtual bool poll_network() = 0;
    // platform::ticks() at which poll_network() must be called even if nothing arrives.
    [[nodiscard]] virtual uint64_t network_deadline() = 0;
    // Logs what has changed since the last call. Called where a log line may begin.
    virtual void announce_network() {}
    // There is an address, or there will never be one: the ready line may be shown.
    [[nodiscard]] virtual bool network_settled() = 0;
    [[nodiscard]] virtual status::NetworkInfo network_info() = 0;
    [[nodiscard]] virtual std::string_view platform_name() const = 0;  // "metal", "hosted"
    [[nodiscard]] virtual uint64_t image_bytes() const = 0;  // code and data of the program

  protected:
    ~Surroundings() = default;
};

// The engine as the event loop sees it. A script takes its place in tests.
class TextMaker {
  public:
    // As the functions of llama::Engine with these names.
    [[nodiscard]] virtual bool busy() const = 0;
    [[nodiscard]] virtual bool can_advance() const = 0;
    virtual void advance(uint64_t deadline_ticks) = 0;
    virtual void make_room_for_translations() = 0;

  protected:
    ~TextMaker() = default;
};

class EngineTextMaker final : public TextMaker {
  public:
    explicit EngineTextMaker(llama::Engine &engine) : engine_(engine) {}
    [[nodiscard]] bool busy() const override { return engine_.busy(); }
    [[nodiscard]] bool can_advance() const override { return engine_.can_advance(); }
    void advance(uint64_t deadline_ticks) override { engine_.advance(deadline_ticks); }
    void make_room_for_translations() override { engine_.make_room_for_translations(); }

  private:
    llama::Engine &engine_;
};

// Whether texts can be made, and if not, why.
class ModelHealth {
  public:
    static constexpr size_t kMaxMessage = 240;

    void set_ok() { state_ = status::HealthState::kOk; }
    // `why` is copied, cut to kMaxMessage bytes.
    void set_error(std::string_view why) {
        state_ = status::HealthState::kError;
        message_len_ = std::min(why.size(), message_.size());
        std::copy_n(why.begin(), message_len_, message_.begin());
    }
    [[nodiscard]] bool ok() const { return state_ == status::HealthState::kOk; }
    [[nodiscard]] status::Health get() const { return {state_, {message_.data(), message_len_}}; }

  private:
    status::HealthState state_ = status::HealthState::kLoading;
    std::array<char, kMaxMessage> message_{};
    size_t message_len_ = 0;
};

struct Parts {
    Parts(const Settings &given, Surroundings &machine) : settings(given), surroundings(machine) {}

    const Settings settings;
    Surroundings &surroundings;
    ModelHealth health;
    TextMaker *texts = nullptr;  // nullptr: there is no model, or not yet

    // Of the model. nullptr or empty until the model loader has made them.
    ModelFile file;
    uint64_t load_us = 0;  // time that reading the file took; 0: it was in memory
    llama::Model *model = nullptr;
    llama::Tokenizer *tokenizer = nullptr;
    llama::Engine *engine = nullptr;
    std::optional<EngineTextMaker> engine_texts;
    std::optional<api::LlamaGenerator> generator;

    // What the optimiser works on.
    compute::WeightPlacement placement;
    compute::GemvTuner *gemv_tuner = nullptr;  // nullptr: there was no memory for it
    BindingIndex bindings;                     // empty without gemv_tuner
    compute::FloatTuner *float_tuner = nullptr;
};

}  // namespace bareflow
