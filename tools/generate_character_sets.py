#!/usr/bin/env python3
"""Writes src/text/character_sets.cpp: the sets of characters that expressions and pre-tokenizers of tokenizer.json name.

The sets come from the package tokenizers (pip install tokenizers==0.23.3), which is what they have to equal: properties
from its regular expressions (Oniguruma, Unicode 16.0), the others from its pre-tokenizers. The compatibility
decompositions come from unicodedata2 (pip install unicodedata2==16.0.0), as those of unicode_tables.cpp do. The output
is the same on every run.

    python tools/generate_character_sets.py [--output src/text/character_sets.cpp]
"""

import argparse
import pathlib

import unicodedata2
from tokenizers import Regex, pre_tokenizers

CATEGORIES = [
    "Lu", "Ll", "Lt", "Lm", "Lo", "Mn", "Mc", "Me", "Nd", "Nl", "No", "Pc", "Pd", "Ps", "Pe", "Pi", "Pf", "Po", "Sm", "Sc",
    "Sk", "So", "Zs", "Zl", "Zp", "Cc", "Cf", "Co",
]  # fmt: skip
SCRIPTS = [
    "Arabic", "Armenian", "Bengali", "Bopomofo", "Cyrillic", "Devanagari", "Ethiopic", "Georgian", "Greek", "Gujarati",
    "Gurmukhi", "Han", "Hangul", "Hebrew", "Hiragana", "Kannada", "Katakana", "Khmer", "Lao", "Latin", "Malayalam",
    "Mongolian", "Myanmar", "Sinhala", "Tamil", "Telugu", "Thai", "Tibetan",
]  # fmt: skip
ALL = [chr(point) for point in range(0x110000) if not 0xD800 <= point < 0xE000]


def matched(splitter):
    """The code points of which the splitter, applied to each, leaves nothing."""
    text = "".join(ALL)
    kept = set("".join(piece for piece, _ in splitter.pre_tokenize_str(text)))
    return [ord(character) for character in ALL if character not in kept]


def of_expression(expression):
    return matched(pre_tokenizers.Split(Regex(expression), "removed"))


def of_isolated(splitter):
    """The code points that the splitter makes pieces of their own between two letters."""
    return [ord(c) for c in ALL if len(splitter.pre_tokenize_str(f"a{c}a")) == 3]


# What a set consists of, besides ranges of its own.
WORD = ["Alphabetic", "Mn", "Mc", "Me", "Nd", "Pc"]
PARTS = {
    "Alphabetic": ["Lu", "Ll", "Lt", "Lm", "Lo", "Nl"], "word": WORD, "rust word": WORD, "numeric": ["Nd", "Nl", "No"],
}  # fmt: skip


def ranges_of(points):
    ranges = []
    for point in points:
        # Surrogates are not characters: a range may span them.
        if ranges and point in (ranges[-1][1] + 1, 0xE000 if ranges[-1][1] == 0xD7FF else -1):
            ranges[-1][1] = point
        else:
            ranges.append([point, point])
    return ranges


def strided(ranges):
    """The ranges as (first, last, step), where single points at equal distances are one."""
    result = []
    for first, last in ranges:
        if result and first == last:
            begin, end, step = result[-1]
            if begin == end and first - end == 2 or step > 1 and first - end == step:
                result[-1] = (begin, first, first - end)
                continue
        result.append((first, last, 1))
    return result


def range_item(first, last, step):
    if first == last:
        return f"{{0x{first:X}}}"
    return f"{{0x{first:X}, 0x{last:X}}}" if step == 1 else f"{{0x{first:X}, 0x{last:X}, {step}}}"


def rows(items):
    lines, line = [], " "
    for item in items:
        if len(line) + len(item) + 2 > 120:
            lines.append(line)
            line = " "
        line += f" {item},"
    return [*lines, line]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=pathlib.Path, default=pathlib.Path("src/text/character_sets.cpp"))
    arguments = parser.parse_args()
    sets = {name: of_expression(rf"\p{{{name}}}") for name in [*CATEGORIES, *SCRIPTS, "Alphabetic"]}
    sets["word"] = of_expression(r"\w")
    sets["rust word"] = [ord(c) for c in ALL if pre_tokenizers.Whitespace().pre_tokenize_str(f"a{c}a")[0][0] == f"a{c}a"]
    sets["space"] = matched(pre_tokenizers.WhitespaceSplit())
    sets["numeric"] = of_isolated(pre_tokenizers.Digits(individual_digits=True))
    sets["punctuation"] = of_isolated(pre_tokenizers.Punctuation("isolated"))
    assert sets["space"] == of_expression(r"\s")
    ranges, entries = [], []
    for name, points in sets.items():
        of_parts = {point for part in PARTS.get(name, []) for point in sets[part]}
        assert of_parts <= set(points)
        own = strided(ranges_of([point for point in points if point not in of_parts]))
        parts = "".join(f', "{part}"' for part in PARTS.get(name, []))
        entries.append(f'{{"{name}", {len(ranges)}, {len(own)}{f", {{{parts[2:]}}}" if parts else ""}}}')
        ranges += own
    decompositions, parts = [], []
    for character in ALL:
        full = unicodedata2.normalize("NFKD", character)
        if full == unicodedata2.normalize("NFD", character):
            continue
        point = ord(character)
        if decompositions and decompositions[-1][1] == point - 1 and decompositions[-1][3] == len(full):
            decompositions[-1][1] = point
        else:
            decompositions.append([point, point, len(parts), len(full)])
        parts += [f"0x{ord(part):X}" for part in full]
    lines = [
        "// Sets of characters and compatibility decompositions in the form that character_sets.h describes.",
        "// Written by tools/generate_character_sets.py; do not edit.",
        "// clang-format off",
        '#include "text/character_sets.h"',
        "",
        "namespace mslt::unicode {",
        "",
        f"const NamedSet named_sets[{len(entries)}] = {{", *rows(entries), "};",
        f"const std::size_t named_set_count = {len(entries)};",
        "",
        f"const SteppedRange set_ranges[{len(ranges)}] = {{", *rows(range_item(*entry) for entry in ranges), "};",
        "",
        f"const CompatibilityDecomposition compatibility_decompositions[{len(decompositions)}] = {{",
        *rows(f"{{0x{first:X}, 0x{last:X}, {start}, {count}}}" for first, last, start, count in decompositions), "};",
        f"const std::size_t compatibility_decomposition_count = {len(decompositions)};",
        "",
        f"const char32_t compatibility_parts[{len(parts)}] = {{", *rows(parts), "};",
        "",
        "}  // namespace mslt::unicode",
        "",
    ]  # fmt: skip
    arguments.output.write_text("\n".join(lines))


if __name__ == "__main__":
    main()
