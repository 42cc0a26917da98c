#!/usr/bin/env python3
"""Boots the image in QEMU, shows its serial line, prints the URL once the guest is ready.

`make run` calls this with the variables MODEL PORT SMP MEM NIC ACCEL VGA OPTIONS FRESH. The terminal
is the guest's console: type a prompt. Ctrl-C ends the machine. The machine never writes to the
image. It keeps the optimiser's choices on build/state.img, which is made if it is not there.
"""
import argparse
import bisect
import codecs
import fcntl
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tools/gguf"))
import models  # noqa: E402

MIB = 1 << 20
DEFAULT_MEM_MIB = 256
MOST_PROCESSORS = 4  # unless SMP asks for more
NICS = {"e1000": "e1000", "virtio": "virtio-net-pci", "virtio-net": "virtio-net-pci", "none": None}

# docs/decisions/0003-state-disk.md: the magic in the first sector, zeros everywhere else.
STATE_MAGIC = b"BAREFLOW-STATE-1"
STATE_BYTES = 64 << 10

# kernel_lib/cpu/exit_codes.h: an orderly shutdown.
GUEST_SUCCESS = 0x10 * 2 + 1


def parse_arguments(argv):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--image", default=ROOT / "build/fluid_llama.img", type=Path)
    parser.add_argument("--elf", default=ROOT / "build/bareflow.elf", type=Path,
                        help="the ELF file whose symbols name addresses")
    parser.add_argument("--model", default="",
                        help="a GGUF file, which becomes the guest's second disk; or one of "
                        f"{', '.join(models.MODELS)}, fetched if it is not there")
    parser.add_argument("--port", default="8080", help="host port on 127.0.0.1 (default 8080)")
    parser.add_argument("--smp", default="",
                        help=f"processors (default: as many as there are here, at most {MOST_PROCESSORS})")
    parser.add_argument("--mem", default="", help="memory in MiB (default: enough for the model)")
    parser.add_argument("--nic", default="virtio",
                        help="virtio, e1000 (in QEMU it receives only a second after its start) or none")
    parser.add_argument("--accel", default="auto", help="auto, tcg or kvm")
    parser.add_argument("--vga", default="none", help="QEMU display: none, gtk, sdl, vnc=...")
    parser.add_argument("--options", default="", help="settings for the guest (docs/SETTINGS.md)")
    parser.add_argument("--state", default=str(ROOT / "build/state.img"),
                        help="the state disk, which keeps the optimiser's choices "
                        "(default build/state.img); empty: none")
    parser.add_argument("--state-disk", default="ide", choices=("ide", "virtio"),
                        help="how the state disk is attached")
    parser.add_argument("--fresh", default="", help="1: forget the optimiser's choices")
    parser.add_argument("--print-command", action="store_true", help="print the command and stop")
    return parser.parse_args(argv)


def fail(sentence):
    sys.exit(f"run: {sentence}")


def whole_number(text, name, low, high):
    if not text.isdecimal() or not low <= int(text) <= high:
        fail(f"{name} must be a number from {low} to {high}, not '{text}'")
    return int(text)


def default_processors():
    return min(len(os.sched_getaffinity(0)), MOST_PROCESSORS)


def kvm_is_real():
    """Can KVM run the guest's code directly?

    /dev/kvm alone is no proof: without vmx or svm, KVM emulates instruction by instruction.
    """
    try:
        cpuinfo = Path("/proc/cpuinfo").read_text()
    except OSError:
        return False
    flags = re.search(r"^flags\s*:(.*)$", cpuinfo, re.MULTILINE)
    return (flags is not None and not {"vmx", "svm"}.isdisjoint(flags[1].split())
            and os.access("/dev/kvm", os.R_OK | os.W_OK))


def find_model(model):
    """The path of a model, which is named by its path or by a word of models.MODELS."""
    if model not in models.MODELS:
        return model
    try:
        return str(models.fetch(model))
    except models.CannotBeHad as error:
        fail(f"{model} can't be had: {error}")


def check_model(path):
    try:
        with open(path, "rb") as file:
            magic = file.read(4)
    except OSError as error:
        fail(f"the model can't be read: {error.strerror}: {path}")
    if magic != b"GGUF":
        fail(f"{path} is no GGUF file")


def check_port_free(port):
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            fail(f"port {port} on 127.0.0.1 is not free ({error.strerror}); try PORT={port + 1}")


def drive(path, rest):
    """QEMU's words for one drive. Commas separate the parts, so a path has each comma twice."""
    return ["-drive", f"file={str(path).replace(',', ',,')},format=raw,{rest}"]


