// Bytes from a client that may be slow, broken or hostile. llhttp knows the grammar; the callbacks
// here keep the parts of a request that are used, and bound the rest.
//
// What must hold:
// Every byte counts against some limit (head, body, framing), so that no request can take memory or
// time without end.
// After a failure nothing more is parsed.
// The first failure decides the answer's status.
#include "http/request_parser.h"

#include <algorithm>
#include <cstring>

namespace bareflow::http {

namespace {

// Bound for chunk sizes, extensions and trailers around a body. A chunk of one byte has five bytes
// of framing.
constexpr size_t kMaxFramingFactor = 8;
constexpr size_t kMaxFramingSlack = 64 * 1024;

Method method_of(uint8_t llhttp_method) {
    switch (llhttp_method) {
        case HTTP_GET:
            return Method::kGet;
        case HTTP_HEAD:
            return Method::kHead;
        case HTTP_POST:
            return Method::kPost;
        case HTTP_PUT:
            return Method::kPut;
        case HTTP_DELETE:
            return Method::kDelete;
        case HTTP_OPTIONS:
            return Method::kOptions;
        case HTTP_PATCH:
            return Method::kPatch;
        default:
            return Method::kOther;
    }
}

}  // namespace

template <size_t N>
void RequestParser::Text<N>::append(std::string_view more) {
    const size_t taken = std::min(more.size(), bytes.size() - len);
    std::memcpy(bytes.data() + len, more.data(), taken);
    len += taken;
    overflow = overflow || taken < more.size();
}

// llhttp's C callbacks, each handed to the parser that `data` points to.
struct RequestParser::Callbacks {
    static RequestParser &self(llhttp_t *llhttp) {
        return *static_cast<RequestParser *>(llhttp->data);
    }
    template <int (RequestParser::*kMember)(std::string_view)>
    static int data(llhttp_t *llhttp, const char *at, size_t len) {
        return (self(llhttp).*kMember)({at, len});
    }
    template <int (RequestParser::*kMember)()>
    static int event(llhttp_t *llhttp) {
        return (self(llhttp).*kMember)();
    }
    static int url(llhttp_t *llhttp, const char *at, size_t len) {
        self(llhttp).target_.append({at, len});
        return 0;
    }
    static constexpr llhttp_settings_t make() {
        llhttp_settings_t table{};
        table.on_url = url;
        table.on_header_field = data<&RequestParser::on_field>;
        table.on_header_field_complete = event<&RequestParser::on_field_end>;
        table.on_header_value = data<&RequestParser::on_value>;
        table.on_header_value_complete = event<&RequestParser::on_value_end>;
        table.on_headers_complete = event<&RequestParser::on_head_end>;
        table.on_chunk_header = event<&RequestParser::on_chunk_head>;
        table.on_body = data<&RequestParser::on_body>;
        table.on_message_complete = event<&RequestParser::on_end>;
        return table;
    }
    static constinit const llhttp_settings_t settings;
};
constinit const llhttp_settings_t RequestParser::Callbacks::settings = make();

void RequestParser::reset() {
    llhttp_init(&llhttp_, HTTP_REQUEST, &Callbacks::settings);
    llhttp_.data = this;
    body_.release();
    state_ = State::kHead;
    method_ = Method::kOther;
    field_ = Field::kOther;
    http_1_0_ = false;
    keep_alive_ = false;
    expect_continue_ = false;
    status_ = 0;
    header_count_ = 0;
    host_count_ = 0;
    head_bytes_ = 0;
    message_bytes_ = 0;
    message_ = {};
    path_ = {};
    query_ = {};
    target_.clear();
    field_name_.clear();
    expect_.clear();
    accept_.clear();
}

void RequestParser::fail(uint16_t status, std::string_view message) {
    if (state_ != State::kFailed) {
        state_ = State::kFailed;
        status_ = status;
        message_ = message;
        keep_alive_ = false;
    }
}

size_t RequestParser::parse(std::span<const char> bytes) {
    size_t consumed = 0;
    while (consumed < bytes.size() && (state_ == State::kHead || state_ == State::kBody)) {
        std::span<const char> piece = bytes.subspan(consumed);
        const bool in_head = state_ == State::kHead;
        if (in_head) {
            // Empty lines before a request are allowed (RFC 9112 section 2.2). They do not start
            // it.
            if (message_bytes_ == 0 && (piece[0] == '\r' || piece[0] == '\n')) {
                ++consumed;
                continue;
            }
            if (head_bytes_ == kMaxHeadBytes) {
                fail(431, "The request line and headers are longer than 16 KiB.");
                break;
            }
            piece = piece.first(std::min(piece.size(), kMaxHeadBytes - head_bytes_));
        } else if (message_bytes_ - head_bytes_ >
                   kMaxBodyBytes * kMaxFramingFactor + kMaxFramingSlack) {
            fail(413, "The body's chunk framing is too long.");
            break;
        }
        const llhttp_errno_t result = llhttp_execute(&llhttp_, piece.data(), piece.size());
        size_t used = piece.size();
        if (result == HPE_PAUSED) {  // on_end()
            used = static_cast<size_t>(llhttp_get_error_pos(&llhttp_) - piece.data());
        } else if (result == HPE_INVALID_VERSION) {
            fail(505, "Only HTTP/1.0 and HTTP/1.1 are spoken here.");
        } else if (result != HPE_OK) {
            // If a callback has failed the request already, its status and sentence stay.
            fail(400, "The request is not valid HTTP/1.1.");
        }
        consumed += used;
        message_bytes_ += used;
        head_bytes_ += in_head ? used : 0;
    }
    return consumed;
}

int RequestParser::on_field(std::string_view piece) {
    field_name_.append(piece);
    return 0;
}

int RequestParser::on_field_end() {
    field_ = Field::kOther;
    if (state_ == State::kHead) {
        if (++header_count_ > kMaxHeaders) {
            fail(431, "The request has more than 128 headers.");
            return HPE_USER;
        }
        const std::string_view name = field_name_.view();
        if (field_name_.overflow) {
            field_ = Field::kOther;
        } else if (equals_ignoring_case(name, "host")) {
            field_ = Field::kHost;
            ++host_count_;
        } else if (equals_ignoring_case(name, "accept")) {
            field_ = Field::kAccept;
            if (accept_.len > 0) {
                accept_.append(",");
            }
        } else if (equals_ignoring_case(name, "expect")) {
            field_ = Field::kExpect;
        }
    }
    field_name_.clear();
    return 0;
}

int RequestParser::on_value(std::string_view piece) {
    if (field_ == Field::kAccept) {
        accept_.append(piece);
    } else if (field_ == Field::kExpect) {
        expect_.append(piece);
    }
    return 0;
}

int RequestParser::on_value_end() {
    field_ = Field::kOther;
    return 0;
}

// origin-form, absolute-form or "*" (RFC 9112 section 3.2).
bool RequestParser::split_target() {
    std::string_view target = target_.view();
    if (const size_t scheme = target.find("://");
        !target.starts_with('/') && scheme != std::string_view::npos) {
        target.remove_prefix(scheme + 3);
        const size_t path = target.find_first_of("/?");
        target = path == std::string_view::npos ? std::string_view("/") : target.substr(path);
    }
    const size_t mark = target.find('?');
    path_ = target.substr(0, mark);
    query_ = mark == std::string_view::npos ? std::string_view() : target.substr(mark + 1);
    query_ = query_.substr(0, query_.find('#'));
    return path_.starts_with('/') || path_ == "*";
}

int RequestParser::on_head_end() {
    method_ = method_of(llhttp_.method);
    http_1_0_ = llhttp_.http_minor == 0;
    // Offers to change the protocol are ignored: the answer is HTTP/1.1.
    llhttp_.upgrade = 0;
    const bool expects = expect_.len > 0;
    expect_continue_ = equals_ignoring_case(trim(expect_.view()), "100-continue") && !http_1_0_;
    if (llhttp_.http_major != 1 || llhttp_.http_minor > 1) {
        fail(505, "Only HTTP/1.0 and HTTP/1.1 are spoken here.");
    } else if (target_.overflow) {
        fail(414, "The request target is longer than 1024 bytes.");
    } else if (!split_target() && method_ != Method::kOther) {
        fail(400, "The request target is not a path.");
    } else if (host_count_ > 1 || (host_count_ == 0 && !http_1_0_)) {
        fail(400, "An HTTP/1.1 request needs exactly one Host header.");
    } else if (expects && !expect_continue_ && !http_1_0_) {
        fail(417, "Only 100-continue can be expected here.");
    } else if ((llhttp_.flags & F_CONTENT_LENGTH) != 0 && llhttp_.content_length > kMaxBodyBytes) {
        fail(413, "The body is longer than 1 MiB.");
    } else {
        if (accept_.overflow) {  // the last range may be cut: leave it out
            const size_t comma = accept_.view().rfind(',');
            accept_.len = comma == std::string_view::npos ? 0 : comma;
        }
        keep_alive_ = llhttp_should_keep_alive(&llhttp_) != 0;
        state_ = State::kBody;
        return 0;
    }
    return -1;
}

// A chunk that cannot fit is refused before its bytes arrive.
int RequestParser::on_chunk_head() {
    if (llhttp_.content_length > kMaxBodyBytes - body_.bytes().size()) {
        fail(413, "The body is longer than 1 MiB.");
        return HPE_USER;
    }
    return 0;
}

int RequestParser::on_body(std::string_view piece) {
    switch (body_.append({piece.data(), piece.size()})) {
        case BodyBuffer::Append::kOk:
            return 0;
        case BodyBuffer::Append::kTooLong:
            fail(413, "The body is longer than 1 MiB.");
            break;
        case BodyBuffer::Append::kNoMemory:
            fail(503, "There is no memory for the body right now.");
            break;
    }
    return HPE_USER;
}

int RequestParser::on_end() {
    state_ = State::kComplete;
    return HPE_PAUSED;
}

Request RequestParser::request() const {
    Request request;
    request.method = method_;
    request.http_1_0 = http_1_0_;
    request.path = path_;
    request.query = query_;
    request.accept = accept_.view();
    request.body = body_.bytes();
    return request;
}

}  // namespace bareflow::http
