// The symbols of one stretch of text while BPE joins them. They form a chain in text order. A
// tournament tree knows the join with the highest score, the leftmost first among equals. One join
// costs O(log n). Memory (44 bytes a symbol, and the text) grows to what the longest stretch needs.
#pragma once

#include <cstdint>
#include <limits>
#include <string_view>

#include "kernel_lib/base/result.h"
#include "kernel_lib/memory/buffer.h"
#include "llama/text/token.h"

namespace bareflow::llama {

class SymbolChain {
  public:
    static constexpr uint32_t kNone = std::numeric_limits<uint32_t>::max();

    // What two neighbours make together.
    struct Join {
        Token token = kNoToken;  // kNoToken: nothing
        float score = 0;         // the highest first
    };
    // A character or byte, or several that were joined.
    struct Symbol {
        uint32_t begin = 0;  // in the chain's text; byte-level: not used
        uint32_t end = 0;
        uint32_t previous = kNone;
        uint32_t next = kNone;
        Token token = kNoToken;  // kNoToken: not looked up yet
        Join join{};             // with its successor
    };

    // Begins a stretch of `symbol_count` symbols (at least 1) with `text_bytes` of text.
    // kTooLarge: there is no memory.
    [[nodiscard]] Status start(uint32_t symbol_count, uint32_t text_bytes);
    // Adds the next symbol: a character, or a byte that has this token.
    void add(std::string_view text);
    void add(Token token);
    [[nodiscard]] bool complete() const { return added_ == count_; }
    [[nodiscard]] uint32_t size() const { return count_; }
    [[nodiscard]] const Symbol &operator[](uint32_t index) const { return symbols_[index]; }
    [[nodiscard]] std::string_view text(const Symbol &symbol) const {
        return {text_.data() + symbol.begin, symbol.end - symbol.begin};
    }
    // The text of the symbol and its successor, which must exist.
    [[nodiscard]] std::string_view text_of_pair(const Symbol &left) const {
        return {text_.data() + left.begin, symbols_[left.next].end - left.begin};
    }

    // Says what `left` and its successor make together.
    void set_join(uint32_t left, Join join) {
        Join &held = symbols_[left].join;
        const bool changes = join.token != kNoToken || held.token != kNoToken;
        held = join;
        if (changes) {
            update_best(left);
        }
    }
    // The left symbol of the join to do first; kNone: no join is possible.
    [[nodiscard]] uint32_t best_join() const { return leaves_ > 1 ? best_[1] : kNone; }
    // Joins the symbol with its successor. Its own join and that of its predecessor are out of date
    // until set_join() is called for them.
    void join(uint32_t left);

  private:
    void append(uint32_t begin, Token token);
    void update_best(uint32_t symbol);
    [[nodiscard]] uint32_t better(uint32_t left, uint32_t right) const;

    Buffer<Symbol> symbols_;
    Buffer<char> text_;
    Buffer<uint32_t> best_;  // the tree: for each inner node, the symbol with the best join
    uint32_t count_ = 0;
    uint32_t added_ = 0;
    uint32_t text_len_ = 0;
    uint32_t leaves_ = 0;  // of the tree: a power of two, at least count_
};

}  // namespace bareflow::llama
