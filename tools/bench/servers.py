"""Starts our program for a measurement: hosted, or the image in QEMU (TCG) as `make run` does."""
import contextlib
import http.client
import os
import re
import socket
import subprocess
import tempfile
import time
from pathlib import Path

import run as runner

from . import client
from .common import HOSTED, BenchError, known, shown


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Server:
    """A program that was started and has a port. The end of the `with` block ends it."""

    def launch(self, command):
        self.command = shown(command)
        self.log = tempfile.NamedTemporaryFile(prefix="bareflow-bench-", suffix=".log")
        self.start = time.monotonic()
        self.process = subprocess.Popen([str(word) for word in command], stdin=subprocess.DEVNULL,
                                        stdout=self.log, stderr=subprocess.STDOUT)

    def said(self):
        return Path(self.log.name).read_text(errors="replace")

    def wait_healthy(self, timeout_s=300):
        """Seconds from the start to the first 200 of /health, asked every 20 ms."""
        while time.monotonic() - self.start < timeout_s:
            began = time.monotonic()
            with contextlib.suppress(OSError, http.client.HTTPException):
                status, body = client.request(self.port, "GET", "/health")
                if status == 200:
                    return time.monotonic() - self.start
                if b'"error"' in body:
                    raise BenchError(f"the model is refused: {body[:300].decode(errors='replace')}")
            if self.process.poll() is not None:
                raise BenchError(f"the program ended early:\n{self.said()[-2000:]}")
            time.sleep(max(0.0, 0.02 - (time.monotonic() - began)))
        raise BenchError(f"no answer after {timeout_s} s:\n{self.said()[-2000:]}")

    def cpu_seconds(self):
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.log.close()


class Guest(Server):
    def __init__(self, model="", nic="virtio", smp=1, mem="", cpu="max", settings=None, state=None):
        self.port = free_port()
        words = known(settings or {})
        args = runner.parse_arguments([
            "--model", "" if model is None else str(model), "--nic", nic, "--smp", str(smp), "--mem", str(mem),
            "--accel", "tcg", "--options", " ".join(words), "--port", str(self.port),
            # Never the state disk of `make run`: its choices would change what is measured.
            "--state", str(state or "")])
        try:
            command, _ = runner.qemu_command(args)
        except SystemExit as error:
            raise BenchError(str(error)) from error
        command[command.index("-cpu") + 1] = cpu
        self.launch(command)

    def memory(self):
        """The guest's own figures, from /profile."""
        return client.profile(self.port).get("memory", {})


class Hosted(Server):
    def __init__(self, model, threads=1, settings=None, state=None):
        self.port = free_port()
        self.launch([HOSTED, "--model", model, "--host", "127.0.0.1", "--port", self.port,
                     *(["--state", state] if state else []),
                     *known({"threads": threads, **(settings or {})})])

    def memory(self):
        """Bytes: the most that was resident, and the resident ones that are not the mapped file."""
        return process_memory(self.process.pid)


def process_memory(pid):
    status = Path(f"/proc/{pid}/status").read_text()
    kib = {key: int(value) for key, value in re.findall(r"^(\w+):\s+(\d+) kB$", status, re.MULTILINE)}
    return {"peak_rss_bytes": kib.get("VmHWM", 0) * 1024, "anonymous_bytes": kib.get("RssAnon", 0) * 1024}
