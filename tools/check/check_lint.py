#!/usr/bin/env python3
"""Runs clang-tidy-19 over the sources of the hosted program, as .clang-tidy says.

usage: tools/check/check_lint.py [--root DIR] [FILE ...]

Without FILE: every .cpp that the hosted program is made of, several at a time, and with them the
headers that they include. What passed is remembered in build/check/ by the contents of all that it
includes, by flags and by .clang-tidy, so that only what has changed is looked at again.
Prints file:line: message, exits 1.
"""
import concurrent.futures
import os
import pathlib
import re
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import house  # noqa: E402

TIDY = "clang-tidy-19"
SAID = re.compile(r"^(\S+?):(\d+):\d+: (?:warning|(?:fatal )?error): (.*)$", re.M)
# What says nothing about the meaning of a source, and what clang-tidy does not know.
LEFT_OUT = ("-MMD", "-MP", "-g", "-ffile-prefix-map")


def lint(root, name, flags):
    """{(file, line, message)} of one source and the headers that it includes."""
    command = [TIDY, "--quiet", name, "--", *flags]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True)
    found = set()
    for file, line, message in SAID.findall(done.stdout):
        path = pathlib.Path(os.path.normpath(root / file))
        if path.is_relative_to(root):  # system headers are not ours to mend
            found.add((path.relative_to(root).as_posix(), int(line), message))
    if done.returncode != 0 and not found and not SAID.search(done.stdout):
        found.add((name, 1, f"{TIDY}: {(done.stderr or done.stdout).strip()}"))
    return found


def main():
    arguments = house.arguments(__doc__, ("files", {"nargs": "*", "metavar": "FILE"}))
    root = arguments.root.resolve()
    facts = house.build_facts(root)
    flags = [flag for flag in facts["hosted flags"] if not flag.startswith(LEFT_OUT)]
    names = arguments.files or sorted(set(facts["hosted sources"]))
    digests = house.Digests(root, flags, (root / ".clang-tidy").read_bytes())
    passed = house.Passed(root, "lint")
    todo = [(name, digest) for name in names if not passed.has(digest := digests.of(name))]
    # The longest first, so that none of them begins when the others are done.
    todo.sort(key=lambda one: -(root / one[0]).stat().st_size)
    offences = set()
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        for (name, digest), found in zip(todo, pool.map(lambda one: lint(root, one[0], flags), todo)):
            offences |= found
            if not found:
                passed.add(digest)
    if not arguments.files:
        passed.save()
    return house.report("lint", len(names), offences)


house.run(main)
