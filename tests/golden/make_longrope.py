#!/usr/bin/env python3
"""Saves a tiny random Phi-3 that rotates a part of each head by longrope, with what it computes: tests/golden/hf_phi3_longrope/.

    python tests/golden/make_longrope.py

The model is computed here in float64, after Ding et al. (2024) and transformers' Phi-3: frequencies are divided by long_factor
in texts longer than original_max_position_embeddings, else by short_factor, and rotated channels are multiplied by
sqrt(1 + log(s) / log(original)), where s is by how much the context grew. expected.json has the logits of a long and of a short
text and the 64 ids that follow the long one greedily. transformers, which opens the folder, gives the same ids, and the same
logits to 5e-6.

Needs: pip install numpy
"""

import itertools
import json
import pathlib
import struct

import numpy

FOLDER = pathlib.Path(__file__).parent / "hf_phi3_longrope"
IDS = [3, 1, 4, 1, 5, 9, 2, 6, 5, 35, 8]
SHORT_IDS = IDS[:8]
COUNT = 64
CONFIG = {
    "architectures": ["Phi3ForCausalLM"], "attention_dropout": 0.0, "bos_token_id": 1, "dtype": "float32", "eos_token_id": 2,
    "hidden_act": "silu", "hidden_size": 40, "intermediate_size": 20, "max_position_embeddings": 96, "model_type": "phi3",
    "num_attention_heads": 4, "num_hidden_layers": 3, "num_key_value_heads": 2, "original_max_position_embeddings": 8,
    "pad_token_id": None, "partial_rotary_factor": 0.6, "resid_pdrop": 0.0, "rms_norm_eps": 1e-05,
    "rope_scaling": {"type": "longrope", "short_factor": [1.0, 1.125, 1.5], "long_factor": [1.25, 3.0, 9.5]},
    "rope_theta": 1000.0, "sliding_window": None, "tie_word_embeddings": False, "use_cache": True, "vocab_size": 37}
HEADS, KV_HEADS = CONFIG["num_attention_heads"], CONFIG["num_key_value_heads"]
SIZE = CONFIG["hidden_size"] // HEADS
ROTATED = int(SIZE * CONFIG["partial_rotary_factor"])


def random_weights(seed):
    generator = numpy.random.default_rng(seed)
    channels, hidden = CONFIG["hidden_size"], CONFIG["intermediate_size"]

    def matrix(rows, columns):
        return (0.2 * generator.standard_normal((rows, columns))).astype(numpy.float32)

    def norm():
        return (1 + 0.2 * generator.standard_normal(channels)).astype(numpy.float32)

    weights = {"model.embed_tokens.weight": matrix(CONFIG["vocab_size"], channels), "model.norm.weight": norm(),
               "lm_head.weight": matrix(CONFIG["vocab_size"], channels)}
    for layer in range(CONFIG["num_hidden_layers"]):
        at = f"model.layers.{layer}."
        weights[at + "input_layernorm.weight"] = norm()
        weights[at + "self_attn.qkv_proj.weight"] = matrix((HEADS + 2 * KV_HEADS) * SIZE, channels)
        weights[at + "self_attn.o_proj.weight"] = matrix(channels, HEADS * SIZE)
        weights[at + "post_attention_layernorm.weight"] = norm()
        weights[at + "mlp.gate_up_proj.weight"] = matrix(2 * hidden, channels)
        weights[at + "mlp.down_proj.weight"] = matrix(channels, hidden)
    return weights


