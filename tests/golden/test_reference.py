"""The hosted engine against numpy. It equals the numeric contract bit for bit, for every type of
weights and for shapes that are multiples of nothing. It is close to plain float64."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tools/gguf"))
sys.path.insert(0, str(Path(__file__).resolve().parent))
import make_gguf  # noqa: E402
import reference  # noqa: E402

BAREFLOW = Path(os.environ.get("BAREFLOW_HOSTED", ROOT / "build/hosted/bareflow"))
STORIES = ROOT / "models/stories.gguf"
FLOAT_TYPES = ("F32", "F16", "BF16")
BLOCK_TYPES = ("Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "IQ4_NL")
SUPER_BLOCK_TYPES = ("Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K")
PROMPT = [1, 300, 45, 7, 331, 300]

# head size 8 and 172 hidden; one KV head for all and head size 18; heads wider than the stream.
FLOAT_SHAPES = {
    "260k": dict(dim=64, hidden=172, layers=5, heads=8, kv_heads=4, vocab=512, context=128),
    "mqa": dict(dim=36, hidden=50, layers=2, heads=2, kv_heads=1, vocab=401, context=64, tied=True),
}
# Rows of one block, of a group and a block, of a group and three blocks.
BLOCK_SHAPES = {
    "32": dict(dim=32, hidden=32, layers=2, heads=4, kv_heads=4, vocab=400, context=64),
    "288": dict(dim=288, hidden=352, layers=2, heads=6, kv_heads=3, vocab=512, context=64,
                tied=True, rope_base=100000.0),
    "wide": dict(dim=64, hidden=544, layers=2, heads=4, kv_heads=2, head_size=24, vocab=500,
                 context=64),
}
# Rows of one super-block, of two and three.
SUPER_BLOCK_SHAPES = {
    "256": dict(dim=256, hidden=256, layers=2, heads=8, kv_heads=4, vocab=400, context=64),
    "512": dict(dim=256, hidden=768, layers=1, heads=8, kv_heads=2, head_size=64, vocab=500,
                context=64, tied=True),
}


def run_program(model, tokens, max_tokens, *options):
    """The lines that the program prints, as pairs of words."""
    command = [BAREFLOW, "--model", model, "--tokens", ",".join(map(str, tokens)),
               "--max-tokens", str(max_tokens), *options]
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True,
                          timeout=120)
    assert done.returncode == 0, done.stderr
    return [line.split() for line in done.stdout.splitlines()]


def run_engine_together(model, prompts, max_tokens, *options):
    """For each prompt: (tokens made, their logits as rows of float32, reason)"""
    texts = [[[], [], None] for _ in prompts]
    made, logits, _ = text = texts[0]
    joined = ";".join(",".join(map(str, tokens)) for tokens in prompts)
    for word, value in run_program(model, [joined], max_tokens, *options):
        if word == "text":
            made, logits, _ = text = texts[int(value)]
        elif word == "token":
            made.append(int(value))
        elif word == "logits":
            logits.append(np.frombuffer(bytes.fromhex(value), dtype=">f4").astype(np.float32))
        elif word == "finish":
            text[2] = value
    return [(made, np.array(logits), reason) for made, logits, reason in texts]


def run_engine(model, tokens, max_tokens, *options):
    return run_engine_together(model, [tokens], max_tokens, *options)[0]


def bits(values):
    return np.asarray(values, dtype=np.float32).view(np.uint32)


def assert_bit_equal(model, prompt, max_tokens, *options, arithmetic=reference.Exact):
    expected, = reference.generate(reference.Model(model), [prompt], max_tokens, arithmetic)
    assert_engine_makes(expected, model, prompt, max_tokens, *options)


def assert_engine_makes(expected, model, prompt, max_tokens, *options):
    made, logits, reason = run_engine(model, prompt, max_tokens, "--logits", *options)
    assert made == [token for _, token in expected if token is not None]
    assert reason == ("stop" if expected[-1][1] is None else "length")
    assert len(logits) == len(expected)
    for step, (row, _) in enumerate(expected):
        assert np.array_equal(bits(logits[step]), bits(row)), \
            f"logits differ at step {step}, first at {np.nonzero(bits(logits[step]) != bits(row))[0][0]}"
    assert np.isfinite(logits).all() and np.ptp(logits) > 0.1


CASES = [(type_name, name, shape)
         for types, shapes in ((FLOAT_TYPES, FLOAT_SHAPES), (BLOCK_TYPES, BLOCK_SHAPES),
                               (SUPER_BLOCK_TYPES, SUPER_BLOCK_SHAPES))
         for type_name in types for name, shape in shapes.items()]


@pytest.mark.parametrize("type_name,shape", [case[0::2] for case in CASES],
                         ids=[f"{case[0]}-{case[1]}" for case in CASES])
def test_logits_are_bit_equal(tmp_path, type_name, shape):
    model = tmp_path / "model.gguf"
    make_gguf.make(model, shape, type_name)
    assert_bit_equal(model, PROMPT, 16)


def scale_tensor(path, name, factor):
    """Multiplies the F32 values of one tensor in a file."""
    tensor, = (t for t in reference.gguf_format.Reader(path).tensors if t.name == name)
    begin = reference.gguf_format.Reader(path).data_offset + tensor.offset
    data = bytearray(path.read_bytes())
    values = np.frombuffer(bytes(data[begin:begin + tensor.bytes]), "<f4") * np.float32(factor)
    assert np.isfinite(values).all()
    data[begin:begin + tensor.bytes] = values.tobytes()
    path.write_bytes(data)


@pytest.mark.parametrize("isa", ["sse2", "avx2", "avx512", "amx"])
@pytest.mark.parametrize("type_name", ["F32", "Q8_0", "Q4_1"])
def test_finite_weights_that_overflow(tmp_path, type_name, isa):
    """Infinities and NaNs among the activations: they are those of numpy, the tokens are the same, and
    nothing traps."""
    model = tmp_path / "model.gguf"
    seen = 0
    for name in ("blk.0.attn_norm", "blk.0.ffn_norm", "blk.1.ffn_norm", "output_norm"):
        make_gguf.make(model, BLOCK_SHAPES["288"], type_name)
        scale_tensor(model, f"{name}.weight", 2e38)
        made, logits, _ = run_engine(model, PROMPT, 6, "--logits", "--isa", isa)
        with np.errstate(all="ignore"):
            expected, = reference.generate(reference.Model(model), [PROMPT], 6)
        assert made == [token for _, token in expected if token is not None], name
        rows = np.array([row for row, _ in expected])
        nan = np.isnan(rows)
        assert np.array_equal(np.isnan(logits), nan), name
        assert np.array_equal(bits(logits)[~nan], bits(rows)[~nan]), name
        seen += nan.sum() + np.isinf(rows).sum() + (rows == 0).sum()
    assert seen > 0


VARIANTS = {
    "linear": dict(rope_scale=4.0),
    "llama-3": dict(rope_freqs=True, rope_base=500000.0),
    "biases": dict(biases=True),
    "all": dict(rope_scale=2.5, rope_freqs=True, biases=True, tied=True),
}


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("type_name", ["F32", "Q8_0"])
def test_scaled_positions_and_biases(tmp_path, type_name, variant):
    model = tmp_path / "model.gguf"
    shape = BLOCK_SHAPES["288"] | dict(tied=False)
    make_gguf.make(model, shape | VARIANTS[variant], type_name)
    assert_bit_equal(model, PROMPT * 7, 12)  # more than one batch
    plain = tmp_path / "plain.gguf"
    make_gguf.make(plain, shape, type_name)
    assert run_engine(plain, PROMPT * 7, 12)[0] != run_engine(model, PROMPT * 7, 12)[0]


@pytest.mark.parametrize("heads,kv_heads,head_size", [
    (4, 4, 8), (3, 1, 10), (6, 2, 48), (5, 5, 80), (2, 1, 128), (2, 2, 250), (4, 1, 256)])
def test_head_sizes(tmp_path, heads, kv_heads, head_size):
    model = tmp_path / "model.gguf"
    make_gguf.make(model, dict(dim=96, hidden=64, layers=1, heads=heads, kv_heads=kv_heads,
                               head_size=head_size, vocab=400, context=64), "F32")
    assert_bit_equal(model, PROMPT * 6, 8)


def test_types_mixed_in_one_file(tmp_path):
    model = tmp_path / "model.gguf"
    overrides = [("blk.0.attn_k*", "F32"), ("blk.0.ffn_down*", "Q4_1"), ("blk.1.attn_?.*", "Q4_0"),
                 ("output.weight", "F16"), ("token_embd.weight", "Q4_1")]
    make_gguf.make(model, BLOCK_SHAPES["288"] | dict(tied=False), "Q8_0", overrides)
    assert_bit_equal(model, PROMPT, 16)


def test_types_mixed_as_in_a_k_quant_file(tmp_path):
    """Q4_K_M: Q6_K for the output, half of attn_v and half of ffn_down; and what its neighbours
    use for rows that are no multiple of 256."""
    model = tmp_path / "model.gguf"
    overrides = [("output.weight", "Q6_K"), ("token_embd.weight", "Q5_K"),
                 ("blk.0.attn_v.weight", "Q6_K"), ("blk.0.ffn_down.weight", "Q5_0"),
                 ("blk.1.ffn_down.weight", "IQ4_NL"), ("blk.1.attn_k.weight", "BF16"),
                 ("blk.1.attn_q.weight", "Q3_K"), ("blk.1.ffn_up.weight", "Q2_K")]
    shape = SUPER_BLOCK_SHAPES["256"] | dict(hidden=288)
    make_gguf.make(model, shape, "Q4_K", overrides)
    types = {tensor.type_name for tensor in reference.gguf_format.Reader(model).tensors}
    assert types == {"F32", "Q4_K", "Q6_K", "Q5_K", "Q5_0", "IQ4_NL", "BF16", "Q3_K", "Q2_K"}
    assert_bit_equal(model, PROMPT, 16)


# Heads of one block of 32 and less, of one and a bit, of several.
@pytest.mark.parametrize("shape", [
    BLOCK_SHAPES["288"], BLOCK_SHAPES["wide"], FLOAT_SHAPES["mqa"] | dict(dim=64),
    dict(dim=96, hidden=64, layers=2, heads=2, kv_heads=1, head_size=48, vocab=400, context=128),
    dict(dim=64, hidden=64, layers=1, heads=2, kv_heads=2, head_size=128, vocab=400, context=128)],
    ids=["48", "24", "32", "48_of_96", "128"])
def test_cache_in_q8_0(tmp_path, shape):
    model = tmp_path / "model.gguf"
    make_gguf.make(model, shape, "F32")
    assert_bit_equal(model, PROMPT * 7, 12, "--kv", "q8_0", arithmetic=reference.ExactQ8Cache)
    assert not np.array_equal(run_engine(model, PROMPT, 4, "--logits", "--kv", "q8_0")[1],
                              run_engine(model, PROMPT, 4, "--logits")[1])


def test_batches_of_any_length():
    rng = np.random.default_rng(4)
    prompt = [1] + [int(t) for t in rng.integers(259, 1024, 90)]
    for kv, arithmetic in (("f16", reference.Exact), ("q8_0", reference.ExactQ8Cache)):
        expected, = reference.generate(reference.Model(STORIES), [prompt], 10, arithmetic)
        for options in ([], ["--batch", "1"], ["--batch", "7", "--threads", "2"],
                        ["--batch", "64", "--slice-us", "0"], ["--batch", "8", "--isa", "sse2"],
                        ["--batch", "3", "--isa", "avx2"], ["--batch", "19", "--isa", "avx512"],
                        ["--batch", "17", "--isa", "amx"]):
            assert_engine_makes(expected, STORIES, prompt, 10, "--kv", kv, *options)


@pytest.mark.parametrize("slots,batch", [(2, 32), (5, 5), (16, 32)])
def test_texts_made_together_are_those_made_alone(slots, batch):
    """Long and short prompts, which join and leave while others run; some begin like others."""
    rng = np.random.default_rng(slots)
    prompts = [[1] + [int(t) for t in rng.integers(259, 1024, length)] for length in (1, 40, 7, 90, 3)]
    prompts += [prompts[1][:30] + [400 + i] for i in range(4)] + [prompts[3], prompts[3] + [500]]
    prompts += [[1]] * 3
    together = run_engine_together(STORIES, prompts, 20, "--logits", "--slots", str(slots), "--batch",
                                   str(batch))
    expected = reference.generate(reference.Model(STORIES), prompts, 20)
    for (made, logits, reason), steps in zip(together, expected):
        assert made == [token for _, token in steps if token is not None]
        assert reason == ("stop" if steps[-1][1] is None else "length")
        assert np.array_equal(bits(logits), bits([row for row, _ in steps]))


@pytest.mark.parametrize("seed", range(2, 8))
def test_default_model_from_any_tokens(seed):
    """Prompts of random tokens: far from what the model was trained on, with the same numbers."""
    prompt = [1] + [int(t) for t in np.random.default_rng(seed).integers(259, 1024, 3 * seed)]
    assert_bit_equal(STORIES, prompt, 24)


def test_a_long_prompt():
    rng = np.random.default_rng(1)
    assert_bit_equal(STORIES, [1] + [int(t) for t in rng.integers(259, 1024, 270)], 4)


def test_default_model_to_the_end_of_its_story():
    made, _, reason = run_engine(STORIES, [1], 400)
    assert reason == "stop" and len(made) > 20
    expected = [token for _, token in reference.generate(reference.Model(STORIES), [[1]], 400)[0]]
    assert made + [None] == expected


def test_slices_change_nothing():
    whole = run_engine(STORIES, PROMPT, 40, "--logits")
    for slice_us in (0, 1, 100):
        parts = run_engine(STORIES, PROMPT, 40, "--logits", "--slice-us", str(slice_us))
        assert parts[0] == whole[0] and parts[2] == whole[2]
        assert np.array_equal(bits(parts[1]), bits(whole[1]))


def test_a_seed_gives_one_text():
    def text(seed):
        return run_engine(STORIES, [1], 60, "--temperature", "1.0", "--seed", str(seed))[0]
    assert text(1) == text(1)
    assert len({tuple(text(seed)) for seed in range(5)}) > 1


def log_softmax(logits):
    logits = np.asarray(logits, dtype=np.float64)
    shifted = logits - logits.max(axis=1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))


def compare_with_float64(model, prompt, max_tokens):
    """Mean KL divergence and top-1 agreement, teacher-forced on the engine's own tokens."""
    made, logits, _ = run_engine(model, prompt, max_tokens, "--logits")
    tokens = (prompt + made)[:len(prompt) + len(logits) - 1]
    exact, = reference.teacher_forced(reference.Model(model), [tokens], reference.Float64)
    p, q = log_softmax(exact[len(prompt) - 1:]), log_softmax(logits)
    kl = float((np.exp(p) * (p - q)).sum(axis=1).mean())
    return kl, float((p.argmax(axis=1) == q.argmax(axis=1)).mean())


def test_default_model_is_close_to_float64(capsys):
    results = [compare_with_float64(STORIES, prompt, 120)
               for prompt in ([1], [1, 300, 400], [1, 500], [1, 612, 700])]
    kl, top1 = np.mean(results, axis=0)
    with capsys.disabled():
        print(f"\ndefault model: mean KL {kl:.2e}, top-1 agreement {top1:.3f}")
    assert -1e-12 < kl < 5e-4 and top1 > 0.97  # seen: 1.5e-4 and 0.994
