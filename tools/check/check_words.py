#!/usr/bin/env python3
"""House rules for the text of tracked files.

usage: tools/check/check_words.py [--root DIR]

No notes to do something later, no paths of somebody's machine, no file over 1 MiB; text files end
with a newline and have neither trailing blanks nor CR LF. Prints file:line: message, exits 1.
What .gitattributes marks as binary, or as no text, is checked for its size only.
"""
import argparse
import pathlib
import re
import subprocess
import sys

MAX_FILE_BYTES = 1024 * 1024
# Written so that this file does not find itself.
LATER = re.compile(r"\b(?:TO" r"DO|FIX" r"ME|XX" r"X|HA" r"CK)\b")
MACHINE_PATH = re.compile(r"(?<![\w./}$-])/(?:ro" r"ot|wo" r"rk|ho" r"me)/")


def git(root, *arguments, stdin=None):
    return subprocess.run(["git", "-C", str(root), *arguments], check=True, input=stdin,
                          capture_output=True).stdout


def tracked_files(root):
    """[(name, is text)] of what git tracks."""
    names = git(root, "ls-files", "-z")
    fields = git(root, "check-attr", "--stdin", "-z", "text", stdin=names).split(b"\0")
    return [(fields[i].decode(), fields[i + 2] != b"unset") for i in range(0, len(fields) - 2, 3)]


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
    here = pathlib.Path(__file__).resolve().parents[2]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--root", type=pathlib.Path, default=here)
    root = parser.parse_args().root
    try:
        files = tracked_files(root)
    except (OSError, subprocess.CalledProcessError) as error:
        print(f"check_words: git cannot list the files of {root}: {error}", file=sys.stderr)
        return 1
    offences = 0
    for name, is_text in files:
        path = root / name
        if path.is_symlink() or not path.is_file():
            continue
        found = []
        if path.stat().st_size > MAX_FILE_BYTES:
            found.append((1, f"{path.stat().st_size} bytes; at most {MAX_FILE_BYTES} may be tracked"))
        data = path.read_bytes()
        if is_text and b"\0" not in data[:8192]:
            found += check_text(data)
        for line, message in found:
            offences += 1
            print(f"{name}:{line}: {message}")
    print(f"words: {len(files)} files, {offences} offences")
    return 1 if offences else 0


if __name__ == "__main__":
    sys.exit(main())
