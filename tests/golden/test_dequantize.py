"""What weights mean: the hosted program dequantises rows of every type, and the result equals that
of the PyPI package `gguf` to the last bit. `gguf` lives in build/venv (tools/setup/make_venv.sh),
so it runs as a process of its own: dequantize_with_gguf.py."""

import os
import subprocess
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]
BAREFLOW = Path(os.environ.get("BAREFLOW_HOSTED", ROOT / "build/hosted/bareflow"))
VENV_PYTHON = ROOT / "build/venv/bin/python"
GGUF_PROCESS = Path(__file__).resolve().parent / "dequantize_with_gguf.py"

# name: (bytes of a block, where its f16 scales lie)
TYPES = {
    "Q4_0": (18, [0]),
    "Q4_1": (20, [0, 2]),
    "Q5_0": (22, [0]),
    "Q5_1": (24, [0, 2]),
    "Q8_0": (34, [0]),
    "Q2_K": (84, [80, 82]),
    "Q3_K": (110, [108]),
    "Q4_K": (144, [0, 2]),
    "Q5_K": (176, [0, 2]),
    "Q6_K": (210, [208]),
    "IQ4_NL": (18, [0]),
}
BLOCKS = 3000


def random_blocks(type_name, seed):
    """Random bits, but finite scales: the bits of a NaN depend on the instruction."""
    size, scales = TYPES[type_name]
    rng = np.random.default_rng(seed)
    blocks = rng.integers(0, 256, (BLOCKS, size), dtype=np.uint8)
    for at in scales:
        scale = rng.integers(0, 0x7C00, BLOCKS, dtype=np.uint16)
        scale |= rng.integers(0, 2, BLOCKS, dtype=np.uint16) << np.uint16(15)
        scale[:2] = 0, 0x8000
        blocks[:, at:at + 2] = scale.view(np.uint8).reshape(BLOCKS, 2)
    for i, byte in enumerate((0x00, 0xFF, 0x80, 0x7F)):  # then the extreme values
        kept = [blocks[10 + i, at:at + 2].copy() for at in scales]
        blocks[10 + i] = byte
        for at, scale in zip(scales, kept):
            blocks[10 + i, at:at + 2] = scale
    return blocks


def ours(type_name, data):
    done = subprocess.run([str(BAREFLOW), "--dequantize", type_name], input=data,
                          capture_output=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return np.frombuffer(done.stdout, dtype=np.uint32)


def theirs(type_name, data):
    assert VENV_PYTHON.exists(), "build/venv is missing: run tools/setup/setup.sh test"
    done = subprocess.run([str(VENV_PYTHON), str(GGUF_PROCESS), type_name], input=data,
                          capture_output=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return np.frombuffer(done.stdout, dtype=np.uint32)


def assert_equal(type_name, data, values):
    mine, other = ours(type_name, data), theirs(type_name, data)
    assert len(mine) == len(other) == values
    differing = np.nonzero(mine != other)[0]
    assert len(differing) == 0, \
        f"{len(differing)} differ, first {differing[0]}: {mine[differing[0]]:08x} {other[differing[0]]:08x}"


@pytest.mark.parametrize("type_name", TYPES)
def test_random_blocks_mean_what_gguf_says(type_name):
    elements = 256 if type_name.endswith("_K") else 32
    blocks = random_blocks(type_name, len(type_name) + TYPES[type_name][0])
    assert_equal(type_name, blocks.tobytes(), BLOCKS * elements)


def test_every_bf16():
    assert_equal("BF16", np.arange(0x10000, dtype=np.uint16).tobytes(), 0x10000)


def test_every_f16_that_is_a_number():
    halves = np.arange(0x10000, dtype=np.uint16)
    halves = halves[~np.isnan(halves.view(np.float16))]
    assert_equal("F16", halves.tobytes(), len(halves))


def test_f32():
    values = np.random.default_rng(1).integers(0, 1 << 32, 1000, dtype=np.uint32)
    assert np.array_equal(ours("F32", values.tobytes()), values)


@pytest.mark.parametrize("arguments,data,code", [
    (["Q8_1"], b"", 2), (["nothing"], b"", 2), ([], b"", 2), (["Q4_K", "Q4_K"], b"", 2),
    (["Q4_K"], bytes(145), 1)])
def test_what_is_no_type_or_no_whole_block(arguments, data, code):
    done = subprocess.run([str(BAREFLOW), "--dequantize", *arguments], input=data,
                          capture_output=True, timeout=60)
    assert done.returncode == code and done.stderr
