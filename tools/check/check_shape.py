#!/usr/bin/env python3
"""No function, file or class is too large to be read at once.

usage: tools/check/check_shape.py [--root DIR] [--list N]

A function of C++ or Python has at most 70 lines, a source file 800, and a class of C++ 20 data
members. A C++ function counts from its first word to its last brace, with the lambdas in it; a test
is a function too. Static members do not count; members of an anonymous union do.

What must be larger stands in tools/check/shape_exceptions.txt: kind (function, file, class), path,
name (- for a file), reason. If a Python file is data in the shape of functions, one line of the
kind "data" stands for all of them.
Prints file:line: message, exits 1. --list N prints the N largest of each kind instead.
"""
import ast

import cpp_scan
import house

EXCEPTIONS = "tools/check/shape_exceptions.txt"
LIMITS = {"function": 70, "file": 800, "class": 20}
UNITS = {"function": "lines", "file": "lines", "class": "data members"}


def python_functions(text):
    """[(name, first line, lines)]; none if the text is no Python."""
    try:
        tree = ast.parse(text)
    except SyntaxError:
        return []
    return [(node.name, node.lineno, node.end_lineno - node.lineno + 1) for node in ast.walk(tree)
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))]


def sizes(root, names):
    """[(kind, path, name, line, size)] of every file, function and class."""
    found = []
    for path in names:
        text = house.read(root, path)
        found.append(("file", path, "-", 1, text.count("\n")))
        if path.endswith(".py"):
            found += [("function", path, name, line, lines)
                      for name, line, lines in python_functions(text)]
        elif path.endswith((".cpp", ".h")):
            scan = cpp_scan.scan(text)
            found += [("function", path, function.name.replace(" ", "_"), function.first,
                       function.lines) for function in scan.functions]
            found += [("class", path, one.name, one.line, len(one.members)) for one in scan.classes]
    return found


def main():
    arguments = house.arguments(__doc__, ("--list", {"type": int, "metavar": "N"}))
    names = house.sources(arguments.root)
    found = sizes(arguments.root, names)
    if arguments.list is not None:
        for kind in LIMITS:
            largest = sorted((one for one in found if one[0] == kind), key=lambda one: -one[4])
            for _, path, name, line, size in largest[:arguments.list]:
                print(f"{kind} {size} {UNITS[kind]}: {name} {path}:{line}")
        return 0
    exceptions = house.Exceptions(arguments.root, EXCEPTIONS, 3)
    offences = []
    for kind, path, name, line, size in found:
        if size <= LIMITS[kind] or exceptions.allows(kind, path, name):
            continue
        if kind == "function" and path.endswith(".py") and exceptions.allows("data", path, "-"):
            continue
        unit, most = UNITS[kind], LIMITS[kind]
        offences.append((path, line, f"{kind} {name}: {size} {unit}; at most {most}"))
    return house.report("shape", len(names), offences + exceptions.outdated())


if __name__ == "__main__":
    house.run(main)
