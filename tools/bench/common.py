"""What every part needs: paths, facts about the machine, progress, and commands as text."""
import contextlib
import os
import platform
import re
import statistics
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
BUILD = Path(os.environ.get("BAREFLOW_BUILD", ROOT / "build"))
HOSTED = BUILD / "hosted/bareflow"
IMAGE = BUILD / "fluid_llama.img"
DEFAULT_MODEL = ROOT / "models/stories.gguf"
FILES = BUILD / "bench-models"

STARTED = time.monotonic()


class BenchError(Exception):
    """A measurement cannot be made. The text is one sentence for people."""


def progress(text):
    print(f"[{time.monotonic() - STARTED:6.1f} s] {text}", file=sys.stderr, flush=True)


def check_time(args):
    """Called before every row: after --minutes, the rows that were not measured are left out."""
    if args.minutes and time.monotonic() - STARTED > args.minutes * 60:
        raise BenchError(f"the {args.minutes} minutes were over (--minutes)")


def here(text):
    """A command or path, relative to the project's folder."""
    return str(text).replace(f"{ROOT}/", "")


def shown(command):
    return here(" ".join(str(word) for word in command))


def median(values):
    values = [v for v in values if v is not None]
    return statistics.median(values) if values else None


def ratio(one, other):
    return one / other if one and other else None


def rounded(value, digits=2):
    return None if value is None else round(value, digits)


def git(*arguments):
    done = subprocess.run(["git", "-C", str(ROOT), *arguments], capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else ""


def machine():
    cpuinfo = Path("/proc/cpuinfo").read_text()
    name = re.search(r"^model name\s*:\s*(.*)$", cpuinfo, re.MULTILINE)
    flags = re.search(r"^flags\s*:\s*(.*)$", cpuinfo, re.MULTILINE)
    flags = flags[1].split() if flags else []
    memory = re.search(r"^MemTotal:\s*(\d+)", Path("/proc/meminfo").read_text(), re.MULTILINE)
    qemu = ""
    with contextlib.suppress(OSError):
        qemu = subprocess.run(["qemu-system-x86_64", "--version"], capture_output=True, text=True,
                              check=False).stdout.partition("\n")[0]
    commit = git("rev-parse", "--short", "HEAD")
    if commit and git("status", "--porcelain", "--untracked-files=no"):
        commit += " with changes"
    return {"processor": name[1] if name else platform.processor(), "cores": os.cpu_count(),
            "sets": " ".join(f for f in flags if re.match(r"avx|amx|ssse3|f16c|fma", f)),
            "memory_mib": int(memory[1]) // 1024 if memory else None,
            "system": platform.platform(), "qemu": qemu or "none", "accelerator": "tcg",
            "commit": commit or "unknown", "date": time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime()),
            "load_average": os.getloadavg()[0]}


_settings = None


def knows(setting):
    """Does the program in build/ have this setting? An older one may not."""
    global _settings
    if _settings is None:
        text = subprocess.run([str(HOSTED), "--help"], capture_output=True, text=True, check=True).stdout
        _settings = set(re.findall(r"^ +([a-z_.]+)=", text, re.MULTILINE))
    return setting in _settings


def known(settings):
    """Settings as `key=value` words, without those that the program in build/ does not have."""
    return [f"{key}={value}" for key, value in settings.items() if value is not None and knows(key)]
