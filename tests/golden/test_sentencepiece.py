"""The `llama` tokenizer: tokens and texts are those of the PyPI package `sentencepiece`. The package
lives in build/venv, so it runs as a process of its own: tokens_with_sentencepiece.py. The
vocabulary is the default model's, with and without a space put before a text, and that of any GGUF
file that BAREFLOW_SPM_VOCABULARY names (Llama 2's or TinyLlama's, for example)."""

import os
import random
import subprocess
from pathlib import Path

import pytest

import tokenizer as golden
from test_byte_tokenizer import BAREFLOW, SENTENCES, SNIPPETS, VENV_PYTHON, assigned_characters, \
    lines_of, source_texts
from test_reference import STORIES

import gguf_format  # noqa: E402 (tools/gguf/, which test_reference puts on the path)

JUDGE = Path(__file__).resolve().parent / "tokens_with_sentencepiece.py"
OTHER = os.environ.get("BAREFLOW_SPM_VOCABULARY")
ODD = ["", " ", "  ", "   a", "a   ", "\n", "<s>", "</s>", "<unk>", "<0x41>", "a<s>b", "\x00", "a\x00b",
       " " * 100, "a" * 300, "ab" * 200, "\u00e9" * 50, "\U0001F600" * 20, "e\u0301", "\ufeff", "\u200d"]


def texts(vocabulary, count):
    """The text without U+2581, which the vocabulary reads as a space."""
    rng = random.Random(12)
    words = [text.replace(golden.SPACE, " ") for text, kind in zip(vocabulary.texts, vocabulary.kinds)
             if kind == golden.NORMAL]
    characters = assigned_characters()
    wide = [c for c in characters if ord(c) < 0x3000]
    out = ODD + SENTENCES + [a + b for a in SNIPPETS for b in SNIPPETS] + list(source_texts())
    for i in range(count):
        length = rng.randrange(1, 60)
        some = [characters, wide, SNIPPETS, words, words, words + [" "] * len(words)][i % 6]
        out.append("".join(rng.choice(some) for _ in range(length)))
    return [text.replace(golden.SPACE, "_") for text in out]


def lines_from(command, some_texts):
    done = subprocess.run([str(word) for word in command], input=lines_of(some_texts),
                          capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    lines = [" ".join(line.split()) for line in done.stdout.splitlines()]
    assert len(lines) == len(some_texts)
    return lines


def compare(path, count, capsys, title):
    assert VENV_PYTHON.exists(), "build/venv is missing: run tools/setup/setup.sh test"
    some_texts = texts(golden.Tokenizer.from_gguf(path), count)
    ours = lines_from([BAREFLOW, "--encode", path], some_texts)
    theirs = lines_from([VENV_PYTHON, JUDGE, path], some_texts)
    differing = [(text, a, b) for text, a, b in zip(some_texts, ours, theirs) if a != b]
    assert not differing, f"{len(differing)} of {len(ours)} differ, first {differing[0]}"
    with capsys.disabled():
        tokens = sum(len(line.split("=")[0].split()) for line in ours)
        print(f"\n{title}: {len(ours)} texts, {tokens} tokens equal to sentencepiece, and back")


def vocabulary_file(source, path, **changed):
    """A file with the vocabulary only, and some of its keys changed."""
    file = gguf_format.Reader(source)
    writer = gguf_format.Writer(path)
    names = gguf_format.VALUE_TYPE_NAMES
    for key, kind in file.types.items():
        if not key.startswith("tokenizer.ggml.") or key.split(".")[-1] in changed:
            continue
        if kind.endswith("]"):
            writer.add_array(key, names.index(kind.split("[")[0]), file.metadata[key])
        else:
            writer.add(key, names.index(kind), file.metadata[key])
    for name, value in changed.items():
        writer.add(f"tokenizer.ggml.{name}", gguf_format.BOOL, value)
    writer.begin()
    writer.close()
    return path


@pytest.mark.parametrize("prefix", [True, False], ids=["space_before", "no_space_before"])
def test_default_vocabulary(tmp_path, prefix, capsys):
    path = vocabulary_file(STORIES, tmp_path / "vocabulary.gguf", add_space_prefix=prefix)
    compare(path, 1500, capsys, f"default vocabulary, add_space_prefix {prefix}")


@pytest.mark.skipif(OTHER is None, reason="BAREFLOW_SPM_VOCABULARY names no GGUF file")
@pytest.mark.parametrize("prefix", [True, False], ids=["space_before", "no_space_before"])
def test_another_vocabulary(tmp_path, prefix, capsys):
    path = vocabulary_file(OTHER, tmp_path / "vocabulary.gguf", add_space_prefix=prefix)
    compare(path, 6000, capsys, f"{Path(OTHER).name}, add_space_prefix {prefix}")
