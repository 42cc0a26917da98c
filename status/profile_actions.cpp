#include "status/profile_actions.h"

#include "http/accept.h"

namespace bareflow::status {

void OptimizeHandler::handle(http::Exchange &exchange) {
    const int changed = actions_.optimize_now();
    char text[80];
    TextWriter out(text);
    out.put("{\"changed\":", changed, ",\"more\":", actions_.optimizer_has_work(), "}\n");
    exchange.respond({.status = 200, .content_type = http::kTypeJson}, out.view());
}

void ResetHandler::handle(http::Exchange &exchange) {
    actions_.clear_profile();
    exchange.respond({.status = 200, .content_type = http::kTypeJson}, "{\"reset\":true}\n");
}

}  // namespace bareflow::status
