// What clients are served with: the completion API, the routes and the HTTP server. Also looks
// after the network below them.
#pragma once

#include <cstdint>

#include "api/completion_api.h"
#include "appliance/parts.h"
#include "appliance/routes.h"
#include "http/server.h"
#include "kernel_lib/base/byte_stream.h"
#include "kernel_lib/base/result.h"
#include "status/profile_actions.h"
#include "status/system_snapshot.h"

namespace bareflow {

class Service {
  public:
    // All must outlive the service.
    Service(Parts &parts, status::SnapshotSource &report, status::ProfileActions &actions,
            api::CompletionObserver &observer)
        : parts_(parts), observer_(observer), routes_(report, actions) {}

    // The completion API and the HTTP server, on `streams`.
    [[nodiscard]] Status start_http(StreamSource &streams);
    // The completion API only: for prompts from the console.
    [[nodiscard]] Status start_without_network();

    // Moves frames, connections and requests. True: there is more to do at once.
    bool poll();
    // For work that takes long: calls poll() if the last call is kKeepAliveMs ago.
    void keep_alive();
    // platform::ticks() at which poll() must be called even if nothing arrives.
    [[nodiscard]] uint64_t deadline() const;

    // nullptr until it was started.
    [[nodiscard]] api::CompletionApi *api() const { return api_; }
    [[nodiscard]] http::Server *server() const { return server_; }
    // See CompletionApi; 0 before the start.
    [[nodiscard]] double tokens_per_second() const {
        return api_ != nullptr ? api_->tokens_per_second() : 0.0;
    }

  private:
    Parts &parts_;
    api::CompletionObserver &observer_;
    api::CompletionApi *api_ = nullptr;
    http::Server *server_ = nullptr;
    Routes routes_;
    uint64_t kept_alive_ticks_ = 0;  // end of the last poll() in keep_alive()
};

}  // namespace bareflow
