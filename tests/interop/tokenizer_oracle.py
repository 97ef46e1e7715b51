#!/usr/bin/env python3
"""Compares mslt's tokenizer with the packages tokenizers, tiktoken and, where it is installed, transformers.

    tokenizer_oracle.py TOOL [--random N] [--text FILE]

TOOL is the program tokenizer_tool. Everything is made here, from a fixed seed: a multilingual training text, a
vocabulary for each split pattern, tokenizer.json files in the shapes that published models use, and texts to encode.
Prints one line per comparison; exits 1 at any difference, and 77 with the reason where a package is missing.

What the packages cannot take is compared otherwise: neither accepts invalid UTF-8 (tokenizers takes str alone;
tiktoken's _encode_bytes does not cut it into pre-tokens), so such bytes are checked to round-trip and to decode as
Python's errors="replace" does.
"""
import argparse
import base64
import copy
import json
import pathlib
import random
import struct
import subprocess
import sys
import tempfile

try:
    import tiktoken
    from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
except ImportError as error:
    print(f"skipped: {error}")
    sys.exit(77)

PATTERNS = {
    "gpt2": r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+",
    "llama3": r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|"
    r"\s*[\r\n]+|\s+(?!\S)|\s+",
    "qwen2": r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|"
    r"\s*[\r\n]+|\s+(?!\S)|\s+",
    "o200k": r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|"
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|"
    r"\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+",
}
SPECIAL = ["[PAD]", "[BOS]", "[EOS]", "<|im_start|>"]

HARD = [
    "", " ", "\n", "a", "\x00", "\x00\x01\x7f\u0080\u009f", "\ufeffBOM", "\ufffd", "a\ufffdb", "\U0010ffff",
    "Hello, world! It's 2024; they'LL don't I'M we'VE you'D.", "'s'S'ſ 'ſx", "x  y   z\t\t\n\n  \r\n \r w   ",
    "   leading and trailing   ", "\u00a0no\u2003break\u3000spaces\u2028line\u0085next", "1 22 333 4444 55555 ½ Ⅷ ٣٤٥",
    "👨‍👩‍👧‍👦 👩🏽‍🚀🏳️‍🌈🇩🇪🇫🇷 1️⃣ ❤️‍🔥", "e\u0301 a\u0308\u0323 \u0301alone Z\u0351\u036b\u0343a\u0334l\u0321go",
    "中文分词没有空格。日本語のテキスト、한국어 텍스트입니다", "שלום עולם مرحبا بالعالم \u202eabc\u202c", "Привет, мир! Ελληνικά ÀÉÎõü",
    "สวัสดีชาวโลก नमस्ते दुनिया ক্ষ", "ǅ ǈ ʰʷ ª º ﬁ İı ß ẞ", "CamelCaseXMLHttp snake_case HTTPServer's iPhone'S", "a/b//c///\n//\n",
    "[BOS]text[EOS]", "[BO[BOS]S]", "<|im_start|>user\n<|im_start|", "[PAD][PAD] [EOS", "Ġ Ċ Ã", "\u1e9b\u0323 \u212b \uac00 \u1100\u1161",
    "0" * 1000, "=" * 5000, " " * 3000, "\n" * 2000, "ab" * 3000, "あ" * 3000, "a" * 100_000, "aab" * 20_000, "'" * 3001,
]

# Texts of 100,000 characters take the packages seconds for each form of a file, so most forms only see their beginnings.
# "words, case and boundaries" never sees all: the package begins [a-f]+s again at each letter, and takes a minute.
WITH_LONG_TEXTS = {"like DeepSeek V3", "Lowercase", "added tokens of all kinds, NFC"}


def cut(texts):
    return [text[:3000] for text in texts]


