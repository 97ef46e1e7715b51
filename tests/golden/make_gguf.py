#!/usr/bin/env python3
"""Writes the models of tests/golden/hf_* as GGUF files, as llama.cpp's converter does, and random quantised blocks with
their values: tests/golden/gguf/.

    python tests/golden/make_gguf.py

Needs: pip install gguf numpy safetensors
"""

import json
import pathlib

import gguf
import numpy
from gguf.quants import dequantize
from safetensors.numpy import load_file, save_file

HERE = pathlib.Path(__file__).parent
TYPES = ["Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "Q4_K", "Q5_K", "Q6_K"]
# Where each type's f16 numbers are in a block.
HALVES = {"Q4_0": [0], "Q4_1": [0, 2], "Q5_0": [0], "Q5_1": [0, 2], "Q8_0": [0], "Q4_K": [0, 2], "Q5_K": [0, 2],
          "Q6_K": [208]}


def blocks(name, count, generator):
    """Random bytes with finite scales of all sizes; the first block is zero, the second has all bits of its elements."""
    _, size = gguf.GGML_QUANT_SIZES[gguf.GGMLQuantizationType[name]]
    data = generator.integers(0, 256, (count, size), dtype=numpy.uint8)
    data[0] = 0
    data[1] = 255
    for at in HALVES[name]:
        scales = (generator.standard_normal(count) * 10.0 ** generator.integers(-8, 4, count)).astype(numpy.float16)
        scales[1] = 65504
        data[:, at:at + 2] = scales.view(numpy.uint8).reshape(count, 2)
    data[0] = 0
    return data


def write_blocks(folder):
    generator = numpy.random.default_rng(7)
    tensors = {}
    for name in TYPES:
        count = 4 if name.endswith("K") else 12
        data = blocks(name, count, generator)
        tensors[name + ".blocks"] = data
        tensors[name + ".values"] = dequantize(data, gguf.GGMLQuantizationType[name]).reshape(-1)
    save_file(dict(sorted(tensors.items(), key=lambda item: item[0].endswith("blocks"))), folder / "blocks.safetensors")


def alternating(rows, heads):
    """The rows of queries or keys as GGUF has them for llama: those of a head's two halves in turn."""
    return rows.reshape(heads, 2, rows.shape[0] // heads // 2, *rows.shape[1:]).swapaxes(1, 2).reshape(rows.shape)


def llama3_divisors(rope, head_size):
    values = []
    for i in range(0, head_size, 2):
        wavelength = 2 * numpy.pi * rope["rope_theta"] ** (i / head_size)
        low = rope["original_max_position_embeddings"] / rope["low_freq_factor"]
        high = rope["original_max_position_embeddings"] / rope["high_freq_factor"]
        if wavelength < high:
            values.append(1.0)
        elif wavelength > low:
            values.append(rope["factor"])
        else:
            share = (rope["original_max_position_embeddings"] / wavelength - rope["low_freq_factor"]) / (
                rope["high_freq_factor"] - rope["low_freq_factor"])
            values.append(1 / ((1 - share) / rope["factor"] + share))
    return numpy.array(values, dtype=numpy.float32)


def write_model(source, path):
    config = json.loads((source / "config.json").read_text())
    weights = load_file(source / "model.safetensors")
    kind = config["model_type"]
    other = {"gpt2": "GPT2", "qwen2": "QWEN2", "qwen3": "QWEN3", "phi3": "PHI3", "gemma2": "GEMMA2", "gemma3_text": "GEMMA3",
             "olmo2": "OLMO2", "smollm3": "SMOLLM3"}
    architecture = gguf.MODEL_ARCH[other.get(kind, "LLAMA")]
    writer = gguf.GGUFWriter(path, gguf.MODEL_ARCH_NAMES[architecture])
    layers = config.get("num_hidden_layers", config.get("n_layer"))
    heads = config.get("num_attention_heads", config.get("n_head"))
    channels = config.get("hidden_size", config.get("n_embd"))
    writer.add_block_count(layers)
    writer.add_head_count(heads)
    writer.add_embedding_length(channels)
    if kind == "gpt2":
        writer.add_context_length(config["n_positions"])
        writer.add_feed_forward_length(4 * channels)
        writer.add_layer_norm_eps(config["layer_norm_epsilon"])
    else:
        kv_heads = config["num_key_value_heads"]
        head_size = config.get("head_dim") or channels // heads
        writer.add_context_length(config["max_position_embeddings"])
        writer.add_feed_forward_length(config["intermediate_size"])
        writer.add_head_count_kv(kv_heads)
        writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
        writer.add_rope_dimension_count(head_size)
        writer.add_key_length(head_size)
        writer.add_value_length(head_size)
        rope = config["rope_parameters"]
        rope = rope.get("full_attention", rope)
        if config.get("sliding_window") and kind in ("phi3", "gemma2", "gemma3_text"):
            writer.add_sliding_window(config["sliding_window"])
        if kind.startswith("gemma"):
            for name, add in (("attn", writer.add_attn_logit_softcapping), ("final", writer.add_final_logit_softcapping)):
                cap = config[{"attn": "attn_logit_softcapping", "final": "final_logit_softcapping"}[name]]
                if cap:
                    add(cap)
        writer.add_rope_freq_base(rope["rope_theta"])
        if rope["rope_type"] == "linear":
            writer.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
            writer.add_rope_scaling_factor(rope["factor"])
        if rope["rope_type"] == "llama3":
            writer.add_tensor("rope_freqs.weight", llama3_divisors(rope, head_size))
    writer.add_eos_token_id(config["eos_token_id"])
    names = gguf.get_tensor_name_map(architecture, layers)
    for name, weight in weights.items():
        stem, end = name.rsplit(".", 1)
        if kind == "gpt2" and weight.ndim == 2 and ".h." in name:
            weight = weight.T
        if kind.startswith("gemma") and name.endswith("norm.weight"):
            weight = weight + 1
        if architecture in (gguf.MODEL_ARCH.LLAMA, gguf.MODEL_ARCH.SMOLLM3) and stem.endswith(("q_proj", "k_proj")):
            weight = alternating(weight, heads if stem.endswith("q_proj") else kv_heads)
        new = names.get_name(stem) or names.get_name(stem.removeprefix("transformer."))
        writer.add_tensor(f"{new}.{end}", numpy.ascontiguousarray(weight))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def main():
    folder = HERE / "gguf"
    folder.mkdir(exist_ok=True)
    write_blocks(folder)
    for name in ["gpt2", "llama", "llama_tied", "mistral", "qwen2", "qwen3", "phi3", "gemma2", "gemma3", "olmo2", "smollm3"]:
        write_model(HERE / f"hf_{name}", folder / f"{name}.gguf")


if __name__ == "__main__":
    main()
