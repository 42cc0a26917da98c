"""Teaches gdb about BareFlow: symbols, names of generated code, and readable values.

    gdb -x tools/gdb/bareflow.py       in the project's folder
    (gdb) bareflow connect             joins a machine that runs with QEMU's -s (or: connect SOCKET)
    (gdb) bareflow code                names the machine code that was generated so far
    (gdb) backtrace                    from now on shows these names, too

For the hosted program: gdb -x tools/gdb/bareflow.py --args build/hosted/bareflow --model FILE.

gdb then prints what a Result, Status, Error, string_view, span, kernel binding or slot holds;
`print /r VALUE` shows the members. Needs a gdb with Python, such as Debian's.
"""
import os
import struct
import tempfile
from pathlib import Path

import gdb

ROOT = Path(__file__).resolve().parents[2]
ELF = ROOT / "build/bareflow.elf"
BUFFERS = "'bareflow::jit::(anonymous namespace)::all_buffers'"


# ---------------------------------------------------------------- values


def text_of(view):
    """The text of a std::string_view."""
    length = int(view["_M_len"])
    return view["_M_str"].string("utf-8", "replace", length=length) if length else ""


class StringViewPrinter:
    def __init__(self, value):
        self.value = value

    def to_string(self):
        return text_of(self.value)

    def display_hint(self):
        return "string"


class SpanPrinter:
    """A std::span whose length is a run-time value: the length and the first elements."""

    MOST = 16

    def __init__(self, value):
        self.data = value["_M_ptr"]
        self.length = int(value["_M_extent"]["_M_extent_value"])

    def to_string(self):
        return f"std::span of length {self.length}"

    def children(self):
        for i in range(min(self.length, self.MOST)):
            yield f"[{i}]", self.data[i]

    def display_hint(self):
        return "array"


class ErrorPrinter:
    def __init__(self, value):
        self.value = value

    def to_string(self):
        code = str(self.value["code"]).rsplit("::", 1)[-1]
        return code if code == "kOk" else f"{code}: {text_of(self.value['message'])}"


class StatusPrinter:
    def __init__(self, value):
        self.value = value

    def to_string(self):
        return ErrorPrinter(self.value["error_"]).to_string()


class ResultPrinter:
    def __init__(self, value):
        self.value = value

    def to_string(self):
        return "a value" if self.value["ok_"] else ErrorPrinter(self.value["error_"]).to_string()

    def children(self):
        if self.value["ok_"]:
            yield "value", self.value["value_"]


class BindingPrinter:
    """A binding: the shape or operation, and the kernel that serves it."""

    def __init__(self, value):
        self.value = value

    def to_string(self):
        name = self.value["name"]
        title = name.string() if int(name) else "(no name)"
        fields = {field.name for field in self.value.type.fields()}
        if "kernel" in fields:
            return f"{title}, kernel {self.value['kernel']}"
        variant = self.value["variant"]
        return f"{title}, {text_of(variant['name'])}" if int(variant) else title


class SlotPrinter:
    """A slot's members, without the large arrays."""

    def __init__(self, value):
        self.value = value

    def to_string(self):
        return "slot"

    def children(self):
        for field in self.value.type.fields():
            value = self.value[field.name]
            # Arrays (tokens, candidates) are so large that they would hide the other members.
            if value.type.strip_typedefs().code != gdb.TYPE_CODE_ARRAY:
                yield field.name, value


PRINTERS = (
    ("std::basic_string_view<char,", StringViewPrinter),
    ("std::span<", SpanPrinter),
    ("bareflow::Error", ErrorPrinter),
    ("bareflow::Status", StatusPrinter),
    ("bareflow::Result<", ResultPrinter),
    ("bareflow::compute::KernelBinding", BindingPrinter),
    ("bareflow::compute::FloatBinding", BindingPrinter),
    ("bareflow::llama::Slot", SlotPrinter),
)


def find_printer(value):
    """gdb asks this for the printer of each value; None: print it as usual."""
    plain = value.type.unqualified().strip_typedefs()
    name = plain.name or ""
    for beginning, printer in PRINTERS:
        if name == beginning or (beginning[-1] in "<," and name.startswith(beginning)):
            # A span of constant length has no member for it.
            if printer is SpanPrinter and "_M_extent" not in {f.name for f in plain.fields()}:
                return None
            return printer(value)
    return None


# ---------------------------------------------------------------- generated code


