"""The image builder: what it writes and refuses, and that equal inputs give equal images."""
import ctypes
import importlib.util
import lzma
import random
import struct
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
SECTOR = 512
ENTRY = 0x100040
SCRATCH_BYTES = 14302


def make_elf(segments, entry=ENTRY):
    """A minimal ELF64 with these loadable segments: (address, bytes, bytes in memory)."""
    count = len(segments)
    offset = 64 + 56 * count
    headers, body = b"", b""
    for address, data, in_memory in segments:
        headers += struct.pack("<IIQQQQQQ", 1, 7, offset + len(body), address, address, len(data), in_memory, 4096)
        body += data
    head = b"\x7fELF\x02\x01\x01" + bytes(9) + struct.pack("<HHIQQQIHHHHHH", 2, 62, 1, entry, 64, 0, 0, 64, 56, count,
                                                           0, 0, 0)
    return head + headers + body


TEXT = bytes(range(1, 200))
DATA = b"data" * 300


class Builder:
    def __init__(self, folder):
        self.folder = folder
        self.files = {
            "stage1": bytes(446) + bytes(64) + b"\x55\xaa",
            "stage2": b"\x90" * 7680,
            "kernel": make_elf([(0x100000, TEXT, len(TEXT)), (0x102000, DATA, 5001)]),
            "model": b"GGUF" + struct.pack("<I", 3) + bytes(range(256)) * 5,
        }
        self.output = folder / "out.img"

    def run(self, *more, model=True):
        line = ["/usr/bin/python3", ROOT / "tools/make_image.py", "--output", self.output]
        for name in ("stage1", "stage2", "kernel"):
            (self.folder / name).write_bytes(self.files[name])
            line += [f"--{name}", self.folder / name]
        if model:
            (self.folder / "model").write_bytes(self.files["model"])
            line += ["--model", self.folder / "model"]
        else:
            line += ["--no-model"]
        return subprocess.run([str(word) for word in (*line, *more)], capture_output=True, text=True, check=False)

    def build(self, *more, model=True):
        done = self.run(*more, model=model)
        assert done.returncode == 0, done.stderr
        assert done.stdout == "" and done.stderr == ""
        return self.output.read_bytes()

    def refused(self, *more, model=True):
        """The sentence with which it refuses. No file may be left behind."""
        done = self.run(*more, model=model)
        assert done.returncode == 1, (done.stdout, done.stderr)
        assert done.stderr.startswith("make_image: ") and done.stderr.count("\n") == 1
        assert not self.output.exists()
        assert not list(self.folder.glob("*.partial"))
        return done.stderr


@pytest.fixture
def builder(tmp_path):
    return Builder(tmp_path)


def header_of(image):
    sector = image[16 * SECTOR:17 * SECTOR]
    names = ("magic version balance kernel_lba kernel_sectors address file_bytes end entry sum options_len "
             "model_lba model_bytes packed_address packed_bytes memory_end").split()
    return dict(zip(names, struct.unpack_from("<8sIIIIIIIIIIQQIII", sector))), sector


