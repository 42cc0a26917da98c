// GET /: a page for people: what this is, how to use it, and a form that streams a completion.
#pragma once

#include "http/exchange.h"

namespace bareflow::http {

class WebPageHandler final : public Handler {
  public:
    void handle(Exchange &exchange) override;
};

// GET /favicon.ico: nothing, which keeps browsers from asking again.
class FaviconHandler final : public Handler {
  public:
    void handle(Exchange &exchange) override;
};

}  // namespace bareflow::http
