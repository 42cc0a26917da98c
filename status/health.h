// GET /health: 200 {"status":"ok"} or 503 {"status":"loading" | "error","message"}.
#pragma once

#include "http/exchange.h"
#include "status/system_snapshot.h"

namespace bareflow::status {

class HealthHandler final : public http::Handler {
  public:
    explicit HealthHandler(SnapshotSource &source) : source_(source) {}
    void handle(http::Exchange &exchange) override;

  private:
    SnapshotSource &source_;
};

std::string_view health_name(HealthState state);  // "ok", "loading", "error"

}  // namespace bareflow::status