@pytest.fixture(scope="module")
def maker():
    spec = importlib.util.spec_from_file_location("make_image", ROOT / "tools/make_image.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def compress(maker):
    return maker.compress


@pytest.fixture(scope="module")
def unpack(tmp_path_factory):
    """boot/bios/unpack.cpp, compiled for the host: unpack(packed, length) -> bytes, or None if it refuses."""
    library = tmp_path_factory.mktemp("unpack") / "unpack.so"
    subprocess.run(["clang++-19", "-std=c++20", "-O2", "-shared", "-fPIC", "-I", ROOT, ROOT / "boot/bios/unpack.cpp",
                    "-o", library], check=True)
    function = ctypes.CDLL(str(library)).unpack_kernel
    function.restype = ctypes.c_bool
    scratch = ctypes.create_string_buffer(SCRATCH_BYTES)

    def call(packed, length):
        out = ctypes.create_string_buffer(b"#" * (length + 16), length + 16)
        done = function(packed, ctypes.c_size_t(len(packed)), out, ctypes.c_size_t(length), scratch)
        assert out.raw[length:] == b"#" * 16
        return out.raw[:length] if done else None
    return call


def branches_of(flat):
    """The inverse of the branch filter, written again in Python."""
    code, size, at = bytearray(flat), len(flat), 0
    while at < size:
        opcode = 1 if code[at] in (0xE8, 0xE9) else 2 if code[at] == 0x0F and code[at + 1:at + 2] and \
            code[at + 1] >> 4 == 8 else 0
        if opcode == 0:
            at += 1
            continue
        at += opcode + 4
        if at > size:
            break
        (value,) = struct.unpack_from("<i", code, at - 4)
        if 0 <= value < size:
            struct.pack_into("<i", code, at - 4, value - at)
        elif -at <= value < 0:
            struct.pack_into("<i", code, at - 4, value + size)
    return bytes(code)


def unpack_by_python(maker, packed, limit):
    """The output of Python's decoder for a stream, without the branch filter; None if the decoder refuses it.
    After the last wanted byte the decoder also reads the next symbol, if its bytes are there."""
    try:
        return lzma.LZMADecompressor(lzma.FORMAT_RAW, filters=[maker.LZMA]).decompress(packed, limit)
    except lzma.LZMAError:
        return None


def mixture(source, longest):
    """Noise, repetitions, and bytes that look like calls."""
    data = bytearray()
    while len(data) < source.randrange(1, longest):
        kind = source.random()
        if data and kind < 0.4:
            start = source.randrange(len(data))
            data += data[start:start + source.randrange(1, 400)]
        elif kind < 0.7:
            data += source.choice([b"\xe8", b"\xe9", b"\x0f\x84", b"\x0f\x8f", b"\x0f"])
            data += struct.pack("<i", source.randrange(-len(data) - 8, longest))[:source.randrange(1, 6)]
        else:
            data += source.randbytes(source.randrange(1, 40))
    return bytes(data)


@pytest.mark.parametrize("data", [
    b"", b"a", b"abcdefghijkl", b"a" * 13, b"a" * 100_000, bytes(range(256)) * 40,
    random.Random(1).randbytes(70_000), random.Random(2).randbytes(500) * 300,
    b"".join(bytes([i % 7, i // 256 % 256]) for i in range(60_000)),
    random.Random(3).randbytes(100) + bytes(2_000_000) + random.Random(3).randbytes(100),
    b"\xe8" * 1000, b"\x0f\x80" * 501, b"\xe8\0\0\0", b"\x0f\x80\0\0\0",
], ids=["empty", "one", "twelve", "thirteen", "run", "cycle", "noise", "far", "slow", "very-far", "calls", "jumps",
        "cut-call", "cut-jump"])
def test_packing_loses_nothing(maker, unpack, data):
    packed = maker.compress(data)
    assert unpack(packed, len(data)) == data
    assert branches_of(unpack_by_python(maker, packed, len(data))) == data


def test_packing_random_mixtures(compress, unpack):
    source = random.Random(9)
    for _ in range(300):
        data = mixture(source, 3000)
        assert unpack(compress(data), len(data)) == data


def test_damaged_streams_are_read_as_python_reads_them(maker, unpack):
    """Streams with bytes changed, cut off or removed: both decoders refuse a stream, or both read the same."""
    source = random.Random(10)
    refused = read = 0
    for _ in range(600):
        data = mixture(source, 2000)
        packed = bytearray(maker.compress(data))
        length = len(data) - source.choice([0, 0, 0, 1, len(data) // 2])
        at = source.randrange(len(packed))
        how = source.randrange(3)
        if how == 0:
            packed[at] ^= 1 << source.randrange(8)
        elif how == 1:
            del packed[at:]
        else:
            del packed[at]
        ours = unpack(bytes(packed), length)
        if ours is None:
            refused += 1
            # unpack.cpp refuses a match that reaches past the end; Python cuts it.
            theirs = unpack_by_python(maker, bytes(packed), length + 1)
            assert theirs is None or len(theirs) != length
        else:
            read += 1
            theirs = unpack_by_python(maker, bytes(packed), max(length - 1, 0))
            assert theirs == maker.make_branches_absolute(ours)[:-1]
    assert refused > 150 and read > 60


def test_packing_packs(compress):
    text = b" ".join(b"word%d of a sentence" % (i % 50) for i in range(5000))
    assert len(compress(text)) < len(text) / 20


def test_layout(builder, unpack):
    image = builder.build("--options", "context=256  jit=off")
    header, sector = header_of(image)
    flat = TEXT + bytes(0x2000 - len(TEXT)) + DATA
    assert header["magic"] == b"BFIMAGE1" and header["version"] == 3
    assert sum(word for (word,) in struct.iter_unpack("<I", sector)) % (1 << 32) == 0
    assert header["kernel_lba"] == 24
    assert header["address"] == 0x100000
    assert header["entry"] == ENTRY
    assert header["file_bytes"] == len(flat)
    assert header["end"] == 0x102000 + 5004  # rounded up to a word
    kernel = image[24 * SECTOR:(24 + header["kernel_sectors"]) * SECTOR]
    assert unpack(kernel[:header["packed_bytes"]], len(flat)) == flat
    assert not any(kernel[header["packed_bytes"]:])
    assert header["sum"] == sum(word for (word,) in struct.iter_unpack("<I", kernel)) % (1 << 32)
    # The packed kernel lies outside the unpacked one, and both lie within the memory that is checked.
    assert header["packed_address"] >= header["address"] + len(flat)
    assert header["memory_end"] >= max(header["end"], header["packed_address"] + len(kernel))
    text = b"context=256 jit=off"
    assert header["options_len"] == len(text)
    assert image[17 * SECTOR:18 * SECTOR] == text + bytes(SECTOR - len(text))
    model = builder.files["model"]
    at = header["model_lba"] * SECTOR
    assert at % 4096 == 0 and header["model_bytes"] == len(model)
    assert image[at:at + len(model)] == model
    assert not any(image[at + len(model):])


def test_partition_table(builder):
    image = builder.build()
    header, _ = header_of(image)
    first, second, third = (image[446 + 16 * i:462 + 16 * i] for i in range(3))
    assert (first[0], first[4]) == (0x80, 0x7F)
    assert struct.unpack_from("<II", first, 8) == (16, 8 + header["kernel_sectors"])
    assert (second[0], second[4]) == (0x00, 0xDA)
    assert struct.unpack_from("<II", second, 8) == (header["model_lba"], -(-header["model_bytes"] // SECTOR))
    assert not any(third)
    assert image[510:512] == b"\x55\xaa"


def test_same_input_same_image(builder):
    first = builder.build("--options", "a=b")
    assert builder.build("--options", "a=b") == first
    assert builder.build("--options", "a=c") != first


def test_without_a_model(builder):
    image = builder.build(model=False)
    header, _ = header_of(image)
    assert header["model_bytes"] == 0 and header["model_lba"] == 0
    assert not any(image[462:478])


@pytest.mark.parametrize("model, words", [
    (b"", "no GGUF file"),
    (b"GGU", "no GGUF file"),
    (b"PK\x03\x04" + bytes(100), "no GGUF file"),
    (b"FUGG" + bytes(100), "no GGUF file"),
    (b"GGUF" + struct.pack("<I", 1) + bytes(100), "version 1"),
    (b"GGUF" + struct.pack(">I", 3) + bytes(100), "version 50331648"),
], ids=["empty", "cut", "zip", "reversed", "version1", "big-endian"])
def test_what_is_no_gguf_is_refused(builder, model, words):
    builder.files["model"] = model
    assert words in builder.refused()


@pytest.mark.parametrize("options, words", [
    ("jit", "'jit' is not of the form key=value"),
    ("=x", "'=x' is not of the form key=value"),
    ("a=b\nc=d", "on one line"),
    ("name=gr\u00fc\u00dfe", "plain ASCII"),
    ("k=" + "v" * 510, "512 bytes; there is room for 511"),
])
def test_malformed_options_are_refused(builder, options, words):
    assert words in builder.refused("--options", options)


def test_longest_options_fit(builder):
    header, _ = header_of(builder.build("--options", "k=" + "v" * 509))
    assert header["options_len"] == 511


@pytest.mark.parametrize("kernel, words", [
    (b"#!/bin/sh\n", "no 64-bit little-endian ELF"),
    (make_elf([]), "nothing to load"),
    (make_elf([(0x100000, TEXT, 500)])[:150], "cut off"),
    (make_elf([(0x100000, TEXT, 500)])[:80], "cut off"),
    (make_elf([(0x7C00, TEXT, 500)], entry=0x7C00), "between 1 MiB and 4 GiB"),
    (make_elf([(0x100000, TEXT, 500)], entry=0x200000), "entry is outside"),
    (make_elf([(0x100000, TEXT, 500), (0x800000, DATA, 5000)]), "larger than 4 MiB"),
], ids=["script", "empty", "segment-cut", "headers-cut", "low", "entry", "sprawling"])
def test_bad_kernels_are_refused(builder, kernel, words):
    builder.files["kernel"] = kernel
    assert words in builder.refused()


def test_bad_stages_are_refused(builder):
    good = builder.files["stage1"]
    builder.files["stage1"] = good[:-2] + b"\0\0"
    assert "no boot sector" in builder.refused()
    builder.files["stage1"] = good[:450] + b"\1" + good[451:]
    assert "partition table" in builder.refused()
    builder.files["stage1"] = good
    builder.files["stage2"] = bytes(7681)
    assert "longer than 15 sectors" in builder.refused()


def test_missing_files_are_named(builder):
    done = builder.run("--kernel", "nowhere.elf")
    assert done.returncode == 1
    assert "cannot read the kernel nowhere.elf: No such file" in done.stderr


def test_wrong_use(builder):
    done = builder.run("--no-model")
    assert done.returncode == 2
