#!/usr/bin/env python3
"""Prints the sizes of what was built and exits 1 when a budget is broken.

usage: tools/check/check_budgets.py [--build DIR] [--model FILE]

Reads build/fluid_llama.img, build/kernel_lib.a and the link map of build/bareflow.elf.
"""
import argparse
import collections
import pathlib
import re
import struct
import subprocess
import sys

# Bytes. Change one only together with a sentence in the commit message on what it buys.
BUDGETS = {
    "image less model": 256 * 1024,
    "kernel_lib.a code+data": 70 * 1024,
}

SECTOR = 512
MODEL_PARTITION_TYPE = 0xDA  # "non-FS data": the GGUF file, raw
SIZE_TOOL = "llvm-size-19"
# lld's map: address, load address, size, alignment, then the name, indented by its depth.
MAP_LINE = re.compile(r"^\s*([0-9a-f]+)\s+([0-9a-f]+)\s+([0-9a-f]+)\s+\d+ ( *)(\S.*)$")
INPUT_SECTION = re.compile(r"^(?P<object>.*?)(?:\((?P<member>[^()]+)\))?:\((?P<section>[^()]*)\)$")
NOT_LOADED = (".debug", ".comment", ".symtab", ".strtab", ".shstrtab")


class Broken(Exception):
    """What was built is not what it should be; the message is for the user."""


def image_less_model(image, model):
    """Size of the image without the model's bytes; checks that the model is where it should be."""
    if not image.is_file():
        raise Broken(f"{image} is not there; run make first")
    size = image.stat().st_size
    with image.open("rb") as file:
        mbr = file.read(SECTOR)
        if len(mbr) < SECTOR or mbr[510:] != b"\x55\xaa":
            raise Broken(f"{image} has no boot signature")
        for entry in range(4):
            raw = mbr[446 + 16 * entry:462 + 16 * entry]
            kind, first, count = raw[4], *struct.unpack("<II", raw[8:16])
            if kind != MODEL_PARTITION_TYPE:
                continue
            want = model.read_bytes()
            file.seek(first * SECTOR)
            if count * SECTOR < len(want) or file.read(len(want)) != want:
                raise Broken(f"{image}: the model partition does not hold {model}")
            return size - len(want)
    return size  # an image without a model


def library_code_and_data(library):
    """Code, read-only data and data of a static library, all members, by llvm-size."""
    if not library.is_file():
        raise Broken(f"{library} is not there; run make first")
    report = subprocess.run([SIZE_TOOL, "-t", str(library)], check=True, capture_output=True, text=True).stdout
    text, data = report.splitlines()[-1].split()[:2]
    return int(text) + int(data)


def folder_of(name, member, build):
    """Which room a linked object belongs to."""
    if member:
        found = sorted((build / "metal" / "kernel_lib").rglob(member))
        name = str(found[0].parent) if len(found) == 1 else "kernel_lib"
    parts = pathlib.PurePath(name.split("metal/", 1)[-1]).parts
    if not parts:
        return "kernel_lib"
    return "/".join(parts[:2]) if parts[0] in ("kernel_lib", "third_party") and len(parts) > 1 else parts[0]


def shares(map_file, build):
    """{folder: [bytes in the file, bytes of zeroed memory]} of the linked kernel."""
    if not map_file.is_file():
        raise Broken(f"{map_file} is not there; run make first")
    total = collections.defaultdict(lambda: [0, 0])
    output = ""
    for line in map_file.read_text(errors="replace").splitlines():
        match = MAP_LINE.match(line)
        if not match:
            continue
        size, indent, name = int(match[3], 16), len(match[4]), match[5]
        if indent == 0:
            output = name
            continue
        if indent != 8 or size == 0 or output.startswith(NOT_LOADED):
            continue
        section = INPUT_SECTION.match(name)
        folder = folder_of(section["object"], section["member"], build) if section else "(merged strings, stacks)"
        if folder.startswith("<internal>"):
            folder = "(merged strings, stacks)"
        zeroed = output.startswith((".bss", ".tbss", ".stack"))
        total[folder][1 if zeroed else 0] += size
    return total


def kib(size):
    return f"{size / 1024:8.1f} KiB"


def main():
    here = pathlib.Path(__file__).resolve().parents[2]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--build", type=pathlib.Path, default=here / "build")
    parser.add_argument("--model", type=pathlib.Path, default=here / "models" / "stories.gguf")
    args = parser.parse_args()
    broken = 0
    try:
        measured = {
            "image less model": image_less_model(args.build / "fluid_llama.img", args.model),
            "kernel_lib.a code+data": library_code_and_data(args.build / "kernel_lib.a"),
        }
        rows = sorted(shares(args.build / "bareflow.map", args.build).items())
    except (Broken, OSError, subprocess.CalledProcessError) as error:
        print(f"check_budgets: {error}", file=sys.stderr)
        return 1
    for name, budget in BUDGETS.items():
        size = measured[name]
        verdict = "ok" if size <= budget else f"BROKEN by {size - budget} bytes"
        broken += size > budget
        print(f"{name:<28}{kib(size)} of {kib(budget)}   {verdict}")
    print(f"{'unpacked, by folder':<28}{'code+data':>12}{'zeroed':>16}")
    for folder, (loaded, zeroed) in rows:
        print(f"  {folder:<26}{kib(loaded)}    {kib(zeroed)}")
    print(f"  {'sum':<26}{kib(sum(r[1][0] for r in rows))}    {kib(sum(r[1][1] for r in rows))}")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
