#!/usr/bin/env python3
"""Compares the splitters, NFC and the UTF-8 decoder with the implementations that define them.

    python tests/interop/split_oracle.py --tool build/release/tests/interop/split_tool [--count 20000] [--seed 1]
    python tests/interop/split_oracle.py --write-golden tests/golden

Splitting is compared with the regular expressions themselves as three engines run them: Oniguruma in Hugging Face's
tokenizers, fancy-regex in tiktoken, and the regex module (on code points that it classes as the others do: its Unicode
version is newer). NFC is compared with unicodedata2 of the tables' Unicode version. Exits with status 1 on any
difference. Needs: pip install regex tiktoken tokenizers unicodedata2==16.0.0
"""

import argparse
import json
import pathlib
import random
import struct
import subprocess
import sys

import regex
import tiktoken
import unicodedata2
from tiktoken_ext import openai_public
from tokenizers import Regex, pre_tokenizers

CONTRACTION = "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
WHITE_SPACE = r"\s*[\r\n]+|\s+(?!\S)|\s+"
PATTERNS = {
    "gpt2": r"'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+",
    "llama3": CONTRACTION + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|" + WHITE_SPACE,
    "qwen2": CONTRACTION + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|" + WHITE_SPACE,
    "o200k": r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+" + CONTRACTION + "?|"
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*" + CONTRACTION + "?|"
    r"\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|" + WHITE_SPACE,
}  # fmt: skip

HARD = [
    "", " ", "  ", "\n", "\r\n", "\n\n", " \n", "\n ", "  \n  ", "\n  \n  x", "a\n", "a\n\n", "a\n  ", "a\n  b", "a  b",
    "a\r\n\r\nb", "a \r\n b", "\u00a0a", " \u00a0a", "\u00a0\u00a0a", "\u3000\u3000", "\u3000\n\u3000a", "x\u0085y",
    "\u200bx", " \u200b", "\u2028a\u2029b", "\u001cx\u001fy", "\u180ex", "\ufeffx", "\u2060x", "\t\tx", "\v\fx",
    "don't", "DON'T", "Don'T we'LL I'VE you'Re", "'s", "'S", "''s", "'ſ", "a'ſx", "A'ſ", "'ſt", "it'sé", "'ll'l'lL", "'re'rE",
    "'r", "'v", "'l", "x'", "x'l", "x'r", "'", "''", "'\u017f'\u017f", "\u2019s", "'K'\u212a", "1's", "!'s", " 's", "中's",
    "\u0301's", "x\u0301's", "'\u0301s", "ABC", "ABCd", "ABCdE", "AbC", "aBC", "中ABC", "ABC中", "ABC中DEF", "A中B中C",
    "ABC中d", "\u0301ABC", "\u0301ABCd", "\u0301\u0301AB", "!\u0301AB", "!ABC", "!!ABC", "!ABC\u0301D", " \u0301A",
    "\u01c5\u01c5a", "\u02b0A\u02b0", "a\u02b0A", "A's", "AB'sC", "ab'S'S", "A'LL", "fooBarBaz", "HTTPServer", "iPhone15",
    "1234567890", "12 345", "²½٣", "٣٤٥٦", "Ⅷ3", "x1y22z333w4444", " 1", " 12", "\u00a01", "3.14", "$1,000.00",
    "!\n", "!\r\n\n", "!/\n/\n", "!/", "//", "a/b", "a//\n/b", "/\n/", " /\n", "!\n/a", "!\n a", "\n/", "...\n\n...", " !", "  !",
    "\u0301", " \u0301", "\u0301\n", "!\u0301\n", "1\u0301", "e\u0301e\u0301", "\u093f\u0928\u093f", "हिन्दी में", "สวัสดี",
    "😀", "😀😀", " 😀x", "👩‍👩‍👧", "\U0001f1e9\U0001f1ea", "a😀b", "日本語テキスト。改行\nあり", "한국어", "\U00010400\U00010428",
    "\U00020000a", "\ue000x", "\ufffd", "\U0010ffff", "\x00a", "\x7f", "https://example.org/a?b=c#d", "x = y; // z\n\treturn 0;\n",
]  # fmt: skip

