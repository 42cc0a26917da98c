// Method and path to handler. HEAD is answered wherever GET is, OPTIONS everywhere; an unknown path
// gets 404, a known one with another method 405 with Allow.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "http/exchange.h"
#include "http/http_types.h"

namespace bareflow::http {

// One line of the table of routes. An object answers, or a function where nothing needs to be kept.
struct Route {
    using Answer = void (*)(Exchange &exchange);

    constexpr Route() = default;
    constexpr Route(Method on, std::string_view at, Handler *who)
        : method(on), path(at), handler(who) {}
    constexpr Route(Method on, std::string_view at, Answer how)
        : method(on), path(at), answer(how) {}

    Method method = Method::kGet;  // several routes may share a path
    std::string_view path;
    Handler *handler = nullptr;
    Answer answer = nullptr;  // used when handler is nullptr
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
