"""tokenizer.py is judged here, and the vectors that judge llama/tokenizer.cpp are its own."""

import random
import struct
from pathlib import Path

import pytest

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
    """Unicode with no control characters and no U+2581, which is a space to the vocabulary."""
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


def field(number, kind, payload):
    """One field of a protobuf message."""
    head = (
        bytes([number << 3 | kind])
        if number < 16
        else bytes([(number << 3 | kind) & 0x7F | 0x80, number >> 4])
    )
    if kind != 2:
        return head + payload
    length, out = len(payload), b""
    while length >= 0x80:
        out += bytes([length & 0x7F | 0x80])
        length >>= 7
    return head + out + bytes([length]) + payload


def sentencepiece_model(tokenizer):
    """The vocabulary as SentencePiece's own model file (sentencepiece_model.proto)."""

    def varint(value):
        return bytes([value])

    pieces = b"".join(
        field(
            1,
            2,
            field(1, 2, text.encode())
            + field(2, 5, struct.pack("<f", score))
            + field(3, 0, varint(kind)),
        )
        for text, score, kind in zip(tokenizer.texts, tokenizer.scores, tokenizer.kinds)
    )
    trainer = (
        field(3, 0, varint(2))
        + field(35, 0, varint(1))  # BPE
        + field(40, 0, varint(tokenizer.unknown))  # byte fallback
        + field(41, 0, varint(tokenizer.bos))
        + field(42, 0, varint(tokenizer.eos))
    )
    normalizer = (
        field(1, 2, b"identity")
        + field(3, 0, varint(int(tokenizer.add_space_prefix)))
        + field(4, 0, varint(0))
        + field(5, 0, varint(1))
    )
    return pieces + field(2, 2, trainer) + field(3, 2, normalizer)


def test_tokens_are_those_of_sentencepiece():
    sentencepiece = pytest.importorskip(
        "sentencepiece", reason="python3-sentencepiece is not installed"
    )
    compare_with_sentencepiece(sentencepiece, MODEL)


def compare_with_sentencepiece(sentencepiece, path, count=300):
    tokenizer = golden.Tokenizer.from_gguf(path)
    reference = sentencepiece.SentencePieceProcessor()
    reference.LoadFromSerializedProto(sentencepiece_model(tokenizer))
    rng = random.Random(8)
    words = [
        text.replace(golden.SPACE, " ")
        for text, kind in zip(tokenizer.texts, tokenizer.kinds)
        if kind == golden.NORMAL
    ]
    for i in range(count):
        if i % 2 == 0:
            text = "".join(rng.choice(words) for _ in range(rng.randrange(1, 40)))
        else:
            text = random_text(rng, rng.randrange(1, 60))
        expected = [tokenizer.bos] + reference.EncodeAsIds(text)
        assert tokenizer.encode(text.encode()) == expected, text
