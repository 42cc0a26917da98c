#!/usr/bin/python3
"""Builds the bootable disk image: boot sector, second stage, kernel, settings, model.

usage: tools/make_image.py --stage1 BIN --stage2 BIN --kernel ELF (--model GGUF | --no-model)
                           [--options "key=value ..."] --output IMAGE

Layout, in sectors of 512 bytes (boot/image_layout.h reads it, docs/decisions/0002 explains it):
  0        boot sector with partition table
  1-15     second stage
  16       image header           partition 1 (type 0x7F, "for own use"): 16 to the kernel's end
  17       settings, as text
  24-      kernel: the ELF's segments, flat, packed (LZMA)
  ...      model, 4 KiB aligned   partition 2 (type 0xDA, "non-file-system data"): the GGUF file
The same input gives the same image, byte for byte.
Exit status: 0 written, 1 refused, 2 wrong arguments.
"""
import argparse
import lzma
import re
import struct
import sys
from pathlib import Path

SECTOR = 512
STAGE2_LBA = 1
STAGE2_SECTORS = 15
HEADER_LBA = 16
OPTIONS_LBA = 17
KERNEL_LBA = 24
ALIGN_SECTORS = 8
MAX_KERNEL_BYTES = 4 << 20
MAX_OPTIONS_BYTES = SECTOR - 1
KERNEL_PARTITION_TYPE = 0x7F
MODEL_PARTITION_TYPE = 0xDA
PARTITION_TABLE = 446
HEADER_MAGIC = b"BFIMAGE1"
HEADER_VERSION = 3
MAX_LBA = 0xFFFFFFFF
# Near calls and jumps of x86-64, by the opcode before a 32-bit displacement.
BRANCH = re.compile(rb"[\xe8\xe9]|\x0f[\x80-\x8f]", re.DOTALL)
# lc, lp and pb must be those of boot/bios/unpack.h. The others say how long the packer searches.
LZMA = {"id": lzma.FILTER_LZMA1, "lc": 3, "lp": 0, "pb": 0, "dict_size": MAX_KERNEL_BYTES,
        "mode": lzma.MODE_NORMAL, "mf": lzma.MF_BT4, "nice_len": 273, "depth": 1000}


class Refused(Exception):
    """The input cannot become an image. The message is one sentence for people."""


def padded(data, unit):
    return data + bytes(-len(data) % unit)


def dword_sum(data):
    """Sum of little-endian 32-bit words, modulo 2^32 (boot/bios/stage2.asm checks the kernel's)."""
    return sum(word for (word,) in struct.iter_unpack("<I", data)) & 0xFFFFFFFF


def make_branches_absolute(code):
    """Replaces the displacements of calls and jumps by their targets.

    Two calls of one function then have the same bytes, which pack better. A displacement to a place
    outside of `code` stays as it is. To keep that reversible, the replacement permutes the values
    of [-place, length). boot/bios/unpack.cpp does the opposite, in the same order of places.
    """
    code = bytearray(code)
    size = len(code)
    at = 0
    while branch := BRANCH.search(code, at):
        at = branch.end() + 4
        if at > size:
            break
        (displacement,) = struct.unpack_from("<i", code, at - 4)
        if -at <= displacement < size:
            target = displacement + at
            struct.pack_into("<i", code, at - 4, target if target < size else displacement - size)
    return bytes(code)


def compress(data):
    """Packs `data` for boot/bios/unpack.cpp: absolute branches, then one raw LZMA1 stream."""
    return lzma.compress(make_branches_absolute(data), lzma.FORMAT_RAW, filters=[LZMA])


def read(path, what):
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise Refused(f"cannot read {what} {path}: {error.strerror}") from error


def flatten(elf):
    """The ELF's loadable segments as (address, flat bytes, end of memory, entry)."""
    if elf[:4] != b"\x7fELF" or elf[4:6] != b"\x02\x01" or len(elf) < 64:
        raise Refused("the kernel is no 64-bit little-endian ELF file")
    entry, table = struct.unpack_from("<QQ", elf, 24)
    entry_bytes, count = struct.unpack_from("<HH", elf, 54)
    segments = []
    for index in range(count):
        at = table + index * entry_bytes
        if at + 56 > len(elf):
            raise Refused("the kernel's program headers are cut off")
        kind, _, offset, _, address, in_file, in_memory, _ = struct.unpack_from("<IIQQQQQQ", elf, at)
        if kind != 1 or in_memory == 0:
            continue
        if offset + in_file > len(elf) or in_file > in_memory:
            raise Refused("a segment of the kernel is cut off")
        segments.append((address, elf[offset:offset + in_file], in_memory))
    if not segments:
        raise Refused("the kernel has nothing to load")
    segments.sort()
    first = segments[0][0]
    end = max(address + in_memory for address, _, in_memory in segments)
    if first < 1 << 20 or end > 1 << 32:
        raise Refused("the kernel must lie between 1 MiB and 4 GiB")
    last = max(address + len(data) for address, data, _ in segments)
    if last - first > MAX_KERNEL_BYTES:
        raise Refused(f"the kernel is larger than {MAX_KERNEL_BYTES >> 20} MiB")
    flat = bytearray(last - first)
    for address, data, _ in segments:
        flat[address - first:address - first + len(data)] = data
    if not first <= entry < last:
        raise Refused("the kernel's entry is outside of its segments")
    return first, padded(bytes(flat), 4), (end + 3) & ~3, entry


