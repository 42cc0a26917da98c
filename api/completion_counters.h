// What the completion API counts, for /profile and for logs.
#pragma once

#include <cstdint>

namespace bareflow::api {

// Since start. Counters only grow; values "now" do not.
struct CompletionCounters {
    uint64_t started = 0;
    uint64_t finished = 0;       // with a whole answer
    uint64_t cancelled = 0;      // the client left first
    uint64_t refused = 0;        // queue full, no model
    uint64_t prompt_tokens = 0;  // of requests that are over
    uint64_t cached_tokens = 0;  // of these: not computed, left by another request
    uint64_t copied_tokens = 0;  // of these: copied from another slot
    uint64_t computed_prompt_tokens = 0;
    uint64_t completion_tokens = 0;
    uint64_t batches = 0;     // computed
    uint64_t batch_rows = 0;  // tokens in them
    uint64_t prompt_us = 0;   // time spent computing, in microseconds
    uint64_t decode_us = 0;
    uint32_t waiting = 0;  // now
    uint32_t running = 0;  // now
    uint32_t slots = 0;    // that can run
    double last_tokens_per_second = 0;
    double tokens_per_second = 0;  // of all requests together
};

}  // namespace bareflow::api
