"""The Makefile, in a copy of the tree whose folder has a space in its name."""
import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
PARTS = ("api", "appliance", "boot", "compute", "drivers", "http", "kernel_lib", "llama", "models", "net", "status",
         "tests", "third_party", "tools")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A copy of the tree with what compiling needs, as after the set-up."""
    copy = tmp_path_factory.mktemp("make") / "a folder"
    for part in PARTS:
        shutil.copytree(ROOT / part, copy / part, ignore=shutil.ignore_patterns("cache", "__pycache__"))
    shutil.copy(ROOT / "Makefile", copy)
    (copy / "build").mkdir()
    (copy / "build/.setup").touch()
    return copy


def make(folder, *goals):
    clean = {k: v for k, v in os.environ.items() if k not in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS")}
    return subprocess.run(["make", *goals], cwd=folder, env=clean, capture_output=True, text=True, timeout=300,
                          check=False)


SOURCE = "kernel_lib/base/utf8.cpp.o"


def test_a_folder_may_have_a_space_in_its_name(folder):
    objects = [f"build/{world}/{SOURCE}" for world in ("metal", "hosted-obj", "san-obj", "tsan-obj", "fuzz-obj")]
    others = [f"build/{world}/third_party/musl/src/src/math/floor.c.o" for world in ("metal", "hosted-obj")]
    others += ["build/metal/kernel_lib/cpu/interrupt_stubs.asm.o", "build/boot/stage1.bin", "build/boot/stage2.bin"]
    done = make(folder, *objects, *others)
    assert done.returncode == 0, done.stdout + done.stderr
    for name in objects + others:
        # -ffile-prefix-map gives the same bytes in any folder.
        assert str(folder).encode() not in (folder / name).read_bytes(), name
    again = make(folder, *objects, *others)
    assert again.returncode == 0 and "  metal " not in again.stdout + again.stderr, again.stdout


def test_what_is_to_be_linked_and_run_is_named_in_one_piece(folder):
    """No command of `make` for the image, the programs or the tests contains the folder's own name."""
    done = make(folder, "-n", "all", "build/hosted/unit_tests", "build/hosted/tsan_tests", "fuzzers")
    assert done.returncode == 0, done.stderr
    for line in done.stdout.splitlines():
        unquoted = "".join(line.split('"')[::2])
        assert "a folder" not in unquoted, line
