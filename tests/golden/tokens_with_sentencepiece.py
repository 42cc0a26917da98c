"""The PyPI package `sentencepiece` as a process. Reads texts from standard input, one a line in
hexadecimal digits ("-": empty). Writes what `bareflow --encode` prints: the tokens, "=", and the
text that they give back. For build/venv's Python.

  tokens_with_sentencepiece.py MODEL.gguf < texts

The package's model file (sentencepiece_model.proto) is made here from the GGUF file's vocabulary.
"""

import struct
import sys

import sentencepiece

import tokenizer as golden


def varint(value):
    out = b""
    while value >= 0x80:
        out += bytes([value & 0x7F | 0x80])
        value >>= 7
    return out + bytes([value])


def field(number, kind, payload):
    """One field of a message; kind 0: a number, 2: bytes, 5: four bytes."""
    return (varint(number << 3 | kind)
            + (varint(payload) if kind == 0 else payload if kind == 5
               else varint(len(payload)) + payload))


def model_file(vocabulary):
    pieces = b"".join(
        field(1, 2, field(1, 2, text.encode()) + field(2, 5, struct.pack("<f", score))
              + field(3, 0, kind))
        for text, score, kind in zip(vocabulary.texts, vocabulary.scores, vocabulary.kinds))
    trainer = (field(3, 0, 2) + field(35, 0, 1)  # BPE, byte fallback
               + field(40, 0, vocabulary.unknown) + field(41, 0, vocabulary.bos)
               + field(42, 0, vocabulary.eos))
    # A text is not changed, except for the space before it and U+2581 for spaces.
    normalizer = (field(1, 2, b"identity") + field(3, 0, int(vocabulary.add_space_prefix))
                  + field(4, 0, 0) + field(5, 0, 1))
    return pieces + field(2, 2, trainer) + field(3, 2, normalizer)


def main():
    vocabulary = golden.Tokenizer.from_gguf(sys.argv[1])
    reference = sentencepiece.SentencePieceProcessor()
    reference.LoadFromSerializedProto(model_file(vocabulary))
    for line in sys.stdin:
        word = line.strip()
        ids = reference.EncodeAsIds("" if word == "-" else bytes.fromhex(word).decode())
        text = reference.DecodeIds(ids) if ids else ""
        tokens = [vocabulary.bos] * vocabulary.add_bos + ids
        print(*tokens, "=", text.encode().hex() or "-")


main()
