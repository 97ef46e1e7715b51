#!/usr/bin/env python3
"""Compares whole models with transformers, in both directions.

    python tests/interop/transformers_oracle.py build/release/tests/interop/logits_tool

Random models that transformers saves (every family; Llama with grouped queries, tied and not, with biases and every
supported RoPE; windows shorter than the text; in one file and in shards; f32, bf16, f16, f64; tied by save_model; with prefixes of wrappers) must give the same logits here, and models initialised and saved
here the same logits there, both to 1e-4. tokenizer.json must open as AutoTokenizer. Exits with status 1 on any
difference, 77 where a package is missing.
"""

import json
import pathlib
import subprocess
import sys
import tempfile

try:
    import numpy
    import torch
    import transformers
    from transformers import (AutoModelForCausalLM, AutoTokenizer, Gemma2Config, Gemma2ForCausalLM, Gemma3ForCausalLM,
                              Gemma3TextConfig, GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM,
                              MistralConfig, MistralForCausalLM, Olmo2Config, Olmo2ForCausalLM, Phi3Config,
                              Phi3ForCausalLM, Qwen2Config, Qwen2ForCausalLM, Qwen3Config, Qwen3ForCausalLM,
                              SmolLM3Config, SmolLM3ForCausalLM)
    from safetensors.torch import load_file, save_file, save_model
except ImportError as error:
    print(f"skipped: {error}")
    sys.exit(77)

TOLERANCE = 1e-4
IDS = [3, 1, 4, 1, 5, 9, 2, 6, 5, 35, 89, 79, 32, 38, 46]
TOKENS = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}


def llama(**more):
    return {**dict(vocab_size=301, hidden_size=48, intermediate_size=72, num_hidden_layers=3, num_attention_heads=4,
                   num_key_value_heads=2, max_position_embeddings=64, **TOKENS), **more}


def rope(**parameters):
    return {"rope_parameters": {"rope_theta": 5000.0, **parameters}}


LLAMA3 = rope(rope_type="llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0,
              original_max_position_embeddings=32)


def gpt2(**more):
    return GPT2LMHeadModel(GPT2Config(**{**dict(vocab_size=301, n_positions=40, n_embd=48, n_layer=3, n_head=4, **TOKENS),
                                         **more}))


# A part of each head.
LONG = rope(rope_type="longrope", short_factor=[1.0, 1.5, 2.0], long_factor=[1.5, 3.0, 9.0], partial_rotary_factor=0.5)
YARN = rope(rope_type="yarn", factor=2.0, original_max_position_embeddings=32, beta_fast=4.0, beta_slow=0.5)


def gemma(**more):
    return llama(head_dim=20, query_pre_attn_scalar=7, sliding_window=5, attn_implementation="eager", **more)


