// Any text as the body of a completion request: accepted with values inside their ranges, or
// refused with an error that is whole.
#include <cstdint>
#include <cstdlib>
#include <string>

#include "http/completion_request.h"
#include "kernel_lib/base/utf8.h"

using namespace bareflow;
using namespace bareflow::http;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    std::string body(reinterpret_cast<const char *>(data), size);
    char text[256];
    TextWriter message(text);
    ApiError error{};
    CompletionRequest request;
    const CompletionLimits limits{.model_id = "stories", .max_tokens = 512};
    if (!parse_completion_request({body.data(), body.size()}, limits, request, message, error)) {
        if (error.status != 400 || error.message.empty() || error.code.empty() ||
            message.truncated()) {
            std::abort();
        }
        return 0;
    }
    bool good = request.max_tokens >= 1 && request.max_tokens <= 512 && request.temperature >= 0 &&
                request.temperature <= 2 && request.top_p > 0 && request.top_p <= 1 &&
                request.stop_count <= CompletionRequest::kMaxStops && utf8_valid(request.prompt);
    for (uint32_t i = 0; i < request.stop_count; ++i) {
        good = good && !request.stops[i].empty() &&
               request.stops[i].size() <= CompletionRequest::kMaxStopBytes &&
               utf8_valid(request.stops[i]);
    }
    if (!good) {
        std::abort();
    }
    return 0;
}
