#!/usr/bin/env python3
"""Figures of this machine, measured now: `make bench`, `make bench-jit`. See --help and tools/bench/."""
import sys
from pathlib import Path

TOOLS = Path(__file__).resolve().parent
sys.path[:0] = [str(TOOLS), str(TOOLS / "gguf")]
from bench.main import main  # noqa: E402

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
