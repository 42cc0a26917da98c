"""Finds functions, classes and includes in C++ text without compiling it.

A declaration is read up to its ';' or '{'. The words before a '{' tell what it opens: a namespace,
an enumeration, a class, an initialiser or a function's body. Our sources have no conditional
compilation, so their braces match.
"""
import dataclasses
import re

TOKEN = re.compile(r"[A-Za-z_]\w*|\d(?:[\w.']|[eEpP][+-])*|\"\"|''"
                   r"|::|->|<=>|<<|<=|>=|==|!=|&&|\|\||\+\+|--|[^\s\w]")
BLANKED = re.compile(
    r"""(?P<comment>//(?:\\\n|[^\n])*|/\*.*?\*/)"""
    r"""|(?P<raw>\b(?:u8|[uUL])?R"(?P<tag>[^()\\\s]{0,16})\(.*?\)(?P=tag)")"""
    r"""|(?P<string>\b(?:u8|[uUL])"(?:\\.|[^"\\\n])*"|"(?:\\.|[^"\\\n])*")"""
    r"""|(?P<number>\b\d(?:[\w.']|(?<=[eEpP])[+-])*)"""
    r"""|(?P<char>'(?:\\.|[^'\\\n])+')""", re.S)
INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]*(?P<quote>["<])(?P<name>[^">\n]+)[">]', re.M)
DIRECTIVE = re.compile(r"^[ \t]*#(?:\\\n|[^\n])*", re.M)
CLASS_WORDS = ("class", "struct", "union")
TEST_MACROS = ("TEST", "TEST_F", "TEST_P", "TYPED_TEST", "TYPED_TEST_P")
ACCESS = ("public", "private", "protected")


@dataclasses.dataclass
class Function:
    name: str  # as defined, with the classes around it: Engine::State::prepare
    first: int
    last: int
    qualified: bool  # its name says its class: it is defined outside of it

    @property
    def lines(self):
        return self.last - self.first + 1


@dataclasses.dataclass
class Class:
    name: str  # with the classes around it
    line: int
    members: list  # names of the data members


@dataclasses.dataclass
class Scan:
    functions: list
    classes: list


def uncommented(text):
    """The text with a blank for each comment. Lines keep their numbers."""
    def keep_lines(match):
        return " " + "\n" * match[0].count("\n") if match["comment"] else match[0]
    return BLANKED.sub(keep_lines, text)


def includes(text):
    """Names that the text includes in quotes, in order."""
    return [match["name"] for match in INCLUDE.finditer(uncommented(text)) if match["quote"] == '"']


def blank(text):
    """The text without comments and directives; strings are "" and characters ''.

    Lines keep their numbers.
    """
    def keep_lines(match):
        lines = "\n" * match[0].count("\n")
        if match["comment"]:
            return " " + lines
        if match["number"]:
            return match[0]
        return ("''" if match["char"] else '""') + lines
    text = BLANKED.sub(keep_lines, text)
    return DIRECTIVE.sub(lambda match: "\n" * match[0].count("\n"), text)


def tokens_of(text):
    """[(token, line)]"""
    found = []
    for number, line in enumerate(blank(text).split("\n"), 1):
        found += [(match[0], number) for match in TOKEN.finditer(line)]
    return found


class _Scanner:
    """Goes through the tokens once, at `at`, and collects functions and classes."""

    def __init__(self, text):
        self.tokens = tokens_of(text)
        self.words = [token for token, _ in self.tokens]
        self.at = 0
        self.functions = []
        self.classes = []

    def closing(self, at):
        """Index of the bracket that closes the one at `at`; the end when none does."""
        depth = 0
        for i in range(at, len(self.words)):
            if self.words[i] in ("{", "(", "["):
                depth += 1
            elif self.words[i] in ("}", ")", "]"):
                depth -= 1
                if depth == 0:
                    return i
        return len(self.words) - 1

    def scope(self, names, members):
        """Reads declarations up to the '}' that ends the scope.

        `names` are those of the classes around. `members` collects the names of data members; it is
        None outside of classes.
        """
        while self.at < len(self.words):
            word = self.words[self.at]
            if word == "}":
                return
            if word == ";":
                self.at += 1
            elif word in ACCESS and self.words[self.at + 1] == ":":
                self.at += 2
            else:
                self.declaration(names, members)

    def declaration(self, names, members):
        start = self.at
        while self.at < len(self.words):
            word = self.words[self.at]
            if word in ("(", "["):
                self.at = self.closing(self.at) + 1
            elif word == ";":
                self.end(start, self.at, members)
                self.at += 1
                return
            elif word == "}":
                return  # no declaration that we know; the scope ends here
            elif word == "{":
                if self.open(start, names, members):
                    return
            else:
                self.at += 1

    def open(self, start, names, members):
        """Reads what the '{' at self.at opens. True when the declaration ends with it."""
        head = _Head(self.words[start:self.at])
        body_end = self.closing(self.at)
        if head.kind == "namespace":
            self.at += 1
            self.scope(names, None)
            self.at += 1
            return True
        if head.kind == "class":
            self.at += 1
            inner = [*names, head.name] if head.name else names
            own = []
            self.scope(inner, own)
            self.at += 1
            ends = self.at < len(self.words) and self.words[self.at] == ";"
            if head.name:
                self.classes.append(Class("::".join(inner), self.tokens[start][1], own))
            elif ends and members is not None:
                members += own  # of an anonymous union or struct
            if ends:
                self.at += 1
                return True
            # What follows are variables of the type.
            after = self.at
            while self.at < len(self.words) and self.words[self.at] not in (";", "}"):
                opens = self.words[self.at] in ("(", "[", "{")
                self.at = self.closing(self.at) + 1 if opens else self.at + 1
            if members is not None and "static" not in self.words[start:after]:
                members += _declared(["T", *self.words[after:self.at]])
            self.at += 1
            return True
        if head.kind == "function" and not head.initialises:
            qualified = "::" in head.name and not head.name.startswith("operator")
            name = "::".join([*names, head.name])
            if head.name in TEST_MACROS:
                paren = start + self.words[start:].index("(")
                name = f"{self.words[paren + 1]}.{self.words[paren + 3]}"
            self.functions.append(Function(name, self.tokens[start][1],
                                           self.tokens[body_end][1], qualified))
            self.local_classes(self.at + 1, body_end, [name])
            self.at = body_end + 1
            return True
        self.at = body_end + 1  # an enumeration or an initialiser: its ';' follows
        return False

    def local_classes(self, begin, end, names):
        """Finds the classes inside a function's body, which is tokens `begin` to `end`."""
        i = begin
        while i < end:
            if self.words[i] in CLASS_WORDS and re.match(r"[A-Za-z_]", self.words[i + 1]):
                brace = i + 2
                while brace < end and re.fullmatch(r"[\w:,]+|::|<|>", self.words[brace]):
                    brace += 1
                if self.words[brace] == "{" and self.words[brace - 1] != ">":
                    self.at = i
                    self.declaration(names, None)
                    i = self.at
                    continue
            i += 1
        self.at = end

    def end(self, start, end, members):
        """Notes the data members of a declaration that ends with the ';' at `end`."""
        if members is not None:
            members += _declared(self.words[start:end])


def _flat(words):
    """The words outside of (), [], {} and template arguments; of each bracket, only its two ends.

    An operator's name becomes one word. A '*' or '&' that comes first in parentheses is kept: it
    tells a pointer to a function from a function.
    """
    flat, depth, angle, i = [], 0, 0, 0
    while i < len(words):
        word = words[i]
        if word == "operator" and depth == 0:
            name = word
            i += 1
            if words[i:i + 2] == ["(", ")"]:
                name += "()"
                i += 2
            while i < len(words) and words[i] != "(":
                name += (" " if re.match(r"\w", words[i]) else "") + words[i]
                i += 1
            if angle == 0:
                flat.append(name)
            continue
        if word in ("(", "[", "{"):
            if depth == 0 and angle == 0:
                flat.append(word)
                if word == "(":
                    inside = words[i + 1] if i + 1 < len(words) else ""
                    flat.append("*" if inside in ("*", "&") else "")
            depth += 1
        elif word in (")", "]", "}"):
            depth -= 1
            if depth == 0 and angle == 0:
                flat.append(word)
        elif depth == 0:
            if word == "<":
                angle += 1
            elif word == ">" and angle > 0:
                angle -= 1
                if angle == 0:
                    flat.append("<>")
            elif angle == 0:
                flat.append(word)
        i += 1
    return flat


def _without_attributes(flat):
    """The words without [[...]], alignas(...), __attribute__((...)), template<> and the like."""
    kept, i = [], 0
    while i < len(flat):
        if flat[i] in ("alignas", "__attribute__", "__declspec", "decltype", "noexcept", "explicit",
                       "requires") and flat[i + 1:i + 2] == ["("]:
            if flat[i] == "decltype":
                kept.append("decltype")  # a type like any other
            i += flat[i:].index(")") + 1
        elif flat[i:i + 2] == ["[", "]"] and (not kept or kept[-1] in ("<>", ";")):
            i += 2
        elif flat[i] == "template" or (flat[i] == "<>" and i and flat[i - 1] == "template"):
            i += 1
        else:
            kept.append(flat[i])
            i += 1
    return kept


class _Head:
    """What the words before a '{' declare."""

    def __init__(self, words):
        flat = _without_attributes(_flat(words))
        self.name = ""
        self.initialises = False
        paren = flat.index("(") if "(" in flat else len(flat)
        assigned = flat.index("=") if "=" in flat else len(flat)
        if flat[:1] == ["namespace"] or flat[:2] in (["inline", "namespace"], ["extern", '""']):
            self.kind = "namespace" if paren == len(flat) else "function"
        elif "enum" in flat[:paren]:
            self.kind = "enumeration"
        elif assigned < paren:
            self.kind = "initialiser"
        elif paren < len(flat):
            self.kind = "function"
        elif any(word in flat for word in CLASS_WORDS):
            self.kind = "class"
        else:
            self.kind = "initialiser"
        if self.kind == "class":
            at = next(i for i, word in enumerate(flat) if word in CLASS_WORDS)
            name = []
            for word in flat[at + 1:]:
                starts = not name or name[-1] == "::"  # a part of the name is due here
                if word == "::" or (starts and re.match(r"[A-Za-z_]", word)):
                    name.append(word)
                elif word in ("[", "]", "<>") or word == "final":
                    continue
                else:
                    break
            self.name = "".join(name)
        elif self.kind == "function":
            self.name = _name_before(flat, paren)
            self._find_initialisers(flat, paren)

    def _find_initialisers(self, flat, paren):
        """Sets `initialises`: in `A() : a_(1), b_{2} {}` the first brace opens no body."""
        after = flat[paren:]
        if ":" not in after:
            # Our sources have neither `int x = f(), y{1}` nor `T x(1), y{2}`.
            self.initialises = "=" in after
            return
        self.initialises = bool(re.match(r"[A-Za-z_]|<>", after[-1]))


def _name_before(flat, paren):
    """The qualified name that ends before flat[paren]."""
    name = []
    for word in reversed(flat[:paren]):
        if word == "<>":
            continue
        identifier = re.match(r"[A-Za-z_]", word)
        if word in ("::", "~") or (identifier and (not name or name[-1] in ("::", "~"))):
            name.append(word)
        else:
            break
    while name and name[-1] == "::":
        name.pop()
    return "".join(reversed(name))


def _declared(words):
    """Names of the data members that a declaration in a class declares; [] for anything else."""
    flat = _without_attributes(_flat(words))
    if not flat or flat[0] in ("using", "typedef", "friend", "static_assert") or "static" in flat:
        return []
    if words[0] == "template" or any(word.startswith("operator") for word in flat):
        return []
    if flat[0] == "enum" or (flat[0] in CLASS_WORDS
                             and sum(bool(re.match(r"\w", word)) for word in flat) == 2):
        return []  # declared here, defined elsewhere
    paren = flat.index("(") if "(" in flat else len(flat)
    assigned = next((i for i, word in enumerate(flat) if word in ("=", "{")), len(flat))
    if paren < assigned and flat[paren + 1] != "*":
        return []  # a function
    if paren < assigned:
        at = words.index("(") + 1
        return [next((word for word in words[at:] if re.match(r"[A-Za-z_]", word)), "?")]
    names, current, takes = [], None, True
    for word in [*flat, ","]:
        if word == ",":
            if current:
                names.append(current)
            current, takes = None, True
        elif word in ("=", "[", "{", ":"):
            takes = False
        elif takes and re.match(r"[A-Za-z_]", word):
            current = word
    return names


def scan(text):
    """The functions and classes that are defined in the text."""
    scanner = _Scanner(text)
    while scanner.at < len(scanner.words):
        scanner.scope([], None)
        scanner.at += 1  # a '}' that closes nothing
    return Scan(scanner.functions, scanner.classes)
