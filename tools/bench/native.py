"""Compares the kernels that the search installs with the compiler's, for every type and shape.

The compiler's are the portable sources, compiled for this very processor (-O3 -march=native).
"""
import re
import subprocess
import time

from . import client, files
from .common import BUILD, BenchError, check_time, progress, ratio, rounded, shown
from .speed import skipped
from .tiers import HOSTED_PLANS, Place, Plan, climb, wait_for_rest

KERNEL_BENCH = BUILD / "hosted/kernel_bench"
LINE = re.compile(r"^(\S+)\s+(\S.*?)\s+(\d+)\s+(\d+)\s+([\d.]+)\s+([\d.]+)\s+\d+ %", re.MULTILINE)
MOST_MIB = 128  # of weights that a kernel goes through: more than an L2 cache, as in a large model
DOUBTFUL = 1.05  # a comparison with a smaller ratio is repeated
REPEATS = 3  # runs of such a comparison, at most

NAMES = ("stories", "15m-Q8_0", "15m-Q4_0", "smollm2", *(f"tinyllama-{kind}" for kind in files.FULL_TYPES),
         *(f"tinyllama{files.OTHER_LAYERS}-{kind}" for kind in files.OTHER_TYPES))
QUICK_NAMES = ("15m-Q8_0", "15m-Q4_0", "smollm2")


def products(functions):
    return {f["name"]: f["variant"] for f in functions if "_gemv " in f["name"] and f["variant"]}


def installed(name, measured):
    """({function: variant} of the matrix products, whether the search tried every candidate).

    The search runs on one thread. `measured` are the rows of tiers-hosted: if this run has such a
    search already, its result serves.
    """
    for row in measured:
        if (row["model"], row["where"]) == (name, Place("hosted", 1).shown) and "modes" in row:
            return products(row["modes"]["full"]["functions"]), row["rested"]
    path = files.path_of(name)
    with Place("hosted", 1).server(name, path, "full") as server:
        server.wait_healthy()
        climb(server, path, HOSTED_PLANS.get(name, Plan(24, 4, 2)))
        rested, _ = wait_for_rest(server)
        return products(client.profile(server.port).get("functions", [])), rested


def kernels_of(text):
    """{kernel: GMAC/s} from what kernel_bench printed."""
    return {name: float(gmacs) for _, name, _, _, gmacs, _ in LINE.findall(text)}


def alone(function, variant, mib):
    """(GMAC/s of the installed kernel, of the compiler's best one, its name, command)."""
    kind, _, shape = function.partition("_gemv ")
    rows, _, cols = shape.partition("x")
    command = [KERNEL_BENCH, f"--type={kind.upper()}", f"--rows={rows}", f"--cols={cols}", f"--mib={mib}",
               "--threads=1", "--batch=1", "--native=1", f"--kernel={variant}"]
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False)
    found = kernels_of(done.stdout)
    native = {key: value for key, value in found.items() if key.startswith("native ")}
    if done.returncode != 0 or variant not in found or not native:
        raise BenchError(f"kernel_bench does not know {variant} of {function}: {done.stderr.strip()[-200:]}")
    best = max(native, key=native.get)
    return found[variant], native[best], best, shown(command)


def compare(function, variant, mib):
    """The best of up to REPEATS comparisons: other programs can only make a kernel slower."""
    best = None
    for _ in range(REPEATS):
        ours, theirs, name, command = alone(function, variant, mib)
        if best is None or ratio(ours, theirs) > best["ratio"]:
            best = {"installed": rounded(ours), "native": rounded(theirs), "native_kernel": name.partition(" ")[2],
                    "ratio": rounded(ratio(ours, theirs), 3), "command": command}
        if best["ratio"] >= DOUBTFUL:
            break
    return best


def native(args):
    if not KERNEL_BENCH.exists():
        raise BenchError("build/hosted/kernel_bench is missing; `make bench-jit` builds it")
    rows, seen = [], set()
    for name in QUICK_NAMES if args.quick else NAMES:
        began = time.monotonic()
        try:
            check_time(args)
            mib = max(1, min(MOST_MIB, files.path_of(name).stat().st_size >> 20))
            functions, rested = installed(name, getattr(args, "report", {}).get("tiers-hosted", {}).get("rows", []))
        except BenchError as error:
            rows.append(skipped(name, error))
            continue
        for function, variant in functions.items():
            if (function, mib) in seen:
                continue
            seen.add((function, mib))
            row = {"model": name, "function": function, "variant": variant, "mib": mib, "rested": rested}
            try:
                rows.append(row | compare(function, variant, mib))
            except BenchError as error:
                rows.append(row | {"skipped": str(error)})
        least = min((row["ratio"] for row in rows if row.get("ratio") and row["model"] == name), default=None)
        progress(f"{name}: beside -O3 -march=native, the least {least} x ({time.monotonic() - began:.0f} s)")
    return {"rows": rows}
