#!/usr/bin/python3
"""The numeric contract (docs/decisions/0001-numeric-contract.md) in numpy: a second, independent
implementation of the engine, bit for bit, and a third one in plain float64 to measure both against.

  reference.py model.gguf --tokens 1,403,7 --max-tokens 16 [--logits] [--float64]

prints what `bareflow --model ... --tokens ...` prints: "token N" for each token made greedily and
"finish REASON"; with --logits, before each token, "logits " and their bits in hexadecimal.

Many sequences are computed side by side (arrays have them along their first axis), which changes
no result. float32 work is done on np.float32 arrays, one operation at a time and so rounded at each.
Integer work is done in float64, where every sum that the contract allows is exact. sin and cos
are the host's: they may differ from musl's in the last bit of a double. That bit is 29 bits below
the last one of the float that is kept.
"""

import argparse
import functools
import itertools
import math
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tools/gguf"))
import gguf_format  # noqa: E402

F32 = np.float32
GROUP, LANES = 256, 8
ROUND = F32(12582912.0)


# ---------------------------------------------------------------------------- float operations

def fold_lanes(lanes):
    """The sum of the eight values of the last axis, in the contract's order."""
    t = lanes[..., 0:4] + lanes[..., 4:8]
    u = t[..., 0:2] + t[..., 2:4]
    return u[..., 0] + u[..., 1]


def lane_sum(values):
    """The eight-lane sum of the last axis. Zeros at the end change nothing: no lane is ever -0."""
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


def kept_f16(x):
    """A key or a value as an F16 cache gives it back."""
    x = np.where(np.isnan(x), F32(0), np.clip(x, F32(-65504), F32(65504)))
    return x.astype(np.float16).astype(F32)


def kept_q8_0(x):
    """The same in a Q8_0 cache: blocks of 32 elements of a head, the last may be shorter."""
    x = np.where(np.isnan(x), F32(0), np.clip(x, F32(-65504), F32(65504)))
    out = np.empty_like(x)
    for begin in range(0, x.shape[-1], 32):
        block = x[..., begin:begin + 32]
        amax = np.abs(block).max(axis=-1, keepdims=True)
        d = (amax / F32(127)).astype(np.float16).astype(F32)
        inverse = np.where(d == 0, F32(0), F32(1) / np.where(d == 0, F32(1), d))
        q = np.clip(np.rint(block * inverse), F32(-127), F32(127))
        out[..., begin:begin + 32] = q * d
    return out


def rms_norm(x, w, eps):
    mean = dot8(x, x) / F32(x.shape[-1])
    scale = F32(1) / np.sqrt(mean + eps)
    return (x * scale[..., None]) * w


def silu_mul(g, u):
    return (g / (F32(1) + exp_f32(-g))) * u


