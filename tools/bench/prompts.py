"""Makes prompts of an exact number of tokens.

All differ from the first word on, so that nothing that one request computed serves another.
"""
import functools
import random
import subprocess

from .common import HOSTED, BenchError

WORDS = ("the a one little old red big cat dog man tree house sun rain day night was had saw made took and but so "
         "then when who in on to of he she it they sat ran came went box hat key sea").split()


def encode(path, texts):
    """The tokens of each text, with the token that begins it, by the program's own tokeniser."""
    lines = "".join((text.encode().hex() or "-") + "\n" for text in texts)
    done = subprocess.run([str(HOSTED), "--encode", str(path)], input=lines, capture_output=True, text=True,
                          check=False)
    answers = [line.partition("=")[0] for line in done.stdout.splitlines()]
    if done.returncode != 0 or len(answers) != len(texts):
        raise BenchError(f"--encode failed for {path.name}: {done.stderr.strip()[-300:]}")
    return [[int(word) for word in answer.split()] for answer in answers]


@functools.cache
def make(path, count, tokens, seed=1):
    """`count` pairs of (text, its `tokens` tokens).

    The result is kept, because the program takes seconds to load the vocabulary of a large model.
    """
    rng = random.Random(f"{seed} {tokens}")
    found = []
    for _ in range(20):
        texts = []
        for _ in range(4 * count):
            words = [rng.choice(WORDS) for _ in range(tokens + 1)]
            texts.append([" ".join(words[:n]) for n in range(1, len(words) + 1)])
        answers = iter(encode(path, [prefix for prefixes in texts for prefix in prefixes]))
        for prefixes in texts:
            for text, ids in [(prefix, next(answers)) for prefix in prefixes]:
                if len(ids) == tokens and all(ids[:4] != other[:4] for _, other in found):
                    found.append((text, ids))
                    break
        if len(found) >= count:
            return found[:count]
    raise BenchError(f"no {count} prompts of {tokens} tokens were found for {path.name}")


def extended(path, count, tokens, more, seed=1):
    """`count` pairs of texts: one of `tokens` tokens, and one that goes on with `more` tokens."""
    rng = random.Random(f"{seed} {tokens} {more}")
    found = []
    for _ in range(20):
        texts = [[rng.choice(WORDS) for _ in range(tokens + more)] for _ in range(2 * count)]
        for words in texts:
            prefixes = [" ".join(words[:n]) for n in range(1, len(words) + 1)]
            by_length = {len(ids): (text, ids) for text, ids in zip(prefixes, encode(path, prefixes))}
            short, long = by_length.get(tokens), by_length.get(tokens + more)
            if short and long and long[1][:tokens] == short[1]:
                found.append((short[0], long[0]))
            if len(found) == count:
                return found
    raise BenchError(f"no {count} prompts of {tokens} and {more} tokens were found for {path.name}")
