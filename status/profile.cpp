#include "status/profile.h"

#include "http/accept.h"

namespace bareflow::status {

std::string_view level_name(uint32_t level) {
    constexpr std::string_view kNames[] = {"reference", "rule of thumb", "measured", "fused"};
    return level < std::size(kNames) ? kNames[level] : "?";
}

std::string_view tried_function(SnapshotSource &source, const TryRow &row) {
    return row.function == TryRow::kNoFunction ? row.name : source.function_name(row.function);
}

ProfileForm ProfileHandler::choose(const http::Request &request) {
    if (http::query_has(request.query, "format", "json")) {
        return ProfileForm::kJson;
    }
    if (http::query_has(request.query, "format", "html")) {
        return ProfileForm::kHtml;
    }
    if (http::query_has(request.query, "format", "prometheus")) {
        return ProfileForm::kPrometheus;
    }
    constexpr std::string_view kOffered[] = {"application/json", "text/html", "text/plain"};
    return static_cast<ProfileForm>(http::negotiate(request.accept, kOffered, 2));
}

void ProfileHandler::handle(http::Exchange &exchange) {
    const ProfileForm form = choose(exchange.request());
    const http::Cursor start{.piece = 0,
                             .count = static_cast<uint32_t>(source_.function_count()),
                             .form = static_cast<uint32_t>(form)};
    const std::string_view type = form == ProfileForm::kJson   ? http::kTypeJson
                                  : form == ProfileForm::kHtml ? http::kTypeHtml
                                                               : http::kTypeMetrics;
    exchange.respond_stream(
        {.status = 200, .content_type = type, .extra_headers = "Vary: Accept\r\n"}, *this, start,
        http::OnHangUp::kFinish);
}

http::AnswerSource::Piece ProfileHandler::produce(http::Exchange &, http::Cursor &cursor,
                                                  TextWriter &out) {
    bool more = false;
    switch (static_cast<ProfileForm>(cursor.form)) {
        case ProfileForm::kJson:
            more = render_profile_json(source_, cursor.piece, cursor.count, out);
            break;
        case ProfileForm::kHtml:
            more = render_profile_html(source_, cursor.piece, cursor.count, out);
            break;
        case ProfileForm::kPrometheus:
            more = render_profile_prometheus(source_, cursor.piece, cursor.count, out);
            break;
    }
    ++cursor.piece;
    return more ? Piece::kMore : Piece::kEnd;
}

}  // namespace bareflow::status
