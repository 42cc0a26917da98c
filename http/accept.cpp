#include "http/accept.h"

#include "http/http_types.h"

namespace bareflow::http {

namespace {

// "0.75" -> 750; 1000 at most. Malformed: 0, so that nothing is chosen because of it.
int parse_quality(std::string_view text) {
    if (text.empty() || (text[0] != '0' && text[0] != '1') || (text.size() > 1 && text[1] != '.')) {
        return 0;
    }
    int value = (text[0] - '0') * 1000;
    int unit = 100;
    for (const char c : text.substr(text.size() > 1 ? 2 : 1)) {
        if (c < '0' || c > '9' || unit == 0) {
            return 0;
        }
        value += (c - '0') * unit;
        unit /= 10;
    }
    return value > 1000 ? 0 : value;
}

// Cuts the text up to `mark` off the front of `rest`.
std::string_view take_until(std::string_view &rest, char mark) {
    const size_t end = rest.find(mark);
    const std::string_view front = rest.substr(0, end);
    rest = end == std::string_view::npos ? std::string_view() : rest.substr(end + 1);
    return trim(front);
}

// How exactly `range` names `type`: 3 itself, 2 its family ("text/*"), 1 anything, 0 not at all.
int exactness(std::string_view range, std::string_view type) {
    if (equals_ignoring_case(range, type)) {
        return 3;
    }
    if (range == "*/*") {
        return 1;
    }
    const size_t slash = type.find('/');
    const bool family = range.ends_with("/*") && range.size() == slash + 2 &&
                        equals_ignoring_case(range.substr(0, slash), type.substr(0, slash));
    return family ? 2 : 0;
}

// What the Accept header says about one type.
struct Verdict {
    int quality = 0;
    int match = 0;
};

Verdict judge(std::string_view accept, std::string_view type) {
    Verdict verdict;
    while (!accept.empty()) {
        std::string_view entry = take_until(accept, ',');
        const std::string_view range = take_until(entry, ';');
        int quality = 1000;
        while (!entry.empty()) {
            const std::string_view parameter = take_until(entry, ';');
            if (parameter.starts_with("q=") || parameter.starts_with("Q=")) {
                quality = parse_quality(parameter.substr(2));
            }
        }
        // The most exact range decides, even if a wider one has another quality.
        if (const int match = exactness(range, type); match > verdict.match) {
            verdict = {quality, match};
        }
    }
    return verdict;
}

}  // namespace

size_t negotiate(std::string_view accept, std::span<const std::string_view> offered,
                 size_t fallback) {
    size_t best = fallback;
    Verdict best_verdict;
    for (size_t i = 0; i < offered.size(); ++i) {
        const Verdict verdict = judge(accept, offered[i]);
        if (verdict.quality > best_verdict.quality ||
            (verdict.quality == best_verdict.quality && verdict.quality > 0 &&
             verdict.match > best_verdict.match)) {
            best = i;
            best_verdict = verdict;
        }
    }
    // Only "*/*" matches: the client leaves the choice to us.
    const bool ours = best_verdict.match <= 1 && judge(accept, offered[fallback]).quality > 0;
    return ours ? fallback : best;
}

}  // namespace bareflow::http
