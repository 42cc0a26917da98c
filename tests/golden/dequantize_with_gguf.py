"""The PyPI package `gguf` as a process. Reads blocks of one type from standard input and writes
their values to standard output as float32. For build/venv's Python.

  dequantize_with_gguf.py TYPE < blocks > values
"""

import sys

import gguf
import numpy as np

kind = gguf.GGMLQuantizationType[sys.argv[1]]
data = np.frombuffer(sys.stdin.buffer.read(), dtype=np.uint8)
values = gguf.quants.dequantize(data.reshape(-1, gguf.GGML_QUANT_SIZES[kind][1]), kind)
sys.stdout.buffer.write(np.ascontiguousarray(values, dtype=np.float32).tobytes())
