#!/usr/bin/env python3
"""Writes llama/text/unicode_table.h: which characters are letters, numbers and punctuation.

usage: tools/unicode/make_tables.py [--print]

The categories are those of Python's unicodedata, and the header names the Unicode version. The
table is a list of runs: consecutive characters of one class. A short run takes one byte. Each
RUNS_PER_CHECKPOINT runs have a checkpoint, so that a look-up reads no more runs than these.
"""
import argparse
import sys
import unicodedata
from pathlib import Path

HEADER = Path(__file__).resolve().parents[2] / "llama" / "text" / "unicode_table.h"
# CharacterClass in llama/text/unicode_class.h. The table leaves out white space, which is only 25
# characters.
CLASSES = {"L": 1, "N": 2, "P": 3}
RUNS_PER_CHECKPOINT = 64
# A run's first byte has the class in its upper two bits. The lower six hold the length up to this
# one, or a greater value: this one plus the number of bytes, one to three, that hold the length.
LONGEST_SHORT_RUN = 60


def class_of(code_point):
    return CLASSES.get(unicodedata.category(chr(code_point))[0], 0)


def runs():
    """[(class, length)] over all code points."""
    out = []
    for code_point in range(0x110000):
        kind = class_of(code_point)
        if not out or out[-1][0] != kind:
            out.append([kind, 0])
        out[-1][1] += 1
    return out


def encode(kind, length):
    if length <= LONGEST_SHORT_RUN:
        return bytes([kind << 6 | length])
    size = 1 if length < 1 << 8 else 2 if length < 1 << 16 else 3
    return bytes([kind << 6 | (LONGEST_SHORT_RUN + size)]) + length.to_bytes(size, "little")


def table():
    data, checkpoints, code_point = b"", [], 0
    for i, (kind, length) in enumerate(runs()):
        if i % RUNS_PER_CHECKPOINT == 0:
            checkpoints.append((code_point, len(data)))
        data += encode(kind, length)
        code_point += length
    return data, checkpoints


def lines(values, per_line):
    return [
        "    " + " ".join(f"{value}," for value in values[i:i + per_line])
        for i in range(0, len(values), per_line)
    ]


def header():
    data, checkpoints = table()
    return "\n".join([
        f"// Written by tools/unicode/make_tables.py out of Unicode {unicodedata.unidata_version};"
        " read by unicode_class.cpp.",
        "#pragma once",
        "",
        "#include <cstdint>",
        "",
        "namespace bareflow::llama::unicode_table {",
        "",
        "// clang-format off",
        f"inline constexpr uint32_t kLongestShortRun = {LONGEST_SHORT_RUN};",
        "",
        f"// Every {RUNS_PER_CHECKPOINT} runs: the first character, and where its run is written.",
        "struct Checkpoint {",
        "    uint32_t code_point;",
        "    uint32_t offset;",
        "};",
        "inline constexpr Checkpoint kCheckpoints[] = {",
        *lines([f"{{0x{c:X}, {o}}}" for c, o in checkpoints], 5),
        "};",
        "",
        "// Class in bits 7-6 of the first byte, length below: up to kLongestShortRun, or in as many",
        "// bytes as it is greater than that.",
        "inline constexpr uint8_t kRuns[] = {",
        *lines([str(byte) for byte in data], 19),
        "};",
        "// clang-format on",
        "",
        "}  // namespace bareflow::llama::unicode_table",
        "",
    ])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--print", action="store_true", help="print the header, write nothing")
    if parser.parse_args().print:
        sys.stdout.write(header())
    else:
        HEADER.write_text(header())


if __name__ == "__main__":
    main()