def training_text(rng):
    """Words of several scripts with a Zipf-like distribution, and the hard texts' shorter ones."""
    alphabets = ["etaoinshrdlucmfwyp"] * 6 + ["ETAOINSHR", "абвгдежзиклмнопрст", "αβγδεηικλνοπρστ", "的一是不了在人有我他",
                 "あいうえおかきくけこん", "가나다라마바사", "אבגדהוז", "ابتثجح", "กขคงจ", "éàüñçß", "0123456789", "👍🙂🎉❤️‍🔥"]
    words = ["".join(rng.choices(alphabet, k=rng.randint(1, 9))) for alphabet in alphabets for _ in range(150)]
    rng.shuffle(words)
    weights = [1 / (i + 1) for i in range(len(words))]
    separators = [" "] * 20 + ["\n", ", ", ". ", "\n\n", "  ", "'s ", "'ll ", "-", "!\n", "/"]
    count = 60_000
    text = "".join(map("".join, zip(rng.choices(words, weights, k=count), rng.choices(separators, k=count))))
    return text + "\n".join(hard for hard in HARD if len(hard) < 500 and "\0" not in hard)


def random_texts(rng, count):
    pools = [
        "ab", "aaab \n", "etaoin shrdlu", "'sStTrReEvVmMlLdDſ ", " \t\n\r\u00a0\u3000a.", "0123456789½٣ ", "<|im_start|>[BOS]",
        "👨‍👩‍👧🏽🇩🇪\ufe0f\u200d", "e\u0301\u0323\u0308a\u1100\u1161\u11a8ǅʰ", "中文あカ가", "אבمر\u202e", ".,;!/-_=\n ", "AaBbÀàЖж'",
        "".join(map(chr, range(0x20))), "\ufffd\ufeff\U000e0001\U0001f600",
    ]
    texts = []
    for _ in range(count):
        kind = rng.random()
        size = rng.choice([1, 2, 3, 5, 8, 13, 40, 150])
        if kind < 0.5:
            pool = rng.choice(pools)
            text = "".join(rng.choices(pool, k=size))
        elif kind < 0.8:
            text = "".join(rng.choice(rng.choice(pools)) for _ in range(size))
        else:
            points = (rng.choice([rng.randrange(0x80), rng.randrange(0x800), rng.randrange(0x10000), rng.randrange(0x110000)])
                      for _ in range(size))
            text = "".join(chr(p) for p in points if not 0xD800 <= p < 0xE000)
        texts.append(text)
    return texts


class Tool:
    def __init__(self, path):
        self.path = path

    def run(self, *arguments, data=b""):
        result = subprocess.run([self.path, *map(str, arguments)], input=data, capture_output=True, check=False)
        if result.returncode != 0:
            raise SystemExit(f"tokenizer_tool {arguments}: {result.stderr.decode()}")
        return result.stdout

    def encode(self, tokenizer, texts, special="text", pattern="-", step=None):
        data = b"".join(struct.pack("<I", len(text)) + text for text in texts)
        output = self.run("encode", tokenizer, pattern, special, *([step] if step else []), data=data)
        ids, at = [], 0
        for _ in texts:
            (count,) = struct.unpack_from("<I", output, at)
            ids.append(list(struct.unpack_from(f"<{count}I", output, at + 4)))
            at += 4 + 4 * count
        return ids

    def decode(self, tokenizer, lists, how="bytes", pattern="-"):
        data = b"".join(struct.pack(f"<{len(ids) + 1}I", len(ids), *ids) for ids in lists)
        output = self.run("decode", tokenizer, pattern, how, data=data)
        texts, at = [], 0
        for _ in lists:
            (size,) = struct.unpack_from("<I", output, at)
            texts.append(output[at + 4 : at + 4 + size])
            at += 4 + size
        return texts


class Report:
    def __init__(self):
        self.differences = 0

    def compare(self, name, texts, ours, theirs):
        wrong = [i for i in range(len(texts)) if ours[i] != theirs[i]]
        print(f"{name}: {len(texts)} compared, {len(wrong)} differ", flush=True)
        for i in wrong[:3]:
            print(f"  {texts[i]!r:.200}\n  ours   {ours[i]!r:.200}\n  theirs {theirs[i]!r:.200}")
        self.differences += len(wrong)


