// The addresses that this program answers: one table, in routes.cpp. Another address is one more
// line there, beside the file of its handler.
#pragma once

#include <optional>

#include "api/completion_api.h"
#include "http/router.h"
#include "kernel_lib/base/result.h"
#include "kernel_lib/memory/buffer.h"
#include "status/health.h"
#include "status/profile.h"
#include "status/profile_actions.h"
#include "status/system_snapshot.h"

namespace bareflow {

class Routes {
  public:
    // Both must outlive this object.
    Routes(status::SnapshotSource &source, status::ProfileActions &actions)
        : health_(source), profile_(source), optimize_(actions), reset_(actions) {}

    // Makes the table. Call once. `api` must outlive this object.
    [[nodiscard]] Status open(api::CompletionApi &api);
    // For the HTTP server, after open().
    [[nodiscard]] http::Handler &router() { return *router_; }

  private:
    status::HealthHandler health_;
    status::ProfileHandler profile_;
    status::OptimizeHandler optimize_;
    status::ResetHandler reset_;
    Buffer<http::Route> table_;
    std::optional<http::Router> router_;
};

}  // namespace bareflow
