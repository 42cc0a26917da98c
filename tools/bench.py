#!/usr/bin/env python3
"""Figures of this machine, measured now: sizes, start, load, speed, responsiveness, idling.

`make bench` runs all of it (about five minutes) and writes build/bench.json and a table.
Emulated (TCG) and native figures stand apart; nothing here is a test, and nothing is a target.
"""
import argparse
import contextlib
import http.client
import json
import os
import platform
import re
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
import run as runner  # noqa: E402

ROOT = Path(__file__).resolve().parent.parent
BUILD = ROOT / "build"
MODEL = ROOT / "models/stories.gguf"


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def request(port, method, path, body=None, timeout=0.1):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
    try:
        headers = {"Accept": "application/json"}
        connection.request(method, path, body and json.dumps(body), headers)
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


class Guest:
    """The image under QEMU, as `make run` starts it, with its serial line in a file."""

    def __init__(self, model="", nic="virtio", smp="1", mem="", options=""):
        self.port = free_port()
        args = runner.parse_arguments([
            "--model", str(model), "--nic", nic, "--smp", smp, "--mem", mem, "--accel", "tcg",
            "--options", options, "--port", str(self.port)])
        self.command, _ = runner.qemu_command(args)
        self.log = tempfile.NamedTemporaryFile(prefix="bareflow-bench-", suffix=".log")
        self.start = time.monotonic()
        self.process = subprocess.Popen(self.command, stdin=subprocess.DEVNULL, stdout=self.log,
                                        stderr=subprocess.STDOUT)

    def serial(self):
        return Path(self.log.name).read_text(errors="replace")

    def wait_healthy(self, timeout_s=120):
        """Seconds from QEMU's start to the first 200: a fresh connection every 20 ms."""
        while time.monotonic() - self.start < timeout_s:
            began = time.monotonic()
            with contextlib.suppress(OSError, http.client.HTTPException):
                if request(self.port, "GET", "/health")[0] == 200:
                    return time.monotonic() - self.start
            if self.process.poll() is not None:
                raise SystemExit(f"bench: the guest ended early:\n{self.serial()[-2000:]}")
            time.sleep(max(0.0, 0.02 - (time.monotonic() - began)))
        raise SystemExit(f"bench: no answer after {timeout_s} s:\n{self.serial()[-2000:]}")

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


def complete(port, max_tokens, prompt="Once upon a time"):
    body = {"prompt": prompt, "max_tokens": max_tokens, "temperature": 0}
    status, data = request(port, "POST", "/v1/completions", body, timeout=600)
    if status != 200:
        raise SystemExit(f"bench: completion failed: {status} {data[:300]!r}")
    return json.loads(data)


def tokens_per_second(port, runs):
    """Median speed of decoding that the server measured itself, and the tokens of one run."""
    complete(port, 32)
    answers = [complete(port, 200) for _ in range(runs)]
    speeds = [a["bareflow"]["tokens_per_second"] for a in answers]
    return {"median": round(statistics.median(speeds), 1), "best": round(max(speeds), 1),
            "runs": runs, "tokens": answers[0]["usage"]["completion_tokens"]}


def synthetic(name, *arguments):
    path = BUILD / f"bench-{name}.gguf"
    if not path.exists():
        print(f"  making {path.name}", file=sys.stderr)
        subprocess.run([sys.executable, str(ROOT / "tools/make_gguf.py"), *arguments, str(path)], check=True, stdout=subprocess.DEVNULL)
    return path


def bench_sizes(_):
    image = (BUILD / "fluid_llama.img").stat().st_size
    model = MODEL.stat().st_size
    out = subprocess.run(["llvm-size-19", "-t", str(BUILD / "kernel_lib.a")], check=True,
                         capture_output=True, text=True).stdout.splitlines()[-1].split()
    return {"image_bytes": image, "model_bytes": model, "image_less_model_bytes": image - model,
            "kernel_lib_text_bytes": int(out[0]), "kernel_lib_data_bytes": int(out[1])}


def bench_start(args):
    result = {}
    for nic in ("virtio", "e1000"):
        times = []
        for _ in range(args.starts):
            with Guest(nic=nic) as guest:
                times.append(guest.wait_healthy())
        result[nic] = {"median_s": round(statistics.median(times), 3),
                       "best_s": round(min(times), 3), "worst_s": round(max(times), 3),
                       "runs": len(times)}
    return result


