// What must hold after each call: best_[1] is the leftmost of the joins with the highest score. So
// every change of a join walks from its leaf to the root.
#include "llama/text/symbol_chain.h"

#include <algorithm>
#include <bit>

namespace bareflow::llama {

Status SymbolChain::start(uint32_t symbol_count, uint32_t text_bytes) {
    count_ = symbol_count;
    added_ = 0;
    text_len_ = 0;
    leaves_ = std::bit_ceil(symbol_count);
    if (symbols_.size() < symbol_count || text_.size() < text_bytes) {
        // The old memory is released before the new is taken. Room for at least 64 symbols: most
        // words fit, so most stretches take no memory.
        symbols_ = {};
        text_ = {};
        best_ = {};
        const uint32_t room = std::max(symbol_count, 64u);
        auto symbols = Buffer<Symbol>::create(room);
        auto text = Buffer<char>::create(text_bytes == 0 ? 0 : std::max(text_bytes, 256u));
        auto best = Buffer<uint32_t>::create(std::bit_ceil(room));
        if (!symbols || !text || !best) {
            return {ErrorCode::kTooLarge, "no memory to cut the text into tokens"};
        }
        symbols_ = std::move(symbols).value();
        text_ = std::move(text).value();
        best_ = std::move(best).value();
    }
    std::ranges::fill(best_.span().first(leaves_), kNone);
    return {};
}

void SymbolChain::add(std::string_view text) {
    const uint32_t begin = text_len_;
    std::ranges::copy(text, text_.span().subspan(begin).begin());
    text_len_ += static_cast<uint32_t>(text.size());
    append(begin, kNoToken);
}

void SymbolChain::add(Token token) {
    append(0, token);
}

// The symbol's text is the end of the chain's text.
void SymbolChain::append(uint32_t begin, Token token) {
    const uint32_t at = added_++;
    symbols_[at] = {begin, text_len_, at == 0 ? kNone : at - 1, complete() ? kNone : at + 1,
                    token, {}};
}

void SymbolChain::join(uint32_t left) {
    Symbol &symbol = symbols_[left];
    const uint32_t right = symbol.next;
    symbol.token = symbol.join.token;
    symbol.end = symbols_[right].end;
    symbol.next = symbols_[right].next;
    if (symbol.next != kNone) {
        symbols_[symbol.next].previous = left;
    }
    set_join(right, {});  // it is no symbol any more
}

// Of two symbols (kNone: no candidate), the one to join first; `left` stands before `right`.
uint32_t SymbolChain::better(uint32_t left, uint32_t right) const {
    if (left == kNone || right == kNone) {
        return left == kNone ? right : left;
    }
    return symbols_[right].join.score > symbols_[left].join.score ? right : left;
}

// The tree's leaves are the symbols themselves: node i < leaves_ has the children 2i and 2i + 1,
// and a child c >= leaves_ is the symbol c - leaves_. The root is node 1.
void SymbolChain::update_best(uint32_t symbol) {
    const auto candidate = [this](uint32_t node) {
        if (node < leaves_) {
            return best_[node];
        }
        const uint32_t leaf = node - leaves_;
        return leaf < count_ && symbols_[leaf].join.token != kNoToken ? leaf : kNone;
    };
    for (uint32_t node = (symbol + leaves_) / 2; node != 0; node /= 2) {
        best_[node] = better(candidate(2 * node), candidate(2 * node + 1));
    }
}

}  // namespace bareflow::llama
