#!/usr/bin/env python3
"""Runs clang-tidy-19 over the sources of the hosted program, as .clang-tidy says.

usage: tools/check/check_lint.py [--root DIR] [FILE ...]

Without FILE it looks at every .cpp of the hosted program, several at a time, and at the headers
that they include. build/check/ remembers the sources that passed, by the contents of all that they
include, by the flags and by .clang-tidy. A source is looked at again when one of these has changed.
Prints file:line: message, exits 1.
"""
import concurrent.futures
import os
import pathlib
import re
import subprocess

import house
import passed

TIDY = "clang-tidy-19"
SAID = re.compile(r"^(\S+?):(\d+):\d+: (?:warning|(?:fatal )?error): (.*)$", re.M)
# Flags that do not change what a source means, and one that clang-tidy does not know.
LEFT_OUT = ("-MMD", "-MP", "-g", "-ffile-prefix-map")


def lint(root, name, flags):
    """Offences of one source and the headers that it includes: {(file, line, message)}"""
    command = [TIDY, "--quiet", name, "--", *flags]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True)
    found = set()
    for file, line, message in SAID.findall(done.stdout):
        path = pathlib.Path(os.path.normpath(root / file))
        if path.is_relative_to(root):  # we do not mend system headers
            found.add((path.relative_to(root).as_posix(), int(line), message))
    if done.returncode != 0 and not found:
        # It failed without a word about our files: that is no pass.
        said = SAID.search(done.stdout)
        found.add((name, 1, f"{TIDY}: {said[0] if said else (done.stderr or done.stdout).strip()}"))
    return found


def main():
    arguments = house.arguments(__doc__, ("files", {"nargs": "*", "metavar": "FILE"}))
    root = arguments.root.resolve()
    facts = house.build_facts(root)
    flags = [flag for flag in facts["hosted flags"] if not flag.startswith(LEFT_OUT)]
    names = arguments.files or sorted(set(facts["hosted sources"]))
    digests = passed.Digests(root, flags, (root / ".clang-tidy").read_bytes())
    kept = passed.Passed(root, "lint")
    todo = [(name, digest) for name in names if not kept.has(digest := digests.of(name))]
    # The longest first: a long one that starts last would run alone at the end.
    todo.sort(key=lambda one: -(root / one[0]).stat().st_size)
    offences = set()
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        results = pool.map(lambda one: lint(root, one[0], flags), todo)
        for (name, digest), found in zip(todo, results):
            offences |= found
            if not found:
                kept.add(digest)
    if not arguments.files:
        kept.save()
    return house.report("lint", len(names), offences)


if __name__ == "__main__":
    house.run(main)
