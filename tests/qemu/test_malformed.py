"""A catalogue of malformed model files, one machine for each. The machine says in one sentence what is wrong,
the same on the serial line, on the screen and in /health, and goes on serving. It takes no memory for what
the file only claims to hold. Unit tests have many more of each kind (tests/unit/llama)."""
import concurrent.futures
import json
import struct
import sys
import threading

import pytest

from conftest import ROOT
from test_appliance import call, wait_ready

sys.path.insert(0, str(ROOT / "tools/gguf"))
import gguf_format as gguf  # noqa: E402
import make_gguf  # noqa: E402

SHAPE = dict(dim=32, hidden=64, layers=1, heads=4, kv_heads=2, vocab=400, context=64)
MEMORY_MIB = 64
TOGETHER = 3
STARTING = threading.Lock()  # one start at a time, because machines are numbered


def text(value):
    return struct.pack("<Q", len(value.encode())) + value.encode()


def number(value):
    return gguf.UINT32, struct.pack("<I", value)


def string(value):
    return gguf.STRING, text(value)


def strings(values):
    return gguf.ARRAY, struct.pack("<IQ", gguf.STRING, len(values)) + b"".join(map(text, values))


class File:
    """A GGUF file in parts, each of which a test can spoil."""

    def __init__(self, path):
        reader = gguf.Reader(path)
        whole = path.read_bytes()
        self.magic, self.version, self.counts, self.end = b"GGUF", 3, None, None
        self.entries = {}
        for key, kind in reader.types.items():
            value = reader.metadata[key]
            if kind == "string":
                self.entries[key] = string(value)
            elif kind.startswith("string["):
                self.entries[key] = strings(value)
            elif kind.endswith("]"):
                element = gguf.VALUE_TYPE_NAMES.index(kind.split("[")[0])
                self.entries[key] = gguf.ARRAY, struct.pack("<IQ", element, len(value)) + value.tobytes()
            else:
                element = gguf.VALUE_TYPE_NAMES.index(kind)
                self.entries[key] = element, struct.pack(gguf.SCALARS[element], value)
        self.tensors = {t.name: dict(dims=list(t.dims), type=t.type_id, offset=t.offset)
                        for t in reader.tensors}
        self.data = bytearray(whole[reader.data_offset:])

    def tensor(self, name="blk.0.ffn_up.weight"):
        return self.tensors[name]

    def put(self, name, at, data):
        """Writes into a tensor's data."""
        begin = self.tensors[name]["offset"] + at
        self.data[begin:begin + len(data)] = data

    def build(self):
        counts = self.counts or (len(self.tensors), len(self.entries))
        head = self.magic + struct.pack("<IQQ", self.version, *counts)
        for key, (kind, value) in self.entries.items():
            head += text(key) + struct.pack("<I", kind) + value
        for name, t in self.tensors.items():
            head += text(name) + struct.pack(f"<I{len(t['dims'])}QIQ", len(t["dims"]), *t["dims"], t["type"],
                                             t["offset"])
        return (head + bytes(-len(head) % 32) + bytes(self.data))[:self.end]


def byte_level(merges):
    """A vocabulary with merges instead of scores."""
    def spoil(f):
        f.entries["tokenizer.ggml.model"] = string("gpt2")
        f.entries["tokenizer.ggml.pre"] = string("gpt-2")
        del f.entries["tokenizer.ggml.scores"]
        tokens = ["a", "b", "ab"] + [f"t{i}" for i in range(SHAPE["vocab"] - 3)]
        f.entries["tokenizer.ggml.tokens"] = strings(tokens)
        kinds = struct.pack("<IQ", gguf.INT32, len(tokens)) + struct.pack("<i", 1) * len(tokens)
        f.entries["tokenizer.ggml.token_type"] = gguf.ARRAY, kinds
        f.entries["tokenizer.ggml.merges"] = strings(merges)
    return spoil


def entry(key, value):
    return lambda f: f.entries.__setitem__(key, value)


def without(key):
    return lambda f: f.entries.pop(key)


def change(**changed):
    return lambda f: vars(f).update(changed)


def tensor(**changed):
    return lambda f: f.tensor().update(changed)


