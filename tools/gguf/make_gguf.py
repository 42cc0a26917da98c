#!/usr/bin/python3
"""Writes a synthetic GGUF: a `llama` model of any shape and type with random weights.

Its size, its arithmetic and its vocabulary (SentencePiece style, with byte tokens) are those of a
real model, but its text is nonsense. The same options give the same bytes. Examples:

  make_gguf.py --preset 135m --type Q4_1 /tmp/135m.gguf
  make_gguf.py --dim 64 --hidden 160 --layers 2 --heads 4 --kv-heads 2 --vocab 512 --type Q8_0 \\
      --override 'blk.1.*=Q4_0' --override 'output.weight=F16' /tmp/mixed.gguf
"""

import argparse
import fnmatch
import statistics
import sys

import numpy as np

import gguf_format as gguf

TYPES = (
    "F32 F16 BF16 Q8_0 Q4_0 Q4_1 Q5_0 Q5_1 IQ4_NL Q2_K Q3_K Q4_K Q5_K Q6_K"
).split()
PRESETS = {
    # Karpathy's stories15M.
    "15m": dict(
        dim=288, hidden=768, layers=6, heads=6, kv_heads=6, vocab=32000, context=256, tied=True
    ),
    # SmolLM2-135M (its vocabulary is of another kind; the number of tokens is the same).
    "135m": dict(
        dim=576,
        hidden=1536,
        layers=30,
        heads=9,
        kv_heads=3,
        vocab=49152,
        context=2048,
        tied=True,
        rope_base=100000.0,
    ),
    # TinyLlama-1.1B.
    "tinyllama": dict(
        dim=2048, hidden=5632, layers=22, heads=32, kv_heads=4, vocab=32000, context=2048
    ),
    # stories260K: its sizes are no multiples of vector lengths.
    "tiny-awkward": dict(dim=64, hidden=172, layers=5, heads=8, kv_heads=4, vocab=512, context=128),
}
DEFAULTS = dict(
    dim=64,
    hidden=160,
    layers=2,
    heads=4,
    kv_heads=4,
    vocab=512,
    context=256,
    tied=False,
    rope_base=10000.0,
    rope_scale=1.0,  # linear: positions are divided by it
    rope_freqs=False,  # True: each pair's angle is divided by a factor of its own, as in Llama 3
    biases=False,  # True: the seven matrices of a layer have biases
)
CHUNK_ELEMENTS = 1 << 22
SPACE = "\u2581"
UNKNOWN, CONTROL, NORMAL, BYTE = 2, 3, 1, 6
FACTORS = "factors"


def normal_quantiles(count):
    """`count` equally likely values of a normal distribution: a table for random indices."""
    normal = statistics.NormalDist()
    return np.array([normal.inv_cdf((i + 0.5) / count) for i in range(count)], dtype=np.float32)


QUANTILES = normal_quantiles(1 << 16)
# Quantised values like those of a trained matrix: symmetric about zero, and rare at the ends.
INT8_VALUES = np.clip(np.round(normal_quantiles(256) * 42), -127, 127).astype(np.int8)
NIBBLES = np.array([1, 3, 4, 5, 6, 6, 7, 8, 8, 9, 10, 10, 11, 12, 13, 15], dtype=np.uint8)
NIBBLE_PAIRS = (NIBBLES[:, None] | NIBBLES[None, :] << 4).reshape(256)


def scales(rng, count, sigma, spread):
    """f16 scales of blocks whose weights have a standard deviation of about `sigma`."""
    return (rng.uniform(0.6, 1.4, count).astype(np.float32) * (sigma / spread)).astype("<f2")


# Types whose blocks are random bits but for their scales. The first number is the standard
# deviation of a weight when the scale is 1. The second is the second scale as a multiple of the
# first, which makes the mean zero. Types without a second scale (None) have scales of either sign
# for the same reason.
RANDOM_BITS = {
    "Q5_0": (9.3, None),
    "Q5_1": (9.2, -15.5),
    "IQ4_NL": (69, None),
    "Q2_K": (13.9, 1.5),
    "Q3_K": (43, None),
    "Q4_K": (258, 7.5),
    "Q5_K": (527, 15.5),
    "Q6_K": (1366, None),
}


