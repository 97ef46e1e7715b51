#!/usr/bin/env python3
"""Compares mslt's tokenizers of characters, as SentencePiece's are, with the package tokenizers and, where it is
installed, transformers and, for the same vocabulary in a GGUF file, llama.cpp (xllamacpp).

    piece_tokenizer_oracle.py TOOL [--random N]

TOOL is the program tokenizer_tool. A vocabulary is trained here, from a fixed seed, and put into tokenizer.json files in
the forms of Llama 2, Mistral, Phi-3, Gemma and others. Prints one line per comparison; exits 1 at any difference, and 77
with the reason where a package is missing.
"""
import argparse
import copy
import json
import pathlib
import random
import sys
import tempfile

from tokenizer_oracle import (HARD, Report, Tool, check_huggingface, check_transformers, cut, huggingface_ids, load, random_texts,
                              training_text)
from tokenizers import Tokenizer, models, pre_tokenizers, trainers

SPACE = "\u2581"
WITH_LONG_TEXTS = {"like Llama 2", "Metaspace first, decoder", "like Gemma", "tokens across spaces"}
PREPEND = {"type": "Prepend", "prepend": SPACE}
REPLACE = {"type": "Replace", "pattern": {"String": " "}, "content": SPACE}
REPLACE_BACK = {"type": "Replace", "pattern": {"String": SPACE}, "content": " "}
BYTES, FUSE, STRIP = {"type": "ByteFallback"}, {"type": "Fuse"}, {"type": "Strip", "content": " ", "start": 1, "stop": 0}


def sequence(kind, *steps):
    return {"type": "Sequence", kind: list(steps)}


def metaspace(scheme, split, **more):
    return {"type": "Metaspace", "replacement": SPACE, "prepend_scheme": scheme, "split": split} | more


def added(id, text, **flags):
    return {"id": id, "content": text, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False,
            "special": True} | flags


def llama(corpus, size, words=True):
    """Llama 2's form: <unk>, <s>, </s>, the bytes, then what was trained, by merges in the order of ids."""
    trained = Tokenizer(models.BPE())
    if words:
        trained.pre_tokenizer = pre_tokenizers.Metaspace(SPACE, "always", True)
    texts = [corpus] if words else [line.replace(" ", SPACE) for line in corpus.splitlines()]
    trained.train_from_iterator(texts, trainers.BpeTrainer(
        vocab_size=size, show_progress=False, initial_alphabet=[SPACE], limit_alphabet=250))
    model = json.loads(trained.to_str())["model"]
    names = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    names += sorted(model["vocab"], key=model["vocab"].get)
    vocabulary = {name: id for id, name in enumerate(dict.fromkeys([*names, SPACE * 2, SPACE * 3, SPACE * 4]))}
    runs = [[SPACE, SPACE], [SPACE * 2, SPACE], [SPACE, SPACE * 2], [SPACE * 2, SPACE * 2], [SPACE * 3, SPACE]]
    merges = [pair for pair in runs if pair not in model["merges"]] + model["merges"]
    template = {"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
                "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
                "special_tokens": {"<s>": {"id": "<s>", "ids": [1], "tokens": ["<s>"]}}}
    return {"version": "1.0", "truncation": None, "padding": None, "added_tokens": [added(i, names[i]) for i in range(3)],
            "normalizer": sequence("normalizers", PREPEND, REPLACE), "pre_tokenizer": None, "post_processor": template,
            "decoder": sequence("decoders", REPLACE_BACK, BYTES, FUSE, STRIP),
            "model": {"type": "BPE", "dropout": None, "unk_token": "<unk>", "continuing_subword_prefix": None,
                      "end_of_word_suffix": None, "fuse_unk": True, "byte_fallback": True, "ignore_merges": False,
                      "vocab": vocabulary, "merges": merges}}


