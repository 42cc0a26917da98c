#!/usr/bin/python3
"""SentencePiece BPE as the `llama` vocabulary needs it, in the plainest form. It judges llama/text
and is written from the description of the algorithm, without a look at the C++.

  tokenizer.py write        writes tokenizer_vectors.txt: vocabularies, texts and their tokens
  tokenizer.py encode MODEL.gguf TEXT...
"""

import random
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
VECTORS = HERE / "tokenizer_vectors.txt"
SPACE = "\u2581"
NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = 1, 2, 3, 4, 5, 6


class Tokenizer:
    def __init__(
        self,
        texts,
        scores,
        kinds,
        bos=1,
        eos=2,
        unknown=0,
        add_bos=True,
        add_eos=False,
        add_space_prefix=True,
    ):
        self.texts, self.scores, self.kinds = texts, scores, kinds
        self.bos, self.eos, self.unknown = bos, eos, unknown
        self.add_bos, self.add_eos, self.add_space_prefix = add_bos, add_eos, add_space_prefix
        self.ids = {
            text: i
            for i, (text, kind) in enumerate(zip(texts, kinds))
            if kind in (NORMAL, USER_DEFINED)
        }
        self.bytes = {
            int(text[3:5], 16): i
            for i, (text, kind) in enumerate(zip(texts, kinds))
            if kind == BYTE
        }

    @staticmethod
    def from_gguf(path):
        sys.path.insert(0, str(HERE.parent.parent / "tools/gguf"))
        from gguf_format import Reader

        data = Reader(path).metadata

        def special(name):
            value = data.get(f"tokenizer.ggml.{name}_token_id", 0xFFFFFFFF)
            return None if value == 0xFFFFFFFF else value

        assert data["tokenizer.ggml.model"] == "llama"
        return Tokenizer(
            data["tokenizer.ggml.tokens"],
            [float(score) for score in data["tokenizer.ggml.scores"]],
            [int(kind) for kind in data["tokenizer.ggml.token_type"]],
            special("bos"),
            special("eos"),
            special("unknown"),
            data.get("tokenizer.ggml.add_bos_token", True),
            data.get("tokenizer.ggml.add_eos_token", False),
            data.get("tokenizer.ggml.add_space_prefix", True),
        )

    def pieces(self, text):
        """Bytes -> the texts that remain when no pair can be joined any more."""
        characters = text.decode("utf-8", errors="surrogateescape")
        if self.add_space_prefix and characters:
            characters = " " + characters
        symbols = list(characters.replace(" ", SPACE))
        while True:
            best = None
            for i in range(len(symbols) - 1):
                token = self.ids.get(symbols[i] + symbols[i + 1])
                if token is not None and (best is None or self.scores[token] > best[0]):
                    best = (self.scores[token], i)
            if best is None:
                return symbols
            i = best[1]
            symbols[i : i + 2] = [symbols[i] + symbols[i + 1]]

    def encode(self, text):
        tokens = [self.bos] if self.add_bos and self.bos is not None else []
        after_unknown = False
        for piece in self.pieces(text):
            known = piece in self.ids
            if known:
                tokens.append(self.ids[piece])
            elif len(self.bytes) == 256:
                tokens += [
                    self.bytes[byte] for byte in piece.encode("utf-8", errors="surrogateescape")
                ]
            elif not after_unknown:  # a run of unknown characters is one token
                tokens.append(self.unknown)
            after_unknown = not known
        return tokens + ([self.eos] if self.add_eos and self.eos is not None else [])

    def decode(self, tokens):
        """Tokens from the start of a text -> its characters."""
        data = b""
        first = self.add_space_prefix
        for token in tokens:
            kind, text = self.kinds[token], self.texts[token]
            if kind == CONTROL:
                continue
            if kind == BYTE:
                data += bytes([int(text[3:5], 16)])
            elif kind == UNKNOWN:
                data += " \u2047 ".encode()
            else:
                text = text.replace(SPACE, " ")
                data += (text[1:] if first and text.startswith(" ") else text).encode()
            first = False
        return data.decode("utf-8", errors="replace")


# ---------------------------------------------------------------- vectors


def special_tokens(with_bytes):
    texts, kinds = ["<unk>", "<s>", "</s>"], [UNKNOWN, CONTROL, CONTROL]
    if with_bytes:
        texts += [f"<0x{byte:02X}>" for byte in range(256)]
        kinds += [BYTE] * 256
    return texts, kinds


def random_vocabulary(rng, alphabet, joins, with_bytes, score, **flags):
    """Joins of any two earlier pieces, spaces anywhere, scores as `score` gives them."""
    texts, kinds = special_tokens(with_bytes)
    scores = [0.0] * len(texts)
    pieces = list(alphabet)
    while len(pieces) < len(alphabet) + joins:
        piece = rng.choice(pieces) + rng.choice(pieces)
        if piece not in pieces and len(piece) <= 8:
            pieces.append(piece)
    texts += pieces
    kinds += [NORMAL] * len(pieces)
    scores += [score(i) for i in range(len(pieces))]
    # Traps: tokens that no text may become.
    texts += ["ab", "<|end|>"]
    kinds += [CONTROL, CONTROL]
    scores += [100.0, 100.0]
    return Tokenizer(texts, scores, kinds, **flags)


