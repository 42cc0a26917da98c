"""The command line of the benchmarks: the parts, and how they are run, shown and kept."""
import argparse
import json
import sys
import time
from pathlib import Path

from . import basics, files, jit, native, overhead, second_boot, speed, tiers
from .common import BUILD, BenchError, here, machine, progress
from .tables import pairs

# name: (measures, shows, about)
PARTS = {
    "sizes": (basics.sizes, basics.show, "bytes of image and library"),
    "start": (basics.start, basics.show, "seconds to the first answer"),
    "load": (basics.load, basics.show, "loading a file of 94 MB"),
    "responsiveness": (basics.responsiveness, basics.show, "/health while a large model generates"),
    "hosted": (speed.hosted, speed.show_hosted,
               "default, SmolLM2, TinyLlama's shape; alternating with llama.cpp"),
    "tcg": (speed.tcg, speed.show_tcg, "in QEMU under TCG, beside figures from elsewhere"),
    "clients": (speed.clients, speed.show_clients, "1, 2, 4, 8 clients; llama.cpp's batch of 8"),
    "idle": (basics.idle, basics.show, "what an idle guest costs"),
    "types": (speed.types, speed.show_hosted, "the other weight types; alternating with llama.cpp"),
    "tiers-tcg": (tiers.tcg, jit.show_tiers, "in QEMU under TCG: tier 0, rule of thumb, full; the climb; kernels"),
    "tiers-hosted": (tiers.hosted, jit.show_tiers, "the same natively, with every jit.isa; llama.cpp; read bandwidth"),
    "second-boot": (second_boot.second_boots, jit.show_second_boots, "how a boot with a kept profile starts"),
    "profiling": (overhead.profiling_rows, jit.show_profiling, "what counting calls and cycles costs"),
    "native": (native.native, jit.show_native, "kernels in force beside the compiler's -O3 -march=native"),
}
# What `make bench-jit` runs (--jit), the most important part first.
JIT_PARTS = ("second-boot", "tiers-hosted", "tiers-tcg", "profiling", "native")


def parse_arguments(argv):
    parser = argparse.ArgumentParser(
        prog="tools/bench.py", formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Figures of this machine, measured now, as JSON and as a table. Nothing here is a test.\n\n"
        + "\n".join(f"  {name:16}{about}" for name, (_, _, about) in PARTS.items())
        + "\n\nEmulated (TCG) and native figures stand apart. llama.cpp is measured, too, if `make setup-bench`\n"
        "has built it. Models are made once into build/bench-models (11 GB for all parts).")
    parser.add_argument("parts", nargs="*", metavar="PART",
                        help=f"default: all of the above but {', '.join(JIT_PARTS)}")
    parser.add_argument("--jit", action="store_true", help="run what `make bench-jit` runs, if no PART is named")
    parser.add_argument("--quick", action="store_true",
                        help="less of everything, about six minutes (--jit: eight)")
    parser.add_argument("--minutes", type=float,
                        help="measure no further row after this time (default 20; --jit 60; "
                        "--quick 7, with --jit 12; 0: no limit)")
    parser.add_argument("--no-llama-cpp", action="store_true", help="our own figures only")
    parser.add_argument("--make-models", action="store_true", help="make and fetch the models, and stop")
    parser.add_argument("--starts", type=int, default=5, help="starts measured (default 5)")
    parser.add_argument("--idle-seconds", type=int, default=20)
    parser.add_argument("--output", type=Path, help="default: build/bench.json; --jit: build/bench-jit.json")
    args = parser.parse_args(argv)
    if args.minutes is None:
        args.minutes = (12 if args.quick else 60) if args.jit else 7 if args.quick else 20
    if args.output is None:
        args.output = BUILD / ("bench-jit.json" if args.jit else "bench.json")
    unknown = set(args.parts) - set(PARTS)
    if unknown:
        parser.error(f"no such part: {', '.join(sorted(unknown))}")
    if not args.parts:
        args.parts = JIT_PARTS if args.jit else [part for part in PARTS if part not in JIT_PARTS]
    return args


def show(name, result):
    print(f"\n{name}: {PARTS[name][2]}")
    print(f"  left out: {result['skipped']}" if "skipped" in result else PARTS[name][1](result), flush=True)


def main(argv):
    args = parse_arguments(argv)
    if args.make_models:
        for name in files.ABOUT:
            print(here(files.path_of(name)))
        return 0
    report = args.report = {"machine": machine(), "arguments": argv}
    print(pairs(report["machine"]))
    failed = False
    for name in args.parts:
        progress(f"measuring {name}")
        began = time.monotonic()
        try:
            report[name] = PARTS[name][0](args)
        except BenchError as error:
            report[name], failed = {"skipped": str(error)}, True
        except KeyboardInterrupt:
            progress("stopped; what was measured is kept")
            break
        report[name]["took_s"] = round(time.monotonic() - began, 1)
        if rows := jit.goals(report):
            report["goals"] = rows
        # Written after every part, so that a long run that ends early has something to show.
        args.output.parent.mkdir(parents=True, exist_ok=True)
        args.output.write_text(json.dumps(report, indent=2) + "\n")
        show(name, report[name])
    if report.get("goals"):
        print(f"\ngoals\n{jit.show_goals(report['goals'])}", flush=True)
    progress(f"done; {here(args.output)}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
