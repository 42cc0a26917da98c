#include "status/profile.h"

#include "http/accept.h"

namespace bareflow::status {

namespace {
// Prometheus text exposition format 0.0.4.
constexpr std::string_view kTypeMetrics = "text/plain; version=0.0.4; charset=utf-8";
}  // namespace

std::string_view level_name(uint32_t level) {
    constexpr std::string_view kNames[] = {"reference", "rule of thumb", "measured", "fused"};
    return level < std::size(kNames) ? kNames[level] : "?";
}

std::string_view tried_function(SnapshotSource &source, const TryRow &row) {
    return row.function == TryRow::kNoFunction ? row.name : source.function_name(row.function);
}

ProfileLayout ProfileHandler::choose(const http::Request &request) {
    if (http::query_has(request.query, "format", "json")) {
        return ProfileLayout::kJson;
    }
    if (http::query_has(request.query, "format", "html")) {
        return ProfileLayout::kHtml;
    }
    if (http::query_has(request.query, "format", "prometheus")) {
        return ProfileLayout::kPrometheus;
    }
    constexpr std::string_view kOffered[] = {"application/json", "text/html", "text/plain"};
    return static_cast<ProfileLayout>(http::negotiate(request.accept, kOffered, 2));
}

void ProfileHandler::handle(http::Exchange &exchange) {
    const ProfileLayout layout = choose(exchange.request());
    const http::Cursor start{.piece = 0,
                             .count = static_cast<uint32_t>(source_.function_count()),
                             .part = static_cast<uint32_t>(layout)};
    const std::string_view type = layout == ProfileLayout::kJson   ? http::kTypeJson
                                  : layout == ProfileLayout::kHtml ? http::kTypeHtml
                                                                   : kTypeMetrics;
    exchange.respond_stream(
        {.status = 200, .content_type = type, .extra_headers = "Vary: Accept\r\n"}, *this, start,
        http::OnHangUp::kFinish);
}

http::AnswerSource::Piece ProfileHandler::produce(http::Exchange &, http::Cursor &cursor,
                                                  TextWriter &out) {
    bool more = false;
    switch (static_cast<ProfileLayout>(cursor.part)) {
        case ProfileLayout::kJson:
            more = render_profile_json(source_, cursor.piece, cursor.count, out);
            break;
        case ProfileLayout::kHtml:
            more = render_profile_html(source_, cursor.piece, cursor.count, out);
            break;
        case ProfileLayout::kPrometheus:
            more = render_profile_prometheus(source_, cursor.piece, cursor.count, out);
            break;
    }
    ++cursor.piece;
    return more ? Piece::kMore : Piece::kEnd;
}

}  // namespace bareflow::status
