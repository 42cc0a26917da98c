// How answers look. A piece is bounded: at most PendingText::kMaxPieceBytes of text, or one token's
// probabilities, so that it fits into Exchange::kMaxPieceBytes even when every byte is escaped. So
// an answer needs no memory of its own, however long it is.
//
// Between two pieces the cursor holds the place:
//   form    what comes next: StreamPart or WholePart
//   piece   whole answer's text: bytes written; probabilities: the entry behind the last one
//   other   probabilities: the entry to be written next
//   count   probabilities: the value of the entry (chat) or the list (completion) that comes next
#include "api/completion_answer.h"

#include <algorithm>

namespace bareflow::api {

namespace {

using Piece = http::AnswerSource::Piece;

constexpr size_t kMaxShownToken = 64;  // bytes of one token's text among probabilities
constexpr uint32_t kCompletionLogprobLists = 4;
constexpr double kLeastLogprob = -9999.0;

enum StreamPart : uint32_t {
    kRole,           // the first event of a chat
    kText,           // an event with text, or the one that closes the answer
    kTextLogprobs,   // probabilities of a text event, and its end
    kCloseLogprobs,  // probabilities of the closing event, and its end
    kUsage,          // an event for the usage, if the client asked for one
    kDone,
};
enum WholePart : uint32_t { kWholeHead, kWholeText, kWholeLogprobs, kWholeTail };

// As JSON, without the quotes.
void put_escaped(TextWriter &out, std::string_view text) {
    char buffer[PendingText::kMaxPieceBytes * 6 + 2];
    TextWriter quoted(buffer);
    quoted.put(JsonString{text});
    out.put(quoted.view().substr(1, quoted.size() - 2));
}

std::string_view finish_name(FinishKind kind) {
    return kind == FinishKind::kLength ? "length" : "stop";
}

// What both kinds of answers are made of.
class AnswerWriter {
  protected:
    AnswerWriter(Job &job, const TextGenerator &generator, http::Cursor &cursor, TextWriter &out)
        : job_(job), generator_(generator), cursor_(cursor), out_(out) {}

    void head();
    void text_begin();
    void text_end() { out_.put(job_.asked.chat ? "\"}" : "\""); }
    void usage();
    void figures();
    // Begins with the entries that the client has not been sent. False: there are none.
    [[nodiscard]] bool logprobs_begin();
    // Writes one more value. False: that was the last one.
    [[nodiscard]] bool logprobs_next();

    Job &job_;
    const TextGenerator &generator_;
    http::Cursor &cursor_;
    TextWriter &out_;

