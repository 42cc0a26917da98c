"""QEMU for the tests: the fixture `qemu` starts virtual machines, watches their serial line and screen,
types, and ends every machine after the test.

    def test_it_boots(qemu):
        vm = qemu.boot_image()
        vm.wait_for("ready")
        assert "BareFlow" in vm.screen_text()

Machines are emulated (TCG). Their disks are never written to (snapshot=on). The serial log stays in
build/qemu-logs/<test>.log. A machine that runs longer than its hang timeout fails the test. Variables
of the environment: BAREFLOW_QEMU (QEMU's program), BAREFLOW_BUILD (the folder of image and ELF),
BAREFLOW_SMP (processors of a machine if its test gives no number).
"""
import json
import os
import re
import shutil
import socket
import subprocess
import tempfile
import threading
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
BUILD = Path(os.environ.get("BAREFLOW_BUILD", ROOT / "build"))
QEMU = os.environ.get("BAREFLOW_QEMU", "qemu-system-x86_64")
SMP = os.environ.get("BAREFLOW_SMP")
IMAGE = BUILD / "fluid_llama.img"
ELF = BUILD / "bareflow.elf"
LOGS = ROOT / "build" / "qemu-logs"

VGA_TEXT = 0xB8000
VGA_COLUMNS = 80
VGA_ROWS = 25

# isa-debug-exit: QEMU's status is 2 * value + 1 (kernel_lib/cpu/exit_codes.h).
EXIT_SUCCESS = 0x10 * 2 + 1
EXIT_FAILURE = 0x11 * 2 + 1
EXIT_PANIC = 0x20 * 2 + 1
EXIT_DISK_READ = 0x61 * 2 + 1
EXIT_DISK_TOO_SHORT = 0x62 * 2 + 1
EXIT_NO_LONG_MODE = 0x63 * 2 + 1
EXIT_TOO_LITTLE_MEMORY = 0x64 * 2 + 1
EXIT_BAD_IMAGE = 0x67 * 2 + 1


def exit_exception(vector):
    """QEMU's exit status when the machine stopped on this exception."""
    return (0x40 + vector) * 2 + 1


# QMP's names ("qcode") of the characters that are neither letters nor digits.
KEYS = {
    " ": "spc", "\n": "ret", "\b": "backspace", "\t": "tab", "-": "minus", "=": "equal", "[": "bracket_left",
    "]": "bracket_right", ";": "semicolon", "'": "apostrophe", "`": "grave_accent", "\\": "backslash",
    ",": "comma", ".": "dot", "/": "slash",
}
SHIFTED = dict(zip('ABCDEFGHIJKLMNOPQRSTUVWXYZ!@#$%^&*()_+{}:"~|<>?',
                   "abcdefghijklmnopqrstuvwxyz1234567890-=[];'`\\,./"))


class HangError(AssertionError):
    """The machine did not do in time what the test waited for."""


def free_port():
    """A port of the loopback interface that nobody uses now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Qmp:
    """QEMU's control socket."""

    def __init__(self, path, deadline):
        self.socket = socket.socket(socket.AF_UNIX)
        while True:
            try:
                self.socket.connect(str(path))
                break
            except (FileNotFoundError, ConnectionRefusedError):
                if time.monotonic() > deadline:
                    raise HangError("QEMU's control socket did not appear")
                time.sleep(0.01)
        self.socket.settimeout(20)
        self.file = self.socket.makefile("rw", encoding="utf-8")
        json.loads(self.file.readline())
        self.command("qmp_capabilities")

    def command(self, name, /, **arguments):
        self.file.write(json.dumps({"execute": name, "arguments": arguments}) + "\n")
        self.file.flush()
        while True:
            line = self.file.readline()
            if not line:
                raise HangError(f"QEMU went away during {name}")
            answer = json.loads(line)
            if "error" in answer:
                raise AssertionError(f"{name}: {answer['error']['desc']}")
            if "return" in answer:
                return answer["return"]

    def close(self):
        self.file.close()
        self.socket.close()


