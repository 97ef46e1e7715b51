#!/usr/bin/env python3
"""Saves tiny random models with transformers, with the logits it computes: tests/golden/hf_*/.

    python tests/golden/make_hf_folders.py [FOLDER]

Needs: pip install torch transformers safetensors
"""

import json
import pathlib
import sys

import torch
from transformers import (GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM, MistralConfig, MistralForCausalLM,
                          Qwen2Config, Qwen2ForCausalLM)

IDS = [3, 1, 4, 1, 5, 9, 2, 6, 5, 35, 8]
VOCABULARY = 37
TOKENS = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": None}


def llama(**more):
    return dict(vocab_size=VOCABULARY, hidden_size=24, intermediate_size=20, num_hidden_layers=2, num_attention_heads=4,
                num_key_value_heads=2, max_position_embeddings=32, **TOKENS, **more)


def models():
    yield "hf_gpt2", GPT2LMHeadModel(GPT2Config(vocab_size=VOCABULARY, n_positions=16, n_embd=18, n_layer=2, n_head=3,
                                                **TOKENS))
    yield "hf_llama", LlamaForCausalLM(LlamaConfig(head_dim=8, rope_parameters={
        "rope_type": "llama3", "rope_theta": 1000.0, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
        "original_max_position_embeddings": 24}, **llama()))
    yield "hf_llama_tied", LlamaForCausalLM(LlamaConfig(tie_word_embeddings=True, attention_bias=True, mlp_bias=True,
                                                        rope_parameters={"rope_type": "linear", "factor": 2.0,
                                                                         "rope_theta": 10000.0}, **llama()))
    yield "hf_qwen2", Qwen2ForCausalLM(Qwen2Config(**llama()))
    yield "hf_gpt2_erf", GPT2LMHeadModel(GPT2Config(vocab_size=VOCABULARY, n_positions=16, n_embd=18, n_layer=2, n_head=3,
                                                    activation_function="gelu", **TOKENS))
    # A width that is not a multiple of the heads.
    yield "hf_mistral", MistralForCausalLM(MistralConfig(**{**llama(), "hidden_size": 22}, head_dim=8,
                                                         sliding_window=None))


def randomize(model, generator):
    """Every parameter matters: weights that give logits of order 1, no bias zero, no norm weight one."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            is_norm = "norm" in name or ".ln_" in name
            parameter.copy_(1 + 0.2 * noise if is_norm and name.endswith("weight") else 0.2 * noise)


def main():
    folder = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else pathlib.Path(__file__).parent)
    generator = torch.Generator().manual_seed(20)
    for name, model in models():
        model.eval()
        randomize(model, generator)
        model.save_pretrained(folder / name)
        with torch.no_grad():
            logits = model(torch.tensor([IDS])).logits[0]
        values = [float(f"{value:.7g}") for value in logits.flatten().tolist()]
        (folder / name / "expected.json").write_text(json.dumps({"ids": IDS, "logits": values}) + "\n")


if __name__ == "__main__":
    main()