def content(name, at, data):
    return lambda f: f.put(name, at, data)


NAN_F16, INFINITE_F16, LARGE_F16 = (struct.pack("<H", word) for word in (0x7E00, 0x7C00, 0x5800))
NAN_F32 = struct.pack("<I", 0x7FC00000)
FIRST_NORM = "blk.0.attn_norm.weight"
TEXT_OF_4_GIB = gguf.STRING, struct.pack("<Q", 1 << 32) + b"short"
# name: (function that spoils a good file, text that the sentence contains)
CATALOGUE = {
    "wrong_magic": (change(magic=b"GGML"), "the initrd is no GGUF file"),
    "version_1": (change(version=1), "version 1 is not supported"),
    "version_99": (change(version=99), "version 99 is not supported"),
    "big_endian": (change(version=3 << 24), "big-endian"),
    "huge_tensor_count": (change(counts=(2**64 - 1, 5)), "claims 18446744073709551615 tensors"),
    "huge_key_count": (change(counts=(5, 2**63)), "claims 9223372036854775808 keys"),
    "more_tensors_than_bytes": (change(counts=(65536, 19)), "too short to hold them"),
    "ends_in_the_keys": (change(end=2000), "more than the file holds"),
    "ends_in_the_tensors": (change(end=-1000), "lies outside the file"),
    "overlapping_tensors": (tensor(offset=0), "overlap"),
    "tensor_outside_the_file": (tensor(offset=1 << 40), "lies outside the file"),
    "tensor_offset_overflows": (tensor(offset=2**64 - 32), "lies outside the file"),
    "tensor_not_aligned": (tensor(offset=8), "no multiple of the alignment 32"),
    "tensor_of_wrong_shape": (tensor(dims=[64, 32]), "instead of 32 x 64"),
    "zero_dimension": (tensor(dims=[32, 0]), "has a dimension of zero"),
    "size_overflows": (tensor(dims=[1 << 40, 1 << 40]), "has a size that overflows"),
    "size_overflows_to_zero": (tensor(dims=[1 << 32, 1 << 32]), "has a size that overflows"),
    "no_dimensions": (tensor(dims=[]), "has 0 dimensions"),
    "unknown_tensor_type": (tensor(type=4), "unknown type 4"),
    "unsupported_tensor_type": (tensor(type=gguf.TYPE_IDS["IQ1_M"], dims=[256, 1]), "IQ1_M"),
    "alignment_of_zero": (entry("general.alignment", number(0)), "alignment 0 is not a power of two"),
    "alignment_of_33": (entry("general.alignment", number(33)), "alignment 33 is not a power of two"),
    "text_of_4_gib": (entry("general.name", TEXT_OF_4_GIB), 'ends inside the value of "general.name"'),
    "text_of_16_eib": (entry("general.name", (gguf.STRING, struct.pack("<Q", 2**64 - 8))), "ends inside the value"),
    "array_of_2_to_the_61": (entry("tokenizer.ggml.scores", (gguf.ARRAY, struct.pack("<IQ", gguf.FLOAT32, 1 << 61))),
                             "more than the file holds"),
    "array_of_arrays": (entry("x", (gguf.ARRAY, struct.pack("<IQ", gguf.ARRAY, 1))), "an array of arrays"),
    "missing_key": (without("llama.block_count"), 'lacks the key "llama.block_count"'),
    "missing_architecture": (without("general.architecture"), 'lacks the key "general.architecture"'),
    "missing_tensor": (lambda f: f.tensors.pop("output_norm.weight"), 'lacks the tensor "output_norm.weight"'),
    "missing_vocabulary": (without("tokenizer.ggml.tokens"), '"tokenizer.ggml.tokens"'),
    "missing_scores": (without("tokenizer.ggml.scores"), '"tokenizer.ggml.scores"'),
    "key_of_wrong_type": (entry("llama.block_count", string("two")), "of type string instead of an integer"),
    "value_of_unknown_type": (entry("general.name", (77, b"")), "unknown type 77"),
    "another_architecture": (entry("general.architecture", string("mamba")),
                             'the architecture "mamba" is not supported; supported: llama'),
    "huge_layer_count": (entry("llama.block_count", number(4_000_000_000)), "block_count is 4000000000"),
    "huge_context": (entry("llama.context_length", number(4_000_000_000)), "context_length is 4000000000"),
    "no_heads": (entry("llama.attention.head_count", number(0)), "head_count is 0"),
    "nan_scale": (content("blk.0.ffn_up.weight", 34 * 5, NAN_F16), "blk.0.ffn_up.weight"),
    "infinite_scale": (content("blk.0.attn_q.weight", 34, INFINITE_F16), "blk.0.attn_q.weight"),
    "scale_too_large": (content("token_embd.weight", 34 * 7, LARGE_F16), "token_embd.weight"),
    "nan_weight": (content(FIRST_NORM, 8, NAN_F32), FIRST_NORM),
    "tokens_and_rows_differ": (entry("tokenizer.ggml.tokens", strings(["a"] * 399)), "399 tokens"),
    "merge_of_itself": (byte_level(["a b", "ab "]), 'merge 1 is "ab "'),
    "merges_in_a_circle": (byte_level(["a b", "ab a", "b ab"]), 'merge 1 is "ab a"'),
    "the_same_merge_twice": (byte_level(["a b", "a b"]), "merge 1 is the same as merge 0"),
}


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    path = tmp_path_factory.mktemp("good") / "good.gguf"
    make_gguf.make(path, SHAPE)
    return path