def byte_of_character():
    own = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in own]
    return {chr(byte): byte for byte in own} | {chr(256 + i): byte for i, byte in enumerate(others)}


BYTE_OF = byte_of_character()


def ranks_of(document):
    """Token bytes to rank, in the order of ids, without the special tokens."""
    special = {token["content"] for token in document["added_tokens"]}
    ordered = sorted((id, name) for name, id in document["model"]["vocab"].items() if name not in special)
    return {bytes(BYTE_OF[c] for c in name): rank for rank, (_, name) in enumerate(ordered)}


def load(document):
    return Tokenizer.from_str(json.dumps(document))


def huggingface_ids(tokenizer, texts, special):
    tokenizer.encode_special_tokens = special == "text"
    return [encoding.ids for encoding in tokenizer.encode_batch(texts, add_special_tokens=False)]


def check_huggingface(report, tool, folder, name, document, texts):
    """Our reading of a tokenizer.json, and our writing of what was read, against the tokenizers package."""
    path = folder / "given.json"
    path.write_text(json.dumps(document))
    tokenizer = load(document)
    raw = [text.encode() for text in texts]
    tool.run("convert", path, "-", folder / "converted")
    rewritten = Tokenizer.from_file(str(folder / "converted" / "tokenizer.json"))
    for special in ("text", "parse"):
        ours = tool.encode(path, raw, special)
        theirs = huggingface_ids(tokenizer, texts, special)
        report.compare(f"{name}, encode {special}, tokenizers", texts, ours, theirs)
        report.compare(f"{name}, encode {special} in parts, tokenizers", texts, tool.encode(path, raw, special, step=29), theirs)
        report.compare(f"{name}, encode {special}, tokenizers on the file written back", texts, ours,
                       huggingface_ids(rewritten, texts, special))
    return ours


def check_decoding(report, tool, path, name, document, rng, count):
    tokenizer = load(document)
    lists = [[rng.randrange(tokenizer.get_vocab_size()) for _ in range(rng.randint(0, 20))] for _ in range(count)]
    raw = tool.decode(path, lists)
    streamed = tool.decode(path, lists, "stream")
    report.compare(f"{name}, streamed decoding, bytes.decode", lists, [text.decode() for text in streamed],
                   [text.decode("utf-8", "replace") for text in raw])
    report.compare(f"{name}, decoding, tokenizers", lists, [text.decode("utf-8", "replace") for text in raw],
                   tokenizer.decode_batch(lists, skip_special_tokens=False))


def check_tiktoken(report, tool, folder, name, document, pattern, texts):
    ranks = ranks_of(document)
    path = folder / "ranks.tiktoken"
    path.write_bytes(b"".join(base64.b64encode(token) + b" %d\n" % rank for token, rank in ranks.items()))
    encoding = tiktoken.Encoding(name, pat_str=PATTERNS[pattern], mergeable_ranks=ranks, special_tokens={})
    raw = [text.encode() for text in texts]
    theirs = [encoding.encode_ordinary(text) for text in texts]
    ours = tool.encode(path, raw, pattern=pattern)
    report.compare(f"{name}, encode ranks, tiktoken", texts, ours, theirs)
    report.compare(f"{name}, decode ranks, tiktoken", texts, tool.decode(path, theirs, pattern=pattern),
                   [encoding.decode_bytes(ids) for ids in theirs])
    tool.run("convert", path, pattern, folder / "converted")
    rewritten = Tokenizer.from_file(str(folder / "converted" / "tokenizer.json"))
    report.compare(f"{name}, ranks written as tokenizer.json, tokenizers", texts, ours,
                   huggingface_ids(rewritten, texts, "text"))
    special = {token["content"]: token["id"] for token in document["added_tokens"]}
    shifted = {token: rank + len(special) for token, rank in ranks.items()}
    encoding = tiktoken.Encoding(name, pat_str=PATTERNS[pattern], mergeable_ranks=shifted, special_tokens=special)
    (folder / "given.json").write_text(json.dumps(document))
    report.compare(f"{name}, encode special, tiktoken", texts, tool.encode(folder / "given.json", raw, "parse"),
                   [encoding.encode(text, allowed_special="all") for text in texts])


