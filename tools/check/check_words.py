#!/usr/bin/env python3
"""Checks the text and the size of every tracked file.

usage: tools/check/check_words.py [--root DIR]

No file is over 1 MiB. A text has no note to do something later, no path of one machine, no trailing
blanks and no CR LF, and it ends with a newline. Files that .gitattributes marks as binary, or as no
text, are checked for their size only.
Prints file:line: message, exits 1.
"""
import re

import house

MAX_FILE_BYTES = 1024 * 1024
# Split, so that this file has none of them itself.
LATER = re.compile(r"\b(?:TO" r"DO|FIX" r"ME|XX" r"X|HA" r"CK)\b")
MACHINE_PATH = re.compile(r"(?<![\w./}$-])/(?:ro" r"ot|wo" r"rk|ho" r"me)/")


def is_text(root, names):
    """{name: whether .gitattributes lets it be text}"""
    answer = house.git(root, "check-attr", "--stdin", "-z", "text", stdin="\0".join(names).encode())
    fields = answer.decode().split("\0")
    return {fields[i]: fields[i + 2] != "unset" for i in range(0, len(fields) - 2, 3)}


def check_text(data):
    """Offences in one text file, as (line, message)."""
    offences = []
    if data and not data.endswith(b"\n"):
        offences.append((data.count(b"\n") + 1, "no newline at the end"))
    for number, raw in enumerate(data.split(b"\n"), 1):
        if raw.endswith(b"\r"):
            offences.append((number, "CR LF line end"))
        elif raw.endswith((b" ", b"\t")):
            offences.append((number, "trailing blanks"))
        line = raw.decode(errors="replace")
        word = LATER.search(line)
        if word:
            offences.append((number, f"'{word.group(0)}': do it, or open an issue"))
        path = MACHINE_PATH.search(line)
        if path:
            offences.append((number, f"'{path.group(0)}': a path of one machine"))
    return offences


def main():
    root = house.arguments(__doc__).root
    names = house.tracked(root)
    text = is_text(root, names)
    offences = []
    for name in names:
        path = root / name
        if path.is_symlink():
            continue
        data = path.read_bytes()
        if len(data) > MAX_FILE_BYTES:
            offences.append((name, 1, f"{len(data)} bytes; at most {MAX_FILE_BYTES} may be "
                             "tracked"))
        if text[name] and b"\0" not in data[:8192]:
            offences += [(name, line, message) for line, message in check_text(data)]
    return house.report("words", len(names), offences)


if __name__ == "__main__":
    house.run(main)