def shapes_of(document, crossing):
    shapes = {"like Llama 2": document}

    def shape(name, base=document, **changes):
        shapes[name] = copy.deepcopy(base) | changes
        return shapes[name]

    last = len(document["model"]["vocab"])
    for name, scheme, split in [("first", "first", False), ("always", "always", False), ("never", "never", False),
                                ("first, split", "first", True), ("always, split", "always", True)]:
        shape(f"Metaspace {name}", normalizer=None, pre_tokenizer=metaspace(scheme, split))
        shape(f"Metaspace {name}, decoder", normalizer=None, pre_tokenizer=metaspace(scheme, split), decoder=metaspace(scheme, split))
    shape("Metaspace, add_prefix_space", normalizer=None,
          pre_tokenizer={"type": "Metaspace", "replacement": SPACE, "add_prefix_space": False, "prepend_scheme": "never"})
    shape("Metaspace after WhitespaceSplit", normalizer=None,
          pre_tokenizer=sequence("pretokenizers", {"type": "WhitespaceSplit"}, metaspace("first", True)))
    gemma = shape("like Gemma", normalizer=REPLACE, decoder=sequence("decoders", REPLACE_BACK, BYTES, FUSE),
                  pre_tokenizer={"type": "Split", "pattern": {"String": " "}, "behavior": "MergedWithPrevious", "invert": False})
    vocabulary = gemma["model"]["vocab"]
    for text in [SPACE * 2, SPACE * 3, SPACE * 4]:
        gemma["added_tokens"].append(added(vocabulary[text], text, special=False))
    vocabulary |= {"<table>": last, "\n\n": last + 1, "<start_of_turn>": last + 2}
    gemma["added_tokens"] += [added(last, "<table>", special=False), added(last + 1, "\n\n", special=False), added(last + 2, "<start_of_turn>")]
    phi = shape("like Phi-3")
    phi["added_tokens"][2] |= {"rstrip": True, "special": False}
    phi["added_tokens"] += [added(last + i, text, rstrip=True) for i, text in enumerate(["<|endoftext|>", "<|assistant|>", "<|end|>", "<|user|>"])]
    kinds = shape("added tokens of all kinds")
    kinds["added_tokens"] += [
        added(last + i, text, special=False, **flags) for i, (text, flags) in enumerate([
            ("<think>", {}), ("<n>", {"normalized": True}), ("a b", {"normalized": True}), ("<l>", {"lstrip": True}),
            ("<r>", {"rstrip": True}), ("the", {"single_word": True}), ("<lr>", {"lstrip": True, "rstrip": True, "normalized": True})])]
    shape("added tokens of all kinds, Metaspace first", kinds, normalizer=None, pre_tokenizer=metaspace("first", False))
    shape("added tokens of all kinds, Metaspace always", kinds, normalizer=None, pre_tokenizer=metaspace("always", False))
    shape("added tokens of all kinds, without a prefix", kinds, normalizer=REPLACE)
    shape("NFC first", normalizer=sequence("normalizers", {"type": "NFC"}, PREPEND, REPLACE))
    for unknown in (None, "<unk>"):
        for fuse in (False, True):
            for keep in ("none", "some"):
                some = shape(f"unk_token {unknown}, fuse_unk {fuse}, {keep} of the bytes")
                some["model"] |= {"unk_token": unknown, "fuse_unk": fuse, "byte_fallback": keep != "none"}
                # The names of missing bytes are used up, so that no id is a gap.
                missing = {"<0xE2>", "<0x9F>", "<0xF0>"}
                some["model"]["vocab"] = {f"missing {name}" if keep == "some" and name in missing else name: id
                                          for name, id in document["model"]["vocab"].items()}
    shape("ignore_merges")["model"]["ignore_merges"] = True
    shapes["tokens across spaces"] = crossing
    shape("tokens across spaces, ignore_merges", crossing)["model"]["ignore_merges"] = True
    return shapes


def texts_of(rng):
    pieces = ["<think>", "<n>", "a b", " <l> ", "<r>  ", "the", " the ", "<lr>", " <lr>  ", "</s>", "<s>", "<unk>", "<0x41>", SPACE, SPACE * 2, "  ",
              "<|end|>\n", "<tool>", "<|user|> ", "<table>", "\n\n", "\n", "☃", "🦜", "e\u0301", "é", "中", "\u3000", "\t", "a", "ab", "hello ", "."]
    return ["".join(rng.choices(pieces, k=rng.choice([1, 2, 4, 9, 30]))) for _ in range(700)] + [
        "あいうえお" * 20_000, "the " * 25_000, "🦜" * 20_000, " " * 100_000, SPACE * 30_001, "ab cd" * 20_000]


def check_decoding(report, tool, folder, name, document, rng, count):
    tokenizer = load(document)
    path = folder / "given.json"
    path.write_text(json.dumps(document))
    size = tokenizer.get_vocab_size()
    bytes_of = [id for id in (document["model"]["vocab"].get(f"<0x{byte:02X}>") for byte in range(256)) if id is not None]
    # The package decodes normalized added tokens to their normalised form.
    normalized = {token["id"] for token in document["added_tokens"] if token["normalized"]}
    emoji = [document["model"]["vocab"].get(f"<0x{byte:02X}>", 3) for byte in "🦜é".encode()]
    lists = []
    for _ in range(count):
        ids = []
        for _ in range(rng.randint(0, 12)):
            kind = rng.random()
            ids += [rng.randrange(size)] if kind < 0.6 else [rng.choice(bytes_of)] if kind < 0.8 else emoji
        lists.append([id for id in ids if id not in normalized])
    theirs = tokenizer.decode_batch(lists, skip_special_tokens=False)
    report.compare(f"{name}, decoding, tokenizers", lists, [text.decode() for text in tool.decode(path, lists)], theirs)
    report.compare(f"{name}, streamed decoding, tokenizers", lists, [text.decode() for text in tool.decode(path, lists, "stream")], theirs)


