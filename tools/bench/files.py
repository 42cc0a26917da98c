"""The models that are measured: ours, SmolLM2, and synthetic ones.

A synthetic model has a real shape and random weights, and is made once into build/bench-models.
"""
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import gguf_format
import make_gguf
import models

from .common import DEFAULT_MODEL, FILES, ROOT, BenchError, progress, shown

GIB = 1 << 30
TINYLLAMA_LAYERS = make_gguf.PRESETS["tinyllama"]["layers"]


def mixed_overrides(layers):
    """The tensors that are Q6_K in Q4_K_M, as llama.cpp's quantiser mixes it.

    These are the output and, in half of the layers, attn_v and ffn_down.
    """
    names = ["output.weight"]
    for i in range(layers):
        if i < layers // 8 or i >= 7 * layers // 8 or (i - layers // 8) % 3 == 2:
            names += [f"blk.{i}.attn_v.weight", f"blk.{i}.ffn_down.weight"]
    return [(name, "Q6_K") for name in names]


@dataclass(frozen=True)
class Synthetic:
    about: str
    preset: str
    type_name: str
    layers: int = 0  # 0: the preset's own
    overrides: tuple = ()

    @property
    def shape(self):
        shape = dict(make_gguf.PRESETS[self.preset])
        if self.layers:
            shape["layers"] = self.layers
        return shape

    def arguments(self):
        words = ["--preset", self.preset, "--type", self.type_name]
        if self.layers:
            words += ["--layers", str(self.layers)]
        for pattern, type_name in self.overrides:
            words += ["--override", f"{pattern}={type_name}"]
        return words

    def expected_bytes(self):
        shape = make_gguf.DEFAULTS | self.shape
        shape["head_size"] = shape["dim"] // shape["heads"]
        total = 4 << 20  # more than vocabulary and keys take
        for name, dims, _ in make_gguf.tensor_list(shape):
            chosen = make_gguf.type_of(name, dims, self.type_name, self.overrides)
            _, elements, size = gguf_format.TENSOR_TYPES[gguf_format.TYPE_IDS[chosen]]
            product = 1
            for dim in dims:
                product *= dim
            total += product // elements * size
        return total


# Types that are compared with all layers, and types that are compared with OTHER_LAYERS layers.
FULL_TYPES = ("F16", "Q8_0", "Q4_0", "Q4_K", "Q6_K")
OTHER_TYPES = ("F32", "BF16", "Q4_1", "Q5_0", "Q5_1", "IQ4_NL", "Q2_K", "Q3_K", "Q5_K")
OTHER_LAYERS = 6

SYNTHETIC = {
    "15m-Q8_0": Synthetic("15M shape (288/768, 6 layers, 32,000 tokens), Q8_0", "15m", "Q8_0"),
    "15m-Q4_0": Synthetic("15M shape, Q4_0", "15m", "Q4_0"),
    "260k-F32": Synthetic("stories260K's shape (64/172, 5 layers, 512 tokens), F32", "tiny-awkward", "F32"),
    "tinyllama-Q4_K": Synthetic("TinyLlama's shape, Q4_K with Q6_K as in Q4_K_M", "tinyllama", "Q4_K",
                                overrides=tuple(mixed_overrides(TINYLLAMA_LAYERS))),
}
for _name in FULL_TYPES:
    SYNTHETIC.setdefault(f"tinyllama-{_name}", Synthetic(
        f"TinyLlama's shape (2048/5632, 22 layers, 32/4 heads, 32,000 tokens), {_name}", "tinyllama", _name))
for _name in OTHER_TYPES:
    SYNTHETIC[f"tinyllama6-{_name}"] = Synthetic(
        f"{OTHER_LAYERS} layers of TinyLlama's shape, {_name}", "tinyllama", _name, OTHER_LAYERS)

ABOUT = {"stories": "the default model, Q8_0", "smollm2": models.MODELS["smollm2"].about,
         **{name: model.about for name, model in SYNTHETIC.items()}}


def make_synthetic(path, arguments, expected_bytes):
    """Makes a file under another name and renames it: a file of this name is always complete."""
    path.parent.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(path.parent).free
    if free < expected_bytes + GIB:
        raise BenchError(f"{path.name} needs {expected_bytes >> 20} MiB, and only {free >> 20} MiB are free in "
                         f"build/")
    progress(f"making {path.name} ({expected_bytes >> 20} MiB, once)")
    part = path.with_suffix(".part")
    command = [sys.executable, ROOT / "tools/gguf/make_gguf.py", *arguments, part]
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        part.unlink(missing_ok=True)
        raise BenchError(f"{shown(command)} failed: {done.stderr.strip()[-500:]}")
    part.replace(path)


def path_of(name):
    """The model's file, which is made or fetched if it is not there yet."""
    if name == "stories":
        return DEFAULT_MODEL
    if name == "smollm2":
        try:
            return Path(models.fetch(name))
        except models.CannotBeHad as error:
            raise BenchError(f"SmolLM2 can't be had: {error}") from error
    model = SYNTHETIC[name]
    path = FILES / f"{name}.gguf"
    if not path.exists():
        make_synthetic(path, model.arguments(), model.expected_bytes())
    return path


_enders = {}


def enders(path):
    """Tokens that end a text. They are banned, so that every text has the length asked for."""
    if path not in _enders:
        metadata = gguf_format.Reader(path).metadata
        keys = ("eos_token_id", "eot_token_id", "eom_token_id")
        _enders[path] = sorted({int(metadata[f"tokenizer.ggml.{key}"]) for key in keys
                                if f"tokenizer.ggml.{key}" in metadata})
    return _enders[path]