  private:
    void token(llama::Token token, bool bytes);
    void logprob(float value) { out_.put(Fixed{std::max<double>(value, kLeastLogprob), 6}); }
    void chat_logprob();
    void completion_logprob();
    void completion_value(const llama::TokenLogprob *entry);
};

void AnswerWriter::head() {
    const bool chat = job_.asked.chat;
    out_.put("{\"id\":\"", chat ? "chatcmpl-" : "cmpl-", Hex{job_.asked.id, 16}, "\",\"object\":\"",
             !chat               ? "text_completion"
             : job_.asked.stream ? "chat.completion.chunk"
                                 : "chat.completion",
             "\",\"created\":", job_.asked.created_s,
             ",\"model\":", JsonString{generator_.model_id().substr(0, kMaxShownModelId)},
             ",\"choices\":[");
}

void AnswerWriter::text_begin() {
    out_.put("{\"index\":0,", !job_.asked.chat    ? "\"text\":\""
                              : job_.asked.stream ? "\"delta\":{\"content\":\""
                                                  : "\"message\":{\"role\":\"assistant\","
                                                    "\"content\":\"");
}

void AnswerWriter::usage() {
    const CompletionSummary &summary = job_.summary;
    out_.put(",\"usage\":{\"prompt_tokens\":", summary.prompt_tokens,
             ",\"completion_tokens\":", summary.completion_tokens,
             ",\"total_tokens\":", summary.prompt_tokens + summary.completion_tokens,
             ",\"prompt_tokens_details\":{\"cached_tokens\":", summary.cached_tokens, "}}");
}

void AnswerWriter::figures() {
    const CompletionSummary &summary = job_.summary;
    out_.put(",\"bareflow\":{\"seed\":", job_.asked.sampling.seed,
             ",\"cached_tokens\":", summary.cached_tokens,
             ",\"prompt_ms\":", Fixed{summary.prompt_ms, 3},
             ",\"decode_ms\":", Fixed{summary.decode_ms, 3},
             ",\"tokens_per_second\":", Fixed{summary.tokens_per_second, 2}, "}}");
}

void AnswerWriter::token(llama::Token token, bool bytes) {
    char buffer[kMaxShownToken];
    const std::string_view text(buffer, generator_.token_text(token, buffer));
    out_.put(JsonString{text});
    if (bytes) {
        out_.put(",\"bytes\":[");
        for (size_t i = 0; i < text.size(); ++i) {
            out_.put(i == 0 ? "" : ",", static_cast<uint8_t>(text[i]));
        }
        out_.put("]");
    }
}

bool AnswerWriter::logprobs_begin() {
    cursor_.piece = job_.logprobs.count();
    cursor_.count = 0;
    cursor_.other = job_.logprobs.sent();
    const bool any = cursor_.other < cursor_.piece;
    out_.put(",\"logprobs\":", !any              ? "null"
                               : job_.asked.chat ? "{\"content\":["
                                                 : "{\"tokens\":[");
    return any;
}

bool AnswerWriter::logprobs_next() {
    if (job_.asked.chat) {
        chat_logprob();
        return cursor_.other < cursor_.piece;
    }
    completion_logprob();
    return cursor_.count < kCompletionLogprobLists;
}

// A chat's probabilities stand token by token: the token itself (count 0), then the likeliest ones.
void AnswerWriter::chat_logprob() {
    const llama::TokenLogprob *const entry = job_.logprobs.entry(cursor_.other);
    const llama::TokenLogprob &shown = cursor_.count == 0 ? entry[0] : entry[1 + cursor_.count];
    if (shown.token != llama::kNoToken) {
        out_.put(cursor_.count > 1 ? "," : "", "{\"token\":");
        token(shown.token, true);
        out_.put(",\"logprob\":");
        logprob(shown.logprob);
        out_.put(cursor_.count == 0 ? ",\"top_logprobs\":[" : "}");
    }
    if (cursor_.count++ == job_.logprobs.tops()) {
        cursor_.count = 0;
        out_.put("]}", ++cursor_.other == cursor_.piece ? "]}" : ",");
    }
}

// A completion's stand in four lists over all tokens: texts, logprobs, the likeliest, places.
void AnswerWriter::completion_logprob() {
    completion_value(job_.logprobs.entry(cursor_.other));
    if (++cursor_.other < cursor_.piece) {
        out_.put(",");
        return;
    }
    constexpr std::string_view kBetween[kCompletionLogprobLists] = {
        "],\"token_logprobs\":[", "],\"top_logprobs\":[", "],\"text_offset\":[", "]}"};
    out_.put(kBetween[cursor_.count]);
    if (++cursor_.count < kCompletionLogprobLists) {
        cursor_.other = job_.logprobs.sent();
    }
}

void AnswerWriter::completion_value(const llama::TokenLogprob *entry) {
    switch (cursor_.count) {
        case 0:
            token(entry[0].token, false);
            break;
        case 1:
            logprob(entry[0].logprob);
            break;
        case 2:
            out_.put("{");
            for (uint32_t i = 0; i < job_.logprobs.tops(); ++i) {
                if (entry[2 + i].token != llama::kNoToken) {
                    out_.put(i == 0 ? "" : ",");
                    token(entry[2 + i].token, false);
                    out_.put(":");
                    logprob(entry[2 + i].logprob);
                }
            }
            out_.put("}");
            break;
        default:
            out_.put(static_cast<uint32_t>(entry[1].token));
            break;
    }
}

// Events, as the client takes them. What was written is taken off the job only if it did fit:
// otherwise the connection asks for the same piece again.
class StreamWriter final : private AnswerWriter {
  public:
    StreamWriter(Job &job, const TextGenerator &generator, http::Cursor &cursor, TextWriter &out)
        : AnswerWriter(job, generator, cursor, out) {}
    Piece write();

