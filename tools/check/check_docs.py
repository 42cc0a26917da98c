#!/usr/bin/env python3
"""House rules for documentation, and words that no comment needs.

usage: tools/check/check_docs.py [--root DIR]

Of every tracked *.md: lines have at most 100 columns (rows of tables, code blocks and lines that a
URL makes too long are exempt); a relative link points to what is there; so does `code` that is a
path within the tree (`llama/text/token.h`, `tests/unit/`). A path that a page names though it is
not there stands in tools/check/docs_exceptions.txt: document, path, reason. Of every C++ source: no comment says "so
many", "so few", "so long", "of late" or "who" + "ever": it names the quantity, the time or the one.
Prints file:line: message, exits 1.
"""
import pathlib
import re
import sys
import urllib.parse

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import house  # noqa: E402

EXCEPTIONS = "tools/check/docs_exceptions.txt"
COLUMNS = 100
URL = re.compile(r"<?\bhttps?://[^\s)>]+>?")
LINK = re.compile(r"!?\[[^\]]*\]\(<?([^()\s>]+)>?(?:\s+\"[^\"]*\")?\)")
CODE = re.compile(r"(`+)(.+?)\1")
PATH = re.compile(r"[\w.-]+(?:/[\w.-]+)*/?")
FILE_ENDINGS = (".h", ".cpp", ".asm", ".inc", ".ld", ".py", ".sh", ".md", ".txt", ".tsv", ".mk")
# Written so that this file says none of them itself.
WORDS = re.compile(r"//.*\b(so (?:many|long|few)|of la" r"te|who" r"ever)\b")


def prose(text):
    """(line number, line) of what is outside of code blocks."""
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
    return any((folder / path).exists() for folder in (root, (root / document).parent))


def names_a_path(code, rooms):
    """Is this text in code the name of a file or folder of the tree?"""
    if not PATH.fullmatch(code) or code.split("/")[0] not in rooms:
        return False
    return "/" in code and (code.endswith(("/", *FILE_ENDINGS)))


def check_document(root, document, rooms, exceptions):
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
    comments = [name for name in names if name.endswith((".cpp", ".h"))
                and not name.startswith("third_party/")]
    for name in comments:
        for number, line in enumerate(house.read(root, name).split("\n"), 1):
            word = WORDS.search(line)
            if word:
                offences.append((name, number, f"'{word[1]}': say how many, when or who"))
    return house.report("docs", len(documents) + len(comments), offences + exceptions.outdated())


house.run(main)