def quantize(x):
    """q8_activation of each row: q as whole numbers in float64, and d * 2^-24 for each group."""
    rows, cols = x.shape
    padded = np.zeros((rows, -(-cols // GROUP) * GROUP), F32)
    padded[:, :cols] = x
    groups = padded.reshape(rows, -1, GROUP)
    amax = np.fmax.reduce(np.abs(groups), axis=2, initial=F32(0))  # a NaN does not count
    zero = amax < F32(2.0 ** -100)
    inverse = F32(127) / np.where(zero, F32(1), amax)
    rounded = (groups * inverse[..., None] + ROUND) - ROUND
    rounded = np.where(rounded > -127, rounded, F32(-127))  # a NaN becomes -127
    rounded = np.where(rounded < 127, rounded, F32(127))
    q = np.where(zero[..., None], F32(0), rounded).astype(np.float64)
    scales = np.where(zero, F32(0), (amax / F32(127)) * F32(2.0 ** -24))
    return q.reshape(rows, -1)[:, :cols], scales


# ---------------------------------------------------------------------------- weights

NON_LINEAR = np.array([-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113])
PART = 16  # at least this many weights share an integer scale


def f16_at(blocks, at):
    return np.ascontiguousarray(blocks[:, at:at + 2]).view("<f2")[:, 0].astype(F32)


def halves(data):
    """The nibbles of each row: all low ones, then all high ones."""
    return np.concatenate([data & 15, data >> 4], axis=1)


def fields(data, bits, run=32):
    """Bit fields of runs of bytes: for each run all lowest fields, then all next ones."""
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
    """Takes blocks, each a row of bytes. Returns the weights, the integer scales and minimums of
    each PART (or None), and the two f16 factors (or None). A block of 32 has no integer scales, and its
    minimum is added."""
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
    """A matrix of rows x cols, in one of the types."""

    def __init__(self, tensor, data):
        self.cols = tensor.dims[0]
        self.rows = tensor.elements // self.cols
        self.weights = self.factors = self.lanes = None
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
        self.ints = weights.astype(np.int8).reshape(self.rows, -1, PART)
        # All others once for each part.
        parts = elements // PART
        self.d = self.per_part(np.repeat(d, parts))
        self.dmin = None if dmin is None else self.per_part(np.repeat(dmin, parts))
        self.sc = None if sc is None else self.per_part(sc.astype(np.int16))
        self.mn = None if mn is None else self.per_part(mn.astype(np.int16))

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

    def rows_at(self, indices):
        """The embedding: rows as float32."""
        if self.weights is not None:
            return self.weights[indices]
        d, dmin, sc, mn = (None if a is None else a[indices]
                           for a in (self.d, self.dmin, self.sc, self.mn))
        return self.dequantized(d, dmin, self.ints[indices], sc, mn, F32).reshape(-1, self.cols)

    def float64(self):
        if self.weights is not None:
            return self.weights.astype(np.float64)
        dmin = None if self.dmin is None else self.dmin.astype(np.float64)
        return self.dequantized(self.d.astype(np.float64), dmin, self.ints, self.sc, self.mn,
                                np.float64).reshape(self.rows, self.cols)

    def whole_factors(self):
        """What each q_i is multiplied with in a T_g: whole numbers M * sc * w + Mm, or - Mm * mn.
        They and every sum of their products with q stay within 2^53, so float64 is exact."""
        factors = self.ints * (mantissa(self.d) * (1 if self.sc is None else self.sc))[..., None]
        if self.mn is not None:
            factors -= (mantissa(self.dmin) * self.mn)[..., None]
        elif self.dmin is not None:
            factors += mantissa(self.dmin)[..., None]
        factors = factors.reshape(self.rows, self.cols)
        # One group at a time: all together need twice the memory.
        for begin in range(0, self.cols, GROUP):
            assert np.abs(factors[:, begin:begin + GROUP]).sum(axis=1).max() * 127 <= 2 ** 53
        return factors.astype(np.float64)

    def times(self, x):
        """x: one vector per row."""
        if self.weights is not None:
            return self.float_times(x)
        if self.factors is None:
            self.factors = self.whole_factors()
        q, scales = quantize(x)
        y = np.zeros((len(x), self.rows), F32)
        for group in range(scales.shape[1]):
            columns = slice(group * GROUP, (group + 1) * GROUP)
            totals = q[:, columns] @ self.factors[:, columns].T
            y = y + totals.astype(F32) * scales[:, group, None]
        return y

    def float_times(self, x):
        """dot8 of x with each row. Zeros at the end change nothing: no lane is ever -0."""
        missing = -self.cols % LANES
        if self.lanes is None:
            padded = np.pad(self.weights, ((0, 0), (0, missing)))
            self.lanes = np.ascontiguousarray(
                padded.reshape(self.rows, -1, LANES).transpose(1, 0, 2))
        y = np.empty((len(x), self.rows), F32)
        for i, vector in enumerate(np.pad(x, ((0, 0), (0, missing))).reshape(len(x), -1, 1, LANES)):
            sums = np.zeros((self.rows, LANES), F32)
            product = np.empty_like(sums)
            for weights, values in zip(self.lanes, vector):
                np.multiply(weights, values, out=product)
                np.add(sums, product, out=sums)
            y[i] = fold_lanes(sums)
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
        # The number that each pair's angle is divided by.
        self.rope_divisors = np.full(self.rope_dim // 2, 1.0)
        if "rope_freqs.weight" in self.tensors:
            self.rope_divisors = self.tensors["rope_freqs.weight"].weights[0].astype(np.float64)
        self.rope_factor = 1.0
        if meta.get("llama.rope.scaling.type", "linear") == "linear":
            self.rope_factor = float(F32(meta.get("llama.rope.scaling.factor",
                                                  meta.get("llama.rope.scale_linear", 1.0))))

    def __getitem__(self, name):
        return self.tensors[name + ".weight"]

    @functools.cached_property
    def inverse_frequencies(self):
        """Powers of base^(-2 / rope_dim), in float64: first that root, by Newton's method from 1 on."""
        base, degree, root = float(self.rope_base), float(self.rope_dim // 2), 1.0
        while True:
            product = base
            for _ in range(self.rope_dim // 2):
                product *= root
            following = root * ((degree - 1.0) / degree + 1.0 / (degree * product))
            if not following < root:
                break
            root = following
        powers = itertools.accumulate(range(1, self.rope_dim // 2), lambda power, _: power * root, initial=1.0)
        return [power / float(divisor) / self.rope_factor for power, divisor in zip(powers, self.rope_divisors)]

    def theta(self, position):
        """The angle of each pair, in float64."""
        return [float(position) * frequency for frequency in self.inverse_frequencies]


# ---------------------------------------------------------------------------- the transformer

class Exact:
    """The contract's arithmetic, on `count` sequences."""
    real = F32
    kv = "f16"

    def __init__(self, model, count=1):
        self.model = model
        self.lengths = np.zeros(count, np.int64)
        shape = (count, 0, model.kv_heads, model.head_size)
        self.keys = [np.zeros(shape, self.real) for _ in range(model.layers)]
        self.values = [np.zeros(shape, self.real) for _ in range(model.layers)]
        self.angles = np.zeros((0, 2, model.rope_dim // 2), self.real)

    def embedding(self, tokens):
        return self.model["token_embd"].rows_at(tokens)

    def bias(self, name):
        """None if the model has no such tensor."""
        matrix = self.model.tensors.get(name + ".bias")
        return None if matrix is None else matrix.weights[0]

    def times(self, name, x):
        bias = self.bias(name)
        y = self.model[name].times(x)
        return y if bias is None else y + bias

    def norm(self, name, x):
        return rms_norm(x, self.model[name].weights[0], self.model.eps)

    def cosines(self, positions):
        """cos and sin, sequence x 1 x pair."""
        for position in range(len(self.angles), max(positions) + 1):
            theta = self.model.theta(position)
            row = np.array([[[math.cos(t) for t in theta], [math.sin(t) for t in theta]]])
            self.angles = np.concatenate([self.angles, row.astype(self.real)])
        return self.angles[positions, 0][:, None], self.angles[positions, 1][:, None]

    def rotate(self, x, positions):
        n = self.model.rope_dim
        x = x.copy()
        c, s = self.cosines(positions)
        a, b = x[:, :, 0:n:2].copy(), x[:, :, 1:n:2].copy()
        x[:, :, 0:n:2] = a * c - b * s
        x[:, :, 1:n:2] = a * s + b * c
        return x

    def kept(self, x):
        """Keys or values as the KV cache gives them back."""
        return kept_q8_0(x) if self.kv == "q8_0" else kept_f16(x)

    def keep(self, cache, which, positions, x):
        """Appends a position's vectors to a layer's cache; returns the new cache."""
        if max(positions) >= cache.shape[1]:
            more = max(16, cache.shape[1])
            cache = np.pad(cache, ((0, 0), (0, more), (0, 0), (0, 0)))
        cache[which, positions] = self.kept(x)
        return cache

    def attention(self, q, k, v, lengths):
        """q: sequence, head, j; k and v: sequence, t, KV head, j, of which `lengths` count."""
        m = self.model
        repeat = m.heads // m.kv_heads
        k = np.repeat(k.transpose(0, 2, 1, 3), repeat, axis=1)  # sequence, head, t, j
        scores = dot8(k, q[:, :, None]) * F32(1.0 / math.sqrt(m.head_size))
        there = np.arange(k.shape[2]) < lengths[:, None, None]
        top = np.fmax.reduce(np.where(there, scores, F32(-np.inf)), axis=2, keepdims=True)
        # A NaN stays only at the front.
        top = np.where(np.isnan(scores[:, :, :1]), scores[:, :, :1], top)
        e = np.where(there, exp_f32(scores - top), F32(0))
        p = e * (F32(1) / lane_sum(e))[..., None]
        # In increasing t, from +0. Past the end of a sequence p = 0 is multiplied with 0.
        terms = p[..., None] * np.repeat(v.transpose(0, 2, 1, 3), repeat, axis=1)
        out = np.add.accumulate(terms, axis=2)[:, :, -1] + F32(0)
        return out.reshape(len(q), -1)

    def gate(self, g, u):
        return silu_mul(g, u)

    def step(self, tokens, which=None, wanted=None):
        """Computes one more token for each of the sequences `which` (None: all). Returns the logits
        of those at the places `wanted` (None: all)."""
        m = self.model
        which = np.arange(len(self.lengths)) if which is None else np.asarray(which)
        positions = self.lengths[which]
        self.lengths[which] += 1
        longest = max(positions) + 1
        x = self.embedding(np.asarray(tokens))
        for i in range(m.layers):
            layer = f"blk.{i}."
            h = self.norm(layer + "attn_norm", x)
            q, k, v = (self.times(layer + "attn_" + one, h).reshape(len(x), heads, m.head_size)
                       for one, heads in (("q", m.heads), ("k", m.kv_heads), ("v", m.kv_heads)))
            self.keys[i] = self.keep(self.keys[i], which, positions, self.rotate(k, positions))
            self.values[i] = self.keep(self.values[i], which, positions, v)
            mixed = self.attention(self.rotate(q, positions), self.keys[i][which, :longest],
                                   self.values[i][which, :longest], positions + 1)
            x = x + self.times(layer + "attn_output", mixed)
            h = self.norm(layer + "ffn_norm", x)
            hidden = self.gate(self.times(layer + "ffn_gate", h), self.times(layer + "ffn_up", h))
            x = x + self.times(layer + "ffn_down", hidden)
        if wanted is not None:
            x = x[wanted]
        return self.times("output", self.norm("output_norm", x)) if len(x) != 0 else x


class ExactQ8Cache(Exact):
    kv = "q8_0"


class Float64(Exact):
    """The model in float64, without the contract's roundings: activations are not quantised."""
    real = np.float64

    def __init__(self, model, count=1):
        super().__init__(model, count)
        self.wide = {}

    def matrix(self, name):
        if name not in self.wide:
            self.wide[name] = self.model[name].float64()
        return self.wide[name]

    def embedding(self, tokens):
        return self.matrix("token_embd")[tokens]

    def times(self, name, x):
        bias = self.bias(name)
        return x @ self.matrix(name).T + (0 if bias is None else bias.astype(np.float64))

    def norm(self, name, x):
        mean = np.mean(x * x, axis=1, keepdims=True)
        return x / np.sqrt(mean + float(self.model.eps)) * self.matrix(name)[0]

    def attention(self, q, k, v, lengths):
        m = self.model
        k, v = (np.repeat(a, m.heads // m.kv_heads, axis=2) for a in (k, v))
        scores = np.einsum("shj,sthj->sht", q, k) / math.sqrt(m.head_size)
        scores[np.broadcast_to(np.arange(k.shape[1]) >= lengths[:, None, None], scores.shape)] = -np.inf
        e = np.exp(scores - scores.max(axis=2, keepdims=True))
        return np.einsum("sht,sthj->shj", e / e.sum(axis=2, keepdims=True), v).reshape(len(q), -1)

    def kept(self, x):
        return x

    def gate(self, g, u):
        return g / (1 + np.exp(-g)) * u


def generate(model, prompts, max_tokens, arithmetic=Exact):
    """Makes greedy texts for all prompts side by side. Returns for each prompt a list of
    (logits, token), one for each token made; a last token of None: the model ended the text."""
    run = arithmetic(model, len(prompts))
    texts = [list(prompt) for prompt in prompts]
    made = [[] for _ in prompts]
    going = list(range(len(prompts)))
    at = 0
    while going:
        choosing = [i for i in going if len(texts[i]) == at + 1]
        wanted = [place for place, i in enumerate(going) if len(texts[i]) == at + 1]
        logits = run.step([texts[i][at] for i in going], going, wanted)
        at += 1
        for i, row in zip(choosing, logits):
            token = int(np.argmax(np.where(np.isnan(row), -np.inf, row)))  # the first of the greatest
            made[i].append((row, None if token in model.ends else token))
            room = min(max_tokens, model.context - len(prompts[i]))
            if token in model.ends or len(made[i]) == room:
                going.remove(i)
            else:
                texts[i].append(token)
    return made


def teacher_forced(model, texts, arithmetic):
    """For each text: the logits after each of its tokens, as rows."""
    run = arithmetic(model, len(texts))
    logits = [[] for _ in texts]
    for at in range(max(map(len, texts))):
        which = [i for i, text in enumerate(texts) if at < len(text)]
        for i, row in zip(which, run.step([texts[i][at] for i in which], which)):
            logits[i].append(row)
    return [np.stack(rows) for rows in logits]


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
    arithmetic = Float64 if options.float64 else Exact
    for logits, token in generate(model, [prompt], options.max_tokens, arithmetic)[0]:
        if options.logits:
            print("logits " + np.asarray(logits, dtype=">f4").tobytes().hex())
        if token is None:
            finish = "stop"
        else:
            print(f"token {token}")
    print(f"finish {finish}")


if __name__ == "__main__":
    main()
