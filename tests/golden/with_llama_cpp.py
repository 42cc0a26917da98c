"""llama.cpp (the PyPI package `llama-cpp-python`) as a process. For build/reference-venv's Python.

  with_llama_cpp.py quantize FROM.gguf TO.gguf TYPE     TYPE: Q4_K_M, Q6_K, ... as llama.cpp has them
  with_llama_cpp.py logits MODEL.gguf < texts > logits  a text a line, token numbers between commas;
                                                        float32 after each token, all the vocabulary
"""

import ctypes
import sys

import llama_cpp
import numpy as np


def quantize(source, output, name):
    settings = llama_cpp.llama_model_quantize_default_params()
    settings.ftype = getattr(llama_cpp, f"LLAMA_FTYPE_MOSTLY_{name}")
    settings.allow_requantize = True
    return llama_cpp.llama_model_quantize(source.encode(), output.encode(), ctypes.byref(settings))


def plain_settings(defaults=llama_cpp.llama_cpp.llama_model_default_params):
    """Weights as in the file, not repacked: the plainest way that llama.cpp computes."""
    settings = defaults()
    settings.use_extra_bufts = False
    return settings


def logits(path):
    llama_cpp.llama_cpp.llama_model_default_params = plain_settings
    texts = [[int(token) for token in line.split(",")] for line in sys.stdin]
    model = llama_cpp.Llama(path, n_ctx=max(map(len, texts)) + 1, logits_all=True, verbose=False,
                            n_threads=1, n_threads_batch=1)
    for text in texts:
        model.reset()
        model.eval(text)
        sys.stdout.buffer.write(np.array(model.scores[:len(text)], np.float32).tobytes())
    return 0


if sys.argv[1:2] == ["quantize"] and len(sys.argv) == 5:
    sys.exit(quantize(*sys.argv[2:]))
elif sys.argv[1:2] == ["logits"] and len(sys.argv) == 3:
    sys.exit(logits(sys.argv[2]))
sys.exit(__doc__)