  private:
    Piece role_event();
    Piece text_or_close();
    Piece text_event();
    Piece closing_event();
    Piece memory_event();
    Piece usage_event();
    void end_text_event();
    void end_closing_event();
};

Piece StreamWriter::write() {
    switch (cursor_.part) {
        case kRole:
            cursor_.part = kText;
            return job_.asked.chat ? role_event() : text_or_close();
        case kText:
            return text_or_close();
        case kTextLogprobs:
            if (!logprobs_next()) {
                end_text_event();
            }
            return Piece::kMore;
        case kCloseLogprobs:
            if (!logprobs_next()) {
                end_closing_event();
            }
            return Piece::kMore;
        case kUsage:
            return usage_event();
        default:
            out_.put("data: [DONE]\n\n");
            return Piece::kEnd;
    }
}

Piece StreamWriter::role_event() {
    out_.put("data: ");
    head();
    out_.put(
        "{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"\"},"
        "\"logprobs\":null,\"finish_reason\":null}]}\n\n");
    return Piece::kMore;
}

Piece StreamWriter::text_or_close() {
    if (job_.text.size() > 0) {
        return text_event();
    }
    if (!job_.done) {
        return Piece::kWait;
    }
    return job_.failed ? memory_event() : closing_event();
}

Piece StreamWriter::text_event() {
    out_.put("data: ");
    head();
    text_begin();
    put_escaped(out_, job_.text.first_piece());
    text_end();
    if (logprobs_begin()) {
        cursor_.part = kTextLogprobs;
    } else {
        end_text_event();
    }
    if (!out_.truncated()) {
        job_.text.drop_first_piece();
    }
    return Piece::kMore;
}

void StreamWriter::end_text_event() {
    out_.put(",\"finish_reason\":null}]}\n\n");
    cursor_.part = kText;
    if (!out_.truncated()) {
        job_.logprobs.set_sent(cursor_.piece);
    }
}

Piece StreamWriter::closing_event() {
    out_.put("data: ");
    head();
    if (job_.asked.chat) {
        out_.put("{\"index\":0,\"delta\":{}");
    } else {
        text_begin();
        text_end();
    }
    if (logprobs_begin()) {
        cursor_.part = kCloseLogprobs;
    } else {
        end_closing_event();
    }
    return Piece::kMore;
}

void StreamWriter::end_closing_event() {
    out_.put(",\"finish_reason\":\"", finish_name(job_.summary.finish), "\"}]");
    if (!job_.asked.chat) {
        usage();
    }
    figures();
    out_.put("\n\n");
    cursor_.part = job_.asked.include_usage ? kUsage : kDone;
}

Piece StreamWriter::memory_event() {
    out_.put("data: ");
    http::write_error(out_, {500, "There is no memory for the whole text.", "out_of_memory"});
    out_.put("\n");
    cursor_.part = kDone;
    return Piece::kMore;
}

Piece StreamWriter::usage_event() {
    out_.put("data: ");
    head();
    out_.put("]");
    usage();
    out_.put("}\n\n");
    cursor_.part = kDone;
    return Piece::kMore;
}

// One object. Changes nothing in the job: it is written twice, once for its length.
class WholeWriter final : private AnswerWriter {
  public:
    WholeWriter(Job &job, const TextGenerator &generator, http::Cursor &cursor, TextWriter &out)
        : AnswerWriter(job, generator, cursor, out) {}
    Piece write();

  private:
    void text();
};

Piece WholeWriter::write() {
    switch (cursor_.part) {
        case kWholeHead:
            cursor_.part = kWholeText;
            head();
            text_begin();
            return Piece::kMore;
        case kWholeText:
            text();
            return Piece::kMore;
        case kWholeLogprobs:
            if (!logprobs_next()) {
                cursor_.part = kWholeTail;
            }
            return Piece::kMore;
        default:
            out_.put(",\"finish_reason\":\"", finish_name(job_.summary.finish), "\"}]");
            usage();
            figures();
            out_.put("\n");
            return Piece::kEnd;
    }
}

void WholeWriter::text() {
    const std::string_view piece = job_.text.piece_at(cursor_.piece);
    if (!piece.empty()) {
        put_escaped(out_, piece);
        cursor_.piece += static_cast<uint32_t>(piece.size());
        return;
    }
    text_end();
    cursor_.part = logprobs_begin() ? kWholeLogprobs : kWholeTail;
}

}  // namespace

Piece write_answer(Job &job, const TextGenerator &generator, http::Cursor &cursor,
                   TextWriter &out) {
    return job.asked.stream ? StreamWriter(job, generator, cursor, out).write()
                            : WholeWriter(job, generator, cursor, out).write();
}

uint64_t answer_bytes(Job &job, const TextGenerator &generator) {
    uint64_t len_bytes = 0;
    http::Cursor cursor;
    Piece piece = Piece::kMore;
    while (piece == Piece::kMore) {
        char buffer[http::Exchange::kMaxPieceBytes];
        TextWriter out(buffer);
        piece = WholeWriter(job, generator, cursor, out).write();
        len_bytes += out.size();
    }
    return len_bytes;
}

}  // namespace bareflow::api
