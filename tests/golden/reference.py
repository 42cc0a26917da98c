#!/usr/bin/python3
"""The numeric contract (docs/decisions/0001-numeric-contract.md) in numpy: a second, independent
implementation of the engine, bit for bit, and a third one in plain float64 to measure both against.

  reference.py model.gguf --tokens 1,403,7 --max-tokens 16 [--logits] [--float64]

prints what `bareflow --model ... --tokens ...` prints: "token N" for each token made greedily and
"finish REASON"; with --logits, before each token, "logits " and their bits in hexadecimal.

Written for clearness: weights are unpacked when the model is loaded. float32 work is done on
np.float32 arrays, one operation at a time and so rounded at each; integer work is exact. pow, sin
and cos are the host's: they may differ from musl's in the last bit of a double, which is 29 bits
below the last one of the float that is kept.
"""

import argparse
import math
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tools"))
import gguf_format  # noqa: E402

F32 = np.float32
GROUP, LANES = 256, 8
ROUND = F32(12582912.0)


# ---------------------------------------------------------------------------- float operations

def fold_lanes(lanes):
    """Sum over the last axis, of eight, in the contract's order."""
    t = lanes[..., 0:4] + lanes[..., 4:8]
    u = t[..., 0:2] + t[..., 2:4]
    return u[..., 0] + u[..., 1]


def lane_sum(values):
    """Eight-lane sum of the last axis. Zeros at the end change nothing: no lane is ever -0."""
    missing = -values.shape[-1] % LANES
    if missing:
        values = np.concatenate([values, np.zeros(values.shape[:-1] + (missing,), F32)], axis=-1)
    lanes = np.zeros(values.shape[:-1] + (LANES,), F32)
    for i in range(0, values.shape[-1], LANES):
        lanes = lanes + values[..., i:i + LANES]
    return fold_lanes(lanes)


def dot8(a, b):
    return lane_sum(a * b)


def exp_f32(x):
    v = np.where(x < F32(88), x, F32(88))
    v = np.where(v > F32(-87), v, F32(-87))
    n = (v * F32(1.44269504) + ROUND) - ROUND
    r = (v - n * F32(0.693359375)) - n * F32(-2.12194440e-4)
    p = np.full_like(r, F32(1.9875691500e-4))
    for coefficient in (1.3981999507e-3, 8.3334519073e-3, 4.1665795894e-2, 1.6666665459e-1,
                        5.0000001201e-1):
        p = p * r + F32(coefficient)
    y = (p * (r * r) + r) + F32(1)
    power = ((n.astype(np.int32) + 127) << 23).view(F32)
    return np.where(x < F32(-87), F32(0), y * power)


def softmax(x):
    e = exp_f32(x - np.max(x, axis=-1, keepdims=True))
    return e * (F32(1) / lane_sum(e))[..., None]


def rms_norm(x, w, eps):
    mean = dot8(x, x) / F32(len(x))
    scale = F32(1) / np.sqrt(mean + eps)
    return (x * scale) * w


def silu_mul(g, u):
    return (g / (F32(1) + exp_f32(-g))) * u


def quantize(x):
    """q8_activation: q (int64), and d * 2^-24 for each group."""
    q = np.zeros(len(x), np.int64)
    scales = []
    for begin in range(0, len(x), GROUP):
        group = x[begin:begin + GROUP]
        amax = np.max(np.abs(group))
        if amax < F32(2.0 ** -100):
            scales.append(F32(0))
            continue
        inverse = F32(127) / amax
        rounded = (group * inverse + ROUND) - ROUND
        q[begin:begin + GROUP] = np.clip(rounded, -127, 127).astype(np.int64)
        scales.append((amax / F32(127)) * F32(2.0 ** -24))
    return q, scales


# ---------------------------------------------------------------------------- weights

NON_LINEAR = np.array([-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113])
PART = 16  # weights that share integer scales, at least


def f16_at(blocks, at):
    return np.ascontiguousarray(blocks[:, at:at + 2]).view("<f2")[:, 0].astype(F32)


def halves(data):
    """Nibbles of each row: all the low ones, then all the high ones."""
    return np.concatenate([data & 15, data >> 4], axis=1)


def fields(data, bits, run=32):
    """Runs of bytes; of each run the lowest fields, then the next ones."""
    runs = data.reshape(len(data), -1, 1, run)
    shifts = np.arange(0, 8, bits).reshape(1, 1, -1, 1)
    return (runs >> shifts & ((1 << bits) - 1)).reshape(len(data), -1)


