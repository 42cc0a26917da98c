#!/usr/bin/env python3
"""Trains the default model, a small Llama, on the text of make_stories.py, without a GPU.

    train.py --text build/model/stories.txt --vocab build/model/vocab.json \
        --out build/model/model.npz

Needs PyTorch: Debian's python3-torch and libopenblas0-pthread. Without the second one the matrix
products are twenty times slower.

The same libraries on the same processor give the same weights: training is seeded, uses
deterministic algorithms, and always runs in two processes of one thread. Every 50th story is held
out and never trained on.

Shapes, for T tokens, D = dim, H heads, K key/value heads, S = D / H:
    x[T,D] = embed[token]; per layer:
    x += (softmax(rope(q) rope(k)^T / sqrt(S)) v) wo   with q = n(x) wq, ...; n = RMSNorm, eps 1e-5
    x += (silu(n(x) w1) * (n(x) w3)) w2;   at the end: logits = n(x) embed^T
RoPE turns the pairs (2i, 2i+1) of each head by pos * 10000^(-2i/S), the order Llama GGUFs use.
"""

import argparse
import ctypes
import json
import math
import os
import time
from pathlib import Path

# One thread a process. Set here, before the matrix library starts threads.
os.environ["OPENBLAS_NUM_THREADS"] = "1"

import numpy as np
import torch
import torch.nn.functional as F

import spm

CONFIG = {
    "dim": 128,
    "hidden": 288,
    "layers": 5,
    "heads": 8,
    "kv_heads": 4,
    "context": 512,
    "eps": 1e-5,
    "rope_base": 10000.0,
}
HELD_OUT_EVERY = 50


def keep_freed_memory():
    """Keeps glibc from giving large blocks back at once: each step would fault them in again."""
    libc = ctypes.CDLL(None)
    mmap_threshold, trim_threshold = -3, -1
    libc.mallopt(mmap_threshold, 1 << 30)
    libc.mallopt(trim_threshold, (1 << 31) - 1)


class Norm(torch.nn.Module):
    def __init__(self, dim, eps):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(dim))
        self.eps = eps

    def forward(self, x):
        return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + self.eps) * self.weight


def rotate(x, cos, sin):
    """Turns the pairs of x[..., T, S] by the angles of cos and sin, [T, S/2]."""
    even, odd = x[..., 0::2], x[..., 1::2]
    return torch.stack((even * cos - odd * sin, even * sin + odd * cos), -1).flatten(-2)


class Layer(torch.nn.Module):
    def __init__(self, c):
        super().__init__()
        dim, head = c["dim"], c["dim"] // c["heads"]
        self.heads, self.kv_heads, self.head = c["heads"], c["kv_heads"], head
        linear = lambda i, o: torch.nn.Linear(i, o, bias=False)
        self.attn_norm, self.ffn_norm = Norm(dim, c["eps"]), Norm(dim, c["eps"])
        self.attn_q, self.attn_output = linear(dim, c["heads"] * head), linear(
            c["heads"] * head, dim
        )
        self.attn_k, self.attn_v = linear(dim, c["kv_heads"] * head), linear(
            dim, c["kv_heads"] * head
        )
        self.ffn_gate, self.ffn_up = linear(dim, c["hidden"]), linear(dim, c["hidden"])
        self.ffn_down = linear(c["hidden"], dim)

    def forward(self, x, cos, sin, mask):
        batch, length, dim = x.shape
        h = self.attn_norm(x)
        split = lambda t, n: t.view(batch, length, n, self.head).transpose(1, 2)
        q = rotate(split(self.attn_q(h), self.heads), cos, sin) * self.head**-0.5
        k = rotate(split(self.attn_k(h), self.kv_heads), cos, sin)
        v = split(self.attn_v(h), self.kv_heads)
        # Query heads g*group .. g*group+group-1 share key/value head g: one product serves all.
        group = self.heads // self.kv_heads
        q = q.reshape(batch, self.kv_heads, group * length, self.head)
        scores = (q @ k.transpose(-1, -2)).view(batch, self.heads, length, length) + mask
        p = torch.softmax(scores, -1).view(batch, self.kv_heads, group * length, length)
        a = (
            (p @ v)
            .view(batch, self.heads, length, self.head)
            .transpose(1, 2)
            .reshape(batch, length, dim)
        )
        x = x + self.attn_output(a)
        h = self.ffn_norm(x)
        return x + self.ffn_down(F.silu(self.ffn_gate(h)) * self.ffn_up(h))


