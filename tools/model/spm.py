"""The SentencePiece-style vocabulary of the default model: its file, and how text becomes tokens.

Encoding is what GGUF readers do for `tokenizer.ggml.model = llama`. A space is put in front, spaces
become U+2581, and the text is cut into characters. Then two neighbours whose joined text is a piece
are joined, again and again: those with the highest score first, and of equals the leftmost. A
character that is no piece becomes its UTF-8 bytes, tokens <0x00>..<0xFF>. Standard library only.
"""

import heapq
import json
from pathlib import Path

SPACE = "\u2581"
UNK, BOS, EOS = 0, 1, 2
FIRST_BYTE = 3

# tokenizer.ggml.token_type, as GGUF defines it.
TYPE_NORMAL, TYPE_UNKNOWN, TYPE_CONTROL, TYPE_BYTE = 1, 2, 3, 6


class Vocabulary:
    def __init__(self, tokens, scores, types):
        self.tokens, self.scores, self.types = tokens, scores, types
        self.id_of = {t: i for i, t in enumerate(tokens) if types[i] == TYPE_NORMAL}
        self.byte_ids = [-1] * 256
        for i, token in enumerate(tokens):
            if types[i] == TYPE_BYTE:
                self.byte_ids[int(token[1:-1], 16)] = i

    @staticmethod
    def load(path):
        data = json.loads(Path(path).read_text(encoding="utf-8"))
        return Vocabulary(data["tokens"], data["scores"], data["types"])

    def save(self, path):
        data = {"tokens": self.tokens, "scores": self.scores, "types": self.types}
        Path(path).write_text(
            json.dumps(data, ensure_ascii=False, indent=0) + "\n", encoding="utf-8"
        )

    def encode_raw(self, text):
        """Token ids of `text` as it is: no space in front, no BOS. It has U+2581 for spaces."""
        symbols = list(text)
        after = list(range(1, len(symbols) + 1))
        before = list(range(-1, len(symbols) - 1))
        queue = []

        def offer(left, right):
            if left < 0 or right >= len(symbols):
                return
            joined = symbols[left] + symbols[right]
            piece = self.id_of.get(joined)
            if piece is not None:
                heapq.heappush(queue, (-self.scores[piece], left, right, joined))

        for i in range(len(symbols) - 1):
            offer(i, i + 1)
        while queue:
            _, left, right, joined = heapq.heappop(queue)
            if not symbols[left] or not symbols[right] or symbols[left] + symbols[right] != joined:
                continue  # One of the two was joined with another neighbour since.
            symbols[left], symbols[right] = joined, ""
            after[left] = after[right]
            if after[left] < len(symbols):
                before[after[left]] = left
            offer(before[left], left)
            offer(left, after[left])

        ids = []
        for symbol in symbols:
            if not symbol:
                continue
            if symbol in self.id_of:
                ids.append(self.id_of[symbol])
            else:
                ids.extend(self.byte_ids[b] for b in symbol.encode("utf-8"))
        return ids

    def encode(self, text, bos=True):
        ids = self.encode_raw(SPACE + text.replace(" ", SPACE)) if text else []
        return ([BOS] if bos else []) + ids

    def decode(self, ids):
        """Text of `ids` without the space in front. Control tokens have no text."""
        out = bytearray()
        for i in ids:
            if self.types[i] == TYPE_BYTE:
                out.append(int(self.tokens[i][1:-1], 16))
            elif self.types[i] == TYPE_NORMAL:
                out += self.tokens[i].replace(SPACE, " ").encode("utf-8")
        text = out.decode("utf-8", "replace")
        return text[1:] if text.startswith(" ") else text
