"""Reads GGUF files of versions 2 and 3, and writes version 3, with numpy.

The reader checks only what it needs to print a file safely; llama/file/gguf.cpp decides whether a
file is valid. The writer declares all tensors first and then writes them in chunks, so a file of
any size needs little memory.
"""

import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np

MAGIC = b"GGUF"
ALIGNMENT = 32
(
    UINT8,
    INT8,
    UINT16,
    INT16,
    UINT32,
    INT32,
    FLOAT32,
    BOOL,
    STRING,
    ARRAY,
    UINT64,
    INT64,
    FLOAT64,
) = range(13)
VALUE_TYPE_NAMES = (
    "uint8 int8 uint16 int16 uint32 int32 float32 bool string array uint64 int64 float64"
).split()
SCALARS = {
    UINT8: "<B",
    INT8: "<b",
    UINT16: "<H",
    INT16: "<h",
    UINT32: "<I",
    INT32: "<i",
    FLOAT32: "<f",
    BOOL: "<?",
    UINT64: "<Q",
    INT64: "<q",
    FLOAT64: "<d",
}
# The same types by numpy's names.
DTYPES = SCALARS | {UINT8: "u1", INT8: "i1", BOOL: "?"}

# id: (name, elements of a block, bytes of a block). The tables for C++ are
# compute/numbers/weight_formats.h and, for types that are refused, tensor_types.cpp beside it;
# tests/golden/test_weight_formats.py compares them with this one.
TENSOR_TYPES = {
    0: ("F32", 1, 4),
    1: ("F16", 1, 2),
    2: ("Q4_0", 32, 18),
    3: ("Q4_1", 32, 20),
    6: ("Q5_0", 32, 22),
    7: ("Q5_1", 32, 24),
    8: ("Q8_0", 32, 34),
    9: ("Q8_1", 32, 36),
    10: ("Q2_K", 256, 84),
    11: ("Q3_K", 256, 110),
    12: ("Q4_K", 256, 144),
    13: ("Q5_K", 256, 176),
    14: ("Q6_K", 256, 210),
    15: ("Q8_K", 256, 292),
    16: ("IQ2_XXS", 256, 66),
    17: ("IQ2_XS", 256, 74),
    18: ("IQ3_XXS", 256, 98),
    19: ("IQ1_S", 256, 50),
    20: ("IQ4_NL", 32, 18),
    21: ("IQ3_S", 256, 110),
    22: ("IQ2_S", 256, 82),
    23: ("IQ4_XS", 256, 136),
    24: ("I8", 1, 1),
    25: ("I16", 1, 2),
    26: ("I32", 1, 4),
    27: ("I64", 1, 8),
    28: ("F64", 1, 8),
    29: ("IQ1_M", 256, 56),
    30: ("BF16", 1, 2),
    34: ("TQ1_0", 256, 54),
    35: ("TQ2_0", 256, 66),
    39: ("MXFP4", 32, 17),
}
# Where the f16 scales of a block lie: the scale, then the minimum or its scale.
SCALES_AT = {
    "Q4_0": (0,),
    "Q4_1": (0, 2),
    "Q5_0": (0,),
    "Q5_1": (0, 2),
    "Q8_0": (0,),
    "Q2_K": (80, 82),
    "Q3_K": (108,),
    "Q4_K": (0, 2),
    "Q5_K": (0, 2),
    "Q6_K": (208,),
    "IQ4_NL": (0,),
}
TYPE_IDS = {name: number for number, (name, _, _) in TENSOR_TYPES.items()}


class GgufError(Exception):
    """The file is no GGUF, or a broken one. The text is for people."""


@dataclass
class Tensor:
    name: str
    type_id: int
    dims: tuple  # dims[0] is the row length
    offset: int  # from the start of the data

    @property
    def type_name(self):
        return (
            TENSOR_TYPES[self.type_id][0]
            if self.type_id in TENSOR_TYPES
            else f"type {self.type_id}"
        )

    @property
    def elements(self):
        product = 1
        for dim in self.dims:
            product *= dim
        return product

    @property
    def bytes(self):
        """Bytes of the tensor's data; None if the type is unknown."""
        if self.type_id not in TENSOR_TYPES:
            return None
        _, elements, size = TENSOR_TYPES[self.type_id]
        return self.elements // elements * size