# Each alphabet is a class of characters that some pattern distinguishes, or a border case of one.
ALPHABETS = [
    "abcdelmrstvz", "ABCDELMRSTVZ", "'", "''’", "stdmSTDM", "revlREVL", "ſ", "é\u00dfñ\u0455", "ÉÑ\u0416Ω", "\u01c5\u01c8\u1f88", "\u02b0\u02b3\u3005ー",
    "中文語ªºא", "\u0301\u0308\u093e\u20dd\ufe0f", "0123456789", "²½٣Ⅷ①\U0001d7d8", " ", "   ", "\t\v\f", "\n", "\r", "\r\n", "\u00a0\u0085",
    "\u2003\u2028\u2029\u3000\u1680\u202f", "\u200b\u180e\ufeff\u001c\u2060\x00", "!?.,;:", "/", "_$+<|^", "😀👍🏽\u200d", "\ufffd\ue000\U0010ffff\u0378",
]  # fmt: skip


def random_text(generator):
    chosen = generator.sample(ALPHABETS, generator.randint(1, 6))
    return "".join(generator.choice(generator.choice(chosen)) for _ in range(generator.randint(1, 24)))


def call_tool(tool, mode, texts):
    blocks = b"".join(struct.pack("<I", len(text)) + text for text in texts)
    output = subprocess.run([tool, mode], input=blocks, stdout=subprocess.PIPE, check=True).stdout
    results, position = [], 0
    for _ in texts:
        (size,) = struct.unpack_from("<I", output, position)
        results.append(output[position + 4 : position + 4 + size])
        position += 4 + size
    return results


def split(tool, pattern, texts):
    return [list(struct.unpack(f"<{len(result) // 4}I", result)) for result in call_tool(tool, pattern, texts)]


def lengths(pieces):
    return [len(piece.encode()) for piece in pieces]


def split_with_tokenizers(pattern, texts):
    splitter = pre_tokenizers.Split(Regex(PATTERNS[pattern]), "isolated")
    return [lengths(piece for piece, _ in splitter.pre_tokenize_str(text)) for text in texts]


def split_with_regex(pattern, texts):
    compiled = regex.compile(PATTERNS[pattern])
    return [lengths(compiled.findall(text)) for text in texts]


def split_with_tiktoken(expression, texts):
    """A vocabulary that holds every part of the texts makes each pre-token one token."""
    results = []
    for start in range(0, len(texts), 500):
        batch = texts[start : start + 500]
        parts = {text[i:j].encode() for text in batch for i in range(len(text)) for j in range(i + 1, len(text) + 1)}
        ranks = {bytes([byte]): byte for byte in range(256)}
        for part in sorted(parts):
            ranks.setdefault(part, len(ranks))
        encoding = tiktoken.Encoding("split", pat_str=expression, mergeable_ranks=ranks, special_tokens={})
        for text in batch:
            results.append([len(encoding.decode_single_token_bytes(token)) for token in encoding.encode_ordinary(text)])
    return results


class Comparison:
    def __init__(self):
        self.differences = 0

    def check(self, what, inputs, ours, theirs):
        different = [item for item in zip(inputs, ours, theirs) if item[1] != item[2]]
        print(f"{what}: {len(inputs)} compared, {len(different)} different")
        for text, our, their in different[:10]:
            print(f"  {text!r}\n    ours   {our}\n    theirs {their}")
        self.differences += len(different)


def scalar_values():
    return (code_point for code_point in range(0x110000) if not 0xD800 <= code_point < 0xE000)


def classes_that_regex_changed():
    """Code points whose class differs between the regex module and the Unicode version of the others."""
    changed = set()
    kinds = {name: regex.compile(rf"\p{{{name}}}") for name in ("Lu", "Lt", "Ll", "Lm", "Lo", "M", "N")}
    for code_point in scalar_values():
        category = unicodedata2.category(chr(code_point))
        kind = category if category in kinds else category[0]
        if kind in kinds:
            same = kinds[kind].match(chr(code_point))
        else:
            same = not regex.match(r"[\p{L}\p{M}\p{N}]", chr(code_point))
        if not same:
            changed.add(chr(code_point))
    return changed


