"""Reads and spoils a state disk, by docs/decisions/0003-state-disk.md and independently of the C++ code."""
import struct

MAGIC = b"BAREFLOW-STATE-1"
SECTOR = 512
FIRST_COPY, COPY_SECTORS, COPIES = 8, 32, 2


def crc32c(data, crc=0):
    crc ^= 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def make(path, size=64 << 10):
    path.write_bytes(MAGIC.ljust(size, b"\0"))
    return path


def copy_range(index):
    start = (FIRST_COPY + index * COPY_SECTORS) * SECTOR
    return start, start + COPY_SECTORS * SECTOR


def read_copy(data, index):
    """(sequence, record) of a copy; None if the copy is damaged."""
    start, end = copy_range(index)
    copy = data[start:end]
    magic, sequence, length, crc, reserved = struct.unpack_from("<8sQIIQ", copy)
    if magic != b"BFSTCOPY" or reserved or length > len(copy) - 32:
        return None
    record = copy[32:32 + length]
    if crc32c(struct.pack("<8sQIIQ", magic, sequence, length, 0, 0) + record) != crc:
        return None
    return sequence, record


def newest(path):
    """(sequence, record) of the newest copy that is whole; None if there is none."""
    data = path.read_bytes()
    assert data[:SECTOR] == MAGIC.ljust(SECTOR, b"\0")
    whole = [copy for copy in (read_copy(data, index) for index in range(COPIES)) if copy]
    return max(whole, default=None)


def parse(record):
    """The fields of a record."""
    at = 0

    def take(form):
        nonlocal at
        values = struct.unpack_from(form, record, at)
        at += struct.calcsize(form)
        return values[0] if len(values) == 1 else values

    def text():
        nonlocal at
        length = take("<B")
        at += length
        return record[at - length:at].decode()

    profile = {"format": take("<I"), "model": take("<QQ"), "features": take("<Q"), "cpu": take("<III"),
               "vendor": text(), "hypervisor": text(), "version": text(), "speed": take("<I") / 1000}
    profile["choices"] = {}
    for _ in range(take("<H")):
        name, variant = text(), text()
        profile["choices"][name] = (variant, *take("<BQQ"))
    assert at == len(record)
    return profile


def choices(record):
    """{function: (level, variant)}"""
    return {name: (choice[1], choice[0]) for name, choice in parse(record)["choices"].items()}


def damage(path, index):
    """Changes one bit of a copy's record."""
    data = bytearray(path.read_bytes())
    data[copy_range(index)[0] + 40] ^= 0x04
    path.write_bytes(data)