def random_text(rng, alphabet, length):
    out = b""
    for _ in range(length):
        dice = rng.random()
        if dice < 0.86:
            out += rng.choice(alphabet).replace(SPACE, " ").encode()
        elif dice < 0.90:
            out += rng.choice(
                ["<s>", "</s>", "<unk>", "<0x41>", "<|end|>", SPACE, "  ", "\n"]
            ).encode()
        elif dice < 0.96:
            code = rng.choice(
                [
                    rng.randrange(0x20, 0x7F),
                    rng.randrange(0x80, 0x800),
                    rng.randrange(0x800, 0xD800),
                    rng.randrange(0x10000, 0x110000),
                ]
            )
            out += chr(code).encode()
        else:
            out += bytes([rng.randrange(256)])
    return out


def vectors():
    """(name, tokenizer, texts, token sequences)"""
    rng = random.Random(20)
    latin = [SPACE] + list("abcde")
    wide = [SPACE] + list("aeino\u00e4\u4e2d\U0001F600.")
    setups = [
        ("falling_scores", latin, random_vocabulary(rng, latin, 60, True, lambda i: -float(i))),
        ("equal_scores", latin, random_vocabulary(rng, latin, 40, True, lambda i: -float(i % 3))),
        (
            "random_scores",
            wide,
            random_vocabulary(
                rng, wide, 80, True, lambda i: rng.randrange(-40, 9) / 4, add_eos=True
            ),
        ),
        (
            "no_bytes_no_prefix",
            wide,
            random_vocabulary(
                rng,
                wide,
                50,
                False,
                lambda i: -float(rng.randrange(20)),
                add_bos=False,
                add_space_prefix=False,
            ),
        ),
    ]
    for name, alphabet, tokenizer in setups:
        texts = [
            b"",
            b" ",
            b"  ",
            b"a",
            b"ab",
            b" ab",
            b"<s>",
            b"\xE2",
            b"\xE2\x96",
            b"\xFF\xFEa",
            "a\u2581b".encode(),
            b"a" * 40,
            b"ab" * 20,
            b" " * 20,
        ]
        texts += [random_text(rng, alphabet, rng.randrange(1, 40)) for _ in range(70)]
        sequences = [
            [rng.randrange(len(tokenizer.texts)) for _ in range(rng.randrange(1, 12))]
            for _ in range(30)
        ]
        if tokenizer.bytes:  # parts of characters, in and out of order
            for text in ("\u00e4\u4e2d\U0001F600", "\U0001F600\u00e4", "a\u00a0"):
                data = [tokenizer.bytes[byte] for byte in text.encode()]
                sequences += [data, data[:-1], data[1:], data[:2] + data, list(reversed(data))]
            sequences += [
                [
                    tokenizer.bytes[
                        rng.choice(
                            [0x41, 0x80, 0xBF, 0xC3, 0xE2, 0xED, 0xF0, 0xF4, 0xFF, 0x90, 0xA0]
                        )
                    ]
                    for _ in range(12)
                ]
                for _ in range(30)
            ]
        yield name, tokenizer, texts, sequences


def write():
    lines = [
        "# Written by tokenizer.py (same folder); read by the unit test of the tokenizer.",
        "# vocabulary NAME add_bos add_eos add_space_prefix; token KIND SCORE TEXT, in order;",
        "# bytes: the 256 byte tokens; encode TEXT = tokens; decode tokens = TEXT. Texts in hex.",
    ]
    for name, t, texts, sequences in vectors():
        lines.append(
            f"vocabulary {name} {int(t.add_bos)} {int(t.add_eos)} {int(t.add_space_prefix)}"
        )
        i = 0
        while i < len(t.texts):
            if t.kinds[i] == BYTE:
                lines.append("bytes")
                i += 256
                continue
            lines.append(f"token {t.kinds[i]} {t.scores[i]:g} {t.texts[i].encode().hex()}")
            i += 1
        for text in texts:
            lines.append(
                " ".join(["encode", text.hex() or "-", "="] + [str(i) for i in t.encode(text)])
            )
        for sequence in sequences:
            lines.append(
                " ".join(
                    ["decode"]
                    + [str(i) for i in sequence]
                    + ["=", t.decode(sequence).encode().hex() or "-"]
                )
            )
    VECTORS.write_text("\n".join(lines) + "\n")


def main():
    if sys.argv[1:] == ["write"]:
        write()
    elif len(sys.argv) > 3 and sys.argv[1] == "encode":
        tokenizer = Tokenizer.from_gguf(sys.argv[2])
        for text in sys.argv[3:]:
            print(*tokenizer.encode(text.encode()))
    else:
        sys.exit(__doc__)


if __name__ == "__main__":
    main()
