#!/usr/bin/env python3
"""Checks pages for long lines, dead links and dead paths, and comments for vague words.

usage: tools/check/check_docs.py [--root DIR]

Every tracked *.md follows three rules:
  - A line has at most 100 columns. Rows of tables, code blocks and lines that only a URL makes too
    long are exempt.
  - A relative link leads to a file or folder that is there.
  - `code` that is a path of the tree (`llama/text/token.h`, `tests/unit/`) is there too. Exceptions
    stand in tools/check/docs_exceptions.txt: document, path, reason.

No comment of a C++ source, and none of a script, has the words of WORDS: "so" before "many", "few"
or "long", and two more. A comment names the quantity, the time or the actor instead.
Prints file:line: message, exits 1.
"""
import pathlib
import re
import urllib.parse

import house

EXCEPTIONS = "tools/check/docs_exceptions.txt"
COLUMNS = 100
URL = re.compile(r"<?\bhttps?://[^\s)>]+>?")
LINK = re.compile(r"!?\[[^\]]*\]\(<?([^()\s>]+)>?(?:\s+\"[^\"]*\")?\)")
CODE = re.compile(r"(`+)(.+?)\1")
PATH = re.compile(r"[\w.-]+(?:/[\w.-]+)*/?")
FILE_ENDINGS = (".h", ".cpp", ".asm", ".inc", ".ld", ".py", ".sh", ".md", ".txt", ".tsv", ".mk")
# Split, so that this file has none of them itself.
WORDS = r".*\b(so (?:many|long|few)|of la" r"te|who" r"ever)\b"
COMMENTS = {".h": re.compile("//" + WORDS), ".cpp": re.compile("//" + WORDS),
            ".py": re.compile("#" + WORDS), ".sh": re.compile("#" + WORDS)}


def prose(text):
    """(line number, line) of the lines outside code blocks."""
    fence = None
    for number, line in enumerate(text.split("\n"), 1):
        mark = re.match(r"\s*(```+|~~~+)", line)
        if mark and fence is None:
            fence = mark[1]
        elif mark and mark[1].startswith(fence) and line.strip() == mark[1]:
            fence = None
        elif fence is None:
            yield number, line


def is_there(root, document, path):
    """Is the path there, seen from the root or from the document's folder?"""
    return any((folder / path).exists() for folder in (root, (root / document).parent))


def names_a_path(code, rooms):
    """Is this text in code the name of a file or folder of the tree?"""
    if not PATH.fullmatch(code) or code.split("/")[0] not in rooms:
        return False
    return "/" in code and (code.endswith(("/", *FILE_ENDINGS)))


def check_document(root, document, rooms, exceptions):
    """Offences of one page. `rooms` are the folders of the root."""
    offences = []
    for number, line in prose(house.read(root, document)):
        if len(line) > COLUMNS and not line.lstrip().startswith("|"):
            rest = URL.sub("", line)
            if rest == line or len(rest) > COLUMNS:
                offences.append((document, number, f"{len(line)} columns; at most {COLUMNS}"))
        bare = CODE.sub("", line)
        for target in LINK.findall(bare):
            path = urllib.parse.unquote(target.split("#")[0])
            if "://" in target or target.startswith(("#", "mailto:")):
                continue
            if not ((root / document).parent / path).exists():
                offences.append((document, number, f"the link leads nowhere: {target}"))
        offences += [(document, number, f"there is no {code}") for _, code in CODE.findall(line)
                     if names_a_path(code, rooms) and not is_there(root, document, code)
                     and not exceptions.allows(document, code)]
    return offences


def main():
    root = house.arguments(__doc__).root
    names = house.tracked(root)
    documents = [name for name in names if name.endswith(".md")]
    if not documents:
        raise house.Failure(f"git names no documents in {root}")
    rooms = {name.split("/")[0] for name in names if "/" in name}
    exceptions = house.Exceptions(root, EXCEPTIONS, 2)
    offences = []
    for document in documents:
        offences += check_document(root, document, rooms, exceptions)
    sources = [name for name in names if name.endswith(tuple(COMMENTS))
               and not name.startswith("third_party/")]
    for name in sources:
        vague = COMMENTS[pathlib.PurePosixPath(name).suffix]
        for number, line in enumerate(house.read(root, name).split("\n"), 1):
            word = vague.search(line)
            if word:
                offences.append((name, number, f"'{word[1]}': say how many, when or who"))
    return house.report("docs", len(documents) + len(sources), offences + exceptions.outdated())


if __name__ == "__main__":
    house.run(main)
