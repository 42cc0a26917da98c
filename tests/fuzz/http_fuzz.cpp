// Any bytes, in pieces of any size, to the HTTP server: it must answer in whole responses or close
// the connection, and never crash, loop or keep memory. The first byte chooses the size of the
// pieces; the client sends the others.
#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <span>
#include <string>

#include "http/router.h"
#include "http/server.h"

namespace bareflow::http {
namespace {

class Client final : public ByteStream {
  public:
    std::span<const uint8_t> input;
    size_t step = 1;
    size_t window = 0;
    bool gone = false;
    std::string output;

    size_t read(std::span<uint8_t> into) override {
        const size_t len = std::min({into.size(), input.size(), step});
        std::copy_n(input.begin(), len, into.begin());
        input = input.subspan(len);
        return len;
    }
    size_t write(std::span<const uint8_t> from) override {
        const size_t len = std::min(from.size(), window);
        output.append(reinterpret_cast<const char *>(from.data()), len);
        window -= len;
        return len;
    }
    [[nodiscard]] size_t writable() const override { return window; }
    [[nodiscard]] bool peer_closed() const override { return input.empty(); }
    [[nodiscard]] bool broken() const override { return false; }
    void close() override { gone = true; }
    void abort() override { gone = true; }
};

class Source final : public StreamSource {
  public:
    ByteStream *next = nullptr;
    ByteStream *accept() override {
        ByteStream *stream = next;
        next = nullptr;
        return stream;
    }
};

class Echo final : public Handler, public AnswerSource {
  public:
    void handle(Exchange &exchange) override {
        const Request &request = exchange.request();
        if (request.method == Method::kPost) {
            exchange.respond_stream({.status = 200, .content_type = kTypeText}, *this,
                                    {.count = static_cast<uint32_t>(request.body.size())},
                                    OnHangUp::kFinish);
        } else {
            exchange.respond({.status = 200, .content_type = kTypeText}, request.query);
        }
    }
    Piece produce(Exchange &, Cursor &cursor, TextWriter &out) override {
        out.put("piece ", cursor.piece, "\n");
        return ++cursor.piece > cursor.count % 1000 ? Piece::kEnd : Piece::kMore;
    }
};

}  // namespace
}  // namespace bareflow::http

using namespace bareflow::http;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size < 2) {
        return 0;
    }
    Source source;
    Client client;
    client.step = 1 + data[0] % 64;
    const size_t window = data[0] < 64 ? 7 : 100'000;
    client.input = {data + 1, size - 1};
    source.next = &client;
    Echo echo;
    const Route routes[] = {{Method::kGet, "/", &echo}, {Method::kPost, "/", &echo}};
    Router router(routes);
    auto server = Server::create(source, router, {.connections = 1, .body_total_bytes = 64 * 1024});
    if (!server) {
        std::abort();
    }
    for (size_t turn = 0; !client.gone; ++turn) {
        client.window = window;
        (*server)->poll();
        if (turn > 20 * size + 100'000) {
            std::abort();  // a client that has sent its FIN must not be kept
        }
    }
    if (!client.output.empty() && !client.output.starts_with("HTTP/1.1 ")) {
        std::abort();
    }
    (*server)->destroy();
    return 0;
}
