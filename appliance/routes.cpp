#include "appliance/routes.h"

#include <algorithm>
#include <iterator>

#include "status/web_page.h"

namespace bareflow {

Status Routes::open(api::CompletionApi &api) {
    using http::Method;
    const http::Route table[] = {
        {Method::kGet, "/", status::answer_web_page},
        {Method::kGet, "/favicon.ico", status::answer_favicon},
        {Method::kGet, "/health", &health_},
        {Method::kGet, "/profile", &profile_},
        {Method::kPost, "/profile/optimize", &optimize_},
        {Method::kPost, "/profile/reset", &reset_},
        {Method::kGet, "/v1/models", &api.models()},
        {Method::kPost, "/v1/completions", &api.completions()},
        {Method::kPost, "/v1/chat/completions", &api.chat()},
    };
    BF_ASSIGN(table_, Buffer<http::Route>::create(std::size(table)));
    std::copy(std::begin(table), std::end(table), table_.data());
    router_.emplace(table_.span());
    return {};
}

}  // namespace bareflow
