"""The samplers of the numeric contract (docs/decisions/0001-numeric-contract.md, "Sampling") in
numpy: one line of code for each step of the text, and written from the text. It judges
llama/engine/sampler.cpp.
"""

from dataclasses import dataclass, field

import numpy as np

from reference import F32, exp_f32, lane_sum

LOG2_E = F32(1.44269504)
COEFFICIENTS = [F32(c) for c in (7.0376836292e-2, -1.1514610310e-1, 1.1676998740e-1,
                                 -1.2420140846e-1, 1.4249322787e-1, -1.6668057665e-1,
                                 2.0000714765e-1, -2.4999993993e-1, 3.3333331174e-1)]
MASK = (1 << 64) - 1


@dataclass
class Settings:
    logit_bias: list = field(default_factory=list)  # (token, bias) in order
    repeat_penalty: float = 1.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    repeat_last_n: int = 64
    top_k: int = 40
    typical_p: float = 1.0
    top_p: float = 0.95
    min_p: float = 0.0
    temperature: float = 0.8
    mirostat: int = 0
    mirostat_tau: float = 5.0
    mirostat_eta: float = 0.1
    seed: int = 0
    logprobs: int = None  # number of alternatives beside the chosen token


def log_f32(x):
    limits = np.finfo(F32)
    x = np.where(x >= limits.tiny, x, limits.tiny).astype(F32)
    x = np.where(x <= limits.max, x, limits.max).astype(F32)
    m, e = np.frexp(x)
    e = e.astype(F32)
    small = m < F32(0.707106781)
    e, m = np.where(small, e - F32(1), e), np.where(small, m + m, m)
    m = m - F32(1)
    p = np.full_like(m, COEFFICIENTS[0])
    for coefficient in COEFFICIENTS[1:]:
        p = p * m + coefficient
    s = m * m
    y = (p * m) * s
    y = y + e * F32(-2.12194440e-4)
    y = y - s * F32(0.5)
    return (m + y) + e * F32(0.693359375)


class Generator:
    """xoshiro256**; splitmix64 fills its state."""

    def __init__(self, seed):
        self.s = []
        for _ in range(4):
            seed = (seed + 0x9E3779B97F4A7C15) & MASK
            z = seed
            z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9 & MASK
            z = (z ^ z >> 27) * 0x94D049BB133111EB & MASK
            self.s.append(z ^ z >> 31)

    @staticmethod
    def rotate(x, by):
        return (x << by | x >> (64 - by)) & MASK

    def next(self):
        s = self.s
        result = self.rotate(s[1] * 5 & MASK, 7) * 9 & MASK
        t = s[1] << 17 & MASK
        s[2] ^= s[0]
        s[3] ^= s[1]
        s[1] ^= s[2]
        s[0] ^= s[3]
        s[2] ^= t
        s[3] = self.rotate(s[3], 45)
        return result

    def uniform(self):
        return F32(self.next() >> 40) * F32(2.0 ** -24)


def softmax(x):
    e = exp_f32(x - x.max())
    return e * (F32(1) / lane_sum(e))


def running(values):
    """The running sums, in f32, from +0."""
    return np.add.accumulate(np.concatenate([[F32(0)], values]).astype(F32))[1:]


class Sampler:
    def __init__(self, settings, prompt):
        self.settings = settings
        self.text = list(prompt)
        self.generator = Generator(settings.seed)
        self.mu = F32(2) * F32(settings.mirostat_tau)

    def changed(self, logits):
        """Steps 1 and 2."""
        s = self.settings
        out = logits.copy()
        for token, bias in s.logit_bias:
            if 0 <= token < len(out):
                out[token] = out[token] + F32(bias)
        if (s.repeat_penalty, s.presence_penalty, s.frequency_penalty) == (1, 0, 0):
            return out
        window = self.text[-s.repeat_last_n:] if s.repeat_last_n > 0 else []
        for token in set(window):
            value = out[token]
            repeat = F32(s.repeat_penalty)
            value = value * repeat if value <= 0 else value / repeat
            often = F32(window.count(token)) * F32(s.frequency_penalty)
            out[token] = value - (often + F32(s.presence_penalty))
        return out

    def candidates(self, logits):
        """Steps 4 to 6: the tokens that are kept, in order."""
        s = self.settings
        order = np.argsort(-logits, kind="stable")  # ties by lower index
        if s.mirostat:
            return order
        if s.top_k > 0:
            order = order[:s.top_k]
        if s.typical_p < 1:
            p = softmax(logits[order])
            surprise = -log_f32(p)
            terms = p * log_f32(p)
            entropy = np.subtract.accumulate(np.concatenate([[F32(0)], terms]).astype(F32))[-1]
            by_distance = np.argsort(np.abs(surprise - entropy), kind="stable")
            enough = np.nonzero(running(p[by_distance]) >= F32(s.typical_p))[0]
            kept = by_distance if len(enough) == 0 else by_distance[:enough[0] + 1]
            order = order[np.sort(kept)]
        if s.top_p < 1 or s.min_p > 0:
            p = softmax(logits[order])
            end = len(order)
            if s.min_p > 0:
                small = np.nonzero(p[1:] < F32(s.min_p) * p[0])[0]
                end = end if len(small) == 0 else small[0] + 1
            if s.top_p < 1:
                enough = np.nonzero(running(p) >= F32(s.top_p))[0]
                end = end if len(enough) == 0 else min(end, enough[0] + 1)
            order = order[:end]
        return order

    def choose(self, logits):
        """The next token, chosen from the model's logits."""
        s = self.settings
        clean = np.where(np.isnan(logits), F32(-np.inf), logits)
        changed = self.changed(clean)
        if s.temperature < 2.0 ** -20:
            token = int(np.argmax(changed))
        else:
            order = self.candidates(changed)
            p = softmax(changed[order] / F32(s.temperature))
            if s.mirostat:
                much = np.nonzero(log_f32(p[1:]) * -LOG2_E > self.mu)[0]
                p = p if len(much) == 0 else p[:much[0] + 1]
            sums = running(p)
            above = np.nonzero(sums > self.generator.uniform() * sums[-1])[0]
            place = len(p) - 1 if len(above) == 0 else above[0]
            token = int(order[place])
            if s.mirostat:
                surprise = log_f32(p[place] / sums[-1]) * -LOG2_E
                self.mu = self.mu - F32(s.mirostat_eta) * (surprise - F32(s.mirostat_tau))
        self.text.append(token)
        return token

    def logprobs(self, logits, token):
        """(token, logprob) of the chosen token, then of the likeliest ones."""
        top = logits.max()
        log_sum = log_f32(lane_sum(exp_f32(logits - top)))
        likeliest = np.argsort(-logits, kind="stable")[:self.settings.logprobs]
        return [(int(t), (logits[t] - top) - log_sum) for t in (token, *likeliest)]
