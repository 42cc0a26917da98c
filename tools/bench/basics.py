"""Measures what is not tokens per second: sizes, start, loading, answers under load, idling."""
import http.client
import json
import statistics
import subprocess
import time

from . import client, files
from .common import BUILD, DEFAULT_MODEL, FILES, IMAGE
from .servers import Guest
from .tables import pairs


def sizes(_):
    image, model = IMAGE.stat().st_size, DEFAULT_MODEL.stat().st_size
    out = subprocess.run(["llvm-size-19", "-t", str(BUILD / "kernel_lib.a")], check=True,
                         capture_output=True, text=True).stdout.splitlines()[-1].split()
    return {"image_bytes": image, "model_bytes": model, "image_less_model_bytes": image - model,
            "kernel_lib_text_bytes": int(out[0]), "kernel_lib_data_bytes": int(out[1])}


def start(args):
    result = {}
    for nic in ("virtio", "e1000"):
        times = []
        for _ in range(3 if args.quick else args.starts):
            with Guest(nic=nic) as guest:
                times.append(guest.wait_healthy())
                command = guest.command
        result[nic] = {"median_s": round(statistics.median(times), 3), "best_s": round(min(times), 3),
                       "worst_s": round(max(times), 3), "runs": len(times), "command": command}
    return result


def synthetic(name, expected_bytes, *arguments):
    path = FILES / f"{name}.gguf"
    if not path.exists():
        files.make_synthetic(path, arguments, expected_bytes)
    return path


def load(_):
    model = synthetic("94mb", 100 << 20, "--dim", "512", "--hidden", "1376", "--layers", "18", "--heads", "8",
                      "--kv-heads", "8", "--vocab", "30400", "--context", "256", "--type", "Q8_0")
    with Guest(model=model) as guest:
        healthy = guest.wait_healthy()
        lines = [line for line in guest.said().splitlines() if "model" in line.lower()]
        stages = client.profile(guest.port).get("boot", {})
        return {"file_bytes": model.stat().st_size, "health_s": round(healthy, 3), "stages": stages,
                "serial": lines[:6], "command": guest.command}


def responsiveness(args):
    model = synthetic("135m", 160 << 20, "--preset", "135m", "--type", "Q8_0")
    with Guest(model=model) as guest:
        guest.wait_healthy()
        streams = []
        for seed in range(4):  # one for each slot, a moment apart for QEMU's user network
            body = {"prompt": "a b c d e f g h " * (1 + seed), "max_tokens": 400, "temperature": 1, "seed": seed}
            streams.append(http.client.HTTPConnection("127.0.0.1", guest.port, timeout=600))
            streams[-1].request("POST", "/v1/completions", json.dumps(body))
            time.sleep(0.1)
        times = []
        end = time.monotonic() + (5 if args.quick else 15)
        while time.monotonic() < end:
            began = time.monotonic()
            status, _ = client.request(guest.port, "GET", "/health", timeout=10)
            assert status == 200
            times.append(time.monotonic() - began)
            time.sleep(0.01)
        seen = client.profile(guest.port)
        for stream in streams:
            stream.close()
        command = guest.command
    times.sort()
    return {"model_bytes": model.stat().st_size, "polls": len(times),
            "median_ms": round(times[len(times) // 2] * 1e3, 1),
            "p99_ms": round(times[int(len(times) * 0.99)] * 1e3, 1), "worst_ms": round(times[-1] * 1e3, 1),
            "requests": seen.get("requests"), "tokens": seen.get("tokens"), "command": command}


def idle(args):
    result = {}
    seconds = 5 if args.quick else args.idle_seconds
    for nic in ("virtio", "e1000"):
        with Guest(nic=nic) as guest:
            guest.wait_healthy()
            time.sleep(3)
            before, began = guest.cpu_seconds(), time.monotonic()
            time.sleep(seconds)
            share = (guest.cpu_seconds() - before) / (time.monotonic() - began)
            result[nic] = {"percent_of_a_core": round(100 * share, 2), "seconds": seconds, "command": guest.command}
    return result


def show(result):
    """The figures without their commands, which are in the JSON."""
    return pairs({key: {k: v for k, v in value.items() if k != "command"} if isinstance(value, dict) else value
                  for key, value in result.items() if key != "command"})
