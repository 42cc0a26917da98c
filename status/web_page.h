// GET /: a page for people: what this is, how to use it, and a form that streams a completion.
#pragma once

#include "http/exchange.h"

namespace bareflow::status {

void answer_web_page(http::Exchange &exchange);

// GET /favicon.ico: an empty answer, which keeps browsers from asking again.
void answer_favicon(http::Exchange &exchange);

}  // namespace bareflow::status
