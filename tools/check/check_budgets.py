#!/usr/bin/env python3
"""Prints the sizes of what was built, and each room's share; exits 1 if a budget is broken.

usage: tools/check/check_budgets.py [--root DIR] [--build DIR] [--model FILE]

Reads build/fluid_llama.img, build/kernel_lib.a and the link map of build/bareflow.elf. The model
(models/stories.gguf) must lie in the image, and does not count.
"""
import collections
import pathlib
import re
import struct
import subprocess

import house

# Bytes. A commit that changes one says in its message what that buys.
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


def there(path):
    """The path of something that was built; fails when it is missing."""
    if not path.is_file():
        raise house.Failure(f"{path} is not there; run make first")
    return path


def image_less_model(image, model):
    """Size of the image without the model's bytes. Fails if the partition holds another model."""
    size = image.stat().st_size
    with image.open("rb") as file:
        mbr = file.read(SECTOR)
        if len(mbr) < SECTOR or mbr[510:] != b"\x55\xaa":
            raise house.Failure(f"{image} has no boot signature")
        for entry in range(4):
            raw = mbr[446 + 16 * entry:462 + 16 * entry]
            kind, first, count = raw[4], *struct.unpack("<II", raw[8:16])
            if kind != MODEL_PARTITION_TYPE:
                continue
            want = there(model).read_bytes()
            file.seek(first * SECTOR)
            if count * SECTOR < len(want) or file.read(len(want)) != want:
                raise house.Failure(f"{image}: the model partition does not hold {model}")
            return size - len(want)
    return size  # an image without a model


def library_code_and_data(library):
    """Bytes of code, read-only data and data in all members of a static library."""
    try:
        report = subprocess.run([SIZE_TOOL, "-t", str(library)], check=True, capture_output=True,
                                text=True).stdout
    except (OSError, subprocess.CalledProcessError) as error:
        raise house.Failure(f"{SIZE_TOOL}: {error}") from None
    text, data = report.splitlines()[-1].split()[:2]
    return int(text) + int(data)


def folder_of(name, member, build):
    """The room of a linked object. `member` is its name within kernel_lib.a, or None."""
    if member:
        found = sorted((build / "metal" / "kernel_lib").rglob(member))
        name = str(found[0].parent) if len(found) == 1 else "kernel_lib"
    parts = pathlib.PurePath(name.split("metal/", 1)[-1]).parts
    if not parts:
        return "kernel_lib"
    inner = parts[0] in ("kernel_lib", "third_party")  # their folders are listed one by one
    return "/".join(parts[:2 if inner else 1])


def shares(map_file, build):
    """{folder: [bytes in the file, bytes of zeroed memory]} of the linked kernel."""
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
        folder = folder_of(section["object"], section["member"], build) if section else ""
        if not folder or folder.startswith("<internal>"):
            folder = "(merged strings, stacks)"  # what the linker made itself
        zeroed = output.startswith((".bss", ".tbss", ".stack"))
        total[folder][1 if zeroed else 0] += size
    return total


def kib(size):
    return f"{size / 1024:8.1f} KiB"


def show_shares(total):
    """Prints the table of rooms."""
    print(f"{'unpacked, by folder':<28}{'code+data':>12}{'zeroed':>16}")
    for folder, (loaded, zeroed) in sorted(total.items()):
        print(f"  {folder:<26}{kib(loaded)}    {kib(zeroed)}")
    loaded, zeroed = (sum(sizes) for sizes in zip(*total.values()))
    print(f"  {'sum':<26}{kib(loaded)}    {kib(zeroed)}")


def main():
    arguments = house.arguments(__doc__, ("--build", {"type": pathlib.Path, "metavar": "DIR"}),
                                ("--model", {"type": pathlib.Path, "metavar": "FILE"}))
    build = arguments.build or arguments.root / "build"
    model = arguments.model or arguments.root / "models/stories.gguf"
    measured = {
        "image less model": image_less_model(there(build / "fluid_llama.img"), model),
        "kernel_lib.a code+data": library_code_and_data(there(build / "kernel_lib.a")),
    }
    total = shares(there(build / "bareflow.map"), build)
    broken = 0
    for name, budget in BUDGETS.items():
        size = measured[name]
        verdict = "ok" if size <= budget else f"BROKEN by {size - budget} bytes"
        broken += size > budget
        print(f"{name:<28}{kib(size)} of {kib(budget)}   {verdict}")
    show_shares(total)
    return 1 if broken else 0


if __name__ == "__main__":
    house.run(main)
