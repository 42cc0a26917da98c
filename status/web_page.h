// GET /: a page for people. It says what this is and how to use it, and streams a completion of a
// prompt that is typed in.
#pragma once

#include "http/exchange.h"

namespace bareflow::status {

void answer_web_page(http::Exchange &exchange);

// GET /favicon.ico: an empty answer, which keeps browsers from asking again.
void answer_favicon(http::Exchange &exchange);

}  // namespace bareflow::status