def check_model(path):
    """Length of the model's file, which must begin like a GGUF."""
    try:
        with open(path, "rb") as file:
            start = file.read(8)
            length = file.seek(0, 2)
    except OSError as error:
        raise Refused(f"cannot read the model {path}: {error.strerror}") from error
    if len(start) < 8 or start[:4] != b"GGUF":
        raise Refused(f"{path} is no GGUF file: it does not begin with the letters GGUF")
    version = struct.unpack_from("<I", start, 4)[0]
    if version not in (2, 3):
        raise Refused(f"{path} is a GGUF file of version {version}; 2 and 3 can be read")
    return length


def check_options(text):
    """The options as bytes. They are printable ASCII words: key=value."""
    if not all(" " <= c <= "~" for c in text):
        raise Refused("options are plain ASCII text on one line")
    for word in text.split():
        key, equals, _ = word.partition("=")
        if not equals or not key:
            raise Refused(f"option '{word}' is not of the form key=value")
    data = " ".join(text.split()).encode("ascii")
    if len(data) > MAX_OPTIONS_BYTES:
        raise Refused(f"options take {len(data)} bytes; there is room for {MAX_OPTIONS_BYTES}")
    return data


def partition(kind, first, sectors):
    """One entry of the partition table. Its cylinder, head and sector say "too far for us"."""
    if sectors == 0:
        return bytes(16)
    if first + sectors > MAX_LBA:
        raise Refused("the model is too large for a partition table (2 TiB)")
    beyond = b"\xfe\xff\xff"
    return bytes([0x00]) + beyond + bytes([kind]) + beyond + struct.pack("<II", first, sectors)


def build(args):
    stage1 = read(args.stage1, "stage 1")
    stage2 = read(args.stage2, "stage 2")
    if len(stage1) != SECTOR or stage1[510:] != b"\x55\xaa":
        raise Refused("stage 1 is no boot sector of 512 bytes")
    if any(stage1[PARTITION_TABLE:510]):
        raise Refused("stage 1 reaches into the partition table")
    if len(stage2) > STAGE2_SECTORS * SECTOR:
        raise Refused(f"stage 2 is longer than {STAGE2_SECTORS} sectors")
    address, kernel, memory_end, entry = flatten(read(args.kernel, "the kernel"))
    options = check_options(args.options)
    model_bytes = 0 if args.model is None else check_model(args.model)

    # The packed kernel is loaded above the place of the unpacked one, so that unpacking overwrites
    # none of it. That place is the end of the kernel's zeroed memory, which nobody uses yet.
    packed = compress(kernel)
    packed_sectors = padded(packed, SECTOR)
    packed_address = max(address + len(kernel), memory_end - len(packed_sectors)) + 15 & ~15
    kernel_sectors = len(packed_sectors) // SECTOR
    kernel_end = KERNEL_LBA + kernel_sectors
    model_lba = -(-kernel_end // ALIGN_SECTORS) * ALIGN_SECTORS
    model_sectors = -(-model_bytes // SECTOR)

    header = bytearray(SECTOR)
    struct.pack_into("<8sII", header, 0, HEADER_MAGIC, HEADER_VERSION, 0)
    struct.pack_into("<IIIIIIII", header, 16, KERNEL_LBA, kernel_sectors, address, len(kernel), memory_end,
                     entry, dword_sum(packed_sectors), len(options))
    struct.pack_into("<QQIII", header, 48, model_lba if model_bytes else 0, model_bytes, packed_address,
                     len(packed), max(memory_end, packed_address + len(packed_sectors)))
    # All words of the header add up to zero.
    struct.pack_into("<I", header, 12, -dword_sum(header) & 0xFFFFFFFF)

    mbr = bytearray(stage1)
    table = (partition(KERNEL_PARTITION_TYPE, HEADER_LBA, kernel_end - HEADER_LBA)
             + partition(MODEL_PARTITION_TYPE, model_lba, model_sectors))
    table = bytes([0x80]) + table[1:]  # partition 1 is the active one: some BIOSes want one
    mbr[PARTITION_TABLE:PARTITION_TABLE + len(table)] = table

    head = bytearray(model_lba * SECTOR)
    for lba, data in ((0, bytes(mbr)), (STAGE2_LBA, stage2), (HEADER_LBA, bytes(header)), (OPTIONS_LBA, options),
                      (KERNEL_LBA, packed_sectors)):
        head[lba * SECTOR:lba * SECTOR + len(data)] = data

    output = Path(args.output)
    partial = output.with_name(output.name + ".partial")
    try:
        with open(partial, "wb") as file:
            file.write(head)
            if args.model is not None:
                copied = 0
                with open(args.model, "rb") as source:
                    while chunk := source.read(1 << 20):
                        file.write(chunk)
                        copied += len(chunk)
                if copied != model_bytes:
                    raise Refused(f"{args.model} changed while it was read")
                file.write(bytes(-copied % (ALIGN_SECTORS * SECTOR)))
        partial.replace(output)
    except OSError as error:
        raise Refused(f"cannot write {output}: {error.strerror}") from error
    finally:
        partial.unlink(missing_ok=True)


def main():
    parser = argparse.ArgumentParser(description="Builds the bootable disk image.")
    parser.add_argument("--stage1", required=True)
    parser.add_argument("--stage2", required=True)
    parser.add_argument("--kernel", required=True)
    model = parser.add_mutually_exclusive_group(required=True)
    model.add_argument("--model", help="a GGUF file")
    model.add_argument("--no-model", action="store_true", help="make an image without a model")
    parser.add_argument("--options", default="", help="settings: key=value words")
    parser.add_argument("--output", required=True)
    args = parser.parse_args()
    try:
        build(args)
    except Refused as why:
        print(f"make_image: {why}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
