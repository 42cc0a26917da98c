"""The default model and the tools that made it: the grammar, the vocabulary, the committed file."""
import hashlib
import json
import pathlib
import re
import struct
import subprocess
import sys

import numpy as np
import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
MODEL = ROOT / "models" / "stories.gguf"
sys.path.insert(0, str(ROOT / "tools" / "model"))

import export_gguf  # noqa: E402
import make_stories  # noqa: E402
import sample  # noqa: E402
import spm  # noqa: E402
import train_tokenizer  # noqa: E402


@pytest.fixture(scope="module")
def model():
    return sample.Model(MODEL)


# ---------------------------------------------------------------- the grammar


def test_same_seed_same_stories_and_no_story_twice():
    first = list(make_stories.stories(300, 5))
    assert first == list(make_stories.stories(300, 5))
    assert first != list(make_stories.stories(300, 6))
    assert len(set(first)) == 300


def test_stories_are_clean_sentences():
    for text in make_stories.stories(3000, 11):
        assert not re.search(r"[{}\[\]|\n]|  |\.\.", text), text
        assert re.fullmatch(r"[A-Z].*[.!?]\"?", text), text
        assert text.count('"') % 2 == 0, text
        assert not re.search(r"\b[Aa] [aeiou]|\b[Aa]n [^aeiou]", text), text
        assert not re.search(r"[.!] [a-z]", text), text


def test_a_hero_keeps_name_and_sex():
    """Stories with one sentence that names hero and pronoun: the other pronoun never stands alone."""
    checked = 0
    for text in make_stories.stories(3000, 12):
        hero = re.match(r"Once upon a time, there was a \w+ (boy|girl) named (\w+)\. (He|She) ", text)
        if hero:
            assert (hero.group(1) == "boy") == (hero.group(3) == "He"), text
            assert text.count(hero.group(2)) >= 2, text
            checked += 1
    assert checked > 50


# ---------------------------------------------------------------- the vocabulary


def small_vocabulary(tmp_path):
    text = tmp_path / "stories.txt"
    text.write_text("\n".join(make_stories.stories(400, 3)) + "\n", encoding="utf-8")
    out = tmp_path / "vocab.json"
    subprocess.run([sys.executable, str(ROOT / "tools/model/train_tokenizer.py"), "--text", str(text),
                    "--size", "512", "--out", str(out)], check=True, timeout=60)
    return out


def test_vocabulary_is_deterministic_and_well_formed(tmp_path):
    out = small_vocabulary(tmp_path)
    data = json.loads(out.read_text(encoding="utf-8"))
    first = hashlib.sha256(out.read_bytes()).hexdigest()
    assert first == hashlib.sha256(small_vocabulary(tmp_path).read_bytes()).hexdigest()
    assert len(data["tokens"]) == len(data["scores"]) == len(data["types"]) == 512
    assert len(set(data["tokens"])) == 512


@pytest.mark.parametrize("text", [
    "Once upon a time", "One day, Lily found a golden key.", "  two  spaces ", "caf\u00e9 \U0001f600 42%",
    "\"Don't worry,\" said Tom.", "a\nb", "\u2581",
])
def test_text_survives_the_tokenizer(model, text):
    ids = model.vocab.encode(text)
    assert ids[0] == spm.BOS
    # U+2581 stands for a space inside the vocabulary, so it comes back as one.
    assert model.vocab.decode(ids) == text.replace(spm.SPACE, " ")


def naive_encode(vocab, text):
    """The plain rule: join the best pair of neighbours, leftmost first, until no pair can be joined."""
    symbols = list(text)
    while True:
        best = None
        for i in range(len(symbols) - 1):
            piece = vocab.id_of.get(symbols[i] + symbols[i + 1])
            if piece is not None and (best is None or vocab.scores[piece] > best[0]):
                best = (vocab.scores[piece], i)
        if best is None:
            break
        symbols[best[1] : best[1] + 2] = [symbols[best[1]] + symbols[best[1] + 1]]
    ids = []
    for symbol in symbols:
        if symbol in vocab.id_of:
            ids.append(vocab.id_of[symbol])
        else:
            ids += [vocab.byte_ids[b] for b in symbol.encode("utf-8")]
    return ids