MODELS = {
    "gpt2": lambda: gpt2(),
    "gpt2 untied, narrow feed-forward": lambda: gpt2(tie_word_embeddings=False, n_inner=60, layer_norm_epsilon=1e-3),
    "gpt2 relu": lambda: gpt2(activation_function="relu", reorder_and_upcast_attn=True),
    "gpt2 exact gelu": lambda: gpt2(activation_function="gelu"),
    "llama grouped": lambda: LlamaForCausalLM(LlamaConfig(**llama())),
    "llama tied": lambda: LlamaForCausalLM(LlamaConfig(**llama(tie_word_embeddings=True))),
    "llama one key head, wide heads": lambda: LlamaForCausalLM(LlamaConfig(**llama(num_key_value_heads=1, head_dim=20))),
    "llama biases": lambda: LlamaForCausalLM(LlamaConfig(**llama(attention_bias=True, mlp_bias=True))),
    "llama linear rope": lambda: LlamaForCausalLM(LlamaConfig(**llama(), **rope(rope_type="linear", factor=2.0))),
    "llama llama3 rope": lambda: LlamaForCausalLM(LlamaConfig(**llama(), **LLAMA3)),
    "qwen2": lambda: Qwen2ForCausalLM(Qwen2Config(**llama())),
    "qwen2 heads that do not divide": lambda: Qwen2ForCausalLM(Qwen2Config(**llama(hidden_size=50, head_dim=16))),
    "mistral": lambda: MistralForCausalLM(MistralConfig(**llama(hidden_size=50, head_dim=16, sliding_window=None))),
    "llama yarn rope": lambda: LlamaForCausalLM(LlamaConfig(**llama(), **YARN)),
    "llama dynamic rope": lambda: LlamaForCausalLM(LlamaConfig(**llama(), **rope(rope_type="dynamic", factor=2.0))),
    "mistral window": lambda: MistralForCausalLM(MistralConfig(**llama(sliding_window=6))),
    "qwen2 windows": lambda: Qwen2ForCausalLM(Qwen2Config(**llama(use_sliding_window=True, sliding_window=5,
                                                                  max_window_layers=2))),
    "qwen3": lambda: Qwen3ForCausalLM(Qwen3Config(**llama(head_dim=20))),
    "qwen3 biases, tied": lambda: Qwen3ForCausalLM(Qwen3Config(**llama(attention_bias=True, tie_word_embeddings=True))),
    "smollm3": lambda: SmolLM3ForCausalLM(SmolLM3Config(**llama(no_rope_layer_interval=2))),
    "phi3": lambda: Phi3ForCausalLM(Phi3Config(**llama(sliding_window=None))),
    "phi3 window": lambda: Phi3ForCausalLM(Phi3Config(**llama(sliding_window=4))),
    "phi3 long": lambda: Phi3ForCausalLM(Phi3Config(**llama(sliding_window=None, original_max_position_embeddings=8, **LONG))),
    "phi3 short": lambda: Phi3ForCausalLM(Phi3Config(**llama(sliding_window=None, original_max_position_embeddings=32, **LONG))),
    "olmo2": lambda: Olmo2ForCausalLM(Olmo2Config(**llama())),
    "gemma2": lambda: Gemma2ForCausalLM(Gemma2Config(**gemma(attn_logit_softcapping=2.0, final_logit_softcapping=3.0))),
    "gemma3": lambda: Gemma3ForCausalLM(Gemma3TextConfig(**gemma(layer_types=[
        "sliding_attention", "full_attention", "sliding_attention"]))),
    "qwen2 tied": lambda: Qwen2ForCausalLM(Qwen2Config(**llama(tie_word_embeddings=True))),
}  # fmt: skip


def randomize(model, generator):
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            is_norm = "norm" in name or ".ln_" in name
            parameter.copy_(1 + 0.2 * noise if is_norm and name.endswith("weight") else 0.15 * noise)


def their_logits(model):
    with torch.no_grad():
        return model.eval().float()(torch.tensor([IDS])).logits[0].numpy()


class Comparison:
    def __init__(self, tool, folder):
        self.tool, self.folder, self.failures, self.worst = tool, folder, 0, 0.0

    def run(self, *arguments):
        subprocess.run([self.tool, *map(str, arguments)], check=True)

    def our_logits(self, model):
        output = self.folder / "logits"
        self.run("logits", model, output, *IDS)
        return numpy.fromfile(output, dtype="<f4").reshape(len(IDS), -1)

    def check(self, what, ours, theirs):
        difference = float(numpy.abs(ours - theirs).max()) if ours.shape == theirs.shape else float("inf")
        self.worst = max(self.worst, difference)
        good = difference < TOLERANCE and float(numpy.abs(theirs).max()) > 0.01
        self.failures += not good
        print(f"{'ok ' if good else 'BAD'} {what}: largest difference {difference:.2e} of {numpy.abs(theirs).max():.2f}")

    def expect_file(self, what, condition):
        self.failures += not condition
        print(f"{'ok ' if condition else 'BAD'} {what}")


def compare_saved_there(comparison, generator):
    for name, make in MODELS.items():
        model = make()
        randomize(model, generator)
        saved = comparison.folder / "there"
        model.save_pretrained(saved)
        comparison.check(f"{name}, saved there, opened here", comparison.our_logits(saved), their_logits(model))
        copied = comparison.folder / "copy"
        comparison.run("copy", saved, copied)
        again = AutoModelForCausalLM.from_pretrained(copied)
        comparison.expect_file(f"{name}: the class is kept", type(again) is type(model) or name.startswith("phi3"))
        comparison.check(f"{name}, saved again here, opened there", their_logits(again), their_logits(model))
    for dtype in (torch.bfloat16, torch.float16):
        model = LlamaForCausalLM(LlamaConfig(**llama()))
        randomize(model, generator)
        saved = comparison.folder / "half"
        model.to(dtype).save_pretrained(saved)
        # Opened again, since converting a model also rounds the frequencies of its RoPE.
        model = AutoModelForCausalLM.from_pretrained(saved, dtype=torch.float32)
        comparison.check(f"llama of {dtype}", comparison.our_logits(saved), their_logits(model))
    model = gpt2()
    randomize(model, generator)
    saved = comparison.folder / "shards"
    model.save_pretrained(saved, max_shard_size="100KB")
    comparison.expect_file("the model is in shards", (saved / "model.safetensors.index.json").exists())
    comparison.check("gpt2 in shards", comparison.our_logits(saved), their_logits(model))
    compare_other_writers(comparison, generator)
    bare = comparison.folder / "bare"
    model.transformer.save_pretrained(bare)
    comparison.check("gpt2 without its head's class", comparison.our_logits(bare), their_logits(model))


