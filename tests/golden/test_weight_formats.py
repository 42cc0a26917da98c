"""The table of weight formats stands once in each language: compute/numbers/weight_formats.h for
C++, tools/gguf/gguf_format.py for Python. Both say the same, and what the PyPI package `gguf` says
(in build/venv, so as a process of its own). The C++ table is printed by a program of a few lines
that the test compiles."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
VENV_PYTHON = ROOT / "build/venv/bin/python"
sys.path.insert(0, str(ROOT / "tools/gguf"))
sys.path.insert(0, str(Path(__file__).resolve().parent))

import gguf_format  # noqa: E402
import test_dequantize  # noqa: E402

PRINT_TABLE = r"""
#include <cstdio>
#include "compute/numbers/weight_formats.h"

int main() {
    const char *before = "[";
    for (const bareflow::compute::WeightFormat &format : bareflow::compute::kWeightFormats) {
        std::printf("%s{\"id\": %u, \"name\": \"%.*s\", \"elements\": %u, \"bytes\": %u,"
                    " \"scales\": %u, \"scale_at\": %u, \"bits_per_weight\": %.17g}",
                    before, static_cast<unsigned>(format.type),
                    static_cast<int>(format.name.size()), format.name.data(),
                    format.block_elements, format.block_bytes, format.scales, format.scale_at,
                    format.bits_per_weight());
        before = ",\n";
    }
    std::printf("]\n");
}
"""
PRINT_GGUF = """
import json
import gguf
print(json.dumps({kind.name: [int(kind), *sizes]
                  for kind, sizes in gguf.GGML_QUANT_SIZES.items()}))
"""


@pytest.fixture(scope="module")
def formats(tmp_path_factory):
    folder = tmp_path_factory.mktemp("formats")
    source, program = folder / "print_table.cpp", folder / "print_table"
    source.write_text(PRINT_TABLE)
    subprocess.run(["clang++-19", "-std=c++20", "-O0", f"-I{ROOT}", str(source), "-o", str(program)],
                   check=True, timeout=120)
    done = subprocess.run([str(program)], capture_output=True, check=True, timeout=10)
    return json.loads(done.stdout)


def test_cpp_and_python_have_the_same_blocks(formats):
    assert len(formats) == 14
    for one in formats:
        assert gguf_format.TENSOR_TYPES[one["id"]] == \
            (one["name"], one["elements"], one["bytes"])
        assert one["bits_per_weight"] == 8 * one["bytes"] / one["elements"]


def test_blocks_are_those_of_gguf(formats):
    assert VENV_PYTHON.exists(), "build/venv is missing: run tools/setup/setup.sh test"
    done = subprocess.run([str(VENV_PYTHON), "-c", PRINT_GGUF], capture_output=True, check=True,
                          timeout=60)
    theirs = json.loads(done.stdout)
    for one in formats:
        assert theirs[one["name"]] == [one["id"], one["elements"], one["bytes"]]
    for number, (name, elements, size) in gguf_format.TENSOR_TYPES.items():
        # Q8_1 is never stored in a file. The package has 40 bytes for it, llama.cpp 36.
        if name in theirs and name != "Q8_1":
            assert theirs[name] == [number, elements, size]


def test_scales_lie_where_python_has_them(formats):
    blocks = {one["name"]: one for one in formats if one["scales"] != 0}
    assert blocks.keys() == test_dequantize.TYPES.keys() == gguf_format.SCALES_AT.keys()
    for name, (size, scales) in test_dequantize.TYPES.items():
        one = blocks[name]
        assert one["bytes"] == size
        assert [one["scale_at"] + 2 * i for i in range(one["scales"])] == scales
        assert list(gguf_format.SCALES_AT[name]) == scales