def published_shapes(document, corpus):
    """tokenizer.json files in the forms that models are published with, from one trained vocabulary."""
    shapes = {}
    shape = copy.deepcopy(document)
    shape["model"]["merges"] = [" ".join(pair) for pair in shape["model"]["merges"]]
    shape["model"].pop("ignore_merges")
    shapes["merges as strings"] = shape

    shape = copy.deepcopy(document)
    shape["pre_tokenizer"] = {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True}
    shapes["prefix space"] = shape

    shape = copy.deepcopy(document)
    shape["normalizer"] = {"type": "NFC"}
    next_id = max(shape["model"]["vocab"].values()) + 1
    for offset, (text, special) in enumerate([("<tool_call>", False), ("<|im_end|>", True), ("<|im_end|><|im_end|>", True),
                                              ("caf\u00e9", False)]):
        shape["added_tokens"].append({"id": next_id + offset, "content": text, "single_word": False, "lstrip": False,
                                      "rstrip": False, "normalized": text == "caf\u00e9", "special": special})
    shape["pre_tokenizer"] = split_then_bytes("qwen2")
    shapes["like Qwen2"] = shape

    shape = copy.deepcopy(shape)
    shape["normalizer"] = None
    shape["model"]["ignore_merges"] = True
    shape["pre_tokenizer"] = split_then_bytes("llama3")
    bos = {"[BOS]": {"id": "[BOS]", "ids": [shape["model"]["vocab"]["[BOS]"]], "tokens": ["[BOS]"]}}
    template = {"type": "TemplateProcessing", "special_tokens": bos, "pair": [{"Sequence": {"id": "A", "type_id": 0}}],
                "single": [{"SpecialToken": {"id": "[BOS]", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}]}
    shape["post_processor"] = {"type": "Sequence", "processors": [document["post_processor"], template]}
    shapes["like Llama 3"] = shape

    shape = copy.deepcopy(shape)
    # Only ignore_merges finds a token that no merges make. Its id is the last, so the added tokens must be in the vocabulary:
    # the package renumbers those that are not.
    shape["model"]["vocab"] |= {token["content"]: token["id"] for token in shape["added_tokens"]}
    shape["model"]["vocab"]["unreachable"] = shape["added_tokens"][-1]["id"] + 1
    shape["pre_tokenizer"]["pretokenizers"][0] |= {"behavior": "Removed", "invert": True}
    shapes["with an unreachable token"] = shape

    trained = Tokenizer(models.BPE())
    trained.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(PATTERNS["o200k"]), "isolated"), pre_tokenizers.ByteLevel(False, use_regex=False)])
    trained.decoder = decoders.ByteLevel()
    trained.normalizer = normalizers.Sequence([])
    trained.post_processor = processors.ByteLevel(trim_offsets=False)
    trainer = trainers.BpeTrainer(vocab_size=1200, special_tokens=["<|endoftext|>"], show_progress=False,
                                  initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    trained.train_from_iterator([corpus], trainer)
    shapes["trained by tokenizers"] = json.loads(trained.to_str())
    return shapes


def split(expression, behavior="Isolated", invert=False):
    return {"type": "Split", "pattern": {"Regex": expression}, "behavior": behavior, "invert": invert}


def byte_level(use_regex=False, add_prefix_space=False):
    return {"type": "ByteLevel", "add_prefix_space": add_prefix_space, "trim_offsets": True, "use_regex": use_regex}


def step_sequences():
    """Pre-tokenizers of published models and others that are made of the same steps."""
    digits = {"type": "Digits", "individual_digits": True}
    letters = "A-Za-zµÀ-ÖØ-öø-ƺƼ-ƿǄ-ʓʕ-ʯͰ-ͳͶͷͻ-ͽͿΆΈ-ΊΌΎ-ΡΣ-ϵϷ-ҁҊ-ԯԱ-ՖႠ-ჅᎠ-Ᏽᏸ-ᏽᲐ-ᲺᲽ-Ჿᴀ-ᴫᵫ-ᵷᵹ-ᶚḀ-ἕ"
    nanochat = r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}{1,2}| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+"
    cl100k = r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+| ?[^\s\p{L}\p{N}]++[\r\n]*+|\s++$|\s*[\r\n]|\s+(?!\S)|\s"
    deepseek_v3 = (r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+|"
                   r" ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")
    sequences = {
        "like SmolLM2 and StarCoder": [digits, byte_level(True)],
        "like DeepSeek Coder": [split(r"[\r\n]"), split(rf"\s?[{letters}]+"), split(r"\s?[!-/:-~！-／：-～‘-‟　-。]+"), split(r"\s+$"),
                                split("[一-龥ࠀ-一가-퟿]+"), digits, byte_level()],
        "like DeepSeek V3": [split(r"\p{N}{1,3}"), split("[一-龥぀-ゟ゠-ヿ]+"), split(deepseek_v3), byte_level()],
        "like nanochat": [split(nanochat), byte_level()],
        "cl100k as tiktoken has it": [split(cl100k), byte_level()],
        "like Bloom": [split(r" ?[^(\s|[.,!?…。，、।۔،])]+"), byte_level()],
        "thousands": [split(r"\p{N}{1,3}(?=(?:\p{N}{3})*(?:\P{N}|$))"), byte_level(True)],
        "thousands by looking ahead": [split(r"(?=(\d{3})+(?!\d))"), byte_level()],
        "Punctuation and Digits together": [{"type": "Punctuation", "behavior": "Contiguous"}, {"type": "Digits", "individual_digits": False}, byte_level()],
        "WhitespaceSplit": [{"type": "WhitespaceSplit"}, byte_level(True, True)],
        "Whitespace": [{"type": "Whitespace"}, byte_level()],
        "a string": [{"type": "Split", "pattern": {"String": "a"}, "behavior": "MergedWithPrevious", "invert": False}, byte_level()],
        "words, case and boundaries": [split(r"(?i:the|k|[a-f]+s)|\b\w\w\b|^ +|[[:punct:]&&[^.]]+"), byte_level()],
    }
    for behavior in ("Removed", "Isolated", "MergedWithPrevious", "MergedWithNext", "Contiguous"):
        for invert in (False, True):
            sequences[f"{behavior}, invert {invert}"] = [split(r"\s|\p{N}+|(?=b)", behavior, invert), byte_level()]
    return sequences


