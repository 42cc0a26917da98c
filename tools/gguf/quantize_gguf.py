#!/usr/bin/python3
"""Writes a `llama` GGUF's matrices in another type: trained weights for tests of every type.

  quantize_gguf.py --type Q4_K --widen models/stories.gguf /tmp/stories-q4k.gguf

Scales come from the extremes of a block, so the quality is that of plain rounding. Rows that are no
whole number of the type's blocks become F16.

With --widen the length of every row becomes a multiple of 256, and the model computes the same
function. Units of the residual stream, heads and hidden units are copied. Each weight that reads
such a unit is split at random among its copies (Net2Net's widening), so all weights remain trained
ones.
"""

import argparse
import sys

import numpy as np

import gguf_format as gguf
from make_gguf import TYPES, override, type_of

F32 = np.float32
IQ4_VALUES = np.array([-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113])
K_BLOCK = 256
ROW = 256  # rows of a widened model are a multiple of this

# ---------------------------------------------------------------------------- blocks of 32


def f16_bytes(scales):
    return np.ascontiguousarray(scales.astype("<f2")).view(np.uint8).reshape(len(scales), 2)


def rounded(x, scale, low, high):
    """x / scale of each row, rounded to whole numbers from low to high; 0 if the scale is 0."""
    scale = scale.astype(F32)[..., None]
    quotient = np.divide(x, scale, out=np.zeros_like(x), where=scale != 0)
    return np.clip(np.rint(quotient), low, high).astype(np.int64)


def extreme(x):
    """The value of greatest magnitude of each row."""
    return np.take_along_axis(x, np.abs(x).argmax(axis=-1)[..., None], axis=-1)[..., 0]


def nibbles(values):
    half = values.shape[1] // 2
    return (values[:, :half] | values[:, half:] << 4).astype(np.uint8)


def fifth_bits(values):
    return np.packbits((values >> 4 & 1).astype(np.uint8), axis=1, bitorder="little")


def q8_0(x):
    d = (np.abs(x).max(axis=1) / F32(127)).astype("<f2")
    return [f16_bytes(d), rounded(x, d, -127, 127).astype(np.int8).view(np.uint8)]


def symmetric(x, bits):
    """Q4_0 and Q5_0."""
    middle = 1 << (bits - 1)
    d = (extreme(x) / F32(-middle)).astype("<f2")
    values = rounded(x, d, -middle, middle - 1) + middle
    return [f16_bytes(d), *([fifth_bits(values)] if bits == 5 else []), nibbles(values & 15)]


def with_minimum(x, bits):
    """Q4_1 and Q5_1."""
    low, top = x.min(axis=1), (1 << bits) - 1
    d, m = ((x.max(axis=1) - low) / F32(top)).astype("<f2"), low.astype("<f2")
    values = rounded(x - m.astype(F32)[:, None], d, 0, top)
    high = [fifth_bits(values)] if bits == 5 else []
    return [f16_bytes(d), f16_bytes(m), *high, nibbles(values & 15)]


def iq4_nl(x):
    d = (extreme(x) / F32(IQ4_VALUES[0])).astype("<f2")
    scaled = np.divide(x, d.astype(F32)[:, None], out=np.zeros_like(x), where=d[:, None] != 0)
    middles = (IQ4_VALUES[1:] + IQ4_VALUES[:-1]) / 2
    return [f16_bytes(d), nibbles(np.searchsorted(middles, scaled))]


# ---------------------------------------------------------------------------- super-blocks of 256


def by_part(x, size):
    return x.reshape(len(x), -1, size)


def signed_parts(x, low, sc_low, sc_high):
    """Quantises parts of 16 without minimum: (weights from low to -low - 1, sc, d)."""
    parts = by_part(x, 16)
    scale = extreme(parts) / F32(low)
    d = (extreme(scale) / F32(sc_low)).astype("<f2")
    sc = rounded(scale, d, sc_low, sc_high)
    w = rounded(parts, d.astype(F32)[:, None] * sc.astype(F32), low, -low - 1)
    return w.reshape(len(x), -1), sc, d


def parts_with_minimum(x, size, top, sc_top):
    """Quantises parts: (weights from 0 to top, sc and mn from 0 to sc_top, d, dmin)."""
    parts = by_part(x, size)
    low = np.minimum(parts.min(axis=2), 0)
    scale = (parts.max(axis=2) - low) / F32(top)
    d = (scale.max(axis=1) / F32(sc_top)).astype("<f2")
    dmin = (-low.min(axis=1) / F32(sc_top)).astype("<f2")
    sc, mn = rounded(scale, d, 0, sc_top), rounded(-low, dmin, 0, sc_top)
    offset = (dmin.astype(F32)[:, None] * mn.astype(F32))[..., None]
    w = rounded(parts + offset, d.astype(F32)[:, None] * sc.astype(F32), 0, top)
    return w.reshape(len(x), -1), sc, mn, d, dmin


