"""The benchmarks behind tools/bench.py: measuring our program hosted and in QEMU, measuring llama.cpp, tables.

Nothing here is a test and nothing is a target: figures of this machine, with the commands that made them.
"""
