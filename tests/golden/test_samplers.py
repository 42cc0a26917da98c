"""Every sampler of the hosted program against samplers.py: the same tokens and the same log
probabilities, over many seeds and settings, alone and combined. Both start from the program's own
logits, which test_reference.py and test_trained.py compare with numpy."""

import random

import numpy as np
import pytest

import samplers
from test_reference import STORIES, bits, run_program

PROMPTS = [[1], [1, 300, 45, 7, 331, 300], [1, 612, 700, 612, 612], list(range(300, 420))]
VOCAB = 1024


def command_line(settings):
    line = ["--logits"]
    for name, value in vars(settings).items():
        if name == "logit_bias":
            value = ",".join(f"{token}:{float(np.float32(bias))!r}" for token, bias in value) or None
        if value is not None:
            line += [f"--{name.replace('_', '-')}", str(value)]
    return line


def texts_of(settings, prompts, max_tokens, *options):
    """For each prompt, by the program: [tokens, logits of each token, logprobs of each token]"""
    texts = [[[], [], []] for _ in prompts]
    tokens, logits, logprobs = texts[0]
    joined = ";".join(",".join(map(str, prompt)) for prompt in prompts)
    for word, value in run_program(STORIES, [joined], max_tokens, *command_line(settings), *options):
        if word == "text":
            tokens, logits, logprobs = texts[int(value)]
        elif word == "token":
            tokens.append(int(value))
        elif word == "logits":
            logits.append(np.frombuffer(bytes.fromhex(value), dtype=">f4").astype(np.float32))
        elif word == "logprobs":
            pairs = [entry.split(":") for entry in value.split(",")]
            logprobs.append([(int(token), int(word, 16)) for token, word in pairs])
    return texts


def assert_same(settings, prompts, max_tokens=24, *options):
    """Returns the texts."""
    texts = texts_of(settings, prompts, max_tokens, *options)
    for prompt, (tokens, logits, logprobs) in zip(prompts, texts):
        twin = samplers.Sampler(settings, prompt)
        # If the model ended the text, there is one more line of logits than tokens.
        for i, row in enumerate(logits):
            expected = twin.choose(row)
            assert expected == (tokens[i] if i < len(tokens) else 2), f"{settings}, token {i}"
            if settings.logprobs is not None and i < len(tokens):
                wanted = [(t, int(bits(value))) for t, value in twin.logprobs(row, expected)]
                assert logprobs[i] == wanted, f"{settings}, token {i}"
    return [tuple(tokens) for tokens, _, _ in texts]


