#!/usr/bin/env python3
"""Writes the trained weights as a GGUF v3 file: matrices and embedding in Q8_0, norms in F32.

    export_gguf.py --model build/model/model.npz --vocab build/model/vocab.json \
        --out models/stories.gguf

Q8_0 has blocks of 32 along a row: an f16 scale d = max|x| / 127 and 32 signed bytes round(x / d).
Halves are rounded away from zero, and the division uses d before it is rounded to f16, as in ggml.
The embedding is tied: there is no output.weight, and readers use token_embd.weight. Needs numpy.
"""

import argparse
import json
import struct
from pathlib import Path

import numpy as np

import spm

ALIGNMENT = 32
U32, F32, BOOL, STRING, ARRAY, I32 = 4, 6, 7, 8, 9, 5  # GGUF metadata value types
TENSOR_F32, TENSOR_Q8_0 = 0, 8
FILE_TYPE_MOSTLY_Q8_0 = 7
BLOCK = 32


def quantise_q8_0(matrix):
    """The bytes of a matrix [rows, columns] as Q8_0 blocks, row after row."""
    blocks = matrix.astype(np.float32).reshape(-1, BLOCK)
    scale = (np.abs(blocks).max(1) / np.float32(127)).astype(np.float32)
    inverse = np.divide(np.float32(1), scale, out=np.zeros_like(scale), where=scale > 0)
    scaled = blocks * inverse[:, None]
    q = np.clip(np.trunc(scaled + np.copysign(np.float32(0.5), scaled)), -127, 127)
    out = np.zeros(len(blocks), np.dtype([("d", "<f2"), ("q", "i1", BLOCK)]))
    out["d"], out["q"] = scale.astype(np.float16), q.astype(np.int8)
    return out.tobytes()


def string(text):
    data = text.encode("utf-8")
    return struct.pack("<Q", len(data)) + data


def value(kind, v):
    if kind == STRING:
        return string(v)
    return struct.pack({U32: "<I", I32: "<i", F32: "<f", BOOL: "<?"}[kind], v)


def pair(key, kind, v):
    return string(key) + struct.pack("<I", kind) + value(kind, v)


def array(key, kind, values):
    head = string(key) + struct.pack("<IIQ", ARRAY, kind, len(values))
    return head + b"".join(value(kind, v) for v in values)


def metadata(c, vocab):
    """The metadata pairs of the file. `c` is CONFIG of train.py."""
    return [
        pair("general.architecture", STRING, "llama"),
        pair("general.name", STRING, "BareFlow Stories"),
        pair("general.description", STRING, "Small stories, trained on a generated grammar"),
        pair("general.license", STRING, "mit"),
        pair("general.alignment", U32, ALIGNMENT),
        pair("general.file_type", U32, FILE_TYPE_MOSTLY_Q8_0),
        pair("general.quantization_version", U32, 2),
        pair("llama.context_length", U32, c["context"]),
        pair("llama.embedding_length", U32, c["dim"]),
        pair("llama.block_count", U32, c["layers"]),
        pair("llama.feed_forward_length", U32, c["hidden"]),
        pair("llama.attention.head_count", U32, c["heads"]),
        pair("llama.attention.head_count_kv", U32, c["kv_heads"]),
        pair("llama.attention.layer_norm_rms_epsilon", F32, c["eps"]),
        pair("llama.rope.dimension_count", U32, c["dim"] // c["heads"]),
        pair("llama.rope.freq_base", F32, c["rope_base"]),
        pair("llama.vocab_size", U32, len(vocab.tokens)),
        pair("tokenizer.ggml.model", STRING, "llama"),
        array("tokenizer.ggml.tokens", STRING, vocab.tokens),
        array("tokenizer.ggml.scores", F32, vocab.scores),
        array("tokenizer.ggml.token_type", I32, vocab.types),
        pair("tokenizer.ggml.unknown_token_id", U32, spm.UNK),
        pair("tokenizer.ggml.bos_token_id", U32, spm.BOS),
        pair("tokenizer.ggml.eos_token_id", U32, spm.EOS),
        pair("tokenizer.ggml.add_bos_token", BOOL, True),
        pair("tokenizer.ggml.add_eos_token", BOOL, False),
        pair("tokenizer.ggml.add_space_prefix", BOOL, True),
    ]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--vocab", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()

    arrays = np.load(args.model)
    about = json.loads(str(arrays["about"]))
    vocab = spm.Vocabulary.load(args.vocab)
    pairs = metadata(about["config"], vocab)

    infos, blobs, offset = [], [], 0
    for name in arrays.files:
        if name == "about":
            continue
        a = arrays[name]
        full = name if name.endswith(".weight") else name + ".weight"
        kind, data = (
            (TENSOR_Q8_0, quantise_q8_0(a))
            if a.ndim == 2
            else (TENSOR_F32, a.astype("<f4").tobytes())
        )
        # GGUF lists the innermost dimension (the row length) first.
        dims = a.shape[::-1]
        infos.append(
            string(full) + struct.pack(f"<I{len(dims)}QIQ", len(dims), *dims, kind, offset)
        )
        data += b"\0" * (-len(data) % ALIGNMENT)
        blobs.append(data)
        offset += len(data)

    head = (
        b"GGUF" + struct.pack("<IQQ", 3, len(infos), len(pairs)) + b"".join(pairs) + b"".join(infos)
    )
    head += b"\0" * (-len(head) % ALIGNMENT)
    args.out.write_bytes(head + b"".join(blobs))
    print(
        f"{args.out}: {args.out.stat().st_size} bytes, {len(infos)} tensors, held-out loss before "
        f"quantising {about['held_out_loss']:.4f}"
    )


if __name__ == "__main__":
    main()