def compare_other_writers(comparison, generator):
    """Tied models as save_model leaves them, names as wrappers make them, doubles."""
    for name, model in (("gpt2", gpt2()), ("llama", LlamaForCausalLM(LlamaConfig(**llama(tie_word_embeddings=True))))):
        randomize(model, generator)
        expected = their_logits(model)
        saved = comparison.folder / f"other_{name}"
        model.config.save_pretrained(saved)
        file = saved / "model.safetensors"
        save_model(model, file, metadata={"format": "pt"})
        tensors = load_file(file)
        comparison.expect_file(f"{name}: save_model leaves the head alone",
                               "lm_head.weight" in tensors and not any("wte" in key or "embed" in key for key in tensors))
        comparison.check(f"{name} by save_model", comparison.our_logits(saved), expected)
        for i, prefixes in enumerate((["_orig_mod."], ["module."], ["_orig_mod.", "module.", "", "module._orig_mod."])):
            save_file({prefixes[j % len(prefixes)] + key: tensor.double() if i else tensor
                       for j, (key, tensor) in enumerate(tensors.items())}, file, metadata={"format": "pt"})
            comparison.check(f"{name} with the prefixes {prefixes}", comparison.our_logits(saved), expected)


def small_tokenizer(path):
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.train_from_iterator(["the cat and the hat and the bat and the rat " * 3], trainers.BpeTrainer(
        vocab_size=290, special_tokens=["[PAD]", "[BOS]", "[EOS]"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False))
    tokenizer.save(str(path))


def compare_saved_here(comparison):
    for name, make in MODELS.items():
        configured = comparison.folder / "configured"
        configured.mkdir(exist_ok=True)
        make().config.save_pretrained(configured)
        small_tokenizer(configured / "tokenizer.json")
        saved = comparison.folder / "here"
        comparison.run("init", configured / "config.json", saved, 7)
        model, info = AutoModelForCausalLM.from_pretrained(saved, output_loading_info=True)
        comparison.expect_file(f"{name}: nothing missing or unexpected", not any(info.values()))
        comparison.check(f"{name}, saved here, opened there", comparison.our_logits(saved), their_logits(model))
        tokenizer = AutoTokenizer.from_pretrained(saved)
        text = "the hat and 3 rats"
        comparison.expect_file(f"{name}: the tokenizer opens", tokenizer.decode(tokenizer(text)["input_ids"]) == text
                               and (tokenizer.pad_token_id, tokenizer.bos_token_id, tokenizer.eos_token_id) == (0, 1, 2))
        ids = json.loads((saved / "generation_config.json").read_text())
        comparison.expect_file(f"{name}: the end token is kept",
                               ids["eos_token_id"] == 2 == model.generation_config.eos_token_id)


def compare_heads_that_do_not_divide(comparison):
    """A Llama that transformers refuses, saved under a name by which it does not."""
    configured = comparison.folder / "wide"
    configured.mkdir()
    config = LlamaConfig(**llama()).to_dict()
    config.update(hidden_size=50, head_dim=16)
    (configured / "config.json").write_text(json.dumps(config))
    saved = comparison.folder / "wide_saved"
    comparison.run("init", configured / "config.json", saved, 7)
    model, info = AutoModelForCausalLM.from_pretrained(saved, output_loading_info=True)
    comparison.expect_file("llama of width 50: nothing missing or unexpected", not any(info.values()))
    comparison.check("llama of width 50, saved here, opened there", comparison.our_logits(saved), their_logits(model))


def main():
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    torch.manual_seed(1)
    with tempfile.TemporaryDirectory() as name:
        comparison = Comparison(sys.argv[1], pathlib.Path(name))
        compare_saved_there(comparison, torch.Generator().manual_seed(2))
        compare_saved_here(comparison)
        compare_heads_that_do_not_divide(comparison)
    print(f"largest difference {comparison.worst:.2e}, {comparison.failures} failures")
    return 1 if comparison.failures else 0


if __name__ == "__main__":
    sys.exit(main())
