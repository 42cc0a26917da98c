#!/usr/bin/env python3
"""Every header compiles alone, in each build that it belongs to.

usage: tools/check/check_headers.py [--root DIR] [--all]

The name of a header says its build: metal (_metal, metal/), hosted (_hosted, hosted/) or both.
Headers in tests/ are compiled with the flags of the tests, headers in tools/ with the hosted ones.
The Makefile gives the flags and the lists of sources. If a .cpp of a build includes a header before
anything else, that build has compiled the header alone, so this check leaves it out; --all
compiles those headers too.

Text that is compiled once per target is no header, and its file is named _inl.h. A .cpp must
include such a file, directly or through another _inl.h, and no real header may. Only a .h may be
named so. build/check/ remembers the headers that passed, by the contents of all that they include.
Prints file:line: message, exits 1.
"""
import concurrent.futures
import os
import pathlib
import re
import subprocess

import cpp_scan
import house
import passed

COMPILER = "clang++-19"


def is_inl(name):
    return pathlib.PurePosixPath(name).stem.endswith("_inl")


def builds_of(name):
    """The builds, as the Makefile's facts name them, that a header belongs to."""
    if name.startswith("tests/"):
        return ("test",)
    if name.startswith("tools/"):
        return ("hosted",)
    world = house.world_of(name)
    return ("metal", "hosted") if world == "both" else (world,)


def compiled_by_the_build(root, facts):
    """{(header, build)} of the headers that a source of the build includes first."""
    found = set()
    for build in ("metal", "hosted"):
        for source in facts.get(f"{build} sources", []):
            if (root / source).is_file():
                text = cpp_scan.uncommented(house.read(root, source)).lstrip()
                first = cpp_scan.INCLUDE.match(text)
                if first and first["quote"] == '"':
                    found.add((first["name"], build))
    return found


def inl_offences(names, includes):
    """Offences against the rules about _inl.h. `includes`: {file: the files that it includes}"""
    offences, reached = [], set()
    todo = [name for name in names if name.endswith(".cpp")]
    while todo:
        for name in includes[todo.pop()]:
            if is_inl(name) and name in includes and name not in reached:
                reached.add(name)
                todo.append(name)
    for name in names:
        if is_inl(name) and not name.endswith(".h"):
            offences.append((name, 1, "_inl names text that is compiled once per target: "
                             "an _inl.h"))
        elif is_inl(name) and name not in reached:
            offences.append((name, 1, "no .cpp includes this"))
        elif name.endswith(".h") and not is_inl(name):
            offences += [(name, 1, f"a header includes {other}, which is compiled once per target: "
                          "name this _inl.h too, or include that in the .cpp")
                         for other in includes[name] if is_inl(other)]
    return offences


def compile_alone(root, header, flags):
    """None, or (line, message) of the first error."""
    command = [COMPILER, *flags, "-fsyntax-only", "-fno-color-diagnostics", "-x", "c++", "-"]
    done = subprocess.run(command, cwd=root, input=f'#include "{header}"\n', text=True,
                          capture_output=True)
    if done.returncode == 0:
        return None
    match = re.search(r"^(\S+?):(\d+):\d+: (?:fatal )?error: (.*)$", done.stderr, re.M)
    if not match:
        return 1, done.stderr.strip().split("\n")[0]
    where = "" if match[1].removeprefix("./") == header else f"{match[1]}:{match[2]}: "
    return 1 if where else int(match[2]), where + match[3]


def main():
    arguments = house.arguments(__doc__, ("--all", {"action": "store_true"}))
    root = arguments.root.resolve()
    names = house.sources(root, (".cpp", ".h", ".inc", ".asm"))
    cpp = [name for name in names if name.endswith((".cpp", ".h"))]
    includes = {name: cpp_scan.includes(house.read(root, name)) for name in cpp}
    for name in names:
        includes.setdefault(name, [])
    offences = inl_offences(names, includes)
    facts = house.build_facts(root)
    by_the_build = set() if arguments.all else compiled_by_the_build(root, facts)
    kept = passed.Passed(root, "headers")
    flags, todo = {}, []
    for build in ("metal", "hosted", "test"):
        flags[build] = [flag for flag in facts[f"{build} flags"] if flag not in ("-MMD", "-MP")]
        digests = passed.Digests(root, flags[build])
        for name in cpp:
            if not name.endswith(".h") or is_inl(name) or build not in builds_of(name):
                continue
            if (name, build) not in by_the_build:
                digest = digests.of(name)
                if not kept.has(digest):
                    todo.append((name, build, digest))
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        results = pool.map(lambda one: compile_alone(root, one[0], flags[one[1]]), todo)
        for (name, build, digest), result in zip(todo, results):
            if result is None:
                kept.add(digest)
            else:
                offences.append((name, result[0], f"alone, {build}: {result[1]}; mend it, or name "
                                 "it _inl.h if it is text compiled once per target"))
    kept.save()
    headers = sum(name.endswith(".h") and not is_inl(name) for name in cpp)
    return house.report("headers", headers, offences)


if __name__ == "__main__":
    house.run(main)
