"""The GGUF lister and the generator of synthetic models."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
TOOLS = ROOT / "tools/gguf"
sys.path.insert(0, str(TOOLS))
sys.path.insert(0, str(ROOT / "tests" / "golden"))

import gguf_format as gguf  # noqa: E402
import make_gguf  # noqa: E402
import reference  # noqa: E402

HOSTED = ROOT / "build" / "hosted" / "bareflow"


def run(tool, *args):
    return subprocess.run(
        [sys.executable, str(TOOLS / tool), *map(str, args)],
        capture_output=True,
        text=True,
        check=False,
    )


def row_length(type_name):
    """A dimension that is a whole number of blocks."""
    return 256 if type_name.endswith("_K") else 64


@pytest.mark.parametrize("type_name", make_gguf.TYPES)
def test_weights_are_finite_and_of_sane_size(tmp_path, type_name):
    path = tmp_path / "m.gguf"
    dim = row_length(type_name)
    make_gguf.make(
        path, dict(dim=dim, hidden=172, layers=2, heads=8, kv_heads=4, vocab=512), type_name
    )
    reader = gguf.Reader(path)
    used = set()
    for tensor in reader.tensors:
        weights = reference.Matrix(tensor, np.array(reader.tensor_bytes(tensor))).float64().ravel()
        assert np.isfinite(weights).all() and len(weights) == tensor.elements
        if len(tensor.dims) == 1:
            assert tensor.type_name == "F32" and weights.min() > 0.7 and weights.max() < 1.3
            continue
        used.add(tensor.type_name)
        # y = W x has about the magnitude of x, for x of ones and minus ones.
        spread = weights.std() * tensor.dims[0] ** 0.5
        expected = {"token_embd.weight": dim**0.5, "output.weight": 2.0}.get(tensor.name, 1.0)
        expected *= 0.5 if "attn_output" in tensor.name or "ffn_down" in tensor.name else 1.0
        assert 0.75 * expected < spread < 1.25 * expected, tensor.name
        assert abs(weights.mean()) < 0.1 * weights.std(), tensor.name
        # 172 columns are not a whole number of blocks.
        exact = tensor.dims[0] != 172 or type_name in ("F32", "F16", "BF16")
        assert tensor.type_name == (type_name if exact else "F16")
    assert type_name in used


def test_vocabulary_is_one_of_bpe(tmp_path):
    path = tmp_path / "m.gguf"
    make_gguf.make(path, dict(vocab=2000))
    data = gguf.Reader(path).metadata
    texts, kinds = data["tokenizer.ggml.tokens"], list(data["tokenizer.ggml.token_type"])
    scores = data["tokenizer.ggml.scores"]
    assert len(texts) == len(kinds) == len(scores) == 2000 == len(set(texts))
    assert texts[3:259] == [f"<0x{i:02X}>" for i in range(256)] and kinds[3:259] == [6] * 256
    normal = [text for text, kind in zip(texts, kinds) if kind == 1]
    known = {text for text in normal if len(text) == 1}
    assert make_gguf.SPACE in known and "a" in known
    for text in normal:
        if len(text) > 1:
            assert any(text[:i] in known and text[i:] in known for i in range(1, len(text))), text
            known.add(text)
    ordered = [score for score, kind in zip(scores, kinds) if kind == 1]
    assert ordered == sorted(ordered, reverse=True)


def test_same_options_same_bytes(tmp_path):
    paths = [tmp_path / name for name in "abc"]
    for path, seed in zip(paths, (1, 1, 2)):
        assert (
            run(
                "make_gguf.py", "--layers", 1, "--type", "Q4_1", "--seed", seed, "--name", "x", path
            ).returncode
            == 0
        )
    first, second, third = (path.read_bytes() for path in paths)
    assert first == second and first != third and len(first) == len(third)


def test_presets_and_options_give_the_shape(tmp_path):
    path = tmp_path / "m.gguf"
    result = run(
        "make_gguf.py",
        "--preset",
        "135m",
        "--layers",
        2,
        "--type",
        "Q4_0",
        "--override",
        "blk.1.*=F16",
        "--override",
        "*ffn_down*=Q8_0",
        path,
    )
    assert result.returncode == 0, result.stderr
    reader = gguf.Reader(path)
    types = {tensor.name: tensor.type_name for tensor in reader.tensors}
    shapes = {tensor.name: tensor.dims for tensor in reader.tensors}
    assert "output.weight" not in types  # tied
    assert types["token_embd.weight"] == types["blk.0.attn_q.weight"] == "Q4_0"
    assert types["blk.1.attn_q.weight"] == "F16" and types["blk.1.attn_norm.weight"] == "F32"
    assert types["blk.0.ffn_down.weight"] == types["blk.1.ffn_down.weight"] == "Q8_0"
    assert shapes["token_embd.weight"] == (576, 49152) and shapes["blk.0.attn_k.weight"] == (
        576,
        192,
    )
    assert shapes["blk.0.ffn_down.weight"] == (1536, 576)
    assert reader.metadata["llama.attention.head_count_kv"] == 3


@pytest.mark.parametrize(
    "options, sentence",
    [
        (["--vocab", 100], "too small"),
        (["--dim", 63], "4 heads do not divide"),
        (["--heads", 4, "--kv-heads", 3], "3 KV heads must divide"),
        (["--override", "x=Q9"], "PATTERN=TYPE"),
        (["--dim", 0], "at least 1"),
    ],
)
def test_impossible_shapes_are_refused(tmp_path, options, sentence):
    result = run("make_gguf.py", *options, tmp_path / "m.gguf")
    assert result.returncode != 0 and sentence in result.stderr


def test_lister_shows_keys_and_tensors(tmp_path):
    path = tmp_path / "m.gguf"
    make_gguf.make(path, dict(layers=1), "Q8_0", name="a\x1b[2Jb")
    result = run("gguf_list.py", path)
    assert result.returncode == 0
    assert "general.architecture  (string)  llama" in result.stdout
    assert (
        "tokenizer.ggml.tokens  (string[512])  [<unk>, <s>, </s>, <0x00>, <0x01>, <0x02>, ...]"
        in result.stdout
    )
    assert "blk.0.ffn_down.weight" in result.stdout and "Q8_0   160 x 64" in result.stdout
    assert "\x1b" not in result.stdout
    assert "blk.0" not in run("gguf_list.py", "--no-tensors", path).stdout


def test_lister_refuses_what_is_no_gguf(tmp_path):
    path = tmp_path / "m.gguf"
    path.write_bytes(b"ELF and so on")
    assert "not a GGUF file" in run("gguf_list.py", path).stderr
    assert run("gguf_list.py", path).returncode == 1
    assert "No such file" in run("gguf_list.py", tmp_path / "none").stderr
    make_gguf.make(path, dict(layers=1))
    path.write_bytes(path.read_bytes()[:2000])
    assert "the file ends too early" in run("gguf_list.py", path).stderr
    path.write_bytes(b"GGUF\x01\x00\x00\x00" + bytes(64))
    assert "GGUF version 1 is not supported" in run("gguf_list.py", path).stderr
    path.write_bytes(b"")
    result = run("gguf_list.py", path)
    assert result.returncode == 1 and "Traceback" not in result.stderr


@pytest.mark.parametrize("type_name", make_gguf.TYPES)
def test_the_engine_generates_from_it_and_nothing_explodes(tmp_path, type_name):
    path = tmp_path / "m.gguf"
    shape = make_gguf.PRESETS["tiny-awkward"] | dict(dim=row_length(type_name))
    make_gguf.make(path, shape, type_name, seed=3)
    result = subprocess.run(
        [
            str(HOSTED),
            "--model",
            str(path),
            "--tokens",
            "1,300,400",
            "--max-tokens",
            "24",
            "--logits",
        ],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert result.returncode == 0, result.stderr
    lines = [line.split() for line in result.stdout.splitlines()]
    tokens = [int(words[1]) for words in lines if words[0] == "token"]
    logits = np.array(
        [
            np.frombuffer(bytes.fromhex("".join(words[1:])), dtype=">f4")
            for words in lines
            if words[0] == "logits"
        ]
    )
    assert len(tokens) > 0 and logits.shape[1] == 512
    assert np.isfinite(logits).all() and 0.5 < logits.std() < 5
    assert np.abs(logits).max() < 20
