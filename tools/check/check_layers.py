#!/usr/bin/env python3
"""Checks who includes whom (docs/ARCHITECTURE.md), and three rules about the preprocessor.

usage: tools/check/check_layers.py [--root DIR]

Reads every source file of the program's folders, prints each offence as file:line: message and
exits 1 when there is one. Includes are written from the project root.
"""
import argparse
import pathlib
import re
import sys

FOLDERS = ("boot", "kernel_lib", "drivers", "compute", "net", "llama", "http",
           "api", "status", "appliance")
SUFFIXES = {".h", ".c", ".cpp", ".hpp", ".inc"}

# Level of a room: a file may include its own room, and rooms of a lower level. The first prefix
# that matches counts. docs/ARCHITECTURE.md has the same as a picture.
LEVELS = (
    # The public C headers: functions of every room of the library, but no includes of ours.
    ("kernel_lib/runtime", 3),
    ("kernel_lib/jit_runtime", 4),
    ("kernel_lib/base/", 0),
    # platform.h is the seam near the bottom; what implements it stands on cpu, memory and io.
    ("kernel_lib/platform/metal/", 3),
    ("kernel_lib/platform/hosted/", 3),
    ("kernel_lib/platform/", 1),
    ("boot/", 1),
    ("kernel_lib/cpu/", 2),
    ("kernel_lib/memory/", 2),
    ("kernel_lib/io/", 2),
    ("kernel_lib/jit/", 3),
    ("kernel_lib/", 4),
    ("drivers/", 5),
    ("net/", 6),
    ("compute/numbers/", 5),
    ("compute/kernels/", 6),
    ("compute/codegen/", 7),
    ("compute/tuning/", 8),
    ("llama/file/", 9),
    ("llama/model/", 10),
    ("llama/text/", 10),
    ("llama/engine/", 11),
    ("http/", 6),
    ("api/", 12),
    ("status/", 13),
    ("appliance/", 14),
)

# (includer prefix, included prefix, why): forbidden although the level would allow it.
FORBIDDEN = tuple(
    (who, whom, why)
    for who, whoms, why in (
        ("compute/", ("drivers/", "net/", "http/", "kernel_lib/io/"), "compute knows no device, network or console"),
        ("llama/", ("drivers/", "net/", "http/", "kernel_lib/io/"), "llama knows no device, network or console"),
        ("http/", ("compute/", "drivers/", "net/"), "http is a server and nothing else"),
        ("net/", ("compute/",), "the network knows no kernel"),
        ("api/", ("drivers/", "net/"), "the API knows no device and no network"),
        ("status/", ("drivers/", "net/", "compute/", "llama/"), "status shows what the appliance hands it"),
    )
    for whom in whoms)
# Rooms of one level that may include each other (cpu, memory and io are one floor).
SAME_FLOOR = ({"kernel_lib/cpu/", "kernel_lib/memory/", "kernel_lib/io/"},
              {"kernel_lib/platform/", "boot/"})
# The two public C headers belong to whoever implements them, in whichever room of the library.
PUBLIC_HEADERS = {"kernel_lib/runtime.h", "kernel_lib/jit_runtime.h"}

INCLUDE = re.compile(r'^\s*#\s*include\s*(["<])([^">]+)[">]')
CONDITION = re.compile(r"^\s*#\s*(?:el)?if")
NUMERIC_DEFINE = re.compile(
    r"^\s*#\s*define\s+(\w+)\s+\(?\s*[-+~]?\s*(?:0[xX][0-9a-fA-F']+|0[bB][01']+|\d[\d']*\.?\d*(?:[eE][-+]?\d+)?)"
    r"[uUlLfF]*\s*(?:<<\s*\d+\s*[uUlL]*\s*)?\)?\s*(?://.*|/\*.*)?$")


def room_of(path):
    """(prefix, level) of the room that a project path lies in, or None."""
    for prefix, level in LEVELS:
        if path.startswith(prefix):
            return prefix, level
    return None


def include_offence(includer, quote, included, root):
    """Why `includer` must not include `included`; None when it may."""
    if included.startswith("lwip/") or included in ("lwipopts.h", "arch/cc.h"):
        if not includer.startswith("net/"):
            return "only net/ and third_party/lwip/port/ may include lwIP"
        return None
    if included.startswith("third_party/lwip/") and not includer.startswith("net/"):
        return "only net/ and third_party/lwip/port/ may include lwIP"
    if included.startswith("appliance/") and not includer.startswith("appliance/"):
        return "nobody includes appliance/"
    if included.startswith("tests/"):
        return "nobody includes tests/"
    if included == "llhttp.h" or included.startswith("rapidjson/"):
        return None if includer.startswith("http/") else "only http/ parses HTTP and JSON"
    if quote == "<" or included.startswith("third_party/"):
        return None
    there = room_of(included)
    if there is None:
        if (root / pathlib.Path(includer).parent / included).exists():
            return f'write "{included}" from the project root'
        return None if not included.startswith(".") else "includes are written from the project root"
    if included in PUBLIC_HEADERS and includer.startswith("kernel_lib/"):
        return None
    for who, whom, why in FORBIDDEN:
        if includer.startswith(who) and included.startswith(whom):
            return why
    here = room_of(includer)
    if here[0] == there[0] or there[1] < here[1]:
        return None
    if any({here[0], there[0]} <= floor for floor in SAME_FLOOR):
        return None
    return f"{here[0]} (level {here[1]}) may not know {there[0]} (level {there[1]})"


def uncommented(text):
    """The text with comments blanked, line numbers kept."""
    def blank(match):
        token = match.group(0)
        return re.sub(r"[^\n]", " ", token) if token.startswith("/") else token
    return re.sub(r'//[^\n]*|/\*.*?\*/|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])+\'', blank, text, flags=re.S)


def check_file(root, path):
    """Offences of one file, as (line, message)."""
    offences = []
    text = (root / path).read_text(encoding="utf-8", errors="replace")
    is_header = path.endswith((".h", ".hpp"))
    for number, line in enumerate(uncommented(text).splitlines(), 1):
        match = INCLUDE.match(line)
        if match:
            why = include_offence(path, match.group(1), match.group(2), root)
            if why:
                offences.append((number, f'includes "{match.group(2)}": {why}'))
        if CONDITION.match(line) and "HOSTED" in line.upper():
            offences.append((number, "no #if on HOSTED: link another folder or file instead"))
        if is_header:
            match = NUMERIC_DEFINE.match(line)
            if match:
                offences.append((number, f"#define {match.group(1)}: write a constexpr instead"))
    if is_header and "#pragma once" not in text:
        offences.append((1, "no #pragma once"))
    return offences


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--root", type=pathlib.Path, default=pathlib.Path(__file__).resolve().parents[2])
    root = parser.parse_args().root
    files = offences = 0
    for folder in FOLDERS:
        for path in sorted((root / folder).rglob("*")):
            if path.suffix not in SUFFIXES or not path.is_file():
                continue
            files += 1
            name = path.relative_to(root).as_posix()
            for line, message in check_file(root, name):
                offences += 1
                print(f"{name}:{line}: {message}")
    if files == 0:
        print(f"check_layers: no sources below {root}", file=sys.stderr)
        return 1
    print(f"layers: {files} files, {offences} offences")
    return 1 if offences else 0


if __name__ == "__main__":
    sys.exit(main())