def make_state_disk(path, fresh):
    """Makes an empty state disk if there is none, or if `fresh` says to forget the old one.

    Returns False if another machine uses it.
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(path, "a+b") as file:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if fresh or file.seek(0, os.SEEK_END) == 0:
                file.truncate(0)
                file.write(STATE_MAGIC.ljust(STATE_BYTES, b"\0"))
    except BlockingIOError:
        return False
    except OSError as error:
        fail(f"the state disk can't be made: {error.strerror}: {path}")
    return True


def qemu_command(args):
    port = whole_number(args.port, "PORT", 1, 65535)
    smp = whole_number(args.smp, "SMP", 1, 64) if args.smp else default_processors()
    options = args.options.split()
    model_mib = 0
    if args.model:
        check_model(args.model)
        model_mib = -(-os.path.getsize(args.model) // MIB)
        options.insert(0, "model=disk")
    mem = (whole_number(args.mem, "MEM", 1, 1 << 20) if args.mem
           else DEFAULT_MEM_MIB + model_mib * 3 // 2)
    if args.nic not in NICS:
        fail(f"NIC must be one of {', '.join(NICS)}, not '{args.nic}'")
    if args.accel not in ("auto", "tcg", "kvm"):
        fail(f"ACCEL must be auto, tcg or kvm, not '{args.accel}'")
    if args.accel == "kvm" and not kvm_is_real():
        fail("this processor offers no virtualisation (vmx or svm) or /dev/kvm can't be opened; "
             "use ACCEL=tcg")
    accel = args.accel if args.accel != "auto" else "kvm" if kvm_is_real() else "tcg"
    check_port_free(port)

    command = ["qemu-system-x86_64", "-accel", accel,
               "-cpu", "host" if accel == "kvm" else "max",
               "-smp", str(smp), "-m", str(mem),
               *drive(args.image, "snapshot=on,if=ide,index=0"),
               "-device", "isa-debug-exit,iobase=0xf4,iosize=0x04",
               "-display", args.vga,
               "-chardev", "stdio,id=serial,signal=on", "-serial", "chardev:serial",
               "-monitor", "none"]
    if args.model:
        command += drive(args.model, "snapshot=on,if=ide,index=1")
    if args.state:
        if args.fresh not in ("", "0", "1"):
            fail(f"FRESH must be 1 or 0, not '{args.fresh}'")
        if make_state_disk(args.state, args.fresh == "1"):
            command += drive(args.state, "if=ide,index=2" if args.state_disk == "ide" else "if=virtio")
        else:
            print(f"run: {args.state} is another machine's; this one remembers nothing", file=sys.stderr)
    if NICS[args.nic]:
        command += ["-netdev", f"user,id=net,hostfwd=tcp:127.0.0.1:{port}-:80",
                    "-device", f"{NICS[args.nic]},netdev=net"]
    else:
        command += ["-nic", "none"]
    if options:
        text = " ".join(options).replace(",", ",,")
        command += ["-fw_cfg", f"name=opt/bareflow/options,string={text}"]
    return command, port


class Symbols:
    """Names of the addresses of the kernel's code, read from the ELF at the first question."""

    ADDRESS = re.compile(r"\b(?:0x)?([0-9a-f]{16})\b")

    def __init__(self, elf):
        self.elf = elf
        self.table = None

    def load(self):
        self.table = []
        nm = shutil.which("llvm-nm-19")
        if nm is None or not Path(self.elf).exists():
            return
        out = subprocess.run([nm, "-nC", str(self.elf)], capture_output=True, text=True, check=False)
        for line in out.stdout.splitlines():
            words = line.split(" ", 2)
            if len(words) == 3 and words[1] in "tTwW":
                self.table.append((int(words[0], 16), words[2]))

    def name(self, address):
        if self.table is None:
            self.load()
        at = bisect.bisect_right(self.table, (address, "\x7f")) - 1
        if at < 0 or address - self.table[at][0] > 0x10000:
            return None
        start, name = self.table[at]
        return f"{name}+{address - start:#x}"

    def suffix(self, line):
        names = [self.name(int(m, 16)) for m in self.ADDRESS.findall(line)]
        names = [n for n in names if n]
        return f"  <{', '.join(names)}>" if names else ""


def pump(stream, symbols, port):
    """Copies the serial line to the terminal, a token at a time as it comes.

    At the end of a line it adds the names of the addresses in it.
    """
    line = ""
    held = ""  # a carriage return whose line feed may still come
    announced = False
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    while chunk := os.read(stream.fileno(), 65536):
        text = (held + decoder.decode(chunk)).replace("\r\n", "\n")
        held = "\r" if text.endswith("\r") else ""
        for piece in re.findall(r"[^\n]*\n|[^\n]+", text.removesuffix(held)):
            sys.stdout.write(piece.rstrip("\n"))
            line += piece
            if not line.endswith("\n"):
                continue
            sys.stdout.write(symbols.suffix(line) + "\n")
            if not announced and "] ready" in line:
                announced = True
                sys.stdout.write(f"\n  Ready: http://127.0.0.1:{port}/   (Ctrl-C ends it)\n\n")
            line = ""
        sys.stdout.flush()


def main(argv):
    args = parse_arguments(argv)
    if shutil.which("qemu-system-x86_64") is None:
        fail("qemu-system-x86_64 is missing; `make setup` installs it")
    if not args.image.exists():
        fail(f"{args.image} is missing; `make` builds it")
    args.model = find_model(args.model)
    command, port = qemu_command(args)
    if args.print_command:
        print(shlex.join(command))
        return 0
    # QEMU shares the terminal's process group: Ctrl-C reaches it, and it ends by itself.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with subprocess.Popen(command, stdout=subprocess.PIPE,
                          preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)) as qemu:
        signal.signal(signal.SIGTERM, lambda *_: qemu.terminate())
        pump(qemu.stdout, Symbols(args.elf), port)
        code = qemu.wait()
    if code == 0 or code < 0 or code == GUEST_SUCCESS:
        return 0
    if code & 1 == 0 or code == 1:  # a failure of QEMU itself, which has said why
        return code
    # isa-debug-exit: QEMU ends with 2 * value + 1.
    print(f"run: the guest stopped with exit code {code >> 1}", file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
