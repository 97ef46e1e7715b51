#!/usr/bin/env python3
"""Compares our safetensors reader and writer with the safetensors package.

    python tests/interop/safetensors_oracle.py build/release/tests/interop/safetensors_tool

Files that the package writes pass through the tool, which reads and writes them, and must come back equal. Files that
the package refuses, the tool must refuse. Exits with status 1 on any difference, 77 where a package is missing.
"""

import json
import pathlib
import random
import struct
import subprocess
import sys
import tempfile

try:
    import numpy
    import safetensors
    import safetensors.numpy
except ImportError as error:
    print(f"skipped: {error}")
    sys.exit(77)

DTYPES = ["float64", "float32", "float16", "int64", "int32", "int16", "int8", "uint64", "uint32", "uint16", "uint8", "bool"]


def random_tensors(generator):
    tensors = {}
    for _ in range(generator.randrange(12)):
        shape = [generator.randrange(5) for _ in range(generator.randrange(5))]
        name = generator.choice(["a", "layers.0.", "é", "a b", '"', "\\", "\u0001", "名"]) + str(generator.randrange(100))
        count = int(numpy.prod(shape, dtype=numpy.int64))
        dtype = numpy.dtype(generator.choice(DTYPES))
        values = numpy.array([generator.randrange(2) for _ in range(count)]) if dtype == bool else numpy.frombuffer(
            generator.randbytes(count * dtype.itemsize), dtype)
        tensors[name] = values.astype(dtype).reshape(shape)
    return tensors


def equal(a, b):
    return a.keys() == b.keys() and all(
        a[k].dtype == b[k].dtype and a[k].shape == b[k].shape and a[k].tobytes() == b[k].tobytes() for k in a)


def broken_files(generator):
    """Valid headers with one thing changed."""
    base = {"a": {"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 16]},
            "b": {"dtype": "U8", "shape": [3], "data_offsets": [16, 19]}}
    changes = [
        lambda h: h["a"].update(data_offsets=[0, 12]), lambda h: h["a"].update(data_offsets=[4, 16]),
        lambda h: h["a"].update(data_offsets=[16, 0]), lambda h: h["b"].update(data_offsets=[15, 18]),
        lambda h: h["b"].update(data_offsets=[17, 20]), lambda h: h["b"].update(shape=[4]),
        lambda h: h["b"].update(shape=[-3]), lambda h: h["b"].update(shape=[3.0]), lambda h: h["b"].update(dtype="F31"),
        lambda h: h["b"].update(shape=[2**63, 2**63]), lambda h: h["b"].pop("shape"), lambda h: h.pop("a"),
        lambda h: h.update(__metadata__={"k": 1}), lambda h: h.update(c=3), lambda h: h["a"].update(shape="22"),
    ]  # fmt: skip
    for change in changes:
        header = json.loads(json.dumps(base))
        change(header)
        text = json.dumps(header).encode()
        yield text, struct.pack("<Q", len(text)) + text + generator.randbytes(19)
    text = json.dumps(base).encode()
    whole = struct.pack("<Q", len(text)) + text + generator.randbytes(19)
    for bad in [b"", whole[:-1], whole + b"x", whole[:20], struct.pack("<Q", 2**64 - 1) + whole[8:],
                struct.pack("<Q", len(text) + 1) + whole[8:], b"plain text, not a tensor file"]:
        yield text, bad


def main():
    tool = sys.argv[1]
    generator = random.Random(1)
    failures = 0
    with tempfile.TemporaryDirectory() as name:
        source, copy = pathlib.Path(name) / "in.safetensors", pathlib.Path(name) / "out.safetensors"
        for i in range(200):
            tensors = random_tensors(generator)
            metadata = {"format": "np", "note": generator.choice(["", "é", '"\n'])} if i % 3 else None
            safetensors.numpy.save_file(tensors, source, metadata)
            result = subprocess.run([tool, source, copy], capture_output=True, text=True)
            if result.returncode != 0:
                print(f"file {i} is refused: {result.stderr}")
                failures += 1
                continue
            with safetensors.safe_open(copy, "np") as file:
                same_metadata = (file.metadata() or {}) == (metadata or {})
            if not equal(tensors, safetensors.numpy.load_file(copy)) or not same_metadata:
                print(f"file {i} comes back different")
                failures += 1
        accepted_there = 0
        for i, (text, content) in enumerate(broken_files(generator)):
            source.write_bytes(content)
            try:
                safetensors.numpy.load_file(source)
                accepted_there += 1
            except Exception:
                pass
            result = subprocess.run([tool, source, copy], capture_output=True, text=True)
            if result.returncode != 1:
                print(f"broken file {i} ends with status {result.returncode}: {text}")
                failures += 1
    print(f"200 files compared, {i + 1} broken ones refused ({accepted_there} of them accepted by the package), "
          f"{failures} differences")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
