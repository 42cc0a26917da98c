"""tools/gdb/bareflow.py beside a machine that has generated code."""
import re
import shutil
import subprocess

import pytest

from conftest import ELF, ROOT
from test_optimiser_metal import boot, settled


def gdb(*commands):
    """What gdb says to these commands."""
    if shutil.which("gdb") is None:
        pytest.fail("gdb is missing; `make setup` installs it")
    line = ["gdb", "-nx", "-batch", "-x", ROOT / "tools/gdb/bareflow.py"]
    for command in commands:
        line += ["-ex", command]
    done = subprocess.run(line, capture_output=True, text=True, timeout=60, env={"PATH": "/usr/bin:/bin",
                          "BAREFLOW_ELF": str(ELF), "HOME": "/nonexistent"}, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert not done.stderr.replace("warning:", ""), done.stderr
    return done.stdout


def test_generated_code_has_names(qemu, tmp_path):
    """Names and sizes of generated kernels are those of /profile, and an address inside one is told."""
    socket = tmp_path / "gdb"
    vm = boot(qemu, "jit.warm=1 jit.hot=2 jit.very_hot=4", cpu="max")
    expected = {f"{row['name']} {row['variant']}": row["code_bytes"] for row in settled(vm)["functions"]
                if row["code_bytes"]}
    assert expected
    vm.qmp.command("human-monitor-command", **{"command-line": f"gdbserver unix:{socket},server=on,wait=off"})
    said = gdb(f"bareflow connect {socket}", "bareflow code")
    rows = re.findall(r"^(0x[0-9a-f]+) +(\d+) bytes  (.*)$", said, re.M)
    assert {name: int(size) for _, size, name in rows} == expected
    start, _, name = rows[0]
    inside = gdb(f"bareflow connect {socket}", "bareflow code", f"info symbol {int(start, 0) + 1:#x}")
    assert f"{name.replace(' ', '_')} + 1 in section" in inside


PROGRAM = """
#include <array>
#include <span>
#include "kernel_lib/base/result.h"
using namespace bareflow;
namespace bareflow {
void result_misused(std::string_view) { __builtin_abort(); }
}
void stop_here(const Result<int> &made, const Result<int> &failed, Status fine, std::span<int> list, std::string_view text) {}
int main() {
    std::array<int, 3> numbers{7, 8, 9};
    stop_here(42, Error{ErrorCode::kTimeout, "no answer"}, {}, numbers, "so it is");
}
"""


def test_values_are_readable(tmp_path):
    """What a result, a span and a text hold is printed, not how they hold it."""
    source = tmp_path / "values.cpp"
    source.write_text(PROGRAM)
    program = tmp_path / "values"
    subprocess.run(["clang++-19", "-std=c++20", "-g", "-w", "-fno-exceptions", "-I", ROOT, source, "-o", program], check=True)
    said = gdb(f"file {program}", "break stop_here", "run", "info args")
    assert "a value = {value = 42}" in said
    assert "kTimeout: no answer" in said and "= kOk" in said
    assert "std::span of length 3 = {7, 8, 9}" in said and '"so it is"' in said