def compare_splits(comparison, tool, texts):
    encoded = [text.encode() for text in texts]
    changed = classes_that_regex_changed()
    unchanged = [text for text in texts if changed.isdisjoint(text)]
    for pattern, expression in PATTERNS.items():
        ours = split(tool, pattern, encoded)
        of = dict(zip(texts, ours))
        comparison.check(f"{pattern}, tokenizers", texts, ours, split_with_tokenizers(pattern, texts))
        comparison.check(f"{pattern}, tiktoken", texts, ours, split_with_tiktoken(expression, texts))
        comparison.check(
            f"{pattern}, regex", unchanged, [of[text] for text in unchanged], split_with_regex(pattern, unchanged)
        )
    # tiktoken's current expressions. Its cl100k_base takes white space at the end of a text whole.
    today = {"gpt2": openai_public.r50k_pat_str}
    # Everything except the expression comes from the network.
    load = openai_public.load_tiktoken_bpe
    openai_public.load_tiktoken_bpe = lambda *arguments, **options: {}
    today["llama3"] = openai_public.cl100k_base()["pat_str"]
    today["o200k"] = openai_public.o200k_base()["pat_str"]
    openai_public.load_tiktoken_bpe = load
    for pattern, expression in today.items():
        kept = [text for text in texts if pattern != "llama3" or not text[-1:].isspace()]
        ours = split(tool, pattern, [text.encode() for text in kept])
        comparison.check(f"{pattern}, tiktoken's own", kept, ours, split_with_tiktoken(expression, kept))


def compare_all_code_points(comparison, tool):
    def around(character):
        return f"a{character}a{character}{character}A B{character}'s1{character}2 {character}!{character}\n{character}"

    points = [chr(code_point) for code_point in scalar_values()]
    texts = ["".join(map(around, points[start : start + 200])) for start in range(0, len(points), 200)]
    encoded = [text.encode() for text in texts]
    for pattern in PATTERNS:
        ours = split(tool, pattern, encoded)
        comparison.check(
            f"{pattern}, every code point (texts of 200)", texts, ours, split_with_tokenizers(pattern, texts)
        )


def damaged(generator, text):
    data = bytearray(text.encode())
    for _ in range(generator.randint(1, 4)):
        place = generator.randrange(len(data) + 1)
        if generator.random() < 0.5 and place < len(data):
            del data[place]
        else:
            data.insert(place, generator.choice(b"\x80\x8f\x90\x9f\xa0\xbf\xc0\xc1\xc2\xe0\xed\xef\xf0\xf4\xf5\xff"))
    return bytes(data)


def compare_invalid(comparison, tool, generator, count):
    texts = [damaged(generator, random_text(generator)) for _ in range(count)]
    for pattern in PATTERNS:
        splitter = pre_tokenizers.Split(Regex(PATTERNS[pattern]), "isolated")
        expected = []
        for text in texts:
            # Each byte that is not UTF-8 becomes one lone surrogate, which the expressions treat as U+FFFD: a symbol.
            characters = text.decode("utf-8", "surrogateescape")
            sizes = [1 if 0xD800 <= ord(character) < 0xE000 else len(character.encode()) for character in characters]
            visible = "".join("\ufffd" if 0xD800 <= ord(character) < 0xE000 else character for character in characters)
            bounds = [span for _, span in splitter.pre_tokenize_str(visible)]
            expected.append([sum(sizes[begin:end]) for begin, end in bounds])
        comparison.check(f"{pattern}, invalid UTF-8", texts, split(tool, pattern, texts), expected)
    replaced = [text.decode("utf-8", "replace").encode() for text in texts]
    comparison.check("replacement of invalid UTF-8", texts, call_tool(tool, "replace", texts), replaced)
    escaped = [text.decode("utf-8", "surrogateescape") for text in texts]
    normal = [unicodedata2.normalize("NFC", text).encode("utf-8", "surrogateescape") for text in escaped]
    comparison.check("NFC of invalid UTF-8", texts, call_tool(tool, "nfc", texts), normal)


