// From the bytes of a model file to texts that can be made. The loader shows a bar while the file
// is read, and checks the file. Then it makes the engine and the tuners, and opens the completion
// API. It keeps the network served meanwhile.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include "api/text_generator.h"
#include "appliance/model_store.h"
#include "appliance/parts.h"
#include "appliance/service.h"
#include "appliance/tuning_schedule.h"
#include "kernel_lib/base/result.h"
#include "kernel_lib/base/text_writer.h"
#include "kernel_lib/io/progress.h"

namespace bareflow {

class ModelLoader final : public LoadListener {
  public:
    // All must outlive the loader.
    ModelLoader(Parts &parts, Service &service, TuningSchedule &tuning)
        : parts_(parts), service_(service), tuning_(tuning) {}

    // LoadListener
    void on_load_begin(std::string_view place, uint64_t total_bytes) override;
    void on_load_progress(uint64_t done_bytes) override;
    void on_load_end(bool ok) override;

    // If something is wrong with the file, the consoles and /health say what, and the program goes
    // on without a model. Call once.
    void take_model(const ModelFile &file);
    // There is no model: why, for the consoles and /health.
    void refuse_model(std::string_view why);
    // From now on requests are served: `texts` makes what `generator` starts. take_model() ends
    // with it; tests call it with a script. Both must stay for ever.
    void open(TextMaker &texts, api::TextGenerator &generator);

  private:
    [[nodiscard]] Status build_model(TextWriter &detail);
    [[nodiscard]] Status create_engine(TextWriter &detail);
    void log_model() const;

    Parts &parts_;
    Service &service_;
    TuningSchedule &tuning_;
    std::optional<LoadProgress> progress_;
    uint64_t load_begin_us_ = 0;
};

}  // namespace bareflow
