// GET /health: 200 {"status":"ok"} or 503 {"status":"loading" | "error","message"}.
#pragma once

#include "http/exchange.h"
#include "status/system_snapshot.h"

namespace bareflow::http {

class HealthHandler final : public Handler {
  public:
    explicit HealthHandler(SnapshotSource &source) : source_(source) {}
    void handle(Exchange &exchange) override;

  private:
    SnapshotSource &source_;
};

std::string_view health_name(HealthState state);  // "ok", "loading", "error"

}  // namespace bareflow::http
