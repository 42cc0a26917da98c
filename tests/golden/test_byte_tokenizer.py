"""Byte-level BPE: with SmolLM2's vocabulary and every pre-tokeniser, the program's tokens are those
of the PyPI package `tokenizers`, and they give the text back. The package lives in build/venv, so
it runs as a process of its own: tokens_with_tokenizers.py. The vocabulary is that of
`make run MODEL=smollm2`."""

import os
import random
import subprocess
import sys
import unicodedata
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BAREFLOW = Path(os.environ.get("BAREFLOW_HOSTED", ROOT / "build/hosted/bareflow"))
VENV_PYTHON = ROOT / "build/venv/bin/python"
JUDGE = Path(__file__).resolve().parent / "tokens_with_tokenizers.py"

sys.path.insert(0, str(ROOT / "tools/gguf"))
import gguf_format  # noqa: E402
import models  # noqa: E402

PRE_TOKENIZERS = ["default", "gpt-2", "llama-bpe", "smollm", "qwen2"]

SENTENCES = [
    "The quick brown fox jumps over the lazy dog; it's 12:30, isn't it? We'll see, I'd say.",
    "Dr. O'Neill SHOUTED: 'DON'T!' and they'RE gone. You'Ve seen 1234567 of 8 901 things.",
    "Zażółć gęślą jaźń. Příliš žluťoučký kůň úpěl ďábelské ódy. Árvíztűrő tükörfúrógép.",
    "Съешь же ещё этих мягких французских булок, да выпей чаю. Їжак і ґава, 2024 рік.",
    "Ξεσκεπάζω την ψυχοφθόρα βδελυγμία· ἐν ἀρχῇ ἦν ὁ λόγος.",
    "敏捷的棕色狐狸跳过了懒狗。今天是二〇二四年十二月三日,气温25℃。",
    "いろはにほへと ちりぬるを。カタカナ、ひらがな、漢字、そして123全角456。",
    "키스의 고유조건은 입술끼리 만나야 하고 특별한 기술은 필요치 않다.",
    "नमस्ते दुनिया! क्षत्रिय १२३४५६ वाँ। தமிழ் எழுத்துகள் ௧௨௩. ภาษาไทยไม่มีช่องว่าง ๑๒๓๔",
    "السلام عليكم ورحمة الله ١٢٣٤٥ — שלום עולם, מה שלומך? ۱۲۳",
    "👩‍👩‍👧‍👦 🇨🇭🏳️‍🌈 e\u0301 = é, n\u0303; ½ ⅔ ² ³ Ⅻ ㉓ ① x²+y²≤10⁻³",
    "Hello\u00a0world\u2003em\u3000space\u200bzero\ufeffwidth\u2028line\u0085next\x1cfs\x00nul",
    "   leading\t\ttabs \n\n\n  and\r\nlines \r\r\n   \n trailing   ",
    "http://example.org/a_b-c?d=e&f=%20#g user@example.com C:\\path\\to $5.00 50% ~!@#$%^&*()_+|",
    "if (x <= 10 && y != 0) {\n    return a[i]++ ** 2; // done\n}\n\n\n#define N 100000\n",
    "def f(x):\n\treturn {'a': [1, 22, 333, 4444], \"b\": x**-1}  # it's\n\n    \n",
    "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n<|endoftext|><|im_|im_end|>",
    "''' ''s 's' 't're 've'm'll'd 'S'T'RE'VE'M'LL'D'ſ x'ſy 'lL 'Rex 'vE1 'r 'v 'l",
    "0 00 000 0000 00000 000000 1a1 a1a 12१3456 १२३४ 1२3 99१999१9999 ½123½",
    "a b  c   d    e     1      2       .        \n         \t",
]
# Texts in which the pre-tokenisers differ.
SNIPPETS = [" ", "  ", "\n", "\r\n", "\t", "\u00a0", "\u3000", "'", "'s", "'S", "'ll", "'rE", "ſ",
            "a", "B", "word", "é", "中", "ก", "1", "12", "123", "१", "½", ".", "!?", "$", "+=", "`",
            "€", "😀", "\u0301", "\u200d", "_", "-", "\"", "<|im_end|>", "(", "\x00", "\x85"]


def assigned_characters():
    """Characters of Python's Unicode version: the package's may know more letters."""
    return [chr(c) for c in range(0x110000) if unicodedata.category(chr(c)) not in ("Cn", "Cs")]


def random_texts(rng, vocabulary):
    characters = assigned_characters()
    wide = [c for c in characters if ord(c) < 0x3000]
    for i in range(800):
        length = rng.randrange(1, 60)
        if i % 4 == 0:
            yield "".join(rng.choice(characters) for _ in range(length))
        elif i % 4 == 1:
            yield "".join(rng.choice(wide) for _ in range(length))
        elif i % 4 == 2:
            yield "".join(rng.choice(SNIPPETS) for _ in range(length))
        else:
            yield "".join(rng.choice(vocabulary) for _ in range(length))


def source_texts():
    """Code: whole files of this project."""
    for pattern in ("llama/*/*.cpp", "tools/*.py", "docs/*.md", "boot/*.asm", "Makefile"):
        for path in sorted(ROOT.glob(pattern))[:4]:
            yield path.read_text()


