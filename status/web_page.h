// GET /: a page for people: what this is, how to use it, and a form that streams a completion.
#pragma once

#include "http/exchange.h"

namespace bareflow::status {

class WebPageHandler final : public http::Handler {
  public:
    void handle(http::Exchange &exchange) override;
};

// GET /favicon.ico: nothing, which keeps browsers from asking again.
class FaviconHandler final : public http::Handler {
  public:
    void handle(http::Exchange &exchange) override;
};

}  // namespace bareflow::status