OFF = dict(top_k=0, top_p=1.0)
ALONE = {
    "nothing": OFF,
    "defaults": {},
    "hot": OFF | dict(temperature=5.0),
    "cold": OFF | dict(temperature=0.05),
    "below_the_least_temperature": dict(temperature=2.0 ** -21),
    "greedy_with_penalties": dict(temperature=0.0, repeat_penalty=1.3, frequency_penalty=0.4),
    "logit_bias": OFF | dict(logit_bias=[(300, 6.0), (301, -4.0), (300, -1.5), (5000, 9.0)]),
    "bias_to_minus_infinity": OFF | dict(logit_bias=[(300, float("-inf")), (260, -100.0)]),
    "repeat": OFF | dict(repeat_penalty=1.5),
    "repeat_below_one": OFF | dict(repeat_penalty=0.7, temperature=2.0),
    "presence": OFF | dict(presence_penalty=1.5, temperature=2.0),
    "frequency": OFF | dict(frequency_penalty=0.8, temperature=2.0),
    "short_window": OFF | dict(repeat_penalty=2.0, repeat_last_n=3),
    "no_window": OFF | dict(repeat_penalty=2.0, repeat_last_n=0),
    "whole_window": OFF | dict(repeat_penalty=1.2, frequency_penalty=0.3, repeat_last_n=256),
    "top_k_1": OFF | dict(top_k=1),
    "top_k_7": OFF | dict(top_k=7, temperature=3.0),
    "top_k_over_the_vocabulary": OFF | dict(top_k=5000, temperature=3.0),
    "typical": OFF | dict(typical_p=0.5, temperature=2.0),
    "typical_little": OFF | dict(typical_p=0.01, temperature=2.0),
    "top_p": OFF | dict(top_p=0.6, temperature=2.0),
    "top_p_zero": OFF | dict(top_p=0.0, temperature=2.0),
    "min_p": OFF | dict(min_p=0.05, temperature=2.0),
    "min_p_one": OFF | dict(min_p=1.0, temperature=2.0),
    "mirostat": dict(mirostat=2, temperature=1.5),
    "mirostat_tight": dict(mirostat=2, mirostat_tau=0.5, mirostat_eta=0.9, temperature=3.0),
    "mirostat_loose": dict(mirostat=2, mirostat_tau=9.0, mirostat_eta=0.01, temperature=1.0),
    "logprobs": dict(logprobs=5, temperature=1.2),
    "all": dict(logit_bias=[(330, 1.0)], repeat_penalty=1.1, presence_penalty=0.2,
                frequency_penalty=0.1, top_k=50, typical_p=0.9, top_p=0.9, min_p=0.02,
                temperature=1.3, logprobs=20),
}


@pytest.mark.parametrize("name", ALONE)
def test_one_at_a_time(name):
    texts = {assert_same(samplers.Settings(seed=seed, **ALONE[name]),
                         [PROMPTS[seed % len(PROMPTS)]])[0] for seed in range(6)}
    assert len(texts) > 3  # the prompts are four


@pytest.mark.parametrize("name", ["hot", "mirostat", "whole_window", "all"])
def test_texts_made_together(name):
    """Each text has its own random numbers and its own past."""
    settings = samplers.Settings(seed=3, **ALONE[name])
    prompts = PROMPTS + [PROMPTS[1]] * 2 + PROMPTS
    together = assert_same(settings, prompts, 24, "--slots", "4")
    assert together[1] == together[4] == together[5] == assert_same(settings, [PROMPTS[1]])[0]


def random_settings(rng):
    """Any of the samplers together, some at the ends of their ranges."""
    def one(off, *others):
        return off if rng.random() < 0.5 else rng.choice(others)

    def number(low, high):
        return float(np.float32(rng.uniform(low, high)))
    biases = [(rng.randrange(VOCAB), number(-8, 8)) for _ in range(one(0, 1, 5, 32))]
    return samplers.Settings(
        logit_bias=biases, repeat_penalty=one(1.0, number(1, 2), number(0.5, 1)),
        presence_penalty=one(0.0, number(-1, 2)), frequency_penalty=one(0.0, number(-1, 2)),
        repeat_last_n=rng.choice([0, 1, 8, 64, 256]), top_k=one(0, 1, 10, 40, 500),
        typical_p=one(1.0, number(0, 1)), top_p=one(1.0, number(0, 1)), min_p=one(0.0, number(0, 0.3)),
        temperature=rng.choice([0.0, 0.3, 0.8, 1.0, 1.7, 4.0]), mirostat=one(0, 0, 2),
        mirostat_tau=number(0.2, 8), mirostat_eta=number(0.01, 1), seed=rng.randrange(1 << 64),
        logprobs=one(None, 0, 1, 20))


def compare_random(seeds):
    for seed in seeds:
        rng = random.Random(seed)
        prompt = [1] + [rng.randrange(3, VOCAB) for _ in range(rng.randrange(0, 20))]
        assert_same(random_settings(rng), [prompt], 30, "--slice-us", str(rng.choice([0, 50, 10000])))


def test_in_every_company():
    compare_random(range(100))


@pytest.mark.soak
def test_in_every_company_many_times():
    compare_random(range(1000, 5000))