def compare_cuts(comparison, tool, generator, texts):
    encoded = [text.encode() for text in texts]
    # A chunk of a stream may also end inside a character.
    encoded += [text[: generator.randrange(len(text) + 1)] for text in encoded]
    cuts = [struct.unpack("<I", result)[0] for result in call_tool(tool, "cut", encoded)]
    suffixes = [generator.choice([b"", b" ", b"\n", b"a", b"A", b"'s", b"/", b"1", b"\x80", b"\xb8\x80a", b"\xcc\x81", b"  \n x"])
                for _ in encoded]  # fmt: skip
    heads = [text[:cut] for text, cut in zip(encoded, cuts)]
    tails = [text[cut:] + suffix for text, cut, suffix in zip(encoded, cuts, suffixes)]
    wholes = [head + tail for head, tail in zip(heads, tails)]
    print(f"safe_cut: found in {sum(cut > 0 for cut in cuts)} of {len(cuts)} texts")
    for pattern in PATTERNS:
        parts = [a + b for a, b in zip(split(tool, pattern, heads), split(tool, pattern, tails))]
        comparison.check(f"{pattern}, safe_cut", list(zip(heads, tails)), parts, split(tool, pattern, wholes))


def normalization_alphabet():
    moving = [chr(c) for c in scalar_values() if unicodedata2.combining(chr(c)) or unicodedata2.decomposition(chr(c))]
    jamo = [chr(c) for c in (*range(0x1100, 0x1115), *range(0x115F, 0x1178), *range(0x11A6, 0x11C5))] * 10
    parts = [part for character in moving for part in unicodedata2.normalize("NFD", character)]
    return moving + jamo + parts + ["a", "e", "가", "각", "힣", "\u0301", "\u0323", "\u0308"] * 200


def random_sequence(generator, alphabet):
    return "".join(generator.choice(alphabet) for _ in range(generator.randint(1, 8)))


def compare_nfc(comparison, tool, generator, count):
    points = [chr(code_point) for code_point in scalar_values()]
    alphabet = normalization_alphabet()
    sets = {
        "NFC, every code point": points,
        "NFC, every code point between others": [f"a{point}\u0323{point}\u0301\u3099" for point in points],
        "NFC, every code point after 16D63 and 1100": [f"\U00016d63{point}\u1100{point}\u11a8" for point in points],
        "NFC, random sequences": [random_sequence(generator, alphabet) for _ in range(5 * count)],
    }
    for name, texts in sets.items():
        expected = [unicodedata2.normalize("NFC", text).encode() for text in texts]
        comparison.check(name, texts, call_tool(tool, "nfc", [text.encode() for text in texts]), expected)


def write_golden(folder, generator):
    texts = sorted({*HARD, *(random_text(generator) for _ in range(250))})
    splits = [{"text": text} for text in texts]
    for pattern in PATTERNS:
        for entry, result in zip(splits, split_with_tokenizers(pattern, texts)):
            entry[pattern] = result
    alphabet = normalization_alphabet()
    sequences = sorted({random_sequence(generator, alphabet) for _ in range(400)})
    normal = [{"text": text, "nfc": unicodedata2.normalize("NFC", text)} for text in sequences]
    for name, entries in (("split.json", splits), ("normalize.json", normal)):
        lines = ",\n".join(json.dumps(entry, separators=(",", ":")) for entry in entries)
        (folder / name).write_text(f"[\n{lines}\n]\n", encoding="ascii")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tool", help="the program split_tool that the build makes")
    parser.add_argument("--count", type=int, default=20000, help="how many random texts")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--write-golden", type=pathlib.Path, metavar="FOLDER", help="write split.json and normalize.json")
    arguments = parser.parse_args()
    generator = random.Random(arguments.seed)
    if arguments.write_golden:
        write_golden(arguments.write_golden, generator)
        return
    if not arguments.tool:
        parser.error("--tool or --write-golden is needed")
    comparison = Comparison()
    texts = HARD + [random_text(generator) for _ in range(arguments.count)]
    compare_splits(comparison, arguments.tool, texts)
    compare_invalid(comparison, arguments.tool, generator, arguments.count)
    compare_cuts(comparison, arguments.tool, generator, texts)
    compare_nfc(comparison, arguments.tool, generator, arguments.count)
    compare_all_code_points(comparison, arguments.tool)
    print(f"{comparison.differences} differences")
    sys.exit(1 if comparison.differences else 0)


if __name__ == "__main__":
    main()
