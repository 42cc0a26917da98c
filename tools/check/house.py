"""What the checks of this folder share: files, exceptions, the report, and the Makefile's facts.

A check is a script whose main() collects offences, as (file, line, message), and returns what
report() returns. Its docstring is its --help. It starts with house.run(main), which turns a Failure
into one line on standard error.
"""
import argparse
import pathlib
import re
import shlex
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
SOURCE_SUFFIXES = (".cpp", ".h", ".inc", ".asm", ".py", ".sh")


class Failure(Exception):
    """The check cannot be done at all. The text is for the user."""


def git(root, *arguments, stdin=None):
    """What git prints, as bytes."""
    try:
        return subprocess.run(["git", "-C", str(root), *arguments], check=True, input=stdin,
                              capture_output=True).stdout
    except (OSError, subprocess.CalledProcessError) as error:
        raise Failure(f"git cannot list the files of {root}: {error}") from None


def listed(root, *options):
    """Names that `git ls-files` gives, without files that were deleted."""
    # A file in the middle of a merge is listed several times.
    names = set(git(root, "ls-files", "-z", *options).decode().split("\0")) - {""}
    return sorted(name for name in names if (root / name).is_file())


def tracked(root):
    """Names of the files that git tracks."""
    return listed(root)


def sources(root, suffixes=SOURCE_SUFFIXES):
    """Names of our sources, which lie outside third_party/. New files count, tracked or not."""
    names = [name for name in listed(root, "--cached", "--others", "--exclude-standard")
             if name.endswith(tuple(suffixes)) and not name.startswith("third_party/")]
    if not names:
        raise Failure(f"git names no sources in {root}")
    return names


def read(root, name):
    """The text of a file; bytes that are no UTF-8 become replacement characters."""
    return (root / name).read_text(encoding="utf-8", errors="replace")


def world_of(name):
    """'metal', 'hosted' or 'both': the builds that a C++ file belongs to, by its name."""
    folders, _, file = ("/" + name).rpartition("/")
    stem = re.sub(r"_inl$", "", file.rpartition(".")[0])
    for world in ("metal", "hosted"):
        if stem.endswith("_" + world) or f"/{world}/" in folders + "/":
            return world
    return "both"


def plain_stem(name):
    """The file's name without its ending and without _metal, _hosted and _inl."""
    stem = pathlib.PurePosixPath(name).stem
    return re.sub(r"(_inl|_metal|_hosted)+$", "", stem)


class Exceptions:
    """A file of exceptions. Each line is a key of `fields` words, and a reason.

    Blank lines and lines that begin with # say nothing. A line that no offence needs is an offence
    itself: outdated() names it, after allows() was asked about everything.
    """

    def __init__(self, root, name, fields):
        self.name = name
        self.lines = {}  # key: number of its line
        self.reasons = {}  # key: its reason
        self.used = set()
        self.offences = []
        path = root / name
        text = path.read_text() if path.is_file() else ""
        for number, line in enumerate(text.split("\n"), 1):
            if not line.strip() or line.startswith("#"):
                continue
            words = line.split(None, fields)
            if len(words) <= fields:
                self.offences.append((name, number, "an exception without a reason"))
            elif tuple(words[:fields]) in self.lines:
                self.offences.append((name, number, "the same exception again"))
            else:
                self.lines[tuple(words[:fields])] = number
                self.reasons[tuple(words[:fields])] = words[fields]

    def allows(self, *key):
        """Does the file make an exception for this key?"""
        if key not in self.lines:
            return False
        self.used.add(key)
        return True

    def outdated(self):
        """Offences of the list itself."""
        return self.offences + [
            (self.name, number, f"'{' '.join(key)}' needs no exception; delete the line")
            for key, number in self.lines.items() if key not in self.used]


def report(title, count, offences):
    """Prints the offences and a summary of `count` files; returns the exit status."""
    for name, line, message in sorted(offences):
        print(f"{name}:{line}: {message}")
    print(f"{title}: {count} files, {len(offences)} offences")
    return 1 if offences else 0


def arguments(doc, *options):
    """Parses --root and the given (name, keywords) options. `doc` is the text of --help."""
    parser = argparse.ArgumentParser(description=doc,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=pathlib.Path, default=ROOT)
    for name, keywords in options:
        parser.add_argument(name, **keywords)
    return parser.parse_args()


def run(main):
    """Runs a check's main() and exits with its status, or with 1 and the reason of a Failure."""
    try:
        sys.exit(main())
    except Failure as failure:
        print(f"{pathlib.Path(sys.argv[0]).stem}: {failure}", file=sys.stderr)
        sys.exit(1)


def build_facts(root):
    """How the Makefile compiles each build: {"metal flags": [words], "metal sources": ...}."""
    done = subprocess.run(["make", "-s", "--no-print-directory", "-C", str(root), "print-build"],
                          capture_output=True, text=True)
    if done.returncode != 0:
        raise Failure(f"make print-build: {done.stderr.strip()}")
    facts = {}
    for line in done.stdout.splitlines():
        key, colon, words = line.partition(": ")
        if colon:
            facts[key] = shlex.split(words)
    return facts
