// The event loop. What must hold: no call takes longer than a few milliseconds, so that the network
// and the console are served that often however long a token takes.
#include "appliance/appliance.h"

#include <algorithm>

#include "kernel_lib/io/console.h"
#include "kernel_lib/io/log.h"

namespace bareflow {
namespace {

constexpr uint64_t kStatusMs = 1000;

}  // namespace

// Only the addresses of members that are constructed later are taken here.
Appliance::Appliance(const Settings &settings, Surroundings &surroundings)
    : parts_(settings, surroundings),
      service_(parts_, report_, tuning_, prompts_),
      tuning_(parts_, service_),
      report_(parts_, service_, tuning_),
      prompts_(parts_, service_, report_),
      loader_(parts_, service_, tuning_) {}

bool Appliance::turn() {
    bool more = service_.poll();
    more |= prompts_.read_keys();
    if (parts_.texts != nullptr && parts_.texts->can_advance()) {
        tuning_.make_texts();
        more = true;
    } else {
        more |= tuning_.use_idle_time(ready_shown_);
    }
    tuning_.tend_profile();
    parts_.surroundings.announce_network();
    if (!ready_shown_ && parts_.surroundings.network_settled()) {
        show_ready();
    }
    if (platform::ticks() >= status_ticks_) {
        show_status();
        status_ticks_ = platform::ticks() + ms_to_ticks(kStatusMs);
    }
    return more;
}

uint64_t Appliance::idle_deadline() const {
    return std::min({service_.deadline(), status_ticks_, tuning_.deadline()});
}

void Appliance::show_ready() {
    ready_shown_ = true;
    report_.note_ready();
    const status::NetworkInfo network = parts_.surroundings.network_info();
    const std::string_view state = parts_.health.ok()
                                       ? std::string_view("a prompt can be typed here")
                                       : std::string_view("but there is no model");
    if (network.address.empty()) {
        log_stage("ready", "no network, ", state);
    } else {
        log_stage("ready", "http://", network.address, ":", parts_.settings.port, "/, ", state);
    }
    show_status();
    prompts_.start();
}

void Appliance::show_status() {
    constexpr size_t kColumns = 80;
    char figures[kColumns];
    TextWriter tail(figures);
    const std::string_view address = parts_.surroundings.network_info().address;
    const uint64_t requests = prompts_.requests();
    tail.put(" | ", address.empty() ? std::string_view("no address") : address, " | ", requests,
             requests == 1 ? " request | " : " requests | ", Fixed{service_.tokens_per_second(), 1},
             " tokens/s");
    if (const double times = report_.speed_up().over_reference; times > 1) {
        tail.put(", x", Fixed{times, 1});
    }
    char line[kColumns];
    TextWriter out(line);
    out.put(" BareFlow | ");
    if (parts_.model != nullptr && parts_.health.ok()) {
        // A long name is cut, the figures are not.
        const std::string_view type = parts_.model->weight_type();
        const size_t taken = out.size() + 1 + type.size() + tail.size();
        out.put(parts_.model->name().substr(0, kColumns - std::min(taken, kColumns)), " ", type);
    } else {
        out.put("no model");
    }
    out.put(tail.view());
    console_set_status(out.view());
}

}  // namespace bareflow