def random_bit_blocks(rng, type_name, blocks, size, sigma):
    spread, second = RANDOM_BITS[type_name]
    at = gguf.SCALES_AT[type_name][0]
    out = rng.integers(0, 256, (blocks, size), dtype=np.uint8)
    scale = scales(rng, blocks, sigma, spread)
    if second is None:
        scale = scale * rng.choice(np.array([-1, 1], dtype="<f2"), blocks)
    else:
        minimum = (scale.astype(np.float32) * second).astype("<f2")
        out[:, at + 2 : at + 4] = minimum.view(np.uint8).reshape(blocks, 2)
    out[:, at : at + 2] = scale.view(np.uint8).reshape(blocks, 2)
    return out


def weights(rng, type_name, elements, sigma):
    """The bytes of `elements` random weights of a type."""
    if type_name in ("F32", "F16", "BF16"):
        table = QUANTILES * np.float32(sigma)
        if type_name == "BF16":
            table = (table.view("<u4") >> 16).astype("<u2")
        elif type_name == "F16":
            table = table.astype("<f2")
        return table[rng.integers(0, 1 << 16, elements, dtype=np.uint16)]
    _, block_elements, size = gguf.TENSOR_TYPES[gguf.TYPE_IDS[type_name]]
    blocks = elements // block_elements
    if type_name in RANDOM_BITS:
        return random_bit_blocks(rng, type_name, blocks, size, sigma)
    out = np.empty((blocks, size), dtype=np.uint8)
    if type_name == "Q8_0":
        out[:, :2] = scales(rng, blocks, sigma, 42).view(np.uint8).reshape(blocks, 2)
        random = rng.integers(0, 256, elements, dtype=np.uint8)
        out[:, 2:] = INT8_VALUES.view(np.uint8)[random].reshape(blocks, 32)
        return out
    scale = scales(rng, blocks, sigma, 3.6)
    out[:, :2] = scale.view(np.uint8).reshape(blocks, 2)
    at = 2
    if type_name == "Q4_1":
        minimum = (scale.astype(np.float32) * -8).astype("<f2")
        out[:, 2:4] = minimum.view(np.uint8).reshape(blocks, 2)
        at = 4
    random = rng.integers(0, 256, blocks * 16, dtype=np.uint8)
    out[:, at:] = NIBBLE_PAIRS[random].reshape(blocks, 16)
    return out


def chunks(rng, type_name, dims, sigma):
    left = int(np.prod(dims))
    while left > 0:
        now = min(left, CHUNK_ELEMENTS)
        yield weights(rng, type_name, now, sigma)
        left -= now


def norm_chunks(rng, dims):
    yield rng.uniform(0.8, 1.2, dims[0]).astype("<f4")


def factor_chunks(dims):
    """A factor for each pair: from 1 for the fastest to 8 for the slowest, as in Llama 3."""
    yield np.geomspace(1, 8, dims[0]).astype("<f4")


def vocabulary(size, rng):
    """(texts, scores, types) as BPE training makes them.

    Every longer token joins two earlier ones, and the score falls with the token's number.
    """
    texts = ["<unk>", "<s>", "</s>"] + [f"<0x{byte:02X}>" for byte in range(256)]
    types = [UNKNOWN, CONTROL, CONTROL] + [BYTE] * 256
    scores = [0.0] * len(texts)
    characters = (
        [SPACE]
        + list("etaoinshrdlcumwfgypbvkjxqz")
        + list("ETAOINSHRDLCUMWFGYPBVKJXQZ0123456789.,!?;:'\"()-\n")
        + list("äéñüßœяж中文字日本")
    )
    if size < len(texts) + len(characters):
        raise gguf.GgufError(
            f"a vocabulary of {size} is too small: {len(texts)} special tokens and "
            f"{len(characters)} characters are needed"
        )
    joins = size - len(texts) - len(characters)
    parts = [SPACE] + list("etaoinshrdlcumwfgypb")
    known = set(parts)
    made = []
    while len(made) < joins:
        # Short and early parts occur most often, as in a trained vocabulary.
        picks = (rng.random((4096, 2)) ** 2 * len(parts)).astype(int)
        for left, right in picks:
            text = parts[left] + parts[right]
            if (
                len(made) < joins
                and len(text) <= 12
                and SPACE not in parts[right]
                and text not in known
            ):
                known.add(text)
                parts.append(text)
                made.append(text)
    first = len(texts)
    texts += made + characters
    types += [NORMAL] * (len(texts) - first)
    scores += [-float(i) for i in range(len(texts) - first)]
    return texts, scores, types