def fields(values, bits, run=32):
    """Packs fields into runs of bytes: the lowest fields of all bytes of a run first, and so on."""
    per_byte = 8 // bits
    runs = values.reshape(len(values), -1, per_byte, run)
    shifts = np.arange(0, 8, bits).reshape(1, 1, -1, 1)
    return (runs << shifts).sum(axis=2).reshape(len(values), -1).astype(np.uint8)


def six_bits(sc, mn):
    rest = sc[:, 4:] & 15 | (mn[:, 4:] & 15) << 4
    parts = [sc[:, :4] | sc[:, 4:] >> 4 << 6, mn[:, :4] | mn[:, 4:] >> 4 << 6, rest]
    return np.concatenate(parts, axis=1).astype(np.uint8)


def q2_k(x):
    w, sc, mn, d, dmin = parts_with_minimum(x, 16, 3, 15)
    return [(sc | mn << 4).astype(np.uint8), fields(w, 2), f16_bytes(d), f16_bytes(dmin)]


def q3_k(x):
    w, sc, d = signed_parts(x, -4, -32, 31)
    w, sc = w + 4, sc + 32
    high = sum(sc[:, 4 * i : 4 * i + 4] >> 4 << 2 * i for i in range(4)).astype(np.uint8)
    return [fields(w >> 2, 1), fields(w & 3, 2), nibbles(sc & 15), high, f16_bytes(d)]


def q4_k(x):
    w, sc, mn, d, dmin = parts_with_minimum(x, 32, 15, 63)
    return [f16_bytes(d), f16_bytes(dmin), six_bits(sc, mn), fields(w, 4)]


def q5_k(x):
    w, sc, mn, d, dmin = parts_with_minimum(x, 32, 31, 63)
    return [f16_bytes(d), f16_bytes(dmin), six_bits(sc, mn), fields(w >> 4, 1), fields(w & 15, 4)]


def q6_k(x):
    w, sc, d = signed_parts(x, -32, -128, 127)
    w = w + 32
    low, high = fields(w & 15, 4, run=64), fields(w >> 4, 2)
    return [low, high, sc.astype(np.int8).view(np.uint8), f16_bytes(d)]


BLOCKS = {
    "Q8_0": q8_0,
    "Q4_0": lambda x: symmetric(x, 4),
    "Q5_0": lambda x: symmetric(x, 5),
    "Q4_1": lambda x: with_minimum(x, 4),
    "Q5_1": lambda x: with_minimum(x, 5),
    "IQ4_NL": iq4_nl,
    "Q2_K": q2_k,
    "Q3_K": q3_k,
    "Q4_K": q4_k,
    "Q5_K": q5_k,
    "Q6_K": q6_k,
}


def quantize(values, type_name):
    """The bytes of float32 values in a type."""
    values = np.ascontiguousarray(values, dtype=F32)
    if type_name == "F32":
        return values
    if type_name == "F16":
        return values.astype("<f2")
    if type_name == "BF16":
        bits = values.view(np.uint32).astype(np.uint64)
        return (bits + 0x7FFF + (bits >> 16 & 1) >> 16).astype("<u2")
    _, elements, size = gguf.TENSOR_TYPES[gguf.TYPE_IDS[type_name]]
    blocks = np.concatenate(BLOCKS[type_name](values.reshape(-1, elements)), axis=1)
    assert blocks.shape[1] == size
    return blocks


# ---------------------------------------------------------------------------- models


def read_values(file, tensor):
    """A tensor of type F32, F16 or Q8_0, as float32, rows x columns."""
    data = np.array(file.tensor_bytes(tensor))
    if tensor.type_name in ("F32", "F16"):
        values = data.view("<f4" if tensor.type_name == "F32" else "<f2").astype(F32)
    elif tensor.type_name == "Q8_0":
        blocks = data.reshape(-1, 34)
        d = np.ascontiguousarray(blocks[:, :2]).view("<f2").astype(F32)
        values = blocks[:, 2:].view(np.int8).astype(F32) * d
    else:
        raise gguf.GgufError(f"{tensor.name} is {tensor.type_name}; F32, F16 and Q8_0 can be read")
    return values.reshape(-1, tensor.dims[0])


