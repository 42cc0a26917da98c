#!/usr/bin/env python3
"""Writes compile_commands.json for clangd.

usage: tools/check/compile_database.py [--root DIR] [--output FILE]

Each .cpp and .h of ours has one entry, with the flags of one build from the Makefile. A file that
only the metal build has is compiled for metal, a test as a test, and everything else hosted.
Text that is compiled once per target (_inl.h) has no entry: it means nothing alone.
"""
import json
import pathlib

import house

COMPILER = "clang++-19"
# Flags that an editor does not need: files beside the output, names of folders in it. Without
# -Werror a warning stays a warning: while somebody types a line, much is unused.
LEFT_OUT = ("-MMD", "-MP", "-ffile-prefix-map", "-Werror")


def build_of(name, facts):
    """The build, as the Makefile's facts name them, that a source is shown in."""
    if name.startswith(("tests/unit/", "tests/fakes/")):
        return "test"
    if name in facts["metal sources"] and name not in facts["hosted sources"]:
        return "metal"
    if name.endswith(".h") and house.world_of(name) == "metal":
        return "metal"
    return "hosted"


def entries(root):
    """Yields the entries of the database, one a source."""
    facts = house.build_facts(root)
    for name in house.sources(root, (".cpp", ".h")):
        if name.endswith("_inl.h"):
            continue
        flags = [flag for flag in facts[f"{build_of(name, facts)} flags"]
                 if not flag.startswith(LEFT_OUT)]
        language = ["-x", "c++-header"] if name.endswith(".h") else []
        yield {"directory": str(root), "file": name,
               "arguments": [COMPILER, *flags, *language, "-c", name]}


def main():
    arguments = house.arguments(__doc__, ("--output", {"type": pathlib.Path}))
    root = arguments.root.resolve()
    output = arguments.output or root / "compile_commands.json"
    found = list(entries(root))
    output.write_text(json.dumps(found, indent=1) + "\n")
    print(f"{output.name}: {len(found)} sources")
    return 0


if __name__ == "__main__":
    house.run(main)
