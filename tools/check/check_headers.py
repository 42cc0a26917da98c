#!/usr/bin/env python3
"""Every header compiles alone, in each build that it belongs to.

usage: tools/check/check_headers.py [--root DIR] [--all]

A header belongs to the metal build, the hosted build or both by its name (_metal, _hosted, metal/,
hosted/); what lies in tests/ is compiled with the flags of the tests, what lies in tools/ with the
hosted ones. Flags and lists of sources are the Makefile's. A header that a .cpp of the same build
includes before anything else is compiled alone by the build itself; --all compiles those too.

Text that is compiled once per target is no header: it is named _inl.h. Such a file must be
included, directly or through another _inl.h, by a .cpp, and by no real header; nothing but a .h is
named so. What passed is remembered in build/check/ by the contents of all that it includes.
Prints file:line: message, exits 1.
"""
import concurrent.futures
import os
import pathlib
import re
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import cpp_scan  # noqa: E402
import house  # noqa: E402

COMPILER = "clang++-19"
INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]*"([^"\n]+)"', re.M)
FIRST_LINE = re.compile(r'\s*#[ \t]*include[ \t]*"([^"\n]+)"')
COMMENT = re.compile(r"//[^\n]*|/\*.*?\*/", re.S)


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
                first = FIRST_LINE.match(COMMENT.sub("", house.read(root, source)))
                if first:
                    found.add((first[1], build))
    return found


def inl_offences(names, includes):
    """Offences of the files named _inl: who includes them. `includes`: {file: included files}"""
    offences, reached = [], set()
    todo = [name for name in names if name.endswith(".cpp")]
    while todo:
        for name in includes[todo.pop()]:
            if is_inl(name) and name in includes and name not in reached:
                reached.add(name)
                todo.append(name)
    for name in names:
        if is_inl(name) and not name.endswith(".h"):
            offences.append((name, 1, "_inl names text that is compiled once per target: an _inl.h"))
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
    includes = {name: INCLUDE.findall(COMMENT.sub("", house.read(root, name))) for name in cpp}
    for name in names:
        includes.setdefault(name, [])
    offences = inl_offences(names, includes)
    facts = house.build_facts(root)
    by_the_build = set() if arguments.all else compiled_by_the_build(root, facts)
    passed = house.Passed(root, "headers")
    flags, todo = {}, []
    for build in ("metal", "hosted", "test"):
        flags[build] = [flag for flag in facts[f"{build} flags"] if flag not in ("-MMD", "-MP")]
        digests = house.Digests(root, flags[build])
        for name in cpp:
            if not name.endswith(".h") or is_inl(name) or build not in builds_of(name):
                continue
            if (name, build) not in by_the_build:
                digest = digests.of(name)
                if not passed.has(digest):
                    todo.append((name, build, digest))
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        results = pool.map(lambda one: compile_alone(root, one[0], flags[one[1]]), todo)
        for (name, build, digest), result in zip(todo, results):
            if result is None:
                passed.add(digest)
            else:
                offences.append((name, result[0], f"alone, {build}: {result[1]}; mend it, or name "
                                 "it _inl.h if it is text compiled once per target"))
    passed.save()
    headers = sum(name.endswith(".h") and not is_inl(name) for name in cpp)
    return house.report("headers", headers, offences)


house.run(main)