def rotate(heads):
    """Heads [tokens, heads, SIZE], of whose first channels pairs lie half of them apart."""
    tokens = heads.shape[0]
    original = CONFIG["original_max_position_embeddings"]
    growth = CONFIG["max_position_embeddings"] / original
    scale = numpy.sqrt(1 + numpy.log(growth) / numpy.log(original))
    factors = numpy.array(CONFIG["rope_scaling"]["long_factor" if tokens > original else "short_factor"])
    frequencies = 1 / (factors * CONFIG["rope_theta"] ** (numpy.arange(0, ROTATED, 2) / ROTATED))
    angles = numpy.arange(tokens)[:, None, None] * frequencies
    cosines, sines = scale * numpy.cos(angles), scale * numpy.sin(angles)
    low, high, rest = numpy.split(heads, [ROTATED // 2, ROTATED], axis=2)
    return numpy.concatenate([low * cosines - high * sines, high * cosines + low * sines, rest], axis=2)


def logits_of(weights, ids):
    """The logits [tokens, vocabulary] of a model with weights in float64."""
    tokens = len(ids)

    def norm(x, name):
        return x / numpy.sqrt((x * x).mean(axis=1, keepdims=True) + CONFIG["rms_norm_eps"]) * weights[name]

    x = weights["model.embed_tokens.weight"][ids]
    hidden = numpy.triu(numpy.full((tokens, tokens), -numpy.inf), 1)
    for layer in range(CONFIG["num_hidden_layers"]):
        at = f"model.layers.{layer}."
        fused = (norm(x, at + "input_layernorm.weight") @ weights[at + "self_attn.qkv_proj.weight"].T).reshape(tokens, -1, SIZE)
        queries, keys, values = numpy.split(fused, [HEADS, HEADS + KV_HEADS], axis=1)
        queries, keys = rotate(queries), rotate(keys)
        keys, values = (numpy.repeat(each, HEADS // KV_HEADS, axis=1) for each in (keys, values))
        scores = numpy.einsum("ihd,jhd->hij", queries, keys) / numpy.sqrt(SIZE) + hidden
        shares = numpy.exp(scores - scores.max(axis=2, keepdims=True))
        shares /= shares.sum(axis=2, keepdims=True)
        seen = numpy.einsum("hij,jhd->ihd", shares, values).reshape(tokens, -1)
        x = x + seen @ weights[at + "self_attn.o_proj.weight"].T
        gate, up = numpy.split(
            norm(x, at + "post_attention_layernorm.weight") @ weights[at + "mlp.gate_up_proj.weight"].T, 2, axis=1)
        x = x + (gate / (1 + numpy.exp(-gate)) * up) @ weights[at + "mlp.down_proj.weight"].T
    return norm(x, "model.norm.weight") @ weights["lm_head.weight"].T


def greedy(weights):
    """The ids that follow; nothing where rounding could decide between two, or where they say little."""
    ids = list(IDS)
    for _ in range(COUNT):
        row = logits_of(weights, ids)[-1]
        second, first = numpy.sort(row)[-2:]
        if first - second < 1e-3:
            return None
        ids.append(int(row.argmax()))
    ids = ids[len(IDS):]
    return ids if len(set(ids)) >= 6 else None


def save(weights, path):
    header, at = {}, 0
    for name, weight in weights.items():
        header[name] = {"dtype": "F32", "shape": list(weight.shape), "data_offsets": [at, at + weight.nbytes]}
        at += weight.nbytes
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(struct.pack("<Q", len(text)) + text + b"".join(weight.tobytes() for weight in weights.values()))


def main():
    for seed in itertools.count(20):
        weights = random_weights(seed)
        exact = {name: weight.astype(numpy.float64) for name, weight in weights.items()}
        following = greedy(exact)
        if following is not None:
            break
    FOLDER.mkdir(exist_ok=True)
    save(weights, FOLDER / "model.safetensors")
    (FOLDER / "config.json").write_text(json.dumps(CONFIG, indent=2) + "\n")

    def rounded(ids):
        return [float(f"{value:.7g}") for value in logits_of(exact, ids).flatten()]

    expected = {"ids": IDS, "logits": rounded(IDS), "short_ids": SHORT_IDS, "short_logits": rounded(SHORT_IDS),
                "greedy": following}
    (FOLDER / "expected.json").write_text(json.dumps(expected) + "\n")


if __name__ == "__main__":
    main()
