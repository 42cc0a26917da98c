// An LZMA decoder after the specification in the 7-Zip SDK, and the inverse of a branch filter.
// What must hold: no byte outside the three given places is touched for any input, since a damaged
// disk may hold anything. The code is position-independent and has no data of its own: stage2.asm
// includes it as bytes.
#include "boot/bios/unpack.h"

namespace bareflow {

namespace {

// LZMA specification, "Range decoder" and "The main loop of decoder".
constexpr unsigned kProbabilityBits = 11;
constexpr uint16_t kEven = 1 << (kProbabilityBits - 1);
constexpr unsigned kAdaptShift = 5;
constexpr uint32_t kRangeFloor = 1 << 24;
constexpr unsigned kStates = 12;
constexpr unsigned kStatesAfterLiteral = 7;
constexpr unsigned kLengthClasses = 4;
constexpr unsigned kSlotBits = 6;          // a slot is the highest bits of a distance
constexpr unsigned kFirstSplitSlot = 4;    // below, the slot is the distance
constexpr unsigned kFirstDirectSlot = 14;  // from here on the middle bits have no probabilities
constexpr unsigned kSplitModels = (1 << (kFirstDirectSlot / 2)) - kFirstDirectSlot + 1;
constexpr unsigned kAlignBits = 4;
constexpr unsigned kMinMatch = 2;
constexpr unsigned kLiteralModels = 0x300;

struct LengthModel {
    uint16_t beyond_low;
    uint16_t beyond_middle;
    uint16_t low[1 << 3];
    uint16_t middle[1 << 3];
    uint16_t high[1 << 8];
};

struct Model {
    uint16_t is_match[kStates];
    uint16_t is_repeat[kStates];
    uint16_t not_newest[kStates];
    uint16_t not_second[kStates];
    uint16_t not_third[kStates];
    uint16_t newest_is_long[kStates];
    uint16_t slot[kLengthClasses][1 << kSlotBits];
    uint16_t distance[kSplitModels];
    uint16_t align[1 << kAlignBits];
    LengthModel match_length;
    LengthModel repeat_length;
    uint16_t literal[1 << kLzmaContextBits][kLiteralModels];
};
static_assert(sizeof(Model) == kLzmaScratchBytes);

class RangeDecoder {
  public:
    RangeDecoder(const uint8_t *in, const uint8_t *end) : in_(in), end_(end) {
        damaged_ = next() != 0;
        for (size_t i = 0; i < sizeof(code_); ++i) {
            code_ = code_ << 8 | next();
        }
    }

    // The bytes do not begin as a stream does, or were read past their end (zeros are read there).
    [[nodiscard]] bool damaged() const { return damaged_; }

    [[gnu::always_inline]] inline unsigned bit(uint16_t &probability) {
        normalise();
        const uint32_t p = probability;
        const uint32_t bound = (range_ >> kProbabilityBits) * p;
        if (code_ < bound) {
            range_ = bound;
            probability = static_cast<uint16_t>(p + (((1 << kProbabilityBits) - p) >> kAdaptShift));
            return 0;
        }
        range_ -= bound;
        code_ -= bound;
        probability = static_cast<uint16_t>(p - (p >> kAdaptShift));
        return 1;
    }

    // `count` bits with even chances, the highest first.
    uint32_t direct(unsigned count) {
        uint32_t value = 0;
        for (; count != 0; --count) {
            normalise();
            range_ >>= 1;
            const uint32_t one = code_ >= range_;
            code_ -= one ? range_ : 0;
            value = value << 1 | one;
        }
        return value;
    }

    // The highest bit first; the bits so far choose the model of the next.
    [[gnu::always_inline]] inline unsigned tree(uint16_t *models, unsigned bits) {
        unsigned symbol = 1;
        for (unsigned i = 0; i < bits; ++i) {
            symbol = symbol << 1 | bit(models[symbol]);
        }
        return symbol - (1U << bits);
    }

    // The lowest bit first.
    [[gnu::always_inline]] inline unsigned reverse_tree(uint16_t *models, unsigned bits) {
        unsigned symbol = 1;
        unsigned value = 0;
        for (unsigned i = 0; i < bits; ++i) {
            const unsigned one = bit(models[symbol]);
            symbol = symbol << 1 | one;
            value |= one << i;
        }
        return value;
    }

  private:
    [[gnu::always_inline]] inline void normalise() {
        if (range_ < kRangeFloor) {
            range_ <<= 8;
            code_ = code_ << 8 | next();
        }
    }

    uint32_t next() {
        if (in_ == end_) {
            damaged_ = true;
            return 0;
        }
        return *in_++;
    }