def normalizer_lists():
    replace = {"type": "Replace", "pattern": {"Regex": r" {2,}|\p{Sc}"}, "content": "$"}
    return {
        "NFKC": [{"type": "NFKC"}], "NFD": [{"type": "NFD"}], "NFKD": [{"type": "NFKD"}], "Lowercase": [{"type": "Lowercase"}],
        "Prepend and Replace": [{"type": "Prepend", "prepend": "_"}, replace],
        "Strip, NFC, Lowercase": [{"type": "Strip", "strip_left": True, "strip_right": True}, {"type": "NFC"}, {"type": "Lowercase"}],
    }


def stepped_shapes(document):
    """One vocabulary under other steps, with added tokens of all kinds, and with letters missing."""
    shapes = {}
    for name, steps in step_sequences().items():
        shapes[name] = copy.deepcopy(document) | {"pre_tokenizer": {"type": "Sequence", "pretokenizers": steps}}
    for name, steps in normalizer_lists().items():
        shapes[name] = copy.deepcopy(document) | {"normalizer": {"type": "Sequence", "normalizers": steps}}
    base = copy.deepcopy(document)
    next_id = max(base["model"]["vocab"].values()) + 1
    kinds = [("<think>", {}), ("</think>", {"normalized": True}), ("a\nb", {}), ("<l>", {"lstrip": True}), ("<r>", {"rstrip": True}),
             ("the", {"single_word": True}), ("Éa", {"normalized": True}), ("S]x", {}), ("<|im", {"special": True, "rstrip": True})]
    for offset, (text, flags) in enumerate(kinds):
        base["added_tokens"].append({"id": next_id + offset, "content": text, "single_word": False, "lstrip": False, "rstrip": False,
                                     "normalized": False, "special": False} | flags)
    shapes["added tokens of all kinds"] = base
    for name, steps in (("NFC", [{"type": "NFC"}]), ("Lowercase", [{"type": "Lowercase"}])):
        shapes[f"added tokens of all kinds, {name}"] = copy.deepcopy(base) | {"normalizer": steps[0]}
    shapes["added tokens of all kinds, prefix space"] = copy.deepcopy(base) | {"pre_tokenizer": byte_level(True, True)}
    shapes["added tokens of all kinds, Digits"] = copy.deepcopy(base) | {
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": step_sequences()["like SmolLM2 and StarCoder"]}}
    for unknown, fuse in ((None, False), ("[PAD]", False), ("[PAD]", True)):
        shape = copy.deepcopy(document)
        letters = set("xqZ,!éÃ中ġĊ7")
        model = shape["model"]
        special = {token["content"] for token in shape["added_tokens"]}
        model["vocab"] = {name: id for name, id in model["vocab"].items() if name in special or not letters & set(name)}
        model["merges"] = [pair for pair in model["merges"] if not letters & set(pair[0] + pair[1])]
        model |= {"unk_token": unknown, "fuse_unk": fuse}
        # The package renumbers no token if ids have gaps.
        shapes[f"letters missing, unk_token {unknown}, fuse_unk {fuse}"] = shape
    return shapes


def stepped_texts(rng):
    pieces = ["<think>", "</think>", "a\nb", " <l> ", "<l>", "<r>  ", "the", " the ", "tHe", "Éa", "É", "[EOS]x", "S]x", "<|im ", "<|im_start|>", "xq",
              "Z7", "!é", "中\n", "$", "€  ", "12345", "ﬁ", "İ", "\u3000", "b", "ab", " ", "\n\n", "．", "«»", "_", "\u200d"]
    return ["".join(rng.choices(pieces, k=rng.choice([1, 2, 4, 9, 30]))) for _ in range(700)]


def check_folder(report, tool, folder, document, texts):
    """vocab.json and merges.txt in place of tokenizer.json."""
    place = folder / "vocabulary"
    place.mkdir()
    (place / "vocab.json").write_text(json.dumps(document["model"]["vocab"]))
    (place / "merges.txt").write_text("#version: 0.2\n" + "".join(" ".join(pair) + "\n" for pair in document["model"]["merges"]))
    (place / "special_tokens_map.json").write_text(json.dumps({"additional_special_tokens": SPECIAL}))
    raw = [text.encode() for text in texts]
    tokenizer = load(document)
    for special in ("text", "parse"):
        report.compare(f"vocab.json and merges.txt, encode {special}, tokenizers", texts, tool.encode(place, raw, special),
                       huggingface_ids(tokenizer, texts, special))


def split_then_bytes(pattern):
    return {"type": "Sequence", "pretokenizers": [
        {"type": "Split", "pattern": {"Regex": PATTERNS[pattern]}, "behavior": "Isolated", "invert": False},
        {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}]}


def check_training(report, tool, folder, pattern, corpus, size, min_frequency):
    """Trains here and there; returns our tokenizer.json."""
    (folder / "corpus.txt").write_text(corpus, newline="")
    path = folder / f"{pattern}.json"
    documents = []
    for threads in (1, 3):
        tool.run("train", folder / "corpus.txt", path, size, pattern, threads, min_frequency, *SPECIAL)
        documents.append(json.loads(path.read_text()))
    theirs = Tokenizer(models.BPE())
    theirs.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(PATTERNS[pattern]), "isolated"), pre_tokenizers.ByteLevel(False, use_regex=False)])
    theirs.train_from_iterator([corpus], trainers.BpeTrainer(
        vocab_size=size, min_frequency=min_frequency, special_tokens=SPECIAL, show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet()))
    model = json.loads(theirs.to_str())["model"]
    for name in ("merges", "vocab"):
        report.compare(f"{pattern}, training, {name}, tokenizers", [name] * 2,
                       [document["model"][name] for document in documents], [model[name]] * 2)
    return documents[0]


