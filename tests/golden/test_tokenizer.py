"""Tests of tokenizer.py itself; and the vectors that judge llama/text are those that it writes."""

import random
from pathlib import Path

import tokenizer as golden

ROOT = Path(__file__).resolve().parent.parent.parent
MODEL = ROOT / "models" / "stories.gguf"


def text_of(word):
    return b"" if word == "-" else bytes.fromhex(word)


def test_vectors_are_what_tokenizer_py_says():
    by_name = {name: tokenizer for name, tokenizer, _, _ in golden.vectors()}
    current, encoded, decoded = None, 0, 0
    for line in golden.VECTORS.read_text().splitlines():
        words = line.split()
        if words[0] == "vocabulary":
            current = by_name.pop(words[1])
        elif words[0] == "encode":
            assert current.encode(text_of(words[1])) == [int(word) for word in words[3:]], line
            encoded += 1
        elif words[0] == "decode":
            assert current.decode([int(word) for word in words[1:-2]]).encode() == text_of(
                words[-1]
            ), line
            decoded += 1
    assert not by_name and encoded > 200 and decoded > 100
    assert golden.VECTORS.stat().st_size <= 100_000


def random_text(rng, characters):
    """Unicode without control characters and without U+2581, which the vocabulary reads as a space."""
    ranges = [(0x20, 0x7F)] * 6 + [
        (0xA0, 0x250),
        (0x370, 0x530),
        (0x4E00, 0x9FA5),
        (0x1F600, 0x1F640),
    ]
    return "".join(chr(rng.randrange(*rng.choice(ranges))) for _ in range(characters))


def test_text_comes_back_with_the_shipped_vocabulary():
    tokenizer = golden.Tokenizer.from_gguf(MODEL)
    rng = random.Random(7)
    for _ in range(200):
        text = random_text(rng, rng.randrange(60))
        assert tokenizer.decode(tokenizer.encode(text.encode())) == text
