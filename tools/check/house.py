"""What the checks of this folder share: which files are ours, lists of exceptions, the report, and
a digest of a source with everything of ours that it includes."""
import argparse
import hashlib
import os
import pathlib
import re
import shlex
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
SOURCE_SUFFIXES = (".cpp", ".h", ".asm", ".py")


class Failure(Exception):
    """The check cannot be done at all. The text is for the user."""


def tracked(root):
    """Names of the files that git tracks and that are still there."""
    try:
        listed = subprocess.run(["git", "-C", str(root), "ls-files", "-z"], check=True,
                                capture_output=True).stdout
    except (OSError, subprocess.CalledProcessError) as error:
        raise Failure(f"git cannot list the files of {root}: {error}") from None
    names = sorted(set(name.decode() for name in listed.split(b"\0") if name))
    return [name for name in names if (root / name).is_file()]


def sources(root, suffixes=SOURCE_SUFFIXES):
    """Names of the tracked sources of ours: those outside third_party/."""
    found = [name for name in tracked(root)
             if name.endswith(tuple(suffixes)) and not name.startswith("third_party/")]
    if not found:
        raise Failure(f"git names no sources in {root}")
    return found


def read(root, name):
    return (root / name).read_text(errors="replace")


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
    """A list of exceptions: lines of `fields` words and a reason. Blank lines and lines that begin
    with # say nothing. An exception that nothing needs is an offence."""

    def __init__(self, root, name, fields):
        self.name = name
        self.lines = {}  # number of the line
        self.reasons = {}
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
        if key not in self.lines:
            return False
        self.used.add(key)
        return True

    def outdated(self):
        """Offences of the list itself."""
        return self.offences + [
            (self.name, number, f"'{' '.join(key)}' needs no exception; delete the line")
            for key, number in self.lines.items() if key not in self.used]


def report(title, count, offences, what="files"):
    """Prints the offences and the summary line; returns the exit status."""
    for name, line, message in sorted(offences):
        print(f"{name}:{line}: {message}")
    print(f"{title}: {count} {what}, {len(offences)} offences")
    return 1 if offences else 0


def arguments(doc, *options):
    """Parses --root and the given (name, keywords) options."""
    parser = argparse.ArgumentParser(description=doc,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=pathlib.Path, default=ROOT)
    for name, keywords in options:
        parser.add_argument(name, **keywords)
    return parser.parse_args()


def run(main):
    """Runs a check's main(); says why when it cannot be done."""
    try:
        sys.exit(main())
    except Failure as failure:
        print(f"{pathlib.Path(sys.argv[0]).stem}: {failure}", file=sys.stderr)
        sys.exit(1)


INCLUDE = re.compile(rb'^[ \t]*#[ \t]*include[ \t]*["<]([^">\n]+)[">]', re.M)
CONTENTS = {}  # path -> (digest of the bytes, names that it includes)


def contents(path):
    if path not in CONTENTS:
        data = pathlib.Path(path).read_bytes()
        CONTENTS[path] = (hashlib.sha256(data).digest(),
                          [name.decode(errors="replace") for name in INCLUDE.findall(data)])
    return CONTENTS[path]


class Digests:
    """Digest of a file and of everything in the tree that it includes, directly or not. `flags`
    are those of the compiler: their -I, -isystem and -include count."""

    def __init__(self, root, flags, extra=b""):
        self.root = str(root)
        self.folders = [self.root]
        self.always = []
        for flag, value in zip(flags, [*flags[1:], ""]):
            if flag == "-include":
                self.always.append(self._path(value))
            elif flag in ("-isystem", "-iquote", "-I"):
                self.folders.append(self._path(value))
            elif flag.startswith("-I"):
                self.folders.append(self._path(flag[2:]))
        self.salt = hashlib.sha256("\0".join(flags).encode() + b"\0" + extra).digest()
        self.found = {}  # path -> paths of the files in the tree that it includes directly

    def _path(self, name):
        return os.path.normpath(os.path.join(self.root, name))

    def _includes(self, path):
        if path not in self.found:
            folders = dict.fromkeys([*self.folders, os.path.dirname(path)])
            self.found[path] = []
            for name in contents(path)[1]:
                there = (os.path.normpath(os.path.join(folder, name)) for folder in folders)
                self.found[path] += [one for one in there if os.path.isfile(one)][:1]
        return self.found[path]

    def of(self, name):
        todo = [self._path(name), *self.always]
        seen = set(todo)
        while todo:
            new = set(self._includes(todo.pop())) - seen
            seen |= new
            todo += new
        digest = hashlib.sha256(self.salt + name.encode())
        for path in sorted(seen):
            digest.update(os.path.relpath(path, self.root).encode() + contents(path)[0])
        return digest.hexdigest()


class Passed:
    """Digests of what passed before, in a file below build/check/. Only passes are kept."""

    def __init__(self, root, name):
        self.path = root / "build/check" / name
        self.before = set(self.path.read_text().split()) if self.path.is_file() else set()
        self.now = set()

    def has(self, digest):
        if digest in self.before:
            self.now.add(digest)
        return digest in self.now

    def add(self, digest):
        self.now.add(digest)

    def save(self):
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.write_text("".join(digest + "\n" for digest in sorted(self.now)))


def build_facts(root):
    """What the Makefile says of its builds: {"metal flags": [words], "metal sources": ...}."""
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