def check_invalid(report, tool, path, rng, count):
    fragments = [b"abc", b" the", b"\xff", b"\xc3", b"\xe2\x82", b"\xf0\x9f\x98", b"\xed\xa0\x80", b"\xc0\xaf", "é".encode(),
                 "€".encode(), "😀".encode(), b"\n", b" ", b"\x80", b"\xf4\x90\x80\x80"]
    texts = [b"".join(rng.choices(fragments, k=rng.randint(1, 12))) for _ in range(count)]
    texts += [bytes(rng.randrange(256) for _ in range(rng.randint(1, 60))) for _ in range(count)]
    texts.append(b"\xff" * 100_000)
    ids = tool.encode(path, texts)
    report.compare("invalid UTF-8 round-trips", texts, tool.decode(path, ids), texts)
    report.compare("invalid UTF-8, streamed decoding, bytes.decode", texts,
                   [text.decode() for text in tool.decode(path, ids, "stream")], [text.decode("utf-8", "replace") for text in texts])


def check_transformers(report, tool, folder, document, texts, special):
    try:
        from transformers import AutoTokenizer
    except ImportError as error:
        print(f"transformers: skipped, {error}")
        return
    path = folder / "given.json"
    path.write_text(json.dumps(document))
    tool.run("convert", path, "-", folder / "opened")
    opened = AutoTokenizer.from_pretrained(folder / "opened")
    report.compare("transformers opens the folder", texts, tool.encode(path, [text.encode() for text in texts], "parse"),
                   [opened.encode(text, add_special_tokens=False) for text in texts])
    names = ["bos_token", "eos_token", "pad_token", "model_max_length"]
    report.compare("transformers, special tokens", names, [*special, 1024],
                   [getattr(opened, name) for name in names])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tool")
    parser.add_argument("--random", type=int, default=2000, help="random strings a pattern")
    parser.add_argument("--text", help="a text file to train on and encode as well")
    arguments = parser.parse_args()
    rng = random.Random(20240607)
    report = Report()
    tool = Tool(arguments.tool)
    corpus = training_text(rng)
    texts = HARD + random_texts(rng, arguments.random)
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        for pattern in PATTERNS:
            document = check_training(report, tool, folder, pattern, corpus, 3000, 1)
            check_huggingface(report, tool, folder, pattern, document, texts)
            check_tiktoken(report, tool, folder, pattern, document, pattern, texts)
        document = check_training(report, tool, folder, "gpt2", corpus, 3000, 2)
        if arguments.text:
            text = pathlib.Path(arguments.text).read_text()
            document = check_training(report, tool, folder, "gpt2", text, 1776, 2)
            check_training(report, tool, folder, "gpt2", text, 12000, 2)
            check_huggingface(report, tool, folder, arguments.text, document, [text, *texts])
        for shape, shaped in published_shapes(document, corpus).items():
            check_huggingface(report, tool, folder, shape, shaped, cut(texts) + [
                "cafe\u0301 caf\u00e9<tool_call>unreachable", "unreachable", "<|im_end|><|im_end|><|im_end|>"])
        stepped = HARD + random_texts(rng, arguments.random // 6) + stepped_texts(rng)
        for shape, shaped in stepped_shapes(document).items():
            check_huggingface(report, tool, folder, shape, shaped, stepped if shape in WITH_LONG_TEXTS else cut(stepped))
        check_folder(report, tool, folder, document, texts)
        path = folder / "gpt2.json"
        check_decoding(report, tool, path, "gpt2", json.loads(path.read_text()), rng, 3000)
        check_invalid(report, tool, path, rng, 2000)
        check_transformers(report, tool, folder, document, HARD, ("[BOS]", "[EOS]", "[PAD]"))
    print(f"{report.differences} differences")
    return 1 if report.differences else 0


if __name__ == "__main__":
    sys.exit(main())
