#!/usr/bin/env python3
"""Writes src/text/lowercase_table.cpp: the simple lowercase mappings of Unicode.

The mappings come from the Rust standard library by way of the package tokenizers (pip install tokenizers==0.23.3, whose
Rust knows Unicode 17.0), which follows Unicode more closely than the Python it runs under. Rust's is the full mapping;
it differs from the simple one for U+0130 alone. The output is the same on every run.

    python tools/generate_lowercase_table.py [--output src/text/lowercase_table.cpp]
"""

import argparse
import pathlib

import tokenizers

# Unicode's SpecialCasing.txt gives two code points for the capital I with a dot; UnicodeData.txt gives this one.
SIMPLE = {0x130: "i"}


def lowercase_pairs():
    lowercase = tokenizers.normalizers.Lowercase()
    for code_point in range(0x110000):
        if 0xD800 <= code_point < 0xE000:
            continue
        lower = SIMPLE.get(code_point) or lowercase.normalize_str(chr(code_point))
        assert len(lower) == 1, hex(code_point)
        if ord(lower) != code_point:
            yield code_point, ord(lower)


def ranges(pairs):
    """Runs of code points one or two apart that move by the same distance: (first, last, step, distance)."""
    runs = []
    for code_point, lower in pairs:
        distance = lower - code_point
        if runs:
            first, last, step, run_distance = runs[-1]
            gap = code_point - last
            if distance == run_distance and (gap == step or (first == last and gap == 2)):
                runs[-1] = (first, code_point, gap, distance)
                continue
        runs.append((code_point, code_point, 1, distance))
    return runs


def generate():
    rows = [f"    {{{first:#x}, {last:#x}, {step}, {distance}}}," for first, last, step, distance in ranges(lowercase_pairs())]
    return "\n".join([
        "// The simple lowercase mappings of Unicode 17.0, in the form that lowercase_table.h describes.",
        "// Written by tools/generate_lowercase_table.py; do not edit.",
        "// clang-format off",
        '#include "text/lowercase_table.h"',
        "",
        "namespace mslt {",
        "",
        f"const LowercaseRange lowercase_ranges[] = {{",
        *rows,
        "};",
        f"const std::size_t lowercase_range_count = {len(rows)};",
        "",
        "}  // namespace mslt",
        "",
    ])  # fmt: skip


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=pathlib.Path, default=pathlib.Path("src/text/lowercase_table.cpp"))
    parser.parse_args().output.write_text(generate(), encoding="utf-8")
