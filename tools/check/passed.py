"""Remembers what passed a check, so that the check does not look at it again.

A digest covers a source, everything of ours that it includes, and the flags of the compiler. When
one of these changes, the digest changes, and the source is checked again. Used by check_headers.py
and check_lint.py.
"""
import hashlib
import os
import pathlib
import re

INCLUDE = re.compile(rb'^[ \t]*#[ \t]*include[ \t]*["<]([^">\n]+)[">]', re.M)
CONTENTS = {}  # path -> (digest of the bytes, names that it includes)


def contents(path):
    """(digest of the file's bytes, names that it includes); each file is read once."""
    if path not in CONTENTS:
        data = pathlib.Path(path).read_bytes()
        CONTENTS[path] = (hashlib.sha256(data).digest(),
                          [name.decode(errors="replace") for name in INCLUDE.findall(data)])
    return CONTENTS[path]


class Digests:
    """Digests of files, each with everything in the tree that the file includes, directly or not.

    `flags` are the compiler's: the folders of -I and -isystem are searched, and what -include names
    belongs to every file. `extra` is any other input of the check, such as its configuration.
    """

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
            # Every file of that name counts, not only the one that the compiler finds first. A
            # digest of too many files costs one more check, a digest of too few hides an offence.
            folders = dict.fromkeys([os.path.dirname(path), *self.folders])
            names = [os.path.normpath(os.path.join(folder, name))
                     for name in contents(path)[1] for folder in folders]
            self.found[path] = [name for name in names if os.path.isfile(name)]
        return self.found[path]

    def of(self, name):
        """The digest of one file, by its name below the root."""
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
    """The digests of what passed, kept in the file build/check/<name>.

    save() writes only digests that this run asked for or added, so that old ones go away.
    """

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