def write_gguf(document, path, space):
    """A random llama of one layer around the vocabulary; scores fall with the ids, as SentencePiece gives them."""
    import gguf
    import numpy
    vocabulary = document["model"]["vocab"]
    names = sorted(vocabulary, key=vocabulary.get)
    generator = numpy.random.default_rng(3)
    width, rows = 32, len(names)
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_block_count(1)
    writer.add_context_length(256)
    writer.add_embedding_length(width)
    writer.add_feed_forward_length(width)
    writer.add_head_count(2)
    writer.add_head_count_kv(2)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(width // 2)
    writer.add_vocab_size(rows)
    writer.add_tokenizer_model("llama")
    writer.add_tokenizer_pre("default")
    writer.add_token_list(names)
    writer.add_token_scores([0.0 if id < 259 else 259.0 - id for id in range(rows)])
    writer.add_token_types([2 if id == 0 else 3 if id < 3 else 6 if id < 259 else 4 if name == "<tool>" else 1
                            for id, name in enumerate(names)])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)
    writer.add_add_space_prefix(space)
    matrices = ["attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down"]
    shapes = {"token_embd": (rows, width), "output_norm": (width,), "output": (rows, width), "blk.0.attn_norm": (width,),
              "blk.0.ffn_norm": (width,)} | {f"blk.0.{name}": (width, width) for name in matrices}
    for name, shape in shapes.items():
        writer.add_tensor(f"{name}.weight", generator.standard_normal(shape).astype(numpy.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def llama_cpp_ids(path, texts, special):
    """The ids that llama.cpp's server gives."""
    import urllib.request
    import xllamacpp
    parameters = xllamacpp.CommonParams()
    parameters.model.path = str(path)
    parameters.n_ctx = 256
    parameters.warmup = False
    parameters.verbosity = -1
    server = xllamacpp.Server(parameters)
    ids = []
    for text in texts:
        data = json.dumps({"content": text, "add_special": False, "parse_special": special == "parse"}).encode()
        request = urllib.request.Request(server.listening_address + "/tokenize", data, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request) as reply:
            ids.append(json.load(reply)["tokens"])
    return ids


def check_gguf(report, tool, folder, document, texts):
    """The same vocabulary in a GGUF file, as llama.cpp and transformers read it."""
    document = copy.deepcopy(document)
    document["model"]["vocab"]["<tool>"] = len(document["model"]["vocab"])
    raw = [text.encode() for text in texts]
    for space in (True, False):
        path = folder / f"space_{space}.gguf"
        try:
            write_gguf(document, path, space)
        except ImportError as error:
            print(f"GGUF: skipped, {error}")
            return
        for special in ("text", "parse"):
            try:
                theirs = llama_cpp_ids(path, texts, special)
            except ImportError as error:
                print(f"llama.cpp: skipped, {error}")
                break
            report.compare(f"GGUF, add_space_prefix {space}, encode {special}, llama.cpp", texts,
                           tool.encode(path, raw, special), theirs)
        try:
            from transformers import AutoTokenizer
            theirs = AutoTokenizer.from_pretrained(folder, gguf_file=path.name)
        except ImportError as error:
            print(f"GGUF, transformers: skipped, {error}")
            continue
        # transformers adds the space in other places than llama.cpp, whose format this is.
        same = [theirs.encode(text, add_special_tokens=False) == ids for text, ids in zip(texts, tool.encode(path, raw, "parse"))]
        print(f"GGUF, add_space_prefix {space}, transformers: {sum(same)} of {len(same)} are the same")
        tool.run("convert", path, "-", folder / "converted")
        rewritten = Tokenizer.from_file(str(folder / "converted" / "tokenizer.json"))
        report.compare(f"GGUF, add_space_prefix {space}, written as tokenizer.json, tokenizers", texts,
                       tool.encode(path, raw), huggingface_ids(rewritten, texts, "text"))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tool")
    parser.add_argument("--random", type=int, default=300, help="random strings a form")
    arguments = parser.parse_args()
    rng = random.Random(20250611)
    report = Report()
    tool = Tool(arguments.tool)
    corpus = training_text(rng)
    document = llama(corpus, 2500)
    texts = HARD + texts_of(rng)
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        for shape, shaped in shapes_of(document, llama(corpus, 1500, words=False)).items():
            given = texts + random_texts(rng, arguments.random)
            check_huggingface(report, tool, folder, shape, shaped, given if shape in WITH_LONG_TEXTS else cut(given))
            check_decoding(report, tool, folder, shape, shaped, rng, 1000)
        # llama.cpp takes minutes for long texts.
        check_gguf(report, tool, folder, document, [text for text in texts if "\0" not in text and len(text) < 2000][:500])
        check_transformers(report, tool, folder, document, HARD, ("<s>", "</s>", None))
    print(f"{report.differences} differences")
    return 1 if report.differences else 0


if __name__ == "__main__":
    sys.exit(main())