class Llama(torch.nn.Module):
    def __init__(self, c, vocab_size):
        super().__init__()
        self.token_embd = torch.nn.Embedding(vocab_size, c["dim"])
        self.blk = torch.nn.ModuleList(Layer(c) for _ in range(c["layers"]))
        self.output_norm = Norm(c["dim"], c["eps"])
        for name, p in self.named_parameters():
            if p.dim() == 2:
                std = (
                    0.05 / math.sqrt(2 * c["layers"])
                    if "output" in name or "down" in name
                    else 0.05
                )
                torch.nn.init.normal_(p, 0.0, std)
        head = c["dim"] // c["heads"]
        freq = c["rope_base"] ** (-torch.arange(0, head, 2, dtype=torch.float64) / head)
        angle = torch.arange(c["context"], dtype=torch.float64)[:, None] * freq[None]
        self.cos, self.sin = angle.cos().float(), angle.sin().float()
        self.mask = torch.full((c["context"], c["context"]), -1e9).triu(1)

    def forward(self, tokens):
        length = tokens.shape[1]
        cos, sin, mask = self.cos[:length], self.sin[:length], self.mask[:length, :length]
        x = self.token_embd(tokens)
        for layer in self.blk:
            x = layer(x, cos, sin, mask)
        return F.linear(self.output_norm(x), self.token_embd.weight)


def read_stories(path, vocab):
    """Token ids of every story, from <s> to </s>, in two lists: to train on, and held out."""
    from train_tokenizer import WORDS

    cache, train, held = {}, [], []
    with open(path, encoding="utf-8") as lines:
        for number, line in enumerate(lines):
            ids = [spm.BOS]
            # No piece crosses a word, so words can be encoded one at a time, and each only once.
            for word in WORDS.findall(spm.SPACE + line.rstrip("\n").replace(" ", spm.SPACE)):
                if word not in cache:
                    cache[word] = vocab.encode_raw(word)
                ids += cache[word]
            ids.append(spm.EOS)
            held_out = number % HELD_OUT_EVERY == HELD_OUT_EVERY - 1
            (held if held_out else train).append(np.array(ids, np.int64))
    return train, held


def pad(rows):
    """Inputs and targets of stories of about the same length, padded. Target -1: no target."""
    length = max(len(r) for r in rows) - 1
    x = np.full((len(rows), length), spm.EOS, np.int64)
    y = np.full((len(rows), length), -1, np.int64)
    for i, r in enumerate(rows):
        x[i, : len(r) - 1], y[i, : len(r) - 1] = r[:-1], r[1:]
    return torch.from_numpy(x), torch.from_numpy(y)


