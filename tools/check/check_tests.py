#!/usr/bin/env python3
"""Every source of the program has a unit test of its name, or a line that says what tests it.

usage: tools/check/check_tests.py [--root DIR]

Each .cpp outside tests/, tools/ and third_party/ has a test tests/unit/.../<name>_test.cpp, where
<name> leaves out _metal and _hosted. If sources of one name lie in several folders, each has a test
of its own: the test's folder below tests/unit/ is the end of the source's folder. So
kernels/avx2/gemv_test.cpp tests compute/kernels/avx2/gemv.cpp.

A source without a test of its name stands in tools/check/tests_elsewhere.txt: path, reason. The
reason names what tests it. Every ..._test.cpp, ..._fuzz.cpp and test_....py in it must be there.
Prints file:line: message, exits 1.
"""
import collections
import pathlib
import re

import house

ELSEWHERE = "tools/check/tests_elsewhere.txt"
NOT_THE_PROGRAM = ("tests/", "tools/", "third_party/")
UNIT = "tests/unit/"
SUFFIX = "_test.cpp"
NAMED = re.compile(r"\b(?:\w+_(?:test|fuzz)\.cpp|test_\w+\.py)\b")


def room(name):
    """Folders of a file, without metal/ and hosted/, which only name a build."""
    return [part for part in pathlib.PurePosixPath(name).parts[:-1]
            if part not in ("metal", "hosted")]


def tested(name, rooms_of_tests, rooms_of_sources):
    """Has this source a test of its name? Both {name without ending: its folders}."""
    stem = house.plain_stem(name)
    if len(rooms_of_sources[stem]) == 1:
        return stem in rooms_of_tests
    here = room(name)
    return any(here[-len(there):] == there for there in rooms_of_tests[stem] if there)


def main():
    root = house.arguments(__doc__).root
    tracked = house.tracked(root)
    names = [name for name in tracked
             if name.endswith(".cpp") and not name.startswith(NOT_THE_PROGRAM)]
    if not names:
        raise house.Failure(f"git names no sources in {root}")
    rooms_of_sources = collections.defaultdict(set)
    for name in names:
        rooms_of_sources[house.plain_stem(name)].add(tuple(room(name)))
    rooms_of_tests = collections.defaultdict(list)
    for name in tracked:
        if name.startswith(UNIT) and name.endswith(SUFFIX):
            stem = pathlib.PurePosixPath(name).name.removesuffix(SUFFIX)
            rooms_of_tests[stem].append(room(name.removeprefix(UNIT)))
    elsewhere = house.Exceptions(root, ELSEWHERE, 1)
    offences = [(name, 1, f"no {UNIT}.../{house.plain_stem(name)}{SUFFIX}, "
                 f"and no line in {ELSEWHERE}")
                for name in names if not tested(name, rooms_of_tests, rooms_of_sources)
                and not elsewhere.allows(name)]
    in_tests = {pathlib.PurePosixPath(name).name for name in tracked if name.startswith("tests/")}
    offences += [(ELSEWHERE, elsewhere.lines[key], f"there is no {test} in tests/")
                 for key, reason in elsewhere.reasons.items()
                 for test in NAMED.findall(reason) if test not in in_tests]
    return house.report("tests", len(names), offences + elsewhere.outdated())


if __name__ == "__main__":
    house.run(main)
