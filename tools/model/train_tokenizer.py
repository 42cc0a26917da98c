#!/usr/bin/env python3
"""Learns the vocabulary of the default model from its training text by byte-pair encoding.

No piece crosses a word or mixes letters with other characters. A space belongs to the word after.
Of two pairs with the same count the one that sorts first is merged, so the same text gives the same
vocabulary. The order of token ids is SentencePiece's: <unk> <s> </s>, 256 byte tokens, the merged
pieces as they were learned (scores -0, -1, -2, ...), and the single characters. Standard library
only.

    train_tokenizer.py --text build/model/stories.txt --size 1024 --out build/model/vocab.json
"""

import argparse
import re
from collections import Counter, defaultdict
from pathlib import Path

import spm

WORDS = re.compile(f"{spm.SPACE}?[A-Za-z]+|{spm.SPACE}?[^A-Za-z{spm.SPACE}]+|{spm.SPACE}")


def count_words(path, limit):
    counts = Counter()
    with path.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines):
            if number == limit:
                break
            text = spm.SPACE + line.rstrip("\n").replace(" ", spm.SPACE)
            counts.update(WORDS.findall(text))
    return counts


def learn(counts, size):
    """(merged pieces in the order they are learned, characters from the most frequent on)."""
    chars = Counter()
    for word, n in counts.items():
        for c in word:
            chars[c] += n
    alphabet = sorted(chars, key=lambda c: (-chars[c], c))
    wanted = size - spm.FIRST_BYTE - 256 - len(alphabet)

    words = [(list(w), n) for w, n in sorted(counts.items())]
    pairs = Counter()
    where = defaultdict(set)
    for index, (parts, n) in enumerate(words):
        for pair in zip(parts, parts[1:]):
            pairs[pair] += n
            where[pair].add(index)

    merges = []
    while len(merges) < wanted:
        best = min(pairs, key=lambda p: (-pairs[p], p))
        if pairs[best] <= 0:
            raise SystemExit("the text is too small for a vocabulary of this size")
        joined = best[0] + best[1]
        if joined not in merges:
            merges.append(joined)
        for index in sorted(where.pop(best)):
            parts, n = words[index]
            for pair in zip(parts, parts[1:]):
                pairs[pair] -= n
            new, i = [], 0
            while i < len(parts):
                if i + 1 < len(parts) and (parts[i], parts[i + 1]) == best:
                    new.append(joined)
                    i += 2
                else:
                    new.append(parts[i])
                    i += 1
            parts[:] = new
            for pair in zip(parts, parts[1:]):
                pairs[pair] += n
                where[pair].add(index)
        del pairs[best]
    return merges, alphabet


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--text", type=Path, required=True)
    parser.add_argument("--size", type=int, default=1024)
    parser.add_argument("--stories", type=int, default=40000, help="stories to learn from")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()

    merges, alphabet = learn(count_words(args.text, args.stories), args.size)
    pieces = merges + alphabet
    tokens = ["<unk>", "<s>", "</s>"] + [f"<0x{b:02X}>" for b in range(256)] + pieces
    scores = [0.0] * (spm.FIRST_BYTE + 256) + [-float(i) for i in range(len(pieces))]
    types = [spm.TYPE_UNKNOWN, spm.TYPE_CONTROL, spm.TYPE_CONTROL] + [spm.TYPE_BYTE] * 256
    types += [spm.TYPE_NORMAL] * len(pieces)
    spm.Vocabulary(tokens, scores, types).save(args.out)
    print(f"{len(tokens)} tokens: {len(merges)} merges, {len(alphabet)} characters")


if __name__ == "__main__":
    main()