class Machine:
    """One running virtual machine. Made by the `qemu` fixture, which also ends it."""

    def __init__(self, arguments, log, hang_s, port):
        self.port = port
        self.log_path = log
        self.hang_s = hang_s
        self.deadline = time.monotonic() + hang_s
        self.folder = tempfile.TemporaryDirectory(prefix="bareflow-qemu-")
        self.qmp_path = Path(self.folder.name) / "qmp"
        self.qmp_connection = None
        self.output = bytearray()
        self.changed = threading.Condition()
        self.ended = False
        self.command = [QEMU, *arguments, "-qmp", f"unix:{self.qmp_path},server=on,wait=off",
                        "-serial", "stdio"]
        self.started = time.monotonic()
        self.process = subprocess.Popen(self.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        stderr=subprocess.PIPE)
        self.errors = bytearray()
        self.readers = [threading.Thread(target=self._read_serial, daemon=True),
                        threading.Thread(target=self._read_errors, daemon=True)]
        for reader in self.readers:
            reader.start()

    def _read_serial(self):
        with open(self.log_path, "ab") as log:
            while data := os.read(self.process.stdout.fileno(), 65536):
                log.write(data)
                log.flush()
                with self.changed:
                    self.output += data
                    self.changed.notify_all()
        with self.changed:
            self.ended = True
            self.changed.notify_all()

    def _read_errors(self):
        while data := os.read(self.process.stderr.fileno(), 65536):
            self.errors += data

    # ---- serial line

    @property
    def text(self):
        """Everything that came over the serial line so far."""
        with self.changed:
            return self.output.decode("utf-8", "replace").replace("\r", "")

    def wait_for(self, wanted, timeout_s=None):
        """Waits for a text, or for a match of a compiled pattern, on the serial line; returns the
        match (a str for a text)."""
        end = self.deadline if timeout_s is None else min(self.deadline, time.monotonic() + timeout_s)
        while True:
            with self.changed:
                text = self.output.decode("utf-8", "replace").replace("\r", "")
                found = (wanted if wanted in text else None) if isinstance(wanted, str) else wanted.search(text)
                if found is not None:
                    return found
                if self.ended:
                    raise HangError(f"QEMU ended before {wanted!r} was seen; {self.story()}")
                left = end - time.monotonic()
                if left <= 0:
                    raise HangError(f"{wanted!r} was not seen in time; {self.story()}")
                self.changed.wait(left)

    def send_serial(self, text):
        """Types on the serial line."""
        self.process.stdin.write(text.encode())
        self.process.stdin.flush()

    # ---- screen and keyboard

    @property
    def qmp(self):
        if self.qmp_connection is None:
            self.qmp_connection = Qmp(self.qmp_path, self.deadline)
        return self.qmp_connection

    def memory(self, address, count):
        """Bytes of the guest's physical memory."""
        path = Path(self.folder.name) / "memory"
        self.qmp.command("pmemsave", val=address, size=count, filename=str(path))
        return path.read_bytes()

    def screen_rows(self):
        """The 25 lines of the VGA text screen."""
        cells = self.memory(VGA_TEXT, VGA_COLUMNS * VGA_ROWS * 2)
        text = cells[::2].decode("latin-1")
        return [text[row * VGA_COLUMNS:(row + 1) * VGA_COLUMNS].rstrip("\0 ") for row in range(VGA_ROWS)]

    def screen_text(self):
        return "\n".join(self.screen_rows())

    def wait_for_screen(self, wanted, timeout_s=None):
        """Waits for a text on the screen and returns all of it."""
        end = self.deadline if timeout_s is None else min(self.deadline, time.monotonic() + timeout_s)
        while True:
            text = self.screen_text()
            if wanted in text:
                return text
            if time.monotonic() > end:
                raise HangError(f"{wanted!r} did not appear on the screen:\n{text}\n{self.story()}")
            time.sleep(0.05)

    def press(self, *keys):
        """Presses keys (QMP names) together."""
        self.qmp.command("send-key", keys=[{"type": "qcode", "data": key} for key in keys], **{"hold-time": 5})

    def type_text(self, text, pause_s=0.02):
        """Types on the keyboard."""
        for char in text:
            if char in SHIFTED:
                low = SHIFTED[char]
                self.press("shift", KEYS.get(low, low))
            else:
                self.press(KEYS.get(char, char))
            time.sleep(pause_s)  # the keyboard's buffer holds few keys

    # ---- network

    @property
    def url(self):
        """The address at which the host reaches the guest's port 80."""
        return f"http://127.0.0.1:{self.port}"

    # ---- the end

    def wait_exit(self, timeout_s=None):
        """Waits until QEMU has ended by itself and returns its status."""
        end = self.deadline if timeout_s is None else min(self.deadline, time.monotonic() + timeout_s)
        try:
            status = self.process.wait(max(0.0, end - time.monotonic()))
        except subprocess.TimeoutExpired:
            raise HangError(f"QEMU did not end; {self.story()}") from None
        for reader in self.readers:
            reader.join(5)
        return status

    @property
    def running(self):
        return self.process.poll() is None

    def stop(self):
        """Ends this machine, whatever it is doing."""
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(3)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        for reader in self.readers:
            reader.join(5)
        if self.qmp_connection is not None:
            self.qmp_connection.close()
            self.qmp_connection = None
        for stream in (self.process.stdin, self.process.stdout, self.process.stderr):
            try:
                stream.close()
            except OSError:
                pass
        self.folder.cleanup()

    def story(self):
        """The facts to show when a test fails."""
        text = self.output.decode("utf-8", "replace").replace("\r", "")
        return (f"QEMU: {' '.join(self.command)}\nstatus {self.process.poll()}, its own words: "
                f"{self.errors.decode('utf-8', 'replace')!r}\nserial line ({self.log_path}), the end of it:\n"
                + text[-4000:])


