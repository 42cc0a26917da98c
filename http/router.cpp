#include "http/router.h"

namespace bareflow::http {

namespace {

struct Named {
    Method method;
    std::string_view name;
};
constexpr Named kNames[] = {{Method::kGet, "GET"},        {Method::kHead, "HEAD"},
                            {Method::kPost, "POST"},      {Method::kPut, "PUT"},
                            {Method::kDelete, "DELETE"},  {Method::kPatch, "PATCH"},
                            {Method::kOptions, "OPTIONS"}};

void write_allow(TextWriter &out, uint8_t methods) {
    out.put("Allow: ");
    bool first = true;
    for (const Named &named : kNames) {
        if ((methods & method_bit(named.method)) != 0) {
            out.put(first ? "" : ", ", named.name);
            first = false;
        }
    }
    out.put("\r\n");
}

}  // namespace

void Router::handle(Exchange &exchange) {
    const Request &request = exchange.request();
    const Method wanted = request.method == Method::kHead ? Method::kGet : request.method;
    uint8_t methods = 0;
    for (const Route &route : routes_) {
        if (route.path != request.path && request.path != "*") {
            continue;
        }
        if (route.method == wanted && route.path == request.path) {
            if (route.handler != nullptr) {
                route.handler->handle(exchange);
            } else {
                route.answer(exchange);
            }
            return;
        }
        methods |= method_bit(route.method);
    }
    if (methods == 0 || (request.path == "*" && wanted != Method::kOptions)) {
        respond_error(exchange, {404, "There is nothing at this path.", "not_found"});
        return;
    }
    if ((methods & method_bit(Method::kGet)) != 0) {
        methods |= method_bit(Method::kHead);
    }
    methods |= method_bit(Method::kOptions);
    char line[96];
    TextWriter allow(line);
    write_allow(allow, methods);
    if (wanted == Method::kOptions) {
        exchange.respond({.status = 204, .content_type = {}, .extra_headers = allow.view()}, {});
        return;
    }
    respond_error(exchange,
                  {405,
                   "This path does not take that method; the Allow header names those it takes.",
                   "method_not_allowed",
                   {},
                   allow.view()});
}

}  // namespace bareflow::http
