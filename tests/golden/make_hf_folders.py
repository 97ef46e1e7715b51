#!/usr/bin/env python3
"""Saves tiny random models with transformers, with what it computes: tests/golden/hf_*/.

    python tests/golden/make_hf_folders.py [FOLDER [NAME...]]

expected.json has the logits of some ids and, for models of many positions, the 64 ids that follow greedily.

Needs: pip install torch transformers safetensors
"""

import itertools
import json
import pathlib
import sys

import torch
from transformers import (Gemma2Config, Gemma2ForCausalLM, Gemma3ForCausalLM, Gemma3TextConfig, GPT2Config,
                          GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM, MistralConfig, MistralForCausalLM,
                          Olmo2Config, Olmo2ForCausalLM, Phi3Config, Phi3ForCausalLM, Qwen2Config, Qwen2ForCausalLM,
                          Qwen3Config, Qwen3ForCausalLM, SmolLM3Config, SmolLM3ForCausalLM)

IDS = [3, 1, 4, 1, 5, 9, 2, 6, 5, 35, 8]
VOCABULARY = 37
TOKENS = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": None}


def llama(**more):
    return dict(vocab_size=VOCABULARY, hidden_size=24, intermediate_size=20, num_hidden_layers=2, num_attention_heads=4,
                num_key_value_heads=2, max_position_embeddings=32, **TOKENS, **more)


# Long enough for the 64 ids. Windows are shorter than the ids.
def longer(**more):
    return {**llama(), "max_position_embeddings": 96, "num_hidden_layers": 3, "attn_implementation": "eager", **more}


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
    yield "hf_llama_yarn", LlamaForCausalLM(LlamaConfig(**longer(head_dim=10, rope_parameters={
        "rope_type": "yarn", "rope_theta": 100.0, "factor": 4.0, "original_max_position_embeddings": 24,
        "beta_fast": 3.0, "beta_slow": 0.5})))
    yield "hf_mistral_window", MistralForCausalLM(MistralConfig(**longer(sliding_window=4, tie_word_embeddings=True)))
    yield "hf_qwen2_window", Qwen2ForCausalLM(Qwen2Config(**longer(use_sliding_window=True, sliding_window=5,
                                                                   max_window_layers=1)))
    yield "hf_qwen3", Qwen3ForCausalLM(Qwen3Config(**longer(head_dim=10, tie_word_embeddings=True)))
    yield "hf_smollm3", SmolLM3ForCausalLM(SmolLM3Config(**longer(no_rope_layer_interval=2, rope_parameters={
        "rope_type": "default", "rope_theta": 5000.0})))
    yield "hf_phi3", Phi3ForCausalLM(Phi3Config(**longer(sliding_window=6)))
    yield "hf_olmo2", Olmo2ForCausalLM(Olmo2Config(**longer(attention_bias=True)))
    yield "hf_gemma2", Gemma2ForCausalLM(Gemma2Config(**longer(
        head_dim=10, sliding_window=5, query_pre_attn_scalar=7, attn_logit_softcapping=3.0,
        final_logit_softcapping=2.5)))
    yield "hf_gemma3", Gemma3ForCausalLM(Gemma3TextConfig(**longer(
        head_dim=10, sliding_window=5, query_pre_attn_scalar=12, tie_word_embeddings=False, layer_types=[
            "sliding_attention", "full_attention", "sliding_attention"], rope_parameters={
            "full_attention": {"rope_type": "linear", "factor": 4.0, "rope_theta": 5000.0},
            "sliding_attention": {"rope_type": "default", "rope_theta": 100.0}})))


def randomize(model, generator):
    """Every parameter matters: weights that give logits of order 1, no bias zero, no norm's factor one."""
    mean = 0 if model.config.model_type.startswith("gemma") else 1
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            is_norm = "norm" in name or ".ln_" in name
            parameter.copy_(mean + 0.2 * noise if is_norm and name.endswith("weight") else 0.2 * noise)


def greedy(model, count):
    """The ids that follow; nothing where rounding could decide between two, or where they say little."""
    ids = list(IDS)
    for _ in range(count):
        best = model(torch.tensor([ids])).logits[0, -1].topk(2)
        if best.values[0] - best.values[1] < 1e-3:
            return None
        ids.append(int(best.indices[0]))
    ids = ids[len(IDS):]
    return ids if len(set(ids)) >= 6 else None


def main():
    folder = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else pathlib.Path(__file__).parent)
    wanted = sys.argv[2:]
    generator = torch.Generator().manual_seed(20)
    for name, model in models():
        model.eval()
        long = model.config.max_position_embeddings == 96
        if not long:
            randomize(model, generator)
        if wanted and name not in wanted:
            continue
        with torch.no_grad():
            following = None
            for seed in itertools.count(20) if long else []:
                randomize(model, torch.Generator().manual_seed(seed))
                following = greedy(model, 64)
                if following is not None:
                    break
            logits = model(torch.tensor([IDS])).logits[0]
        model.save_pretrained(folder / name)
        expected = {"ids": IDS, "logits": [float(f"{value:.7g}") for value in logits.flatten().tolist()]}
        if following is not None:
            expected["greedy"] = following
        (folder / name / "expected.json").write_text(json.dumps(expected) + "\n")


if __name__ == "__main__":
    main()