def bench_load(_):
    model = synthetic("94mb", "--dim", "512", "--hidden", "1376", "--layers", "18", "--heads", "8",
                      "--kv-heads", "8", "--vocab", "30400", "--context", "256", "--type", "Q8_0")
    with Guest(model=model) as guest:
        healthy = guest.wait_healthy()
        lines = [l for l in guest.serial().splitlines() if "model" in l.lower()]
        status, data = request(guest.port, "GET", "/profile?format=json", timeout=5)
    stages = json.loads(data).get("boot", {}) if status == 200 else {}
    return {"file_bytes": model.stat().st_size, "health_s": round(healthy, 3), "stages": stages,
            "serial": lines[:6]}


def bench_speed(args):
    result = {}
    port = free_port()
    hosted = subprocess.Popen([str(BUILD / "hosted/bareflow"), "--model", str(MODEL), "--port",
                               str(port), "--host", "127.0.0.1"], stdin=subprocess.DEVNULL,
                              stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        for _ in range(200):
            with contextlib.suppress(OSError, http.client.HTTPException):
                if request(port, "GET", "/health")[0] == 200:
                    break
            time.sleep(0.02)
        result["hosted"] = tokens_per_second(port, args.runs)
    finally:
        hosted.terminate()
        hosted.wait()
    for mode in ("off", "full"):
        with Guest(options=f"jit={mode}") as guest:
            guest.wait_healthy()
            result[f"tcg jit={mode}"] = tokens_per_second(guest.port, args.runs)
    return result


def bench_responsiveness(_):
    model = synthetic("135m", "--preset", "135m", "--type", "Q8_0")
    with Guest(model=model) as guest:
        guest.wait_healthy()
        body = json.dumps({"prompt": "a b c d e f g h", "max_tokens": 400, "temperature": 0})
        stream = http.client.HTTPConnection("127.0.0.1", guest.port, timeout=600)
        stream.request("POST", "/v1/completions", body)
        times = []
        end = time.monotonic() + 20
        while time.monotonic() < end:
            began = time.monotonic()
            status, _ = request(guest.port, "GET", "/health", timeout=10)
            assert status == 200
            times.append(time.monotonic() - began)
            time.sleep(0.01)
        stream.close()
        _, profile = request(guest.port, "GET", "/profile?format=json", timeout=10)
    times.sort()
    return {"model_bytes": model.stat().st_size, "polls": len(times),
            "median_ms": round(times[len(times) // 2] * 1e3, 1),
            "p99_ms": round(times[int(len(times) * 0.99)] * 1e3, 1),
            "worst_ms": round(times[-1] * 1e3, 1),
            "requests": json.loads(profile)["requests"], "tokens": json.loads(profile)["tokens"]}


def bench_idle(args):
    result = {}
    for nic in ("virtio", "e1000"):
        with Guest(nic=nic) as guest:
            guest.wait_healthy()
            time.sleep(3)
            before, began = guest.cpu_seconds(), time.monotonic()
            time.sleep(args.idle_seconds)
            share = (guest.cpu_seconds() - before) / (time.monotonic() - began)
            result[nic] = {"percent_of_a_core": round(100 * share, 2), "seconds": args.idle_seconds}
    return result


PARTS = {"sizes": bench_sizes, "start": bench_start, "load": bench_load, "speed": bench_speed,
         "responsiveness": bench_responsiveness, "idle": bench_idle}


def machine():
    name = re.search(r"^model name\s*:\s*(.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    qemu = subprocess.run(["qemu-system-x86_64", "--version"], capture_output=True, text=True,
                          check=False).stdout.splitlines()
    return {"processor": name[1] if name else platform.processor(), "cores": os.cpu_count(),
            "qemu": qemu[0] if qemu else "none", "accelerator": "tcg"}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)}")
    parser.add_argument("--starts", type=int, default=10, help="starts measured (default 10)")
    parser.add_argument("--runs", type=int, default=5, help="completions measured (default 5)")
    parser.add_argument("--idle-seconds", type=int, default=60)
    parser.add_argument("--output", type=Path, default=BUILD / "bench.json")
    args = parser.parse_args()
    unknown = set(args.parts) - set(PARTS)
    if unknown:
        parser.error(f"no such part: {', '.join(sorted(unknown))}")
    report = {"machine": machine()}
    for name in args.parts or PARTS:
        print(f"measuring {name}", file=sys.stderr)
        report[name] = PARTS[name](args)
    args.output.write_text(json.dumps(report, indent=2) + "\n")
    for part, values in report.items():
        print(part)
        for key, value in values.items():
            print(f"  {key:24} {value}")


if __name__ == "__main__":
    main()