def regions():
    """(name, first address, bytes) of every generated kernel that exists now, where it runs."""
    buffer = gdb.parse_and_eval(BUFFERS)
    page_bytes = 4096
    while int(buffer):
        head = int(gdb.parse_and_eval("bareflow::jit::CodeBuffer::kHeadBytes"))
        skipped = int(gdb.parse_and_eval("bareflow::jit::CodeBuffer::kConstantPages"))
        runnable = int(buffer["memory_"]["runnable"])
        array = buffer["regions_"]["_M_elems"]
        low, high = array.type.strip_typedefs().range()
        for i in range(low, high + 1):
            region = array[i]
            if int(region["page_count"]) == 0 or not region["sealed"]:
                continue
            start = runnable + (skipped + int(region["first_page"])) * page_bytes + head
            name = region["name"]["_M_elems"].string("latin-1", length=int(region["name_len"]))
            yield name, start, int(region["bytes"])
        buffer = buffer["next_"]


def symbol_file(named):
    """The bytes of an ELF file that gives each region a function symbol.

    gdb takes names from ELF files only. This one has a single section over all regions, without
    contents: gdb reads the code from memory.
    """
    low = min(start for _, start, _ in named)
    high = max(start + size for _, start, size in named)
    strings, symbols = b"\0", struct.pack("<IBBHQQ", 0, 0, 0, 0, 0, 0)
    for name, start, size in named:
        # Info 2: local binding, a function (System V ABI, "Symbol Table"). Section 1 is .text.
        symbols += struct.pack("<IBBHQQ", len(strings), 2, 0, 1, start, size)
        strings += name.replace(" ", "_").encode() + b"\0"
    titles = b"\0.text\0.symtab\0.strtab\0.shstrtab\0"
    at = 64
    places = []
    for part in (symbols, strings, titles):
        places.append(at)
        at += (len(part) + 7) // 8 * 8

    def section(title, kind, flags, address, offset, size, link=0, info=0, align=1, entry=0):
        return struct.pack("<IIQQQQIIQQ", titles.index(title), kind, flags, address, offset, size,
                           link, info, align, entry)

    table = section(b"\0", 0, 0, 0, 0, 0, align=0)
    table += section(b".text\0", 8, 6, low, 64, high - low, align=16)  # NOBITS; ALLOC, EXECINSTR
    table += section(b".symtab\0", 2, 0, 0, places[0], len(symbols), link=3, info=len(named) + 1,
                     align=8, entry=24)
    table += section(b".strtab\0", 3, 0, 0, places[1], len(strings))
    table += section(b".shstrtab\0", 3, 0, 0, places[2], len(titles))
    # An executable (2) for x86-64 (62) without program headers. The last of 5 sections has titles.
    header = struct.pack("<16sHHIQQQIHHHHHH", b"\x7fELF\x02\x01\x01", 2, 62, 1, 0, 0, at, 0, 64, 0,
                         0, 64, 5, 4)
    body = b"".join(part.ljust((len(part) + 7) // 8 * 8, b"\0")
                    for part in (symbols, strings, titles))
    return header + body + table


class Bareflow(gdb.Command):
    """BareFlow: `bareflow connect [TARGET]`, `bareflow code`."""

    def __init__(self):
        super().__init__("bareflow", gdb.COMMAND_DATA, prefix=True)


class Connect(gdb.Command):
    """bareflow connect [TARGET]: loads the symbols of build/bareflow.elf and joins a machine.

    TARGET is :1234 by default, where QEMU listens with -s.
    """

    def __init__(self):
        super().__init__("bareflow connect", gdb.COMMAND_RUNNING)

    def invoke(self, argument, from_tty):
        elf = os.environ.get("BAREFLOW_ELF", str(ELF))
        if not Path(elf).exists():
            raise gdb.GdbError(f"{elf} is not there; run make first")
        gdb.execute(f"file {elf}", to_string=True)
        gdb.execute(f"target remote {argument or ':1234'}")


class Code(gdb.Command):
    """bareflow code: names the generated code that exists now. Call it again after tuning."""

    def __init__(self):
        super().__init__("bareflow code", gdb.COMMAND_DATA)
        self.loaded = None

    def invoke(self, argument, from_tty):
        named = sorted(regions(), key=lambda region: region[1])
        if self.loaded is not None:
            gdb.execute(f"remove-symbol-file {self.loaded}", to_string=True)
            os.unlink(self.loaded)
            self.loaded = None
        if not named:
            print("no code was generated yet")
            return
        with tempfile.NamedTemporaryFile(prefix="bareflow-code-", suffix=".elf",
                                         delete=False) as file:
            file.write(symbol_file(named))
        self.loaded = file.name
        gdb.execute(f"add-symbol-file {self.loaded}", to_string=True)
        for name, start, size in named:
            print(f"{start:#018x} {size:6} bytes  {name}")


gdb.pretty_printers.append(find_printer)
gdb.execute("set confirm off")
Bareflow()
Connect()
Code()