class Qemu:
    """Starts machines for one test."""

    def __init__(self, name):
        self.name = name
        self.machines = []

    def start(self, *arguments, cpu=None, memory=None, machine=None, smp=None, nic="e1000", hang_s=60,
              debug_exit=True, rtc=None):
        """A machine with these extra arguments. None: QEMU's own default. nic: a QEMU model name, or
        None for a machine without a network card; guest port 80 is reachable at Machine.url."""
        log = self._new_log()
        port = free_port()
        smp = smp or SMP
        line = ["-accel", "tcg", "-display", "none", "-no-reboot", "-nodefaults", "-monitor", "none"]
        if machine != "microvm":  # microvm has no PCI
            line += ["-device", "VGA"]
        if debug_exit:
            line += ["-device", "isa-debug-exit,iobase=0xf4,iosize=0x04"]
        for option, value in (("-cpu", cpu), ("-m", memory), ("-machine", machine), ("-smp", smp), ("-rtc", rtc)):
            if value is not None:
                line += [option, str(value)]
        if nic is not None:
            line += ["-netdev", f"user,id=net0,hostfwd=tcp:127.0.0.1:{port}-:80", "-device", f"{nic},netdev=net0"]
        return self._run([*line, *map(str, arguments)], log, hang_s, port)

    def start_plain(self, *arguments, hang_s=60):
        """QEMU as a user types it: its default machine, devices and network, only without a window."""
        return self._run(["-accel", "tcg", "-display", "none", *map(str, arguments)], self._new_log(), hang_s, None)

    def _new_log(self):
        LOGS.mkdir(parents=True, exist_ok=True)
        suffix = f"-{len(self.machines) + 1}" if self.machines else ""
        log = LOGS / f"{self.name}{suffix}.log"
        log.write_bytes(b"")
        return log

    def _run(self, line, log, hang_s, port):
        vm = Machine(line, log, hang_s, port)
        self.machines.append(vm)
        return vm

    def boot_image(self, image=None, *arguments, **settings):
        """Boots a disk image by the BIOS, as the default (IDE) disk."""
        return self.start("-drive", f"file={image or IMAGE},format=raw,snapshot=on", *arguments, **settings)

    def boot_elf(self, options="", *arguments, elf=None, initrd=None, **settings):
        """Boots the ELF by -kernel, with settings on its command line."""
        line = ["-kernel", elf or ELF]
        if options:
            line += ["-append", options]
        if initrd is not None:
            line += ["-initrd", initrd]
        return self.start(*line, *arguments, **settings)

    def close(self):
        for vm in self.machines:
            vm.stop()


@pytest.fixture
def qemu(request):
    """Starts virtual machines; ends them after the test."""
    if shutil.which(QEMU) is None:
        pytest.fail(f"{QEMU} is missing; `make setup` installs it")
    starter = Qemu(re.sub(r"[^A-Za-z0-9_.-]+", "_", request.node.name))
    yield starter
    starter.close()


@pytest.fixture
def make_image(tmp_path):
    """Builds an image of the tree's kernel: make_image(model=PATH or None, options=..., kernel=...)."""
    def build(model=None, options="", name="test.img", kernel=ELF):
        output = tmp_path / name
        line = ["/usr/bin/python3", ROOT / "tools/make_image.py", "--stage1", BUILD / "boot/stage1.bin",
                "--stage2", BUILD / "boot/stage2.bin", "--kernel", kernel, "--options", options, "--output", output]
        line += ["--no-model"] if model is None else ["--model", model]
        subprocess.run([str(word) for word in line], check=True, capture_output=True, text=True)
        return output
    return build