def batches(stories, context, tokens, rng):
    """Yields batches for ever.

    Seven of eight batches have one story a row, all of about the same length. The eighth has rows
    of `context` tokens, with stories one after the other, so that late positions are learned, too.
    """
    size = 2048
    while True:
        order = rng.permutation(len(stories))
        for start in range(0, len(order) - size + 1, size):
            part = sorted(order[start : start + size], key=lambda i: (len(stories[i]), i))
            groups, group, longest = [], [], 0
            for i in part:
                if group and (len(group) + 1) * len(stories[i]) > tokens:
                    groups.append(group)
                    group = []
                group.append(i)
            for n, g in enumerate(rng.permutation(len(groups))):
                if n % 8 == 7:
                    flat = np.concatenate(
                        [stories[i] for i in rng.choice(part, 6 * tokens // context + 8)]
                    )
                    rows = max(1, tokens // context)
                    cut = [flat[r * context : (r + 1) * context + 1] for r in range(rows)]
                    yield pad(cut)
                else:
                    yield pad([stories[i] for i in groups[g]])


def loss_of(model, x, y, reduction="mean"):
    logits = model(x)
    return F.cross_entropy(logits.flatten(0, 1), y.flatten(), ignore_index=-1, reduction=reduction)


def held_out_loss(model, held):
    """Mean negative log-likelihood of a token, in nats: each story alone, with its </s>."""
    total, count = 0.0, 0
    ordered = sorted(held, key=len)
    with torch.no_grad():
        for start in range(0, len(ordered), 16):
            x, y = pad(ordered[start : start + 16])
            total += float(loss_of(model, x, y, "sum"))
            count += int((y >= 0).sum())
    return total / count


class Team:
    """Processes that each compute the gradient of their own batch and take the same step.

    Two processes of one thread are faster here than one with two threads, and another program that
    takes a core costs them less. Gradients are added in the order of the ranks, so all have the
    same sum.
    """

    def __init__(self, size, count):
        self.size = size
        self.shared = torch.zeros(size, count).share_memory_()
        self.barrier = torch.multiprocessing.get_context("fork").Barrier(size)

    def average(self, rank, parameters):
        flat = torch.cat([p.grad.flatten() for p in parameters])
        self.shared[rank] = flat
        self.barrier.wait()
        torch.sum(self.shared, 0, out=flat)
        flat /= self.size
        self.barrier.wait()
        start = 0
        for p in parameters:
            p.grad = flat[start : start + p.numel()].view_as(p)
            start += p.numel()


def rate_at(step, args):
    """The learning rate: it rises, stays, and falls linearly in the last `--decay` steps."""
    warm = min(100, args.steps // 10)
    if step < warm:
        return args.rate * (step + 1) / warm
    return args.rate * min(1.0, (args.steps - step) / args.decay)


def optimizer_of(parameters, rate):
    """Weight decay for matrices only; norms have one dimension."""
    matrices = [p for p in parameters if p.dim() == 2]
    norms = [p for p in parameters if p.dim() == 1]
    return torch.optim.AdamW(
        [{"params": matrices, "weight_decay": 0.05}, {"params": norms, "weight_decay": 0.0}],
        lr=rate,
        betas=(0.9, 0.95),
        eps=1e-8,
    )


def save_result(args, model, held, seen, seconds):
    """Writes the weights, and with them how they were made."""
    final = held_out_loss(model, held)
    print(
        (
            f"held-out loss {final:.4f} over {len(held)} stories, {seen} tokens trained,"
            f" {seconds:.0f} seconds"
        ),
        flush=True,
    )
    arrays = {k: v.detach().numpy() for k, v in model.named_parameters()}
    about = {
        "config": CONFIG,
        "steps": args.steps,
        "tokens": seen,
        "seconds": round(seconds),
        "held_out_loss": final,
        "held_out_stories": len(held),
        "seed": args.seed,
    }
    np.savez(args.out, about=np.array(json.dumps(about)), **arrays)


def work(rank, team, args, vocab, train, held):
    """Trains, as one process of the team. Rank 0 reports, and writes checkpoints and the result."""
    torch.manual_seed(args.seed)
    model = Llama(CONFIG, len(vocab.tokens))
    parameters = list(model.parameters())
    optimizer = optimizer_of(parameters, args.rate)
    source = batches(train, CONFIG["context"], args.batch_tokens, np.random.default_rng(args.seed))
    checkpoint = args.out.with_suffix(".checkpoint")

    first, seen, spent, recent = 0, 0, 0.0, []
    if args.resume:
        state = torch.load(checkpoint)
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        first, seen, spent = state["step"], state["seen"], state["seconds"]
        for _ in range(first * team.size):
            next(source)
    began = time.monotonic() - spent
    last = min(args.steps, args.stop or args.steps)
    for step in range(first, last):
        for group in optimizer.param_groups:
            group["lr"] = rate_at(step, args)
        step_batches = [next(source) for _ in range(team.size)]
        x, y = step_batches[rank]
        loss = loss_of(model, x, y)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        team.average(rank, parameters)
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        seen += sum(int((b[1] >= 0).sum()) for b in step_batches)
        recent.append(loss.item())
        if rank != 0:
            continue
        if (step + 1) % 50 == 0 or step + 1 == last:
            print(
                (
                    f"step {step + 1} loss {np.mean(recent):.4f} tokens {seen} seconds "
                    f"{time.monotonic() - began:.0f}"
                ),
                flush=True,
            )
            recent = []
        if (step + 1) % 250 == 0 or step + 1 == args.stop:
            torch.save(
                {
                    "model": model.state_dict(),
                    "optimizer": optimizer.state_dict(),
                    "step": step + 1,
                    "seen": seen,
                    "seconds": time.monotonic() - began,
                },
                checkpoint,
            )
    if rank != 0 or last < args.steps:
        return

    save_result(args, model, held, seen, time.monotonic() - began)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--text", type=Path, required=True)
    parser.add_argument("--vocab", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=4000)
    parser.add_argument(
        "--decay", type=int, default=1300, help="steps at the end in which the rate falls"
    )
    parser.add_argument(
        "--batch-tokens", type=int, default=2048, help="tokens a process takes in one step"
    )
    parser.add_argument("--rate", type=float, default=4e-3)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument(
        "--stop", type=int, help="write a checkpoint after this step and end; --resume continues"
    )
    parser.add_argument(
        "--resume", action="store_true", help="continue from the last checkpoint of this run"
    )
    args = parser.parse_args()

    keep_freed_memory()
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    vocab = spm.Vocabulary.load(args.vocab)
    train, held = read_stories(args.text, vocab)
    lengths = [len(s) for s in train]
    print(
        (
            f"{len(train)} stories to train on ({sum(lengths)} tokens, longest {max(lengths)}),"
            f" {len(held)} held out"
        ),
        flush=True,
    )
    count = sum(p.numel() for p in Llama(CONFIG, len(vocab.tokens)).parameters())
    print(f"{count} parameters", flush=True)

    team = Team(args.processes, count)
    others = [
        torch.multiprocessing.get_context("fork").Process(
            target=work, args=(rank, team, args, vocab, train, held), daemon=True
        )
        for rank in range(1, args.processes)
    ]
    for process in others:
        process.start()
    work(0, team, args, vocab, train, held)
    for process in others:
        process.join()


if __name__ == "__main__":
    main()