    const uint8_t *in_;
    const uint8_t *end_;
    uint32_t range_ = 0xFFFF'FFFF;
    uint32_t code_ = 0;
    bool damaged_ = false;
};

unsigned read_length(RangeDecoder &in, LengthModel &model) {
    if (in.bit(model.beyond_low) == 0) {
        return kMinMatch + in.tree(model.low, 3);
    }
    if (in.bit(model.beyond_middle) == 0) {
        return kMinMatch + 8 + in.tree(model.middle, 3);
    }
    return kMinMatch + 16 + in.tree(model.high, 8);
}

// Returns the distance less one; 0xFFFFFFFF is the end marker.
uint32_t read_distance(RangeDecoder &in, Model &model, unsigned length) {
    const unsigned length_class =
        length - kMinMatch < kLengthClasses ? length - kMinMatch : kLengthClasses - 1;
    const unsigned slot = in.tree(model.slot[length_class], kSlotBits);
    if (slot < kFirstSplitSlot) {
        return slot;
    }
    const unsigned low_bits = slot / 2 - 1;
    uint32_t distance = (2 | (slot & 1)) << low_bits;
    if (slot < kFirstDirectSlot) {
        return distance + in.reverse_tree(model.distance + distance - slot, low_bits);
    }
    distance += in.direct(low_bits - kAlignBits) << kAlignBits;
    return distance + in.reverse_tree(model.align, kAlignBits);
}

unsigned read_literal(RangeDecoder &in, uint16_t *models) {
    unsigned symbol = 1;
    while (symbol < 0x100) {
        symbol = symbol << 1 | in.bit(models[symbol]);
    }
    return symbol & 0xFF;
}

// After a match, the byte that would continue the match helps to choose the models, until the first
// bit that differs from it.
unsigned read_literal_after_match(RangeDecoder &in, uint16_t *models, unsigned expected) {
    unsigned symbol = 1;
    while (symbol < 0x100) {
        const unsigned expected_bit = expected >> 7 & 1;
        expected <<= 1;
        const unsigned one = in.bit(models[((1 + expected_bit) << 8) + symbol]);
        symbol = symbol << 1 | one;
        if (one != expected_bit) {
            while (symbol < 0x100) {
                symbol = symbol << 1 | in.bit(models[symbol]);
            }
        }
    }
    return symbol & 0xFF;
}

// One of the three older distances becomes the newest.
void take_older(RangeDecoder &in, Model &model, unsigned state, uint32_t (&back)[4]) {
    unsigned which = 1;
    if (in.bit(model.not_second[state]) != 0) {
        which = 2 + in.bit(model.not_third[state]);
    }
    const uint32_t distance = back[which];
    for (unsigned i = which; i != 0; --i) {
        back[i] = back[i - 1];
    }
    back[0] = distance;
}

bool decode(RangeDecoder in, uint8_t *const out, const size_t size, Model &model) {
    unsigned state = 0;     // the kinds of the last four symbols, numbered as in the specification
    uint32_t back[4] = {};  // the last four distances less one, the newest first
    size_t at = 0;
    while (at < size) {
        if (in.bit(model.is_match[state]) == 0) {
            uint16_t *const models =
                model.literal[at == 0 ? 0 : out[at - 1] >> (8 - kLzmaContextBits)];
            // After a match there is a byte at distance back[0] + 1: the match was checked.
            out[at] = static_cast<uint8_t>(
                state < kStatesAfterLiteral
                    ? read_literal(in, models)
                    : read_literal_after_match(in, models, out[at - back[0] - 1]));
            ++at;
            state = state < 4 ? 0 : state < 10 ? state - 3 : state - 6;
            continue;
        }
        const bool after_literal = state < kStatesAfterLiteral;
        size_t length = 1;
        if (in.bit(model.is_repeat[state]) == 0) {
            back[3] = back[2];
            back[2] = back[1];
            back[1] = back[0];
            length = read_length(in, model.match_length);
            back[0] = read_distance(in, model, static_cast<unsigned>(length));
            state = after_literal ? 7 : 10;
        } else {
            bool one_byte = false;
            if (in.bit(model.not_newest[state]) != 0) {
                take_older(in, model, state, back);
            } else {
                one_byte = in.bit(model.newest_is_long[state]) == 0;
            }
            if (one_byte) {
                state = after_literal ? 9 : 11;
            } else {
                length = read_length(in, model.repeat_length);
                state = after_literal ? 8 : 11;
            }
        }
        if (back[0] >= at || length > size - at) {
            return false;
        }
        for (const uint8_t *from = out + at - back[0] - 1; length != 0; --length) {
            out[at++] = *from++;  // source and destination may overlap: each byte must be written
                                  // before the next is read
        }
    }
    return !in.damaged();
}

// tools/make_image.py replaced the 32-bit displacements of calls and jumps by absolute targets, so
// that every call of one function has the same bytes. This puts the displacements back. Targets
// outside of the kernel were left alone. The mapping is one to one, so no value needs an exception.
void restore_branches(uint8_t *code, size_t size) {
    const auto end = static_cast<int64_t>(size);
    for (size_t at = 0; at + 5 <= size;) {
        const uint8_t first = code[at++];
        const bool call_or_jump = (first & 0xFE) == 0xE8;
        if (!call_or_jump) {
            if (first != 0x0F || (code[at] & 0xF0) != 0x80 || at + 5 > size) {
                continue;
            }
            ++at;
        }
        int32_t value;
        __builtin_memcpy(&value, code + at, sizeof(value));
        at += sizeof(value);
        const auto here = static_cast<int64_t>(at);
        if (value >= -here && value < end) {
            value += static_cast<int32_t>(value < 0 ? end : -here);
            __builtin_memcpy(code + at - sizeof(value), &value, sizeof(value));
        }
    }
}

}  // namespace

extern "C" bool unpack_kernel(const uint8_t *packed, size_t packed_len, uint8_t *unpacked,
                              size_t unpacked_len, uint16_t *scratch) {
    for (size_t i = 0; i < kLzmaScratchBytes / sizeof(uint16_t); ++i) {
        scratch[i] = kEven;
    }
    Model &model = *reinterpret_cast<Model *>(scratch);
    if (!decode({packed, packed + packed_len}, unpacked, unpacked_len, model)) {
        return false;
    }
    restore_branches(unpacked, unpacked_len);
    return true;
}

}  // namespace bareflow
