#!/usr/bin/env python3
"""Reads a GGUF of the default model's kind and runs it in numpy: samples, and the held-out loss.

    sample.py models/stories.gguf --prompt "Once upon a time" --tokens 100
    sample.py models/stories.gguf --prompt "One day," --temperature 0.8 --seed 7
    sample.py models/stories.gguf --loss build/model/stories.txt --stories 3000

It shares no code with train.py's model and reads the weights from the file (Q8_0 or F32), so it
checks both the export and the training. It computes in float64. Needs numpy.
"""

import argparse
import struct
from pathlib import Path

import numpy as np

import spm

SCALARS = {
    0: "<B",
    1: "<b",
    2: "<H",
    3: "<h",
    4: "<I",
    5: "<i",
    6: "<f",
    7: "<?",
    10: "<Q",
    11: "<q",
    12: "<d",
}
STRING, ARRAY = 8, 9


class Gguf:
    """Metadata in `meta`, tensors (float64, outermost dimension first) in `tensors`."""

    def __init__(self, path):
        self.data, self.at = Path(path).read_bytes(), 0
        if self.data[:4] != b"GGUF":
            raise SystemExit(f"{path} is no GGUF file")
        self.at = 4
        version, tensor_count, pair_count = self.scalar("<I"), self.scalar("<Q"), self.scalar("<Q")
        if version != 3:
            raise SystemExit(f"GGUF version {version}, not 3")
        self.meta = {}
        for _ in range(pair_count):
            key = self.string()
            self.meta[key] = self.value(self.scalar("<I"))
        infos = []
        for _ in range(tensor_count):
            name = self.string()
            dims = [self.scalar("<Q") for _ in range(self.scalar("<I"))]
            infos.append((name, dims[::-1], self.scalar("<I"), self.scalar("<Q")))
        align = self.meta.get("general.alignment", 32)
        base = (self.at + align - 1) // align * align
        self.tensors = {
            name: self.tensor(dims, kind, base + offset) for name, dims, kind, offset in infos
        }

    def scalar(self, form):
        (v,) = struct.unpack_from(form, self.data, self.at)
        self.at += struct.calcsize(form)
        return v

    def string(self):
        size = self.scalar("<Q")
        self.at += size
        return self.data[self.at - size : self.at].decode("utf-8")

    def value(self, kind):
        if kind == STRING:
            return self.string()
        if kind == ARRAY:
            inner, count = self.scalar("<I"), self.scalar("<Q")
            return [self.value(inner) for _ in range(count)]
        return self.scalar(SCALARS[kind])

    def tensor(self, dims, kind, start):
        count = int(np.prod(dims))
        if kind == 0:
            return np.frombuffer(self.data, "<f4", count, start).astype(np.float64).reshape(dims)
        if kind == 8:
            blocks = np.frombuffer(
                self.data, np.dtype([("d", "<f2"), ("q", "i1", 32)]), count // 32, start
            )
            return (blocks["d"].astype(np.float64)[:, None] * blocks["q"]).reshape(dims)
        raise SystemExit(f"tensor type {kind} is neither F32 nor Q8_0")