@pytest.fixture(scope="session")
def model_path():
    try:
        return models.fetch("smollm2")
    except models.CannotBeHad as error:
        pytest.skip(f"smollm2 can't be had: {error}")


@pytest.fixture(scope="session")
def metadata(model_path):
    return gguf_format.Reader(model_path).metadata


@pytest.fixture(scope="session")
def texts(metadata):
    # The readable texts of the vocabulary: of the moved bytes they have at most the space.
    vocabulary = [text.replace("\u0120", " ") for text in metadata["tokenizer.ggml.tokens"]
                  if all(ord(c) < 0x7F or c == "\u0120" for c in text)]
    rng = random.Random(11)
    out = [""] + SENTENCES + [a + b for a in SNIPPETS for b in SNIPPETS]
    out += list(random_texts(rng, vocabulary)) + list(source_texts())
    out += [" ".join(rng.sample(SENTENCES, 3)) for _ in range(30)]
    return out


def vocabulary_file(metadata, pre, path):
    """A file with the vocabulary only, and another pre-tokeniser."""
    writer = gguf_format.Writer(path)
    writer.add("tokenizer.ggml.model", gguf_format.STRING, "gpt2")
    writer.add("tokenizer.ggml.pre", gguf_format.STRING, pre)
    writer.add("tokenizer.ggml.add_bos_token", gguf_format.BOOL, False)
    for name, kind in (("tokens", gguf_format.STRING), ("merges", gguf_format.STRING),
                       ("token_type", gguf_format.INT32)):
        writer.add_array(f"tokenizer.ggml.{name}", kind, metadata[f"tokenizer.ggml.{name}"])
    writer.begin()
    writer.close()
    return path


def lines_of(texts):
    return "".join((text.encode().hex() or "-") + "\n" for text in texts)


def ours(path, texts, *options):
    """[(tokens, the text that they give back)]"""
    done = subprocess.run([str(BAREFLOW), "--encode", str(path), *options], input=lines_of(texts),
                          capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    out = []
    for line in done.stdout.splitlines():
        tokens, text = line.split("=")
        text = text.strip()
        out.append(([int(token) for token in tokens.split()],
                    "" if text == "-" else bytes.fromhex(text).decode()))
    assert len(out) == len(texts)
    return out


def theirs(path, texts, pre, *options):
    assert VENV_PYTHON.exists(), "build/venv is missing: run tools/setup/setup.sh test"
    done = subprocess.run([str(VENV_PYTHON), str(JUDGE), str(path), pre, *options],
                          input=lines_of(texts), capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    out = [[int(token) for token in line.split()] for line in done.stdout.splitlines()]
    assert len(out) == len(texts)
    return out


@pytest.mark.parametrize("options", [[], ["--parse-special"]], ids=["text", "special"])
@pytest.mark.parametrize("pre", PRE_TOKENIZERS)
def test_tokens_are_those_of_the_package(metadata, texts, tmp_path, pre, options):
    path = vocabulary_file(metadata, pre, tmp_path / "vocabulary.gguf")
    assert len(texts) > 2000
    differing = [(text, mine, other)
                 for text, (mine, _), other in zip(texts, ours(path, texts, *options),
                                                   theirs(path, texts, pre, *options))
                 if mine != other]
    assert not differing, f"{len(differing)} of {len(texts)} differ, first {differing[0]}"


def known_bytes(metadata):
    """The bytes that have a token; in SmolLM2's vocabulary 21 have none."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    moved = [byte for byte in range(256) if byte not in printable]
    character = {byte: chr(byte) for byte in printable}
    character |= {byte: chr(0x100 + i) for i, byte in enumerate(moved)}
    tokens = set(metadata["tokenizer.ggml.tokens"])
    return {byte for byte in range(256) if character[byte] in tokens}


def test_the_text_comes_back(metadata, model_path, texts):
    """The text without the bytes that the vocabulary has no token for."""
    known = known_bytes(metadata)
    assert len(known) >= 235
    whole = [text for text in texts if set(text.encode()) <= known]
    assert len(whole) > 0.8 * len(texts)
    for text, (_, back) in zip(whole, ours(model_path, whole)):
        assert text == back


def test_control_tokens_only_where_asked(model_path, metadata):
    text = "<|im_start|>user\nHi<|im_end|>"
    (plain, back), = ours(model_path, [text])
    (parsed, visible), = ours(model_path, [text], "--parse-special")
    kinds = metadata["tokenizer.ggml.token_type"]
    assert all(kinds[token] == 1 for token in plain) and back == text
    assert (parsed[0], parsed[-1]) == (1, 2) and visible == "user\nHi"


@pytest.mark.parametrize("arguments,code", [
    ([], 2), (["--special"], 2), (["--parse-special", "x"], 2)])
def test_bad_command_lines(model_path, arguments, code):
    command = [str(BAREFLOW), "--encode", *([str(model_path)] if arguments else []), *arguments]
    done = subprocess.run(command, input="", capture_output=True, text=True, timeout=60)
    assert done.returncode == code and done.stderr


def test_lines_that_are_no_texts(model_path):
    done = subprocess.run([str(BAREFLOW), "--encode", str(model_path)], input="6x\n",
                          capture_output=True, text=True, timeout=60)
    assert done.returncode == 1 and "hexadecimal" in done.stderr
