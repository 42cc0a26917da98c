"""The benchmarks behind tools/bench.py: our program hosted and in QEMU, llama.cpp, and tables.

Nothing here is a test, and no figure is a target. Each figure is one of this machine, with the
command that made it.
"""
