"""tools/gguf/quantize_gguf.py: the weights that it writes are as close to those it was given as the
type allows."""

import subprocess

import numpy as np
import pytest

import reference
from test_dequantize import ours
from test_reference import ROOT, STORIES

import quantize_gguf  # noqa: E402 (tools/gguf/, which `reference` puts on the path)

# The greatest rounding error, as a part of a block's extent (its greatest less its least value).
ERROR = {"F32": 0, "F16": 2.0 ** -11, "BF16": 2.0 ** -8, "Q8_0": 1 / 250, "Q6_K": 1 / 50,
         "Q5_1": 1 / 60, "Q5_K": 1 / 40, "Q5_0": 1 / 28, "Q4_1": 1 / 29, "Q4_K": 1 / 20,
         "IQ4_NL": 1 / 10, "Q4_0": 1 / 13, "Q3_K": 1 / 5, "Q2_K": 1 / 4}


@pytest.mark.parametrize("type_name", ERROR)
def test_values_come_back(type_name):
    rng = np.random.default_rng(3)
    values = rng.normal(0, 0.1, (60, 256)).astype(np.float32)
    values[0] = 0
    values[1, :40] = 0
    values[2] = 0.25
    values[3] = -0.25
    values[4] = np.abs(values[4])
    back = ours(type_name, np.ascontiguousarray(quantize_gguf.quantize(values, type_name)).tobytes())
    error = np.abs(back.view(np.float32).reshape(60, 256) - values).max(axis=1)
    extent = np.maximum(values.max(axis=1), 0) - np.minimum(values.min(axis=1), 0)
    assert (error <= ERROR[type_name] * extent).all(), (error / extent).max()


def test_a_widened_model_computes_the_same(tmp_path):
    path = tmp_path / "wide.gguf"
    quantize_gguf.convert(STORIES, path, "F32", widened=True)
    wide, narrow = reference.Model(path), reference.Model(STORIES)
    assert wide.dim == 256 and wide.heads == 16
    texts = [[1, 300, 45, 7, 331, 300, 612, 700]]
    a, b = (reference.teacher_forced(model, texts, reference.Float64)[0] for model in (wide, narrow))
    assert np.abs(a - b).max() < 1e-4 < np.ptp(b)


def command(*arguments):
    return subprocess.run(["/usr/bin/python3", str(ROOT / "tools/gguf/quantize_gguf.py"), *map(str, arguments)],
                          capture_output=True, text=True, timeout=60)


def test_the_command_says_what_it_wrote_or_why_not(tmp_path):
    path = tmp_path / "q4_0.gguf"
    done = command("--type", "Q4_0", "--override", "output*=Q8_0", STORIES, path)
    assert done.returncode == 0 and done.stdout == f"{path}: 11 x F32, 36 x Q4_0\n", done.stderr
    done = command("--type", "Q8_0", path, tmp_path / "again.gguf")
    assert done.returncode == 1 and "token_embd.weight is Q4_0" in done.stderr
    done = command("--type", "Q4_K", ROOT / "README.md", path)
    assert done.returncode == 1 and "not a GGUF file" in done.stderr
