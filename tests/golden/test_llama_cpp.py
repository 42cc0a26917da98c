"""Files that llama.cpp's quantiser makes (`make soak`; `make setup-reference` builds it). One is
SmolLM2-135M, whose rows of 576 give the mixture of types of real files. The other is the default
model widened to rows of 256, in K-quants only. The hosted program's texts are those of numpy, bit
for bit. The distance of both from llama.cpp's own arithmetic is printed, and bounded loosely."""

import collections
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest

import reference
from test_reference import ROOT, STORIES, bits, log_softmax, run_engine

import gguf_format  # noqa: E402 (tools/gguf/, which `reference` puts on the path)
import models  # noqa: E402
import quantize_gguf  # noqa: E402

pytestmark = pytest.mark.soak

PYTHON = Path(os.environ.get("BAREFLOW_REFERENCE_PYTHON",
                             ROOT / "build/reference-venv/bin/python"))
PROCESS = Path(__file__).resolve().parent / "with_llama_cpp.py"
TYPES = ["F16", "BF16", "Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "IQ4_NL", "Q2_K", "Q3_K_M", "Q4_K_M",
         "Q5_K_M", "Q6_K"]
MADE = 12


def llama_cpp(*arguments, **settings):
    if not PYTHON.exists():
        pytest.fail("llama.cpp is not there to compare with: run `make setup-reference` (15 minutes)")
    done = subprocess.run([str(PYTHON), str(PROCESS), *map(str, arguments)], capture_output=True,
                          timeout=600, **settings)
    assert done.returncode == 0, done.stderr.decode()[-2000:]
    return done.stdout


@pytest.fixture(scope="module")
def smollm2():
    try:
        return models.fetch("smollm2")
    except models.CannotBeHad as error:
        pytest.fail(f"smollm2 can't be had: {error}")


def smollm2_prompts(path):
    """The tokens of a few texts, by the hosted program."""
    texts = ["<|im_start|>user\nWhat is the capital of France?<|im_end|>\n<|im_start|>assistant\n",
             "def fibonacci(n):\n    ", "The 3 largest planets are"]
    lines = "".join(text.encode().hex() + "\n" for text in texts)
    done = subprocess.run([str(ROOT / "build/hosted/bareflow"), "--encode", str(path),
                           "--parse-special"], input=lines, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return [[int(token) for token in line.split("=")[0].split()] for line in done.stdout.splitlines()]


def compare(path, prompts, capsys, title, top1_bound, kl_bound):
    types = collections.Counter(tensor.type_name for tensor in gguf_format.Reader(path).tensors
                                if len(tensor.dims) > 1)
    model = reference.Model(path)
    expected = reference.generate(model, prompts, MADE)
    rows = []
    for prompt, steps in zip(prompts, expected):
        made, logits, _ = run_engine(path, prompt, MADE, "--logits", "--context", "128")
        assert made == [token for _, token in steps if token is not None], prompt
        assert np.array_equal(bits(logits), bits([row for row, _ in steps])), prompt
        rows.append(logits)
    texts = [(prompt + [token for _, token in steps if token is not None])[:len(prompt) + len(steps) - 1]
             for prompt, steps in zip(prompts, expected)]
    lines = "".join(",".join(map(str, text)) + "\n" for text in texts).encode()
    theirs = np.frombuffer(llama_cpp("logits", path, input=lines), np.float32)
    theirs = np.split(theirs.reshape(sum(map(len, texts)), -1), np.cumsum([len(t) for t in texts])[:-1])
    q = log_softmax(np.concatenate(rows))
    p = log_softmax(np.concatenate([t[len(prompt) - 1:] for t, prompt in zip(theirs, prompts)]))
    kl = (np.exp(p) * (p - q)).sum(axis=1).mean()
    top1 = (p.argmax(axis=1) == q.argmax(axis=1)).mean()
    with capsys.disabled():
        print(f"\n{title}: {', '.join(f'{count} {name}' for name, count in sorted(types.items()))}; "
              f"{len(prompts)} texts equal to numpy; llama.cpp's logits: top-1 agreement {top1:.3f}, "
              f"mean KL {kl:.1e} over {len(q)} tokens")
    assert top1 >= top1_bound and kl < kl_bound


@pytest.mark.parametrize("name", TYPES)
def test_smollm2(smollm2, tmp_path, capsys, name):
    path = tmp_path / "smollm2.gguf"
    llama_cpp("quantize", smollm2, path, name)
    compare(path, smollm2_prompts(smollm2), capsys, f"SmolLM2 {name}", 0.8, 0.05)


def test_smollm2_as_published(smollm2, capsys):
    compare(smollm2, smollm2_prompts(smollm2), capsys, "SmolLM2 as published", 0.8, 0.05)


@pytest.mark.parametrize("name", TYPES)
def test_stories_in_rows_of_256(tmp_path, capsys, name):
    wide, path = tmp_path / "wide.gguf", tmp_path / "stories.gguf"
    quantize_gguf.convert(STORIES, wide, "F32", widened=True)
    llama_cpp("quantize", wide, path, name)
    prompts = [[1], [1, 300, 400, 300], [1, 612, 700, 261, 500, 263], [1, 500]]
    compare(path, prompts, capsys, f"default model, wide, {name}", 0.8, 0.05)
