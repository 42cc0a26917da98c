"""A client for QEMU's gdb stub, with the few commands that a test needs to change the machine's memory at
a chosen moment. The protocol: GDB manual, appendix E."""
import socket
import time


class GdbStub:
    """For a machine that was started with `-gdb unix:PATH,server=on,wait=off -S`."""

    def __init__(self, path, timeout_s=30):
        self.socket = socket.socket(socket.AF_UNIX)
        end = time.monotonic() + timeout_s
        while True:
            try:
                self.socket.connect(str(path))
                break
            except (FileNotFoundError, ConnectionRefusedError):
                assert time.monotonic() < end, "QEMU's gdb socket did not appear"
                time.sleep(0.01)
        self.socket.settimeout(timeout_s)
        self.file = self.socket.makefile("rwb", buffering=0)

    def command(self, text):
        """Sends one packet and returns the answer's content. "c" is answered when the machine stops."""
        data = text.encode()
        self.file.write(b"$%s#%02x" % (data, sum(data) & 0xFF))
        while (byte := self.file.read(1)) != b"$":
            assert byte in (b"+", b"-"), f"{text}: {byte!r}"
        answer = bytearray()
        while (byte := self.file.read(1)) != b"#":
            assert byte, f"QEMU went away during {text}"
            answer += byte
        self.file.read(2)
        self.file.write(b"+")
        return answer.decode()

    def run_to(self, address):
        assert self.command(f"Z1,{address:x},1") == "OK"
        assert self.command("c").startswith("T05")
        assert self.command(f"z1,{address:x},1") == "OK"

    def physical(self):
        """Addresses are physical ones from now on."""
        assert self.command("Qqemu.PhyMemMode:1") == "OK"

    def read(self, address, count):
        out = b""
        while len(out) < count:
            out += bytes.fromhex(self.command(f"m{address + len(out):x},{min(count - len(out), 1024):x}"))
        return out

    def write(self, address, data):
        assert self.command(f"M{address:x},{len(data):x}:{data.hex()}") == "OK"

    def leave(self):
        """Lets the machine run on and closes the connection."""
        assert self.command("D") == "OK"
        self.file.close()
        self.socket.close()
