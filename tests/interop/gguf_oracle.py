#!/usr/bin/env python3
"""Compares the packing and unpacking of quantised blocks with the package gguf, bit for bit.

    python tests/interop/gguf_oracle.py build/release/tests/interop/gguf_tool

Random blocks of every type that is read, random numbers for every type that is written. Exits with status 1 on any difference, 77 where a package is missing.
"""

import subprocess
import sys

try:
    import numpy
    import gguf
    from gguf.quants import dequantize, quantize
except ImportError as error:
    print(f"skipped: {error}")
    sys.exit(77)

TYPES = ["Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "Q4_K", "Q5_K", "Q6_K"]


def main():
    tool = sys.argv[1]
    generator = numpy.random.default_rng(11)
    failures = 0
    for name in TYPES:
        kind = gguf.GGMLQuantizationType[name]
        _, size = gguf.GGML_QUANT_SIZES[kind]
        blocks = generator.integers(0, 256, (4000, size), dtype=numpy.uint8)
        ours = subprocess.run([tool, "dequantise", name], input=blocks.tobytes(), capture_output=True, check=True)
        ours = numpy.frombuffer(ours.stdout, dtype=numpy.float32)
        with numpy.errstate(all="ignore"):
            theirs = dequantize(blocks, kind).reshape(-1)
        # Any scale may be NaN here, whose sign and payload nobody defines.
        numbers = ~numpy.isnan(theirs)
        same = (numpy.isnan(ours) == ~numbers).all() and (ours.view(numpy.uint32) == theirs.view(numpy.uint32))[numbers].all()
        print(f"{name}: {len(theirs)} elements {'are equal' if same else 'DIFFER'}")
        failures += not same
    values = generator.standard_normal((4000, 32)) * 10.0 ** generator.integers(-9, 4, (4000, 1))
    values = values.astype(numpy.float32)
    values[0], values[1], values[2, 1:], values[3] = 0, -3.25, 0, numpy.arange(32) - 16
    for name in ("Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0"):
        ours = subprocess.run([tool, "quantise", name], input=values.tobytes(), capture_output=True, check=True).stdout
        same = ours == quantize(values, gguf.GGMLQuantizationType[name]).tobytes()
        print(f"{name}: {values.size} elements are packed {'equally' if same else 'DIFFERENTLY'}")
        failures += not same
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main()
