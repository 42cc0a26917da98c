"""The PyPI package `tokenizers` as a process. Reads texts from standard input, one a line in
hexadecimal digits ("-": empty), and writes their tokens. For build/venv's Python.

  tokens_with_tokenizers.py MODEL.gguf PRE [--parse-special] < texts

The tokenizer is built from the file's own vocabulary and merges. PRE is the pre-tokeniser, set up
here as in the models' own tokenizer.json files.
"""

import sys
from pathlib import Path

from tokenizers import AddedToken, Regex, Tokenizer, models, pre_tokenizers

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tools/gguf"))
from gguf_format import Reader  # noqa: E402

CONTROL = 3
GPT2 = (r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+")
LLAMA = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}|"
         r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")


def byte_level(use_regex):
    return pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=use_regex)


def splits(*expressions):
    return pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(one), "isolated") for one in expressions] + [byte_level(False)])


PRE = {
    "gpt-2": lambda: byte_level(True),
    "smollm": lambda: pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), byte_level(True)]),
    "llama-bpe": lambda: splits(LLAMA),
    "qwen2": lambda: splits(LLAMA.replace("{1,3}", "")),
    "default": lambda: splits(r"[\p{P}\$\+<=>\^~\|]+", GPT2, r"\p{N}+", "[0-9][0-9][0-9]"),
}


def build(path, pre, special):
    data = Reader(path).metadata
    texts = data["tokenizer.ggml.tokens"]
    merges = [tuple(merge.split(" ")) for merge in data["tokenizer.ggml.merges"]]
    tokenizer = Tokenizer(models.BPE({text: i for i, text in enumerate(texts)}, merges,
                                     ignore_merges=pre == "llama-bpe"))
    tokenizer.pre_tokenizer = PRE[pre]()
    if special:
        kinds = data["tokenizer.ggml.token_type"]
        tokenizer.add_special_tokens([AddedToken(text, special=True, normalized=False)
                                      for text, kind in zip(texts, kinds) if kind == CONTROL])
    return tokenizer


def main():
    tokenizer = build(sys.argv[1], sys.argv[2], sys.argv[3:] == ["--parse-special"])
    for line in sys.stdin:
        word = line.strip()
        text = "" if word == "-" else bytes.fromhex(word).decode()
        print(*tokenizer.encode(text, add_special_tokens=False).ids)


main()
