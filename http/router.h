// Method and path to handler. HEAD is answered wherever GET is, OPTIONS everywhere; an unknown path
// gets 404, a known one with another method 405 with Allow.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "http/exchange.h"
#include "http/http_types.h"

namespace bareflow::http {

struct Route {
    Method method;  // kGet or kPost...; several routes may share a path
    std::string_view path;
    Handler *handler;
};

class Router final : public Handler {
  public:
    // The table must outlive the router.
    explicit Router(std::span<const Route> routes) : routes_(routes) {}
    void handle(Exchange &exchange) override;

  private:
    std::span<const Route> routes_;
};

}  // namespace bareflow::http
