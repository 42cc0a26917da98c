#!/usr/bin/env python3
"""Measures this machine: `make bench`, `make bench-jit`. See --help; tools/bench/ has the code."""
import sys
from pathlib import Path

TOOLS = Path(__file__).resolve().parent
sys.path[:0] = [str(TOOLS), str(TOOLS / "gguf")]
from bench.main import main  # noqa: E402

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
