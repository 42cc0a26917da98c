// Writes the answer to a job as JSON, piece by piece: one whole object, or a stream of events.
// Knows no queue and no connection: the job, the generator (for names and texts of tokens) and a
// cursor are all it reads.
#pragma once

#include <cstdint>

#include "api/completion_job.h"
#include "api/text_generator.h"
#include "http/exchange.h"

namespace bareflow::api {

// Appends the next piece, as AnswerSource::produce() promises. A stream's text and probabilities
// are taken off the job when the piece did fit.
[[nodiscard]] http::AnswerSource::Piece write_answer(Job &job, const TextGenerator &generator,
                                                     http::Cursor &cursor, TextWriter &out);

// The length of a whole (not streamed) answer. The job's text must be complete.
[[nodiscard]] uint64_t answer_bytes(Job &job, const TextGenerator &generator);

}  // namespace bareflow::api