def bits_of(data):
    return np.unpackbits(np.ascontiguousarray(data), axis=1, bitorder="little")


def six_bits(s):
    """The eight scales and the eight minimums of Q4_K and Q5_K."""
    first, second, rest = s[:, 0:4], s[:, 4:8], s[:, 8:12]
    scales = np.concatenate([first & 63, rest & 15 | first >> 6 << 4], axis=1)
    minimums = np.concatenate([second & 63, rest >> 4 | second >> 6 << 4], axis=1)
    return np.repeat(scales, 2, axis=1), np.repeat(minimums, 2, axis=1)


def unpack(kind, b):
    """Blocks, a row of bytes each: weights, integer scales and minimums of each PART (or None), the
    two f16 factors (or None). A block of 32 has no integer scales, and its minimum is added."""
    b = b.astype(np.int64)
    raw = b.astype(np.uint8)
    if kind == "Q8_0":
        return raw[:, 2:].view(np.int8), None, None, f16_at(raw, 0), None
    if kind == "IQ4_NL":
        return NON_LINEAR[halves(b[:, 2:])], None, None, f16_at(raw, 0), None
    if kind in ("Q4_0", "Q5_0"):
        low, high = (b[:, 2:], 0) if kind == "Q4_0" else (b[:, 6:], bits_of(raw[:, 2:6]) * 16)
        return halves(low) + high - (8 if kind == "Q4_0" else 16), None, None, f16_at(raw, 0), None
    if kind in ("Q4_1", "Q5_1"):
        low, high = (b[:, 4:], 0) if kind == "Q4_1" else (b[:, 8:], bits_of(raw[:, 4:8]) * 16)
        return halves(low) + high, None, None, f16_at(raw, 0), f16_at(raw, 2)
    if kind == "Q2_K":
        scales, minimums = b[:, :16] & 15, b[:, :16] >> 4
        return fields(b[:, 16:80], 2), scales, minimums, f16_at(raw, 80), f16_at(raw, 82)
    if kind == "Q3_K":
        s = b[:, 96:108]
        high = np.concatenate([s[:, 8:] >> shift & 3 for shift in (0, 2, 4, 6)], axis=1)
        weights = fields(b[:, 32:96], 2) + 4 * fields(b[:, :32], 1) - 4
        return weights, halves(s[:, :8]) + 16 * high - 32, None, f16_at(raw, 108), None
    if kind == "Q4_K":
        scales, minimums = six_bits(b[:, 4:16])
        return fields(b[:, 16:], 4), scales, minimums, f16_at(raw, 0), f16_at(raw, 2)
    if kind == "Q5_K":
        scales, minimums = six_bits(b[:, 4:16])
        weights = fields(b[:, 48:], 4) + 16 * fields(b[:, 16:48], 1)
        return weights, scales, minimums, f16_at(raw, 0), f16_at(raw, 2)
    if kind == "Q6_K":
        weights = fields(b[:, :128], 4, run=64) + 16 * fields(b[:, 128:192], 2) - 32
        return weights, raw[:, 192:208].view(np.int8), None, f16_at(raw, 208), None
    raise SystemExit(f"no type {kind}")


def mantissa(f16):
    """A finite f16 is M * 2^-24."""
    return (f16.astype(np.float64) * 2.0 ** 24).astype(np.int64)


