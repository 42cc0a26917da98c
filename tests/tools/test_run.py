"""The parts of tools/run.py that need no machine: QEMU's command line and the state disk."""
import fcntl
import shlex
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
MAGIC = b"BAREFLOW-STATE-1"


def command(state, *more):
    """(QEMU's command, text of standard error)"""
    image = state.parent / "image"
    image.touch()
    run = subprocess.run(["/usr/bin/python3", ROOT / "tools/run.py", "--image", image, "--print-command", "--port",
                          "18499", "--state", state, *more], capture_output=True, text=True, timeout=60)
    assert run.returncode == 0, run.stderr
    return run.stdout, run.stderr


@pytest.mark.parametrize("kind, where", [("ide", "if=ide,index=2"), ("virtio", "if=virtio")])
def test_a_state_disk_is_made_once(tmp_path, kind, where):
    state = tmp_path / "new" / "state.img"
    state.parent.mkdir()
    line, _ = command(state, "--state-disk", kind)
    assert f"file={state},format=raw,{where}" in line
    empty = state.read_bytes()
    assert empty == MAGIC.ljust(64 << 10, b"\0")
    kept = MAGIC.ljust(32 << 10, b"\0") + b"x" * (32 << 10)
    state.write_bytes(kept)
    command(state)
    assert state.read_bytes() == kept
    command(state, "--fresh", "0")
    assert state.read_bytes() == kept
    command(state, "--fresh", "1")
    assert state.read_bytes() == empty


def test_another_machines_state_is_not_touched(tmp_path):
    state = tmp_path / "state.img"
    state.write_bytes(b"busy")
    with state.open("r+b") as file:
        fcntl.lockf(file, fcntl.LOCK_EX)
        line, said = command(state, "--fresh", "1")
    assert str(state) not in line
    assert "another machine's" in said
    assert state.read_bytes() == b"busy"


def test_a_path_may_have_spaces_and_commas(tmp_path):
    folder = tmp_path / "a folder, and more"
    folder.mkdir()
    model = folder / "my model.gguf"
    model.write_bytes(b"GGUF")
    line, _ = command(folder / "state.img", "--model", model)
    written = str(folder).replace(",", ",,")
    drives = [word.split(",format=raw,")[0] for word in shlex.split(line) if word.startswith("file=")]
    assert drives == [f"file={written}/image", f"file={written}/my model.gguf", f"file={written}/state.img"]
