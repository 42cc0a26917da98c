"""Code that is compiled for an instruction set must neither run nor be linked where it is not wanted."""
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
OBJECTS = sorted((ROOT / "build/hosted-obj/compute/kernels").glob("a*/*.cpp.o"))


@pytest.mark.parametrize("path", OBJECTS, ids=lambda path: path.name)
def test_functions_that_choose_use_no_vectors(path):
    """Any processor may ask for a kernel, so the function that names the kernel must run on any."""
    text = subprocess.run(["llvm-objdump-19", "-d", "--no-show-raw-insn", path], check=True,
                          capture_output=True, text=True).stdout
    functions = dict(re.findall(r"^[0-9a-f]+ <(\w+)>:\n(.*?)(?=^$|\Z)", text, re.M | re.S))
    chosen = {name: body for name, body in functions.items()
              if re.search(r"_(variant|matrix|float_ops)E", name)}
    assert chosen, "there is one in each"
    for name, body in chosen.items():
        assert not re.search(r"\t[vk][a-z]|%[yz]mm", body), name
    assert any(re.search(r"%ymm", body) for body in functions.values()), "nothing was read"


@pytest.mark.parametrize("path", OBJECTS, ids=lambda path: path.name)
def test_no_inline_function_leaks_out(path):
    """The linker keeps one copy of an inline function. It must not be a copy with AVX in it."""
    symbols = subprocess.run(["llvm-nm-19", path], check=True, capture_output=True, text=True).stdout
    assert not re.findall(r" [WV] (\w+)", symbols)


def test_there_are_objects():
    assert len(OBJECTS) == 10