def memory_of(vm):
    return json.loads(call(vm, "GET", "/profile?format=json")[2])["memory"]


def squeezed(words):
    """The screen's text as one line; the screen breaks lines between words."""
    return "".join(words.split())


def refused(qemu, path, wanted, memory):
    """Boots the file and looks at all three places. Returns the sentence and the memory taken."""
    with STARTING:
        vm = qemu.boot_elf("", initrd=path, nic="virtio-net-pci", memory=memory)
    try:
        assert "there is no model" in wait_ready(vm)
        status, _, data = call(vm, "GET", "/health")
        health = json.loads(data)
        message = health["message"]
        assert status == 503 and health["status"] == "error"
        assert wanted in message, message
        assert "\n" not in message and len(message) < 300
        lines = [line for line in vm.text.splitlines() if f"model: {message}" in line]
        assert len(lines) == 1, vm.story()
        assert squeezed(message) in squeezed(vm.screen_text()), vm.screen_text()
        status, _, data = call(vm, "POST", "/v1/completions", {"prompt": "x"})
        assert status == 503 and json.loads(data)["error"]["message"] == message
        return message, memory_of(vm)
    finally:
        vm.stop()


def test_the_good_file_is_a_good_file(qemu, good, tmp_path):
    """The file that the others are made of loads, and it stays the same when it is parsed and written again."""
    path = tmp_path / "again.gguf"
    path.write_bytes(File(good).build())
    vm = qemu.boot_elf("", initrd=path, nic="virtio-net-pci")
    assert "there is no model" not in wait_ready(vm)
    assert call(vm, "GET", "/health")[0] == 200


def test_the_whole_catalogue(qemu, good, tmp_path):
    size = len(File(good).build())

    def one(name):
        spoil, wanted = CATALOGUE[name]
        f = File(good)
        spoil(f)
        path = tmp_path / f"{name}.gguf"
        data = f.build()
        path.write_bytes(data + bytes(max(0, size - len(data))) if f.end is None else data)
        try:
            return refused(qemu, path, wanted, MEMORY_MIB)
        except (AssertionError, OSError) as error:
            return f"{name}: {error}", None

    with concurrent.futures.ThreadPoolExecutor(TOGETHER) as pool:
        results = dict(zip(CATALOGUE, pool.map(one, CATALOGUE)))
    failed = [message for message, memory in results.values() if memory is None]
    assert not failed, "\n\n".join(failed)
    # The first file is refused at its first byte; no other may take much more memory than that one.
    least = results["wrong_magic"][1]
    for name, (message, memory) in results.items():
        assert memory["heap_bytes"] <= least["heap_bytes"] + (64 << 10), f"{name}: {memory}, {least}"
        assert memory["free_bytes"] >= least["free_bytes"] - (256 << 10), f"{name}: {memory}, {least}"
    assert len({message for message, _ in results.values()}) > len(results) - 6