class Reader:
    """A file's version, metadata {key: value}, types {key: name} and tensors.

    tensor_bytes() reads the data of one tensor.
    """

    def __init__(self, path):
        path = Path(path)
        try:
            with path.open("rb") as file:
                if file.read(4) != MAGIC:
                    raise GgufError(f'{path}: not a GGUF file (it does not start with "GGUF")')
            self._data = np.memmap(path, dtype=np.uint8, mode="r")
        except OSError as error:
            raise GgufError(f"{path}: {error.strerror}") from error
        self.path, self.metadata, self.types, self.tensors = path, {}, {}, []
        self._at = 4
        self._read()

    def _take(self, count):
        if count > len(self._data) - self._at:
            raise GgufError(f"{self.path}: the file ends too early, at byte {len(self._data)}")
        self._at += count
        return self._data[self._at - count : self._at].tobytes()

    def _scalar(self, kind):
        form = SCALARS[kind]
        return struct.unpack(form, self._take(struct.calcsize(form)))[0]

    def _text(self):
        return self._take(self._scalar(UINT64)).decode("utf-8", errors="replace")

    def _value(self, kind):
        if kind == STRING:
            return self._text(), "string"
        if kind in SCALARS:
            return self._scalar(kind), VALUE_TYPE_NAMES[kind]
        if kind != ARRAY:
            raise GgufError(f"{self.path}: a value of unknown type {kind}")
        element, count = self._scalar(UINT32), self._scalar(UINT64)
        if element in SCALARS:
            width = struct.calcsize(SCALARS[element])
            values = np.frombuffer(self._take(count * width), dtype=DTYPES[element])
        elif element == STRING:
            values = [self._text() for _ in range(min(count, len(self._data)))]
        else:
            raise GgufError(f"{self.path}: an array of unknown type {element}")
        return values, f"{VALUE_TYPE_NAMES[element]}[{count}]"

    def _read(self):
        self.version = self._scalar(UINT32)
        if self.version not in (2, 3):
            raise GgufError(
                f"{self.path}: GGUF version {self.version} is not supported, only 2 and 3"
            )
        tensor_count, key_count = self._scalar(UINT64), self._scalar(UINT64)
        for _ in range(key_count):
            key = self._text()
            self.metadata[key], self.types[key] = self._value(self._scalar(UINT32))
        for _ in range(tensor_count):
            name, dim_count = self._text(), self._scalar(UINT32)
            if dim_count > 8:
                raise GgufError(f"{self.path}: a tensor of {dim_count} dimensions")
            dims = tuple(self._scalar(UINT64) for _ in range(dim_count))
            self.tensors.append(Tensor(name, self._scalar(UINT32), dims, self._scalar(UINT64)))
        self.alignment = int(self.metadata.get("general.alignment", ALIGNMENT))
        if self.alignment <= 0:
            raise GgufError(f"{self.path}: an alignment of {self.alignment}")
        self.data_offset = -(-self._at // self.alignment) * self.alignment

    def tensor_bytes(self, tensor):
        begin = self.data_offset + tensor.offset
        if tensor.bytes is None or begin + tensor.bytes > len(self._data):
            raise GgufError(f"{self.path}: the tensor {tensor.name} lies outside the file")
        return self._data[begin : begin + tensor.bytes]


class Writer:
    """Writes a file: add() and tensor() for everything, begin(), then write() for each in order."""

    def __init__(self, path, version=3):
        self._path, self._version = Path(path), version
        self._entries, self._tensors, self._offset = [], [], 0

    @staticmethod
    def _text(text):
        data = text if isinstance(text, bytes) else text.encode()
        return struct.pack("<Q", len(data)) + data

    def add(self, key, kind, value):
        """Adds metadata: a scalar or a string."""
        data = self._text(value) if kind == STRING else struct.pack(SCALARS[kind], value)
        self._entries.append(self._text(key) + struct.pack("<I", kind) + data)

    def add_array(self, key, kind, values):
        if kind == STRING:
            data = b"".join(self._text(value) for value in values)
        else:
            data = np.asarray(values, dtype=DTYPES[kind]).tobytes()
        head = struct.pack("<IIQ", ARRAY, kind, len(values))
        self._entries.append(self._text(key) + head + data)

    def tensor(self, name, type_name, dims):
        tensor = Tensor(name, TYPE_IDS[type_name], tuple(dims), self._offset)
        _, elements, _ = TENSOR_TYPES[tensor.type_id]
        if dims[0] % elements != 0:
            raise GgufError(
                f"{name}: rows of {dims[0]} are no whole number of {type_name} blocks "
                f"of {elements}"
            )
        self._tensors.append(tensor)
        self._offset += -(-tensor.bytes // ALIGNMENT) * ALIGNMENT
        return tensor

    def begin(self):
        self._file = self._path.open("wb")
        head = [MAGIC, struct.pack("<IQQ", self._version, len(self._tensors), len(self._entries))]
        head += self._entries
        for tensor in self._tensors:
            head.append(self._text(tensor.name))
            head.append(
                struct.pack(
                    f"<I{len(tensor.dims)}QIQ",
                    len(tensor.dims),
                    *tensor.dims,
                    tensor.type_id,
                    tensor.offset,
                )
            )
        data = b"".join(head)
        self._file.write(data + bytes(-len(data) % ALIGNMENT))

    def write(self, tensor, chunks):
        """Writes one tensor. `chunks` are its bytes, as anything with a buffer."""
        written = 0
        for chunk in chunks:
            self._file.write(chunk)
            written += memoryview(chunk).nbytes
        if written != tensor.bytes:
            raise GgufError(f"{tensor.name}: {written} bytes written instead of {tensor.bytes}")
        self._file.write(bytes(-written % ALIGNMENT))

    def close(self):
        self._file.close()
