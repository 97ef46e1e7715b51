#!/usr/bin/env python3
"""Writes src/text/unicode_tables.cpp from the Unicode character database.

The Unicode version is the one that the regular expressions of tiktoken and of Hugging Face's tokenizers are built on,
since a letter to us must be a letter to them. The data comes from the package unicodedata2 of that version
(pip install unicodedata2==16.0.0), which has the interface of Python's own unicodedata. The output is the same on
every run.

    python tools/generate_unicode_tables.py [--output src/text/unicode_tables.cpp]
"""

import argparse
import pathlib
import sys

UNICODE_VERSION = "16.0.0"

try:
    import unicodedata2 as ucd
except ImportError:
    import unicodedata as ucd

# The property White_Space, the meaning of \s in the patterns; unchanged since Unicode 6.3.
WHITE_SPACE = {0x20, 0x85, 0xA0, 0x1680, 0x2028, 0x2029, 0x202F, 0x205F, 0x3000, *range(0x9, 0xE), *range(0x2000, 0x200B)}

# The bits of CharacterClass in unicode_tables.h.
SYMBOL, OTHER_LETTER, MARK, NUMBER, UPPER_LETTER, LOWER_LETTER, SPACE, NEWLINE = (1 << bit for bit in range(8))
CLASS_OF_CATEGORY = {
    "Lu": UPPER_LETTER, "Lt": UPPER_LETTER, "Ll": LOWER_LETTER, "Lm": OTHER_LETTER, "Lo": OTHER_LETTER,
    "Mn": MARK, "Mc": MARK, "Me": MARK, "Nd": NUMBER, "Nl": NUMBER, "No": NUMBER,
}  # fmt: skip

HANGUL_SYLLABLES = range(0xAC00, 0xAC00 + 11172)
CODE_POINTS = 0x110000


def is_surrogate(code_point):
    return 0xD800 <= code_point < 0xE000


def class_of(code_point):
    if code_point in (0xA, 0xD):
        return NEWLINE
    if code_point in WHITE_SPACE:
        return SPACE
    return CLASS_OF_CATEGORY.get(ucd.category(chr(code_point)), SYMBOL)


def decomposition_of(code_point):
    """The full canonical decomposition in canonical order, or () where there is none; Hangul is left to arithmetic."""
    if is_surrogate(code_point) or code_point in HANGUL_SYLLABLES:
        return ()
    decomposed = ucd.normalize("NFD", chr(code_point))
    return () if decomposed == chr(code_point) else tuple(map(ord, decomposed))


def compositions():
    """(first, second) -> composite, for every pair that NFC joins, without Hangul."""
    pairs = {}
    for code_point in range(CODE_POINTS):
        if is_surrogate(code_point) or code_point in HANGUL_SYLLABLES:
            continue
        mapping = ucd.decomposition(chr(code_point)).split()
        if len(mapping) == 2 and not mapping[0].startswith("<"):
            first, second = (int(part, 16) for part in mapping)
            # A composite that NFC decomposes is excluded from composition.
            if ucd.normalize("NFC", chr(code_point)) == chr(code_point):
                pairs[first, second] = code_point
    return pairs


def normalization_records(pairs):
    """A record number for each code point, the records, and the decompositions laid end to end.

    Record 0 is for code points that NFC never changes, whatever precedes or follows them. A record is (offset and
    length of the decomposition, combining class, whether the code point is a boundary: that is, whether NFC never
    joins or moves it, or what it decomposes to, towards what stands before it).
    """
    joins_backwards = {second for _, second in pairs} | set(range(0x1161, 0x1176)) | set(range(0x11A8, 0x11C3))
    pool, records, numbers = [], [(0, 0, 0, True)], {(0, 0, 0, True): 0}
    number_of = [0] * CODE_POINTS
    for code_point in range(CODE_POINTS):
        decomposition = decomposition_of(code_point)
        combining = ucd.combining(chr(code_point))
        start = decomposition[0] if decomposition else code_point
        boundary = (
            combining == 0
            and ucd.combining(chr(start)) == 0
            and start not in joins_backwards
            and (not decomposition or ucd.normalize("NFC", chr(code_point)) == chr(code_point))
        )
        if decomposition:
            record = (len(pool), len(decomposition), combining, boundary)
            pool.extend(decomposition)
        else:
            record = (0, 0, combining, boundary)
        if record not in numbers:
            numbers[record] = len(records)
            records.append(record)
        number_of[code_point] = numbers[record]
    return number_of, records, pool


def two_stages(values, shift):
    """Splits values into blocks of 1 << shift and numbers the distinct ones: values[i] = blocks[index[i >> shift]][...]."""
    size = 1 << shift
    seen, index, blocks = {}, [], []
    for start in range(0, len(values), size):
        block = tuple(values[start : start + size])
        if block not in seen:
            seen[block] = len(seen)
            blocks.extend(block)
        index.append(seen[block])
    return index, blocks


def array(kind, name, values, columns=120):
    """The definition of one table, wrapped at the line length of the project."""
    lines, line = [], "  "
    for value in values:
        item = f"{value},"
        if len(line) + len(item) > columns:
            lines.append(line)
            line = "  "
        line += item
    lines.append(line)
    body = "\n".join(lines)
    return f"const {kind} {name}[{len(values)}] = {{\n{body}\n}};\n"


def generate():
    pairs = compositions()
    number_of, records, pool = normalization_records(pairs)
    class_index, class_blocks = two_stages([class_of(c) for c in range(CODE_POINTS)], 7)
    record_index, record_blocks = two_stages(number_of, 7)
    assert max(class_index) < 256 and max(record_index) < 256 and len(records) < 65536 and len(pool) < 65536
    rows = [f"{{{offset}, {length}, {combining}, {str(boundary).lower()}}}" for offset, length, combining, boundary in records]
    joins = [f"{{{first:#x}, {second:#x}, {pairs[first, second]:#x}}}" for first, second in sorted(pairs)]
    return "\n".join([
        "// The Unicode character database in the form that unicode_tables.h describes.",
        "// Written by tools/generate_unicode_tables.py; do not edit.",
        "// clang-format off",
        '#include "text/unicode_tables.h"',
        "",
        "namespace mslt::unicode {",
        "",
        f'const char version[] = "{UNICODE_VERSION}";',
        "",
        array("std::uint8_t", "class_index", class_index),
        array("std::uint8_t", "class_blocks", class_blocks),
        array("std::uint8_t", "normalization_index", record_index),
        array("std::uint16_t", "normalization_blocks", record_blocks),
        array("NormalizationRecord", "normalization_records", rows),
        array("char32_t", "decompositions", [f"{code_point:#x}" for code_point in pool]),
        array("Composition", "compositions", joins),
        f"const std::size_t composition_count = {len(joins)};",
        "",
        "}  // namespace mslt::unicode",
        "",
    ])  # fmt: skip


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    root = pathlib.Path(__file__).resolve().parent.parent
    parser.add_argument("--output", type=pathlib.Path, default=root / "src/text/unicode_tables.cpp")
    output = parser.parse_args().output
    if ucd.unidata_version != UNICODE_VERSION:
        sys.exit(
            f"Unicode {UNICODE_VERSION} is needed, and this Python has {ucd.unidata_version}: "
            f"pip install unicodedata2=={UNICODE_VERSION}"
        )
    output.write_text(generate(), encoding="ascii", newline="\n")


if __name__ == "__main__":
    main()
