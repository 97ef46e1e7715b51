#!/usr/bin/env python3
"""Exports small models of every family that has a GGUF form and compares mslt with llama.cpp, which runs the files.

    python tests/interop/llama_cpp_families_oracle.py build/release/bin/mslt build/release/tests/interop/gguf_tool

The models are those of tests/golden/hf_*, in f32, with the settings that llama.cpp takes for granted of a family. llama.cpp
continues a prompt greedily; mslt must choose each of these tokens as well, and have the same logits but for rounding. Needs the
packages gguf, numpy and xllamacpp (a build of llama.cpp). Exits with status 1 on any difference, 77 where a package is missing.
"""

import json
import pathlib
import shutil
import struct
import subprocess
import sys
import tempfile

from llama_cpp_oracle import LlamaCpp, numpy

GOLDEN = pathlib.Path(__file__).parents[1] / "golden"
PROMPT = [3, 1, 4, 1, 5, 9, 2, 6, 5, 35, 8, 12, 20]
COUNT = 20
TOLERANCE = 2e-4
GELU_TOLERANCE = 2e-3  # which llama.cpp looks up in a table of f16


def yarn(**more):
    return {"rope_parameters": {"rope_type": "yarn", "rope_theta": 100.0, "factor": 4.0, **more}}


GEMMA3 = {"query_pre_attn_scalar": 10, "layer_types": None, "tie_word_embeddings": True, "rope_parameters": {
    "full_attention": {"rope_type": "linear", "factor": 4.0, "rope_theta": 5000.0},
    "sliding_attention": {"rope_type": "default", "rope_theta": 10000.0}}}
# Folder, changes of config.json, the end of the names of tensors to leave out.
MODELS = [("llama", {}, None), ("llama_tied", {}, None), ("llama_yarn", yarn(original_max_position_embeddings=500), None), ("mistral", {}, None),
          ("qwen2", {"max_position_embeddings": 96}, None), ("qwen3", {}, None), ("phi3", {"sliding_window": None}, None),
          ("phi3_longrope", {}, None), ("olmo2", {"attention_bias": False}, "proj.bias"),
          ("smollm3", {"no_rope_layers": None, "no_rope_layer_interval": 4}, None),
          ("gemma2", {"query_pre_attn_scalar": 10, "tie_word_embeddings": True}, "lm_head.weight"),
          ("gemma3", GEMMA3, "lm_head.weight"),
          # llama.cpp has no windows in these: one that the text does not fill.
          ("mistral_window", {"sliding_window": 64}, None),
          ("qwen3", yarn(original_max_position_embeddings=24, attention_factor=1.25), None)]


def copy_model(name, changes, without, folder):
    source = GOLDEN / f"hf_{name}"
    config = json.loads((source / "config.json").read_text())
    # Texts are longer than some models' contexts.
    for member in ("max_position_embeddings", "n_positions"):
        if config.get(member, 96) < 96:
            config[member] = 96
    (folder / "config.json").write_text(json.dumps({**config, **changes}))
    if without is None:
        shutil.copy(source / "model.safetensors", folder)
        return
    data = (source / "model.safetensors").read_bytes()
    size = struct.unpack("<Q", data[:8])[0]
    header, values, kept = json.loads(data[8:8 + size]), {}, {}
    header.pop("__metadata__", None)
    at = 0
    for tensor, entry in header.items():
        if tensor.endswith(without):
            continue
        begin, end = entry["data_offsets"]
        values[tensor] = data[8 + size + begin:8 + size + end]
        kept[tensor] = {**entry, "data_offsets": [at, at + end - begin]}
        at += end - begin
    text = json.dumps(kept).encode()
    text += b" " * (-len(text) % 8)
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + b"".join(values.values()))


def compare(mslt, tool, name, changes, without):
    with tempfile.TemporaryDirectory() as temporary:
        folder = pathlib.Path(temporary)
        copy_model(name, changes, without, folder)
        path = str(folder / "model.gguf")
        process = subprocess.run([mslt, "export", "--model", str(folder), "--format", "gguf", "--output", path, "--json"],
                                 capture_output=True, text=True)
        if process.returncode != 0:
            return process.stdout + process.stderr
        theirs = LlamaCpp(path, precise=True)
        following, rows = theirs.greedy(PROMPT, COUNT)
        theirs.close()
        ids = PROMPT + following[:-1]
        logits = str(folder / "logits")
        subprocess.run([tool, "logits", path, logits], input=json.dumps(ids), text=True, check=True)
        ours = numpy.fromfile(logits, dtype="<f4").reshape(len(ids), -1)[len(PROMPT) - 1:]
        found = [int(row.argmax()) for row in ours]
        if found != following:
            return f"continues with {found}, llama.cpp with {following}"
        largest = max(float(numpy.abs(one - other).max()) for one, other in zip(ours, rows))
        tolerance = GELU_TOLERANCE if name.startswith("gemma") else TOLERANCE
        return "" if largest < tolerance else f"has logits that differ from llama.cpp's by up to {largest:.2g}"


def main():
    failures = 0
    for name, changes, without in MODELS:
        difference = compare(*sys.argv[1:3], name, changes, without)
        print(f"{name}: {difference or f'the same {COUNT} tokens as llama.cpp'}")
        failures += bool(difference)
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main()