def tensor_list(shape):
    """(name, dims, spread) of every tensor in file order.

    The spread is a standard deviation, None for a norm, or FACTORS.
    """
    dim, hidden = shape["dim"], shape["hidden"]
    q_dim, kv_dim = shape["heads"] * shape["head_size"], shape["kv_heads"] * shape["head_size"]
    # y = W x keeps the magnitude of x. Matrices that add to the residual stream are smaller in a
    # model of more layers.
    damped = (2 * shape["layers"]) ** -0.5
    tensors = [
        ("token_embd.weight", (dim, shape["vocab"]), 1.0),
        ("output_norm.weight", (dim,), None),
    ]
    if not shape["tied"]:
        tensors.append(("output.weight", (dim, shape["vocab"]), 2 * dim**-0.5))
    for i in range(shape["layers"]):
        tensors += [
            (f"blk.{i}.attn_norm.weight", (dim,), None),
            (f"blk.{i}.attn_q.weight", (dim, q_dim), dim**-0.5),
            (f"blk.{i}.attn_k.weight", (dim, kv_dim), dim**-0.5),
            (f"blk.{i}.attn_v.weight", (dim, kv_dim), dim**-0.5),
            (f"blk.{i}.attn_output.weight", (q_dim, dim), damped * q_dim**-0.5),
            (f"blk.{i}.ffn_norm.weight", (dim,), None),
            (f"blk.{i}.ffn_gate.weight", (dim, hidden), dim**-0.5),
            (f"blk.{i}.ffn_up.weight", (dim, hidden), dim**-0.5),
            (f"blk.{i}.ffn_down.weight", (hidden, dim), damped * hidden**-0.5),
        ]
        if shape["biases"]:
            tensors += [
                (f"blk.{i}.attn_q.bias", (q_dim,), 0.5),
                (f"blk.{i}.attn_k.bias", (kv_dim,), 0.5),
                (f"blk.{i}.attn_v.bias", (kv_dim,), 0.5),
                (f"blk.{i}.attn_output.bias", (dim,), 0.1),
                (f"blk.{i}.ffn_gate.bias", (hidden,), 0.3),
                (f"blk.{i}.ffn_up.bias", (hidden,), 0.3),
                (f"blk.{i}.ffn_down.bias", (dim,), 0.1),
            ]
    if shape["rope_freqs"]:
        tensors.append(("rope_freqs.weight", (shape["head_size"] // 2,), FACTORS))
    return tensors


def type_of(name, dims, type_name, overrides):
    """The type of a tensor. Norms are F32; rows that are no whole number of blocks are F16."""
    if len(dims) == 1:
        return "F32"
    for pattern, other in overrides:
        if fnmatch.fnmatch(name, pattern):
            type_name = other
    _, elements, _ = gguf.TENSOR_TYPES[gguf.TYPE_IDS[type_name]]
    return type_name if dims[0] % elements == 0 else "F16"


def write_metadata(writer, shape, name, rng):
    for key, value in (
        ("general.architecture", "llama"),
        ("general.name", name),
        ("tokenizer.ggml.model", "llama"),
    ):
        writer.add(key, gguf.STRING, value)
    for key, field in (
        ("block_count", "layers"),
        ("context_length", "context"),
        ("embedding_length", "dim"),
        ("feed_forward_length", "hidden"),
        ("attention.head_count", "heads"),
        ("attention.head_count_kv", "kv_heads"),
        ("rope.dimension_count", "head_size"),
        ("vocab_size", "vocab"),
    ):
        writer.add(f"llama.{key}", gguf.UINT32, shape[field])
    if shape["head_size"] * shape["heads"] != shape["dim"]:
        writer.add("llama.attention.key_length", gguf.UINT32, shape["head_size"])
        writer.add("llama.attention.value_length", gguf.UINT32, shape["head_size"])
    writer.add("llama.attention.layer_norm_rms_epsilon", gguf.FLOAT32, 1e-5)
    writer.add("llama.rope.freq_base", gguf.FLOAT32, shape["rope_base"])
    if shape["rope_scale"] != 1:
        writer.add("llama.rope.scaling.type", gguf.STRING, "linear")
        writer.add("llama.rope.scaling.factor", gguf.FLOAT32, shape["rope_scale"])
    texts, scores, types = vocabulary(shape["vocab"], rng)
    writer.add_array("tokenizer.ggml.tokens", gguf.STRING, texts)
    writer.add_array("tokenizer.ggml.scores", gguf.FLOAT32, scores)
    writer.add_array("tokenizer.ggml.token_type", gguf.INT32, types)
    for key, token in (("unknown", 0), ("bos", 1), ("eos", 2)):
        writer.add(f"tokenizer.ggml.{key}_token_id", gguf.UINT32, token)
    writer.add("tokenizer.ggml.add_bos_token", gguf.BOOL, True)
    writer.add("tokenizer.ggml.add_eos_token", gguf.BOOL, False)


def make(path, shape, type_name="Q8_0", overrides=(), seed=1, name=None):
    """Writes a model and returns its number of parameters.

    `shape` has keys of DEFAULTS; head_size may be left out.
    """
    shape = DEFAULTS | shape
    if not shape.get("head_size"):
        if shape["dim"] % shape["heads"] != 0:
            raise gguf.GgufError(
                f"{shape['heads']} heads do not divide the dimension {shape['dim']}"
            )
        shape["head_size"] = shape["dim"] // shape["heads"]
    if shape["heads"] % shape["kv_heads"] != 0 or shape["head_size"] % 2 != 0:
        raise gguf.GgufError(
            f"{shape['kv_heads']} KV heads must divide {shape['heads']} heads, and the "
            f"head size {shape['head_size']} must be even"
        )
    rng = np.random.default_rng(seed)
    writer = gguf.Writer(path)
    write_metadata(writer, shape, name or f"synthetic {shape['dim']}x{shape['layers']}", rng)
    declared = []
    for tensor_name, dims, sigma in tensor_list(shape):
        chosen = type_of(tensor_name, dims, type_name, overrides)
        declared.append((writer.tensor(tensor_name, chosen, dims), sigma))
    writer.begin()
    for tensor, sigma in declared:
        data = (
            norm_chunks(rng, tensor.dims)
            if sigma is None
            else factor_chunks(tensor.dims)
            if sigma == FACTORS
            else chunks(rng, tensor.type_name, tensor.dims, sigma)
        )
        writer.write(tensor, data)
    writer.close()
    return sum(tensor.elements for tensor, _ in declared)


def override(text):
    pattern, _, type_name = text.rpartition("=")
    if not pattern or type_name not in TYPES:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not PATTERN=TYPE with a type of {', '.join(TYPES)}"
        )
    return pattern, type_name


def positive(text):
    value = int(text)
    if value <= 0:
        raise argparse.ArgumentTypeError("must be at least 1")
    return value


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("output")
    parser.add_argument("--preset", choices=PRESETS, help="a known shape; other options change it")
    for field in ("dim", "hidden", "layers", "heads", "kv-heads", "head-size", "vocab", "context"):
        parser.add_argument(f"--{field}", type=positive)
    parser.add_argument("--rope-base", type=float)
    parser.add_argument("--rope-scale", type=float, help="linear scaling of positions")
    parser.add_argument("--rope-freqs", action="store_true", default=None)
    parser.add_argument("--biases", action="store_true", default=None, help="of a layer's matrices")
    parser.add_argument(
        "--tied", action=argparse.BooleanOptionalAction, help="the output matrix is the embedding"
    )
    parser.add_argument(
        "--type",
        choices=TYPES,
        default="Q8_0",
        help="of the matrices (Q8_0); rows that " "are no whole number of its blocks become F16",
    )
    parser.add_argument(
        "--override",
        type=override,
        action="append",
        default=[],
        metavar="PATTERN=TYPE",
        help="another type for the tensors whose names match; the last match counts",
    )
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--name", help="general.name")
    options = parser.parse_args()
    shape = dict(PRESETS.get(options.preset, {}))
    for field in (
        "dim",
        "hidden",
        "layers",
        "heads",
        "kv_heads",
        "head_size",
        "vocab",
        "context",
        "rope_base",
        "rope_scale",
        "rope_freqs",
        "biases",
        "tied",
    ):
        value = getattr(options, field)
        if value is not None:
            shape[field] = value
    if "heads" in shape and "kv_heads" not in shape:
        shape["kv_heads"] = shape["heads"]
    name = options.name or f"synthetic {options.preset or 'model'} {options.type}"
    try:
        parameters = make(options.output, shape, options.type, options.override, options.seed, name)
    except (gguf.GgufError, OSError) as error:
        print(f"make_gguf: {error}", file=sys.stderr)
        return 1
    print(f"{options.output}: {parameters:,} parameters")
    return 0


if __name__ == "__main__":
    sys.exit(main())