def wider(count):
    """For each unit of a wider model, the unit that it copies: a multiple of ROW units."""
    return np.arange(-(-count // ROW) * ROW) % count


def split_columns(rng, matrix, copies):
    """Splits each column at random among the copies of the unit that it reads."""
    share = rng.uniform(0.2, 0.8, (len(matrix), len(copies))).astype(F32)
    total = np.zeros_like(matrix)
    np.add.at(total.T, copies, share.T)
    return matrix[:, copies] * (share / total[:, copies])


def widen(metadata, tensors, seed=1):
    """(metadata, tensors) of the wider model, which computes the same function."""
    rng = np.random.default_rng(seed)
    meta = dict(metadata)
    dim, hidden = int(meta["llama.embedding_length"]), int(meta["llama.feed_forward_length"])
    heads = int(meta["llama.attention.head_count"])
    kv_heads = int(meta.get("llama.attention.head_count_kv", heads))
    head_size = dim // heads
    if ROW % dim != 0:
        raise gguf.GgufError(f"a dimension of {dim} can't be widened evenly to {ROW}")
    times = ROW // dim
    stream, units = np.arange(ROW) % dim, wider(hidden)
    # Whole sets of heads, one after the other, so that each keeps its KV head.
    q_copies = np.arange(times * heads * head_size) % (heads * head_size)
    kv_copies = np.arange(times * kv_heads * head_size) % (kv_heads * head_size)
    copies = {"attn_q": (q_copies, stream), "attn_k": (kv_copies, stream),
              "attn_v": (kv_copies, stream), "attn_output": (stream, q_copies),
              "ffn_gate": (units, stream), "ffn_up": (units, stream), "ffn_down": (stream, units)}
    out = {}
    for name, values in tensors.items():
        part = name.split(".")[-2]
        if part.endswith("norm"):
            # Copies of all units of the stream do not change the mean of their squares.
            out[name] = values[:, stream]
        elif part == "token_embd":
            out[name] = values[:, stream]
        elif part == "output":
            out[name] = split_columns(rng, values, stream)
        else:
            rows, columns = copies[part]
            out[name] = split_columns(rng, values, columns)[rows]
    if "output.weight" not in out:
        out["output.weight"] = split_columns(rng, tensors["token_embd.weight"], stream)
    meta["llama.embedding_length"] = ROW
    meta["llama.feed_forward_length"] = len(units)
    meta["llama.attention.head_count"] = times * heads
    meta["llama.attention.head_count_kv"] = times * kv_heads
    return meta, out


def write_metadata(writer, file, meta):
    for key, kind in file.types.items():
        if kind.endswith("]"):
            element = gguf.VALUE_TYPE_NAMES.index(kind.split("[")[0])
            writer.add_array(key, element, meta[key])
        else:
            writer.add(key, gguf.VALUE_TYPE_NAMES.index(kind), meta[key])


def convert(source, output, type_name, widened=False, overrides=()):
    """Writes a model file in another type. Returns {tensor's name: its type}."""
    file = gguf.Reader(source)
    tensors = {tensor.name: read_values(file, tensor) for tensor in file.tensors}
    vectors = {tensor.name for tensor in file.tensors if len(tensor.dims) == 1}
    meta = file.metadata
    if widened:
        meta, tensors = widen(meta, tensors)
    writer = gguf.Writer(output)
    write_metadata(writer, file, meta)
    declared = []
    for name, values in tensors.items():
        dims = (values.shape[1],) if name in vectors else (values.shape[1], len(values))
        kind = type_of(name, dims, type_name, overrides)
        declared.append((writer.tensor(name, kind, dims), quantize(values, kind)))
    writer.begin()
    for tensor, data in declared:
        writer.write(tensor, [np.ascontiguousarray(data)])
    writer.close()
    return {tensor.name: tensor.type_name for tensor, _ in declared}


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source")
    parser.add_argument("output")
    parser.add_argument("--type", choices=TYPES, required=True)
    parser.add_argument("--widen", action="store_true", help="rows of 256 and more")
    parser.add_argument("--override", type=override, action="append", default=[],
                        metavar="PATTERN=TYPE", help="another type for tensors whose names match")
    options = parser.parse_args()
    try:
        types = convert(options.source, options.output, options.type, options.widen,
                        options.override)
    except (gguf.GgufError, OSError) as error:
        print(f"quantize_gguf: {error}", file=sys.stderr)
        return 1
    counts = {kind: list(types.values()).count(kind) for kind in sorted(set(types.values()))}
    print(f"{options.output}: {', '.join(f'{n} x {kind}' for kind, n in counts.items())}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
