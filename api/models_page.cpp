#include "api/models_page.h"

namespace bareflow::api {

void ModelsPage::handle(http::Exchange &exchange) {
    char body[768];
    TextWriter out(body);
    out.put("{\"object\":\"list\",\"data\":[");
    if (generator_ != nullptr) {
        out.put("{\"id\":", JsonString{generator_->model_id().substr(0, kMaxShownModelId)},
                ",\"object\":\"model\",\"created\":", ready_since_s_,
                ",\"owned_by\":\"bareflow\",\"context_length\":", generator_->context_length(),
                "}");
    }
    out.put("]}\n");
    exchange.respond({.status = 200, .content_type = http::kTypeJson}, out.view());
}

}  // namespace bareflow::api
