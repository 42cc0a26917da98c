// A scripted client: bytes to be read in pieces of a chosen size, a send window of a chosen size,
// FIN and RST at will. Fails the test when it is used after close() or abort().
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <deque>
#include <memory>
#include <string>
#include <vector>

#include "kernel_lib/base/byte_stream.h"

namespace bareflow::http {

class FakeStream final : public ByteStream {
  public:
    std::string input;                  // not yet read by the server
    size_t read_step = ~size_t{0};      // most bytes one read() returns
    size_t reads_allowed = ~size_t{0};  // reads that return something, until set again
    size_t window = ~size_t{0};         // bytes the client still takes
    std::string output;                 // what the server wrote
    bool fin = false;
    bool reset = false;
    bool closed = false;
    bool aborted = false;

    size_t read(std::span<uint8_t> into) override {
        use();
        if (reads_allowed == 0) {
            return 0;
        }
        const size_t len = std::min({into.size(), input.size(), read_step});
        std::copy_n(input.begin(), len, into.begin());
        input.erase(0, len);
        reads_allowed -= len > 0 ? 1 : 0;
        return len;
    }
    size_t write(std::span<const uint8_t> from) override {
        use();
        const size_t len = std::min(from.size(), window);
        window -= len;
        output.append(reinterpret_cast<const char *>(from.data()), len);
        return len;
    }
    [[nodiscard]] size_t writable() const override { return window; }
    [[nodiscard]] bool peer_closed() const override { return fin || reset; }
    [[nodiscard]] bool broken() const override { return reset; }
    void close() override {
        use();
        closed = true;
    }
    void abort() override {
        use();
        aborted = true;
    }
    [[nodiscard]] bool gone() const { return closed || aborted; }

  private:
    void use() const { ASSERT_FALSE(closed || aborted) << "stream used after its end"; }
};

class FakeSource final : public StreamSource {
  public:
    FakeStream &connect(std::string input = {}) {
        all_.push_back(std::make_unique<FakeStream>());
        all_.back()->input = std::move(input);
        waiting_.push_back(all_.back().get());
        return *all_.back();
    }
    ByteStream *accept() override {
        if (waiting_.empty()) {
            return nullptr;
        }
        ByteStream *stream = waiting_.front();
        waiting_.pop_front();
        return stream;
    }
    [[nodiscard]] size_t waiting() const { return waiting_.size(); }

  private:
    std::vector<std::unique_ptr<FakeStream>> all_;
    std::deque<FakeStream *> waiting_;
};

// One answer cut off the front of `text`; chunked bodies are joined.
struct Answer {
    int status = 0;
    std::string head;
    std::string body;
    bool chunked = false;
    bool valid = false;

    [[nodiscard]] bool has_header(const std::string &line) const {
        return head.find("\r\n" + line + "\r\n") != std::string::npos;
    }
};

inline Answer take_answer(std::string &text, bool head_request = false) {
    Answer answer;
    const size_t end = text.find("\r\n\r\n");
    if (end == std::string::npos || !text.starts_with("HTTP/1.1 ")) {
        return answer;
    }
    answer.status = std::stoi(text.substr(9, 3));
    answer.head = text.substr(0, end + 2);
    size_t at = end + 4;
    answer.chunked = answer.has_header("Transfer-Encoding: chunked");
    if (head_request || answer.status == 100 || answer.status == 204) {
        text.erase(0, at);
        answer.valid = true;
        return answer;
    }
    if (answer.chunked) {
        while (true) {
            const size_t line = text.find("\r\n", at);
            if (line == std::string::npos) {
                return answer;
            }
            const size_t len = std::stoul(text.substr(at, line - at), nullptr, 16);
            if (text.size() < line + 2 + len + 2 || text.substr(line + 2 + len, 2) != "\r\n") {
                return answer;
            }
            answer.body += text.substr(line + 2, len);
            at = line + 2 + len + 2;
            if (len == 0) {
                break;
            }
        }
    } else {
        const size_t header = answer.head.find("Content-Length: ");
        if (header == std::string::npos) {  // until close
            answer.body = text.substr(at);
            at = text.size();
        } else {
            const size_t len = std::stoul(answer.head.substr(header + 16));
            if (text.size() < at + len) {
                return answer;
            }
            answer.body = text.substr(at, len);
            at += len;
        }
    }
    text.erase(0, at);
    answer.valid = true;
    return answer;
}

}  // namespace bareflow::http
