#!/usr/bin/env python3
"""Every member function is defined in a file that is named after its class.

usage: tools/check/check_homes.py [--root DIR]

`Class::member` may be defined in a file
  - that defines the class itself, or
  - that has the name of the header that defines the class, or
  - that has the name of the class in snake_case.
The name may go on with more words: engine.cpp, engine_slots.cpp and engine_slots_metal.cpp are
homes of Engine, and of every class in engine.h. The name may leave out the last word of a class if
KINDS lists it: vector.cpp is a home of VectorGenerator. Folders, _metal, _hosted and _inl do not
count. Members of a class within a class belong to the outermost class. Exceptions stand in
tools/check/homes_exceptions.txt: path, class, reason.
Prints file:line: message, exits 1.
"""
import collections
import re

import cpp_scan
import house

# Last words of class names that only say what kind of thing the class is.
KINDS = ("generator",)
EXCEPTIONS = "tools/check/homes_exceptions.txt"


def snake_case(name):
    """KvCache -> kv_cache, HTTPServer -> http_server, Sha256Sum -> sha256_sum"""
    name = re.sub(r"([A-Z]+)([A-Z][a-z])", r"\1_\2", name)
    return re.sub(r"([a-z\d])([A-Z])", r"\1_\2", name).lower()


def outermost(name, classes):
    """The first part of A::B::member that is a class of ours.

    None for a function of a namespace, and for a member of a class that is not ours.
    """
    return next((part for part in name.split("::")[:-1] if part in classes), None)


def homes_of(owner, files):
    """Beginnings of the names of a class's homes. `files` are those that define the class."""
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


if __name__ == "__main__":
    house.run(main)
