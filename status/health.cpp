#include "status/health.h"

namespace bareflow::status {

std::string_view health_name(HealthState state) {
    switch (state) {
        case HealthState::kOk:
            return "ok";
        case HealthState::kLoading:
            return "loading";
        case HealthState::kError:
            break;
    }
    return "error";
}

void HealthHandler::handle(http::Exchange &exchange) {
    const Health health = source_.health();
    char body[768];
    TextWriter out(body);
    out.put("{\"status\":\"", health_name(health.state), "\"");
    if (health.state != HealthState::kOk) {
        out.put(",\"message\":", JsonString{health.message.substr(0, 256)});
    }
    out.put("}\n");
    const bool ok = health.state == HealthState::kOk;
    exchange.respond({.status = static_cast<uint16_t>(ok ? 200 : 503),
                      .content_type = http::kTypeJson,
                      .extra_headers = health.state == HealthState::kLoading
                                           ? std::string_view("Retry-After: 1\r\n")
                                           : std::string_view()},
                     out.view());
}

}  // namespace bareflow::status
