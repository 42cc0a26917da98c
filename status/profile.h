// GET /profile: what the program measured about itself, in three layouts.
//
//   JSON        ?format=json, or Accept prefers application/json
//   HTML        ?format=html, or Accept prefers text/html: refreshes itself in place
//   Prometheus  otherwise: text exposition format 0.0.4, `bareflow_` prefix
//
// A page is made in pieces as the client takes them, so that it needs no memory and may have any
// length. The values of one page are read piece by piece, at most milliseconds apart.
#pragma once

#include "http/exchange.h"
#include "status/system_snapshot.h"

namespace bareflow::status {

enum class ProfileLayout : uint8_t { kJson, kHtml, kPrometheus };

class ProfileHandler final : public http::Handler, private http::AnswerSource {
  public:
    explicit ProfileHandler(SnapshotSource &source) : source_(source) {}
    void handle(http::Exchange &exchange) override;

    // What a request asks for: its query decides, else its Accept header.
    [[nodiscard]] static ProfileLayout choose(const http::Request &request);

  private:
    Piece produce(http::Exchange &exchange, http::Cursor &cursor, TextWriter &out) override;

    SnapshotSource &source_;
};

// The three renderers. Each writes piece number `piece` of a page about `functions` functions and
// returns false when that was the last one. A piece has at most Exchange::kMaxPieceBytes.
bool render_profile_json(SnapshotSource &source, uint32_t piece, uint32_t functions,
                         TextWriter &out);
bool render_profile_html(SnapshotSource &source, uint32_t piece, uint32_t functions,
                         TextWriter &out);
bool render_profile_prometheus(SnapshotSource &source, uint32_t piece, uint32_t functions,
                               TextWriter &out);

// Texts from outside (a model's name, CPUID) are cut to this for display.
inline constexpr size_t kMaxShownText = 96;
inline constexpr size_t kMaxStageName = 12;
std::string_view level_name(uint32_t level);
// The name of the function that a candidate was tried for.
std::string_view tried_function(SnapshotSource &source, const TryRow &row);

}  // namespace bareflow::status
