#!/usr/bin/env python3
"""Every member function is defined in a file that is named after its class.

usage: tools/check/check_homes.py [--root DIR]

`Class::member` may be defined in a file
  - that defines the class itself, or
  - whose name is that of the header that defines the class, or
  - whose name is that of the class in snake_case,
each also with more words behind: engine.cpp, engine_slots.cpp and engine_slots_metal.cpp are homes
of Engine, and of every class in engine.h. The last word of a class that says what kind of thing
it is (KINDS) may be left out: vector.cpp is a home of VectorGenerator. _metal, _hosted and _inl
count for nothing, and neither do the folders: they say which room, not which class. Members of a
class within a class belong to the outermost. What cannot follow stands in tools/check/homes_exceptions.txt: path, class, reason.
Prints file:line: message, exits 1.
"""
import collections
import pathlib
import re
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import cpp_scan  # noqa: E402
import house  # noqa: E402

KINDS = ("generator",)
EXCEPTIONS = "tools/check/homes_exceptions.txt"


def snake_case(name):
    """KvCache -> kv_cache, HTTPServer -> http_server, Sha256Sum -> sha256_sum"""
    name = re.sub(r"([A-Z]+)([A-Z][a-z])", r"\1_\2", name)
    return re.sub(r"([a-z\d])([A-Z])", r"\1_\2", name).lower()


def outermost(name, classes):
    """The first part of A::B::member that is a class of ours; None when it has none (a function of
    a namespace, or a member of somebody else's class)."""
    return next((part for part in name.split("::")[:-1] if part in classes), None)


def homes_of(owner, files):
    """First words of the names of the files that are homes of the class, defined in `files`."""
    homes = {house.plain_stem(name) for name in files if name.endswith(".h")} | {snake_case(owner)}
    for home in list(homes):
        rest, _, kind = home.rpartition("_")
        if kind in KINDS:
            homes.add(rest)
    return homes


def main():
    root = house.arguments(__doc__).root
    names = house.sources(root, (".cpp", ".h"))
    scans = {name: cpp_scan.scan(house.read(root, name)) for name in names}
    defined_in = collections.defaultdict(set)  # class -> files
    for name, scan in scans.items():
        for one in scan.classes:
            defined_in[one.name.split("::")[0]].add(name)
    exceptions = house.Exceptions(root, EXCEPTIONS, 2)
    offences = []
    for name, scan in scans.items():
        strangers = collections.defaultdict(list)  # class -> its members that are defined here
        for function in scan.functions:
            owner = outermost(function.name, defined_in) if function.qualified else None
            if owner and name not in defined_in[owner]:
                strangers[owner].append(function)
        for owner, members in strangers.items():
            homes = homes_of(owner, defined_in[owner])
            if any((house.plain_stem(name) + "_").startswith(home + "_") for home in homes):
                continue
            if not exceptions.allows(name, owner):
                offences.append((name, members[0].first, f"members of {owner}, at home in "
                                 + " or ".join(f"{home}*.cpp" for home in sorted(homes)) + ": "
                                 + ", ".join(member.name for member in members)))
    return house.report("homes", len(names), offences + exceptions.outdated())


house.run(main)
