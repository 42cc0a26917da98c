#!/usr/bin/env python3
"""Checks which room includes which, and three rules about the preprocessor.

usage: tools/check/check_layers.py [--root DIR]

docs/ARCHITECTURE.md shows the rooms as a picture and gives the reasons. Every source of the
program lies in a room, writes includes from the root of the project, and includes only rooms that
it may know. No #if asks for the build, no header has a #define of a number, and every header has
#pragma once.
Prints file:line: message, exits 1.
"""
import pathlib
import re

import cpp_scan
import house

SUFFIXES = (".h", ".c", ".cpp", ".hpp", ".inc")

# The floor of each room. A file may include its own room, and rooms on lower floors. The first
# prefix that matches counts. docs/ARCHITECTURE.md shows the same as a picture.
FLOORS = (
    # The public C headers declare functions of every room of the library and include none of ours.
    ("kernel_lib/runtime", 3),
    ("kernel_lib/jit_runtime", 4),
    ("kernel_lib/base/", 0),
    # platform.h is a seam near the bottom. Its implementations stand on cpu, memory and io.
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

FOLDERS = tuple({prefix.split("/")[0] + "/" for prefix, _ in FLOORS})
# (prefix of the including file, prefix of the included one, why): forbidden on any floor.
FORBIDDEN = tuple(
    (who, whom, why)
    for who, whoms, why in (
        ("compute/", ("drivers/", "net/", "http/", "kernel_lib/io/"),
         "compute knows no device, network or console"),
        ("llama/", ("drivers/", "net/", "http/", "kernel_lib/io/"),
         "llama knows no device, network or console"),
        ("http/", ("compute/", "drivers/", "net/"), "http is a server and nothing else"),
        ("net/", ("compute/",), "the network knows no kernel"),
        ("api/", ("drivers/", "net/"), "the API knows no device and no network"),
        ("status/", ("drivers/", "net/", "compute/", "llama/"),
         "status shows what the appliance hands it"),
    )
    for whom in whoms)
# Rooms of one floor that may include each other.
MUTUAL = ({"kernel_lib/cpu/", "kernel_lib/memory/", "kernel_lib/io/"},
          {"kernel_lib/platform/", "boot/"})
# Every room of the library may include the two public C headers: several rooms implement them.
PUBLIC_HEADERS = {"kernel_lib/runtime.h", "kernel_lib/jit_runtime.h"}

CONDITION = re.compile(r"^\s*#\s*(?:el)?if.*(?:HOSTED|METAL)", re.I)
NUMBER = r"(?:0[xX][0-9a-fA-F']+|0[bB][01']+|\d[\d']*\.?\d*(?:[eE][-+]?\d+)?)[uUlLfF]*"
NUMERIC_DEFINE = re.compile(
    r"^\s*#\s*define\s+(\w+)\s+\(?\s*[-+~]?\s*" + NUMBER
    + r"\s*(?:<<\s*\d+\s*[uUlL]*\s*)?\)?\s*$")


def room_of(path):
    """(prefix, floor) of the room that a path of the project lies in, or None."""
    for prefix, floor in FLOORS:
        if path.startswith(prefix):
            return prefix, floor
    return None


def include_offence(includer, quote, included, root):
    """Why `includer` must not include `included`; None if it may. `quote` is " or <."""
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
        return "includes are written from the project root" if included.startswith(".") else None
    if included in PUBLIC_HEADERS and includer.startswith("kernel_lib/"):
        return None
    for who, whom, why in FORBIDDEN:
        if includer.startswith(who) and included.startswith(whom):
            return why
    here = room_of(includer)
    if here is None:
        return None  # check_file says that the file lies in no room
    if here[0] == there[0] or there[1] < here[1]:
        return None
    if any({here[0], there[0]} <= rooms for rooms in MUTUAL):
        return None
    return f"{here[0]} (floor {here[1]}) may not know {there[0]} (floor {there[1]})"


def check_file(root, path):
    """Offences of one file, as (line, message)."""
    offences = []
    if room_of(path) is None:
        offences.append((1, "lies in no room of docs/ARCHITECTURE.md"))
    text = cpp_scan.uncommented(house.read(root, path))
    is_header = path.endswith((".h", ".hpp"))
    for number, line in enumerate(text.split("\n"), 1):
        included = cpp_scan.INCLUDE.match(line)
        if included:
            why = include_offence(path, included["quote"], included["name"], root)
            if why:
                offences.append((number, f'includes "{included["name"]}": {why}'))
        if CONDITION.match(line):
            offences.append((number, "no #if on the build: link another folder or file instead"))
        number_of = NUMERIC_DEFINE.match(line) if is_header else None
        if number_of:
            offences.append((number, f"#define {number_of[1]}: write a constexpr instead"))
    if is_header and "#pragma once" not in text:
        offences.append((1, "no #pragma once"))
    return offences


def main():
    root = house.arguments(__doc__).root
    names = [name for name in house.sources(root, SUFFIXES) if name.startswith(FOLDERS)]
    offences = [(name, line, message) for name in names for line, message in check_file(root, name)]
    return house.report("layers", len(names), offences)


if __name__ == "__main__":
    house.run(main)
