// What the HTTP server counts.
#pragma once

#include <cstdint>

namespace bareflow::http {

// Since start. Counters only grow, but for `open`.
struct ServerCounters {
    uint64_t connections = 0;
    uint64_t requests = 0;  // complete or refused
    uint64_t responses_2xx = 0;
    uint64_t responses_4xx = 0;
    uint64_t responses_5xx = 0;
    uint64_t hang_ups = 0;   // clients that left before their answer was complete
    uint64_t timeouts = 0;   // connections closed for taking too long
    uint64_t evictions = 0;  // connections closed to make room for new ones
    uint64_t bytes_received = 0;
    uint64_t bytes_sent = 0;
    uint32_t open = 0;  // now
};

}  // namespace bareflow::http
