#include "http/exchange.h"

namespace bareflow::http {

void write_error(TextWriter &out, const ErrorAnswer &error) {
    const std::string_view type = error.status >= 500 ? "server_error" : "invalid_request_error";
    out.put("{\"error\":{\"message\":", JsonString{error.message}, ",\"type\":\"", type,
            "\",\"param\":");
    if (error.param.empty()) {
        out.put("null");
    } else {
        out.put(JsonString{error.param});
    }
    out.put(",\"code\":", JsonString{error.code}, "}}\n");
}

void respond_error(Exchange &exchange, const ErrorAnswer &error) {
    char body[1024];
    TextWriter out(body);
    write_error(out, error);
    exchange.respond(
        {.status = error.status, .content_type = kTypeJson, .extra_headers = error.extra_headers},
        out.view());
}

}  // namespace bareflow::http