class Model:
    def __init__(self, path):
        file = Gguf(path)
        m, self.t = file.meta, file.tensors
        self.layers, self.heads = m["llama.block_count"], m["llama.attention.head_count"]
        self.kv_heads, self.dim = m["llama.attention.head_count_kv"], m["llama.embedding_length"]
        self.eps, self.context = (
            m["llama.attention.layer_norm_rms_epsilon"],
            m["llama.context_length"],
        )
        self.head = self.dim // self.heads
        self.freq = m["llama.rope.freq_base"] ** (-np.arange(0, self.head, 2) / self.head)
        self.vocab = spm.Vocabulary(
            m["tokenizer.ggml.tokens"], m["tokenizer.ggml.scores"], m["tokenizer.ggml.token_type"]
        )
        self.output = self.t.get("output.weight", self.t["token_embd.weight"])

    def norm(self, x, weight):
        return x / np.sqrt((x * x).mean(-1, keepdims=True) + self.eps) * self.t[weight]

    def rotate(self, x, start):
        """Turns the pairs (2i, 2i+1) of x[T, heads, head] by position * base^(-2i/head)."""
        angle = (start + np.arange(len(x)))[:, None, None] * self.freq
        cos, sin = np.cos(angle), np.sin(angle)
        out = np.empty_like(x)
        out[..., 0::2] = x[..., 0::2] * cos - x[..., 1::2] * sin
        out[..., 1::2] = x[..., 0::2] * sin + x[..., 1::2] * cos
        return out

    def forward(self, ids, cache=None):
        """Logits [T, vocabulary] of `ids`.

        `cache` holds keys and values of the tokens before them, for each layer; those of `ids` are
        added.
        """
        cache = [] if cache is None else cache
        start = len(cache[0][0]) if cache else 0
        x = self.t["token_embd.weight"][ids]
        count, group = len(ids), self.heads // self.kv_heads
        future = np.arange(start + count)[None] > start + np.arange(count)[:, None]
        for n in range(self.layers):
            w = lambda name: self.t[f"blk.{n}.{name}.weight"].T
            h = self.norm(x, f"blk.{n}.attn_norm.weight")
            q = self.rotate((h @ w("attn_q")).reshape(count, self.heads, self.head), start)
            k = self.rotate((h @ w("attn_k")).reshape(count, self.kv_heads, self.head), start)
            v = (h @ w("attn_v")).reshape(count, self.kv_heads, self.head)
            if start:
                k, v = np.concatenate((cache[n][0], k)), np.concatenate((cache[n][1], v))
                cache[n] = (k, v)
            else:
                cache.append((k, v))
            out = np.empty((count, self.heads, self.head))
            for head in range(self.heads):
                s = q[:, head] @ k[:, head // group].T / np.sqrt(self.head)
                s[future] = -np.inf
                p = np.exp(s - s.max(1, keepdims=True))
                out[:, head] = p / p.sum(1, keepdims=True) @ v[:, head // group]
            x = x + out.reshape(count, -1) @ w("attn_output")
            h = self.norm(x, f"blk.{n}.ffn_norm.weight")
            gate = h @ w("ffn_gate")
            x = x + (gate / (1 + np.exp(-gate)) * (h @ w("ffn_up"))) @ w("ffn_down")
        return self.norm(x, "output_norm.weight") @ self.output.T

    def generate(self, prompt, tokens, temperature, rng):
        """(tokens that follow `prompt`, whether the story ended)."""
        ids, cache, made = self.vocab.encode(prompt), [], []
        logits = self.forward(ids, cache)[-1]
        while len(made) < tokens and len(ids) + len(made) < self.context:
            if temperature > 0:
                p = np.exp((logits - logits.max()) / temperature)
                token = int(rng.choice(len(p), p=p / p.sum()))
            else:
                token = int(np.argmax(logits))
            if token == spm.EOS:
                return made, True
            made.append(token)
            logits = self.forward([token], cache)[-1]
        return made, False

    def loss(self, text):
        """(sum of -ln p over the tokens of one story and its </s>, number of these tokens)."""
        ids = self.vocab.encode(text) + [spm.EOS]
        logits = self.forward(ids[:-1])
        top = logits.max(1, keepdims=True)
        log_sum = top[:, 0] + np.log(np.exp(logits - top).sum(1))
        return float((log_sum - logits[np.arange(len(ids) - 1), ids[1:]]).sum()), len(ids) - 1


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("--prompt", action="append", default=[])
    parser.add_argument("--tokens", type=int, default=300)
    parser.add_argument("--temperature", type=float, default=0.0, help="0 is greedy")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--loss", type=Path, help="the training text; every 50th story of it is held out"
    )
    parser.add_argument(
        "--stories", type=int, default=3000, help="how many held-out stories to read"
    )
    args = parser.parse_args()

    model = Model(args.model)
    for prompt in args.prompt:
        made, ended = model.generate(
            prompt, args.tokens, args.temperature, np.random.default_rng(args.seed)
        )
        text = model.vocab.decode([spm.BOS] + model.vocab.encode(prompt, bos=False) + made)
        print(f"{text}\n[{len(made)} tokens, {'ended by </s>' if ended else 'cut'}]\n")
    if args.loss:
        total, count, read = 0.0, 0, 0
        with args.loss.open(encoding="utf-8") as lines:
            for number, line in enumerate(lines):
                if number % 50 != 49 or read == args.stories:
                    continue
                story_loss, tokens = model.loss(line.rstrip("\n"))
                total, count, read = total + story_loss, count + tokens, read + 1
        print(f"held-out loss {total / count:.4f} over {read} stories ({count} tokens)")


if __name__ == "__main__":
    main()