def test_encoding_follows_the_plain_rule_and_words_stand_alone(model):
    for text in list(make_stories.stories(15, 21)) + ["xylophone zzz  \u00e9!?\"\"", "aaaaaaaaaaaa"]:
        raw = spm.SPACE + text.replace(" ", spm.SPACE)
        ids = model.vocab.encode_raw(raw)
        assert ids == naive_encode(model.vocab, raw)
        # Training encodes each word separately.
        assert ids == [i for w in train_tokenizer.WORDS.findall(raw) for i in model.vocab.encode_raw(w)]


# ---------------------------------------------------------------- the export


def test_q8_0_blocks():
    rng = np.random.default_rng(1)
    matrix = rng.normal(size=(3, 64)).astype(np.float32)
    matrix[1, 32:] = 0
    data = export_gguf.quantise_q8_0(matrix)
    assert len(data) == 6 * 34
    for n, block in enumerate(matrix.reshape(-1, 32)):
        (d,) = struct.unpack_from("<e", data, n * 34)
        q = np.frombuffer(data, "i1", 32, n * 34 + 2).astype(np.float64)
        step = np.abs(block).max() / 127
        assert abs(d - step) <= step * 2.0 ** -11
        assert np.abs(q * step - block).max() <= step * 0.5001
    assert data[3 * 34 : 4 * 34] == b"\0" * 34


# ---------------------------------------------------------------- the committed file


def test_committed_model_has_its_shape_and_size():
    assert MODEL.stat().st_size <= 1024 * 1024
    file = sample.Gguf(MODEL)
    meta, tensors = file.meta, file.tensors
    dim, hidden = meta["llama.embedding_length"], meta["llama.feed_forward_length"]
    kv = dim // meta["llama.attention.head_count"] * meta["llama.attention.head_count_kv"]
    size = meta["llama.vocab_size"]
    assert meta["general.architecture"] == "llama" and meta["general.license"] == "mit"
    assert size == len(meta["tokenizer.ggml.tokens"]) == len(meta["tokenizer.ggml.scores"])
    expected = {"token_embd.weight": (size, dim), "output_norm.weight": (dim,)}
    for n in range(meta["llama.block_count"]):
        expected |= {f"blk.{n}.{name}.weight": shape for name, shape in {
            "attn_norm": (dim,), "attn_q": (dim, dim), "attn_k": (kv, dim), "attn_v": (kv, dim),
            "attn_output": (dim, dim), "ffn_norm": (dim,), "ffn_gate": (hidden, dim),
            "ffn_up": (hidden, dim), "ffn_down": (dim, hidden)}.items()}
    assert {name: t.shape for name, t in tensors.items()} == expected


def test_readme_names_this_very_file():
    readme = (ROOT / "models" / "README.md").read_text(encoding="utf-8")
    assert hashlib.sha256(MODEL.read_bytes()).hexdigest() in readme
    assert f"{MODEL.stat().st_size:,}" in readme


def test_cache_and_whole_sequence_agree(model):
    ids = model.vocab.encode("Once upon a time, there was a little girl")
    whole, cache = model.forward(ids), []
    steps = [model.forward([i], cache)[-1] for i in ids]
    np.testing.assert_allclose(np.array(steps), whole, atol=1e-9)


@pytest.mark.parametrize("prompt", ["Once upon a time", "The little cat", "One day,"])
def test_greedy_story_ends_by_itself_in_clean_sentences(model, prompt):
    made, ended = model.generate(prompt, 400, 0.0, None)
    text = model.vocab.decode(model.vocab.encode(prompt, bos=False) + made)
    assert ended and 60 <= len(made) <= 300
    assert text.startswith(prompt) and re.fullmatch(r".*[.!?]\"?", text), text
    assert text.count('"') % 2 == 0 and not re.search(r"[.!] [a-z]", text), text


def test_held_out_loss_is_what_the_readme_says(model):
    """Ten held-out stories: their loss is near that of all 3000, and far below that of guessing (6.9)."""
    stories = [s for n, s in enumerate(make_stories.stories(500, 1)) if n % 50 == 49]
    sums = np.array([model.loss(s) for s in stories])
    readme = (ROOT / "models" / "README.md").read_text(encoding="utf-8")
    said = float(re.search(r"Q8_0, this file \| ([0-9.]+)", readme).group(1))
    assert abs(sums[:, 0].sum() / sums[:, 1].sum() - said) < 0.1
