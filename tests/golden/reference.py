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
BLOCK, GROUP, LANES = 32, 256, 8
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

class Matrix:
    """rows x cols, in one of the types. `floats` are the weights as float64 (exact)."""

    def __init__(self, tensor, data):
        self.cols = tensor.dims[0]
        self.rows = tensor.elements // self.cols
        self.type = tensor.type_name
        self.mantissa = None
        if self.type in ("F32", "F16"):
            kind = "<f4" if self.type == "F32" else "<f2"
            self.weights = data.view(kind).astype(F32).reshape(self.rows, self.cols)
            return
        size = gguf_format.TENSOR_TYPES[tensor.type_id][2]
        blocks = data.reshape(self.rows, self.cols // BLOCK, size)
        halves = 2 if self.type == "Q4_1" else 1
        scale = np.ascontiguousarray(blocks[:, :, :2 * halves]).view("<f2").astype(F32)
        self.scale, self.minimum = scale[:, :, 0], scale[:, :, -1]
        body = blocks[:, :, 2 * halves:]
        if self.type == "Q8_0":
            self.ints = body.view(np.int8).astype(np.int64)
        else:
            self.ints = np.concatenate([body & 15, body >> 4], axis=2).astype(np.int64)
            if self.type == "Q4_0":
                self.ints = self.ints - 8
        # A finite f16 is M * 2^-24.
        self.mantissa = (self.scale.astype(np.float64) * 2.0 ** 24).astype(np.int64)
        self.min_mantissa = (self.minimum.astype(np.float64) * 2.0 ** 24).astype(np.int64)

    def row(self, index):
        """The embedding: one row as float32."""
        if self.mantissa is None:
            return self.weights[index]
        values = self.ints[index].astype(F32) * self.scale[index][:, None]
        if self.type == "Q4_1":
            values = values + self.minimum[index][:, None]
        return values.reshape(self.cols)

    def float64(self):
        if self.mantissa is None:
            return self.weights.astype(np.float64)
        values = self.ints * self.scale.astype(np.float64)[:, :, None]
        if self.type == "Q4_1":
            values = values + self.minimum.astype(np.float64)[:, :, None]
        return values.reshape(self.rows, self.cols)

    def times(self, x):
        if self.mantissa is None:
            return dot8(self.weights, x[None, :])
        q, scales = quantize(x)
        q = q.reshape(-1, BLOCK)
        totals = np.einsum("rbi,bi->rb", self.ints, q) * self.mantissa
        if self.type == "Q4_1":
            totals = totals + self.min_mantissa * q.sum(axis=1)[None, :]
        y = np.zeros(self.rows, F32)
        for group, scale in enumerate(scales):
            begin = group * (GROUP // BLOCK)
            total = totals[:, begin:begin + GROUP // BLOCK].sum(axis=1)
            assert np.abs(total).max() < 2 ** 53
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