class Matrix:
    """rows x cols, in one of the types."""

    def __init__(self, tensor, data):
        self.cols = tensor.dims[0]
        self.rows = tensor.elements // self.cols
        self.weights = None
        shape = (self.rows, self.cols)
        if tensor.type_name == "BF16":
            self.weights = (data.view("<u2").astype(np.uint32) << 16).view(F32).reshape(shape)
            return
        if tensor.type_name in ("F32", "F16"):
            kind = "<f4" if tensor.type_name == "F32" else "<f2"
            self.weights = data.view(kind).astype(F32).reshape(shape)
            return
        _, elements, size = gguf_format.TENSOR_TYPES[tensor.type_id]
        weights, sc, mn, d, dmin = unpack(tensor.type_name, data.reshape(-1, size))
        self.ints = weights.astype(np.int64).reshape(self.rows, -1, PART)
        # Everything else once for each part.
        parts = elements // PART
        self.d = self.per_part(np.repeat(d, parts))
        self.dmin = None if dmin is None else self.per_part(np.repeat(dmin, parts))
        self.sc = None if sc is None else self.per_part(sc.astype(np.int64))
        self.mn = None if mn is None else self.per_part(mn.astype(np.int64))

    def per_part(self, values):
        return values.reshape(self.rows, self.cols // PART)

    def dequantized(self, d, dmin, ints, sc, mn, real):
        """The contract's "Embedding" in numbers of type `real`."""
        if sc is not None:
            d = d * sc.astype(real)
        values = ints.astype(real) * d[..., None]
        if mn is not None:
            values = values - (dmin * mn.astype(real))[..., None]
        elif dmin is not None:
            values = values + dmin[..., None]
        return values

    def row(self, index):
        """The embedding: one row as float32."""
        if self.weights is not None:
            return self.weights[index]
        d, dmin, sc, mn = (None if a is None else a[index]
                           for a in (self.d, self.dmin, self.sc, self.mn))
        return self.dequantized(d, dmin, self.ints[index], sc, mn, F32).reshape(self.cols)

    def float64(self):
        if self.weights is not None:
            return self.weights.astype(np.float64)
        dmin = None if self.dmin is None else self.dmin.astype(np.float64)
        return self.dequantized(self.d.astype(np.float64), dmin, self.ints, self.sc, self.mn,
                                np.float64).reshape(self.rows, self.cols)

    def times(self, x):
        if self.weights is not None:
            return dot8(self.weights, x[None, :])
        q, scales = quantize(x)
        q = q.reshape(-1, PART)
        totals = np.einsum("rpi,pi->rp", self.ints, q) * mantissa(self.d)
        if self.sc is not None:
            totals = totals * self.sc
        if self.dmin is not None:
            offsets = mantissa(self.dmin) * q.sum(axis=1)[None, :]
            totals = totals + (offsets if self.mn is None else -self.mn * offsets)
        y = np.zeros(self.rows, F32)
        for group, scale in enumerate(scales):
            begin = group * (GROUP // PART)
            total = totals[:, begin:begin + GROUP // PART].sum(axis=1)
            assert np.abs(total).max() <= 2 ** 53
            y = y + total.astype(F32) * scale
        return y


class Model:
    def __init__(self, path):
        file = gguf_format.Reader(path)
        meta = file.metadata
        if meta["general.architecture"] != "llama":
            raise SystemExit("only the llama architecture")
        self.layers = int(meta["llama.block_count"])
        self.dim = int(meta["llama.embedding_length"])
        self.heads = int(meta["llama.attention.head_count"])
        self.kv_heads = int(meta.get("llama.attention.head_count_kv", self.heads))
        self.head_size = int(meta.get("llama.attention.key_length", self.dim // self.heads))
        self.rope_dim = int(meta.get("llama.rope.dimension_count", self.head_size))
        self.rope_base = F32(meta.get("llama.rope.freq_base", 10000.0))
        self.eps = F32(meta["llama.attention.layer_norm_rms_epsilon"])
        self.context = int(meta["llama.context_length"])
        self.ends = {int(meta[key]) for key in ("tokenizer.ggml.eos_token_id",
                                                "tokenizer.ggml.eot_token_id") if key in meta}
        self.tensors = {}
        for tensor in file.tensors:
            self.tensors[tensor.name] = Matrix(tensor, np.array(file.tensor_bytes(tensor)))
        self.tensors.setdefault("output.weight", self.tensors["token_embd.weight"])

    def __getitem__(self, name):
        return self.tensors[name + ".weight"]


# ---------------------------------------------------------------------------- the transformer

class Exact:
    """The contract's arithmetic."""

    def __init__(self, model):
        self.model = model
        self.keys = [[] for _ in range(model.layers)]
        self.values = [[] for _ in range(model.layers)]

    def embedding(self, token):
        return self.model["token_embd"].row(token)

    def times(self, name, x):
        return self.model[name].times(x)

    def norm(self, name, x):
        return rms_norm(x, self.model[name].weights[0], self.model.eps)

    def rotate(self, x, position):
        m = self.model
        x = x.copy()
        for i in range(m.rope_dim // 2):
            theta = float(position) * math.pow(float(m.rope_base), -2.0 * i / m.rope_dim)
            c, s = F32(math.cos(theta)), F32(math.sin(theta))
            a, b = x[:, 2 * i].copy(), x[:, 2 * i + 1].copy()
            x[:, 2 * i] = a * c - b * s
            x[:, 2 * i + 1] = a * s + b * c
        return x

    def attention(self, q, keys, values):
        m = self.model
        scale = F32(1.0 / math.sqrt(m.head_size))
        out = np.zeros((m.heads, m.head_size), F32)
        for head in range(m.heads):
            group = head // (m.heads // m.kv_heads)
            k = np.stack([key[group] for key in keys])
            p = softmax(dot8(k, q[head][None, :]) * scale)
            for t, value in enumerate(values):
                out[head] = out[head] + p[t] * value[group]
        return out.reshape(-1)

    def gate(self, g, u):
        return silu_mul(g, u)

    def step(self, token, position):
        """Logits after `token` at `position`, which must be the next one."""
        m = self.model
        x = self.embedding(token)
        for i in range(m.layers):
            layer = f"blk.{i}."
            h = self.norm(layer + "attn_norm", x)
            q = self.times(layer + "attn_q", h).reshape(m.heads, m.head_size)
            k = self.times(layer + "attn_k", h).reshape(m.kv_heads, m.head_size)
            v = self.times(layer + "attn_v", h).reshape(m.kv_heads, m.head_size)
            self.keys[i].append(self.rotate(k, position))
            self.values[i].append(v)
            mixed = self.attention(self.rotate(q, position), self.keys[i], self.values[i])
            x = x + self.times(layer + "attn_output", mixed)
            h = self.norm(layer + "ffn_norm", x)
            hidden = self.gate(self.times(layer + "ffn_gate", h), self.times(layer + "ffn_up", h))
            x = x + self.times(layer + "ffn_down", hidden)
        return self.times("output", self.norm("output_norm", x))


class Float64(Exact):
    """What the weights mean, without any rounding of ours: activations are not quantised."""

    def __init__(self, model):
        super().__init__(model)
        self.wide = {name: matrix.float64() for name, matrix in model.tensors.items()}

    def embedding(self, token):
        return self.wide["token_embd.weight"][token]

    def times(self, name, x):
        return self.wide[name + ".weight"] @ x

    def norm(self, name, x):
        return x / np.sqrt(np.mean(x * x) + float(self.model.eps)) * self.wide[name + ".weight"][0]

    def rotate(self, x, position):
        m = self.model
        x = x.copy()
        i = np.arange(m.rope_dim // 2)
        theta = position * np.power(float(m.rope_base), -2.0 * i / m.rope_dim)
        c, s = np.cos(theta), np.sin(theta)
        a, b = x[:, 0:m.rope_dim:2].copy(), x[:, 1:m.rope_dim:2].copy()
        x[:, 0:m.rope_dim:2] = a * c - b * s
        x[:, 1:m.rope_dim:2] = a * s + b * c
        return x

    def attention(self, q, keys, values):
        m = self.model
        k = np.repeat(np.stack(keys), m.heads // m.kv_heads, axis=1)  # t, head, j
        v = np.repeat(np.stack(values), m.heads // m.kv_heads, axis=1)
        scores = np.einsum("hj,thj->ht", q, k) / math.sqrt(m.head_size)
        e = np.exp(scores - scores.max(axis=1, keepdims=True))
        return np.einsum("ht,thj->hj", e / e.sum(axis=1, keepdims=True), v).reshape(-1)

    def gate(self, g, u):
        return g / (1 + np.exp(-g)) * u


def generate(model, tokens, max_tokens, arithmetic=Exact):
    """Greedy. Yields (logits, token); token is None where the model ends the text."""
    room = model.context - len(tokens)
    run = arithmetic(model)
    for position, token in enumerate(tokens):
        logits = run.step(token, position)
    position = len(tokens)
    for made in range(min(max_tokens, room)):
        token = int(np.argmax(logits))  # the first of the greatest
        if token in model.ends:
            yield logits, None
            return
        yield logits, token
        if made + 1 < min(max_tokens, room):
            logits = run.step(token, position)
            position += 1


def teacher_forced(model, tokens, arithmetic):
    """Logits after each of the tokens, vocabulary x len(tokens) transposed."""
    run = arithmetic(model)
    return np.stack([run.step(token, position) for position, token in enumerate(tokens)])


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--tokens", required=True, help="the prompt: numbers between commas")
    parser.add_argument("--max-tokens", type=int, default=16)
    parser.add_argument("--logits", action="store_true")
    parser.add_argument("--float64", action="store_true", help="plain float64 instead")
    options = parser.parse_args()
    prompt = [int(token) for token in options.tokens.split(",")]
    finish = "length"
    model = Model(options.model)
    for logits, token in generate(model, prompt, options.max_tokens,
                                  Float64 if options.float64 else Exact):
        if options.logits:
            print("logits " + np.asarray(logits, dtype=">f4").tobytes().hex())
        if token is None:
            finish = "stop"
        else:
            print(f"token {token}")
    print(f"finish {finish}")


if __name__ == "__main__":
    main()
