#!/usr/bin/python3
"""Lists what a GGUF file holds: its metadata and its tensors."""

import argparse
import sys

from gguf_format import GgufError, Reader


def shown(value, limit):
    """A value on one line. Control characters are escaped, and long values are cut."""
    if isinstance(value, str):
        text = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in value)
        return text if len(text) <= limit else text[:limit] + f"... ({len(value)} characters)"
    if hasattr(value, "__len__"):
        head = ", ".join(shown(item, limit) for item in list(value[:6]))
        return f"[{head}{', ...' if len(value) > 6 else ''}]"
    if isinstance(value, float) or type(value).__name__.startswith("float"):
        return f"{value:.9g}"
    return str(value)


def human(count):
    for unit in ("B", "KiB", "MiB"):
        if count < 1024:
            return f"{count:.1f} {unit}" if unit != "B" else f"{count} B"
        count /= 1024
    return f"{count:.1f} GiB"


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", nargs="+", help="GGUF file")
    parser.add_argument("--width", type=int, default=80, help="characters shown of a text (80)")
    parser.add_argument("--no-tensors", action="store_true", help="metadata only")
    options = parser.parse_args()
    status = 0
    for path in options.file:
        try:
            reader = Reader(path)
        except GgufError as error:
            print(f"gguf_list: {error}", file=sys.stderr)
            status = 1
            continue
        size = human(reader.path.stat().st_size)
        print(
            f"{path}: GGUF version {reader.version}, {size}, {len(reader.metadata)} keys, "
            f"{len(reader.tensors)} tensors, data at {reader.data_offset}"
        )
        for key, value in reader.metadata.items():
            print(f"  {shown(key, 256)}  ({reader.types[key]})  {shown(value, options.width)}")
        if not options.no_tensors:
            for tensor in reader.tensors:
                shape = " x ".join(str(dim) for dim in tensor.dims)
                bytes_ = "?" if tensor.bytes is None else tensor.bytes
                print(
                    f"  {shown(tensor.name, 256):32} {tensor.type_name:6} {shape:20} "
                    f"{bytes_} bytes at {tensor.offset}"
                )
        total = sum(tensor.elements for tensor in reader.tensors)
        print(f"  {total:,} parameters in tensors")
    return status


if __name__ == "__main__":
    try:
        sys.exit(main())
    except BrokenPipeError:  # piped into head
        sys.stderr.close()
        sys.exit(0)
