#!/usr/bin/env python3
"""Writes the golden files that golden_test.cpp compares with: small models run by PyTorch on the CPU.

    python3 make_golden.py [FOLDER [NAME...]]        needs torch, transformers, safetensors

Each NAME.safetensors holds, in f32 and under mslt's parameter names:
    initial.P    the parameters P before training
    gradient.P   the gradient of the mean loss
    final.P      the parameters after the AdamW steps that the metadata describe
    tokens, targets i64 [B, T] (targets below 0 are ignored); logits [B, T, V]; losses [steps + 1], before each step
    and after the last
and, as JSON in the entry "golden" of its metadata, the configuration and the optimiser's settings.
"""

import json
import math
import pathlib
import sys

import torch
import transformers
from safetensors.torch import save_file

VOCAB, CHANNELS, LAYERS, HEADS, BATCH, TIME = 61, 24, 2, 4, 3, 13
POSITIONS = 16
OPTIMIZER = {"steps": 10, "learning_rate": 2e-3, "beta1": 0.9, "beta2": 0.95, "epsilon": 1e-5,
             "weight_decay": 0.1, "max_norm": 1.0}


def base_config(**changes):
    config = {"vocab_size": VOCAB, "max_positions": POSITIONS, "layers": LAYERS, "channels": CHANNELS,
              "heads": HEADS, "kv_heads": HEADS, "head_size": CHANNELS // HEADS, "ffn_size": 52,
              "norm": "layernorm", "norm_position": "pre", "norm_epsilon": 1e-5, "position": "learned",
              "rope_theta": 10000.0, "activation": "gelu", "qkv_bias": True, "attention_out_bias": True,
              "ffn_bias": True, "norm_bias": True, "tied_embeddings": True, "embedding_scale": 1.0}
    return {**config, **changes}


# Each family yields its model, the logits as a function of the tokens, and its weights as a map from mslt's names to lists of
# (tensor, transposed); several tensors are stacked.

def gpt2(activation="gelu", their_activation="gelu_new"):
    config = base_config(activation=activation)
    model = transformers.GPT2LMHeadModel(transformers.GPT2Config(
        activation_function=their_activation, vocab_size=VOCAB, n_positions=POSITIONS, n_embd=CHANNELS,
        n_layer=LAYERS, n_head=HEADS, n_inner=config["ffn_size"], resid_pdrop=0, embd_pdrop=0, attn_pdrop=0, attn_implementation="eager",
        bos_token_id=None, eos_token_id=None))
    body = model.transformer
    names = {"token_embedding.weight": [(body.wte.weight, False)],
             "position_embedding.weight": [(body.wpe.weight, False)],
             "final_norm.weight": [(body.ln_f.weight, False)], "final_norm.bias": [(body.ln_f.bias, False)]}
    for i, block in enumerate(body.h):
        modules = {"attention_norm": (block.ln_1, False), "qkv": (block.attn.c_attn, True),
                   "attention_out": (block.attn.c_proj, True), "ffn_norm": (block.ln_2, False),
                   "ffn_up": (block.mlp.c_fc, True), "ffn_down": (block.mlp.c_proj, True)}
        for name, (module, transposed) in modules.items():
            names[f"layers.{i}.{name}.weight"] = [(module.weight, transposed)]
            names[f"layers.{i}.{name}.bias"] = [(module.bias, False)]
    return config, model, lambda tokens: model(tokens).logits, names


def gpt2_erf():
    return gpt2("gelu_erf", "gelu")


def llama_names(model, config):
    body = model.model
    names = {"token_embedding.weight": [(body.embed_tokens.weight, False)],
             "final_norm.weight": [(body.norm.weight, False)]}
    if not config["tied_embeddings"]:
        names["lm_head.weight"] = [(model.lm_head.weight, False)]
    for i, block in enumerate(body.layers):
        attention, mlp = block.self_attn, block.mlp
        modules = {"qkv": [attention.q_proj, attention.k_proj, attention.v_proj],
                   "attention_out": [attention.o_proj],
                   "ffn_up": [mlp.gate_proj, mlp.up_proj], "ffn_down": [mlp.down_proj]}
        if config["norm_position"] == "pre":
            modules.update(attention_norm=[block.input_layernorm], ffn_norm=[block.post_attention_layernorm])
        else:
            modules.update(attention_out_norm=[block.post_attention_layernorm],
                           ffn_out_norm=[block.post_feedforward_layernorm])
        if config["norm_position"] == "sandwich":
            modules.update(attention_norm=[block.input_layernorm], ffn_norm=[block.pre_feedforward_layernorm])
        if config.get("qk_norm", "none") != "none":
            modules.update(q_norm=[attention.q_norm], k_norm=[attention.k_norm])
        for name, parts in modules.items():
            names[f"layers.{i}.{name}.weight"] = [(part.weight, False) for part in parts]
        if config["qkv_bias"]:
            names[f"layers.{i}.qkv.bias"] = [(part.bias, False) for part in modules["qkv"]]
    return names


def llama_config(**changes):
    return base_config(**{**dict(kv_heads=2, ffn_size=44, norm="rmsnorm", norm_epsilon=1e-6, position="rope",
                                 activation="swiglu", qkv_bias=False, attention_out_bias=False, ffn_bias=False,
                                 norm_bias=False), **changes})


def hugging_face_llama(config, model_class, config_class, **arguments):
    model = model_class(config_class(
        vocab_size=VOCAB, max_position_embeddings=POSITIONS, hidden_size=CHANNELS, num_hidden_layers=LAYERS,
        num_attention_heads=HEADS, num_key_value_heads=config["kv_heads"], intermediate_size=config["ffn_size"],
        rms_norm_eps=config["norm_epsilon"], tie_word_embeddings=config["tied_embeddings"],
        attn_implementation="eager", **arguments))
    return config, model, lambda tokens: model(tokens).logits, llama_names(model, config)


def llama():
    return hugging_face_llama(llama_config(tied_embeddings=False), transformers.LlamaForCausalLM,
                              transformers.LlamaConfig,
                              rope_parameters={"rope_type": "default", "rope_theta": 10000.0})


def llama3():
    # Few original positions, so that each of llama3's three bands contains one of the three frequencies.
    scaling = {"type": "llama3", "factor": 8.0, "low_freq_factor": 0.5, "high_freq_factor": 2.0,
               "original_max_positions": 14}
    rope = {"rope_type": "llama3", "rope_theta": 12.0, "factor": 8.0, "low_freq_factor": 0.5,
            "high_freq_factor": 2.0, "original_max_position_embeddings": 14}
    config = llama_config(tied_embeddings=True)
    config.update(rope_theta=12.0, rope_scaling=scaling)
    return hugging_face_llama(config, transformers.LlamaForCausalLM, transformers.LlamaConfig, rope_parameters=rope)


def qwen2():
    config = llama_config(tied_embeddings=True)
    config["qkv_bias"] = True
    return hugging_face_llama(config, transformers.Qwen2ForCausalLM, transformers.Qwen2Config,
                              rope_parameters={"rope_type": "default", "rope_theta": 10000.0})


def qwen3():
    config = llama_config(tied_embeddings=True, qk_norm="head")
    return hugging_face_llama(config, transformers.Qwen3ForCausalLM, transformers.Qwen3Config,
                              head_dim=config["head_size"])


def smollm3():
    """With YaRN in the layer that rotates."""
    config = llama_config(tied_embeddings=True, no_rope_every=2, rope_theta=50.0)
    rope = {"rope_type": "yarn", "rope_theta": 50.0, "factor": 4.0, "original_max_position_embeddings": 8,
            "beta_fast": 1.0, "beta_slow": 0.2, "attention_factor": 1.3}
    config["rope_scaling"] = {"type": "yarn", "factor": 4.0, "original_max_positions": 8, "beta_fast": 1.0,
                              "beta_slow": 0.2, "attention_factor": 1.3}
    return hugging_face_llama(config, transformers.SmolLM3ForCausalLM, transformers.SmolLM3Config,
                              no_rope_layer_interval=2, rope_parameters=rope, pad_token_id=None)


def olmo2():
    config = llama_config(tied_embeddings=False, norm_position="output", qk_norm="row")
    return hugging_face_llama(config, transformers.Olmo2ForCausalLM, transformers.Olmo2Config, pad_token_id=None)


def gemma_config(**changes):
    return llama_config(tied_embeddings=True, **{**dict(
        norm_position="sandwich", activation="geglu", norm_weight_offset=1.0, embedding_scale=math.sqrt(CHANNELS),
        window=4, full_attention_every=2, attention_scale=1 / math.sqrt(5)), **changes})


def gemma2():
    config = gemma_config(attention_softcap=2.0, logit_softcap=3.0)
    return hugging_face_llama(config, transformers.Gemma2ForCausalLM, transformers.Gemma2Config,
                              head_dim=config["head_size"], query_pre_attn_scalar=5, sliding_window=4,
                              attn_logit_softcapping=2.0, final_logit_softcapping=3.0)


def gemma3():
    config = gemma_config(qk_norm="head", rope_theta=1000.0, local_rope_theta=50.0)
    return hugging_face_llama(config, transformers.Gemma3ForCausalLM, transformers.Gemma3TextConfig,
                              head_dim=config["head_size"], query_pre_attn_scalar=5, sliding_window=4,
                              layer_types=["sliding_attention", "full_attention"], rope_parameters={
                                  "full_attention": {"rope_type": "default", "rope_theta": 1000.0},
                                  "sliding_attention": {"rope_type": "default", "rope_theta": 50.0}})


class PostNorm(torch.nn.Module):
    """The decoder of Vaswani et al. (2017) without the encoder's attention."""

    def __init__(self, config):
        super().__init__()
        channels, ffn = config["channels"], config["ffn_size"]
        self.embedding = torch.nn.Embedding(VOCAB, channels)
        self.layers = torch.nn.ModuleList()
        for _ in range(LAYERS):
            self.layers.append(torch.nn.ModuleDict({
                "qkv": torch.nn.Linear(channels, 3 * channels), "attention_out": torch.nn.Linear(channels, channels),
                "attention_norm": torch.nn.LayerNorm(channels), "ffn_up": torch.nn.Linear(channels, ffn),
                "ffn_down": torch.nn.Linear(ffn, channels), "ffn_norm": torch.nn.LayerNorm(channels)}))
        position = torch.arange(POSITIONS, dtype=torch.float64)[:, None]
        angle = position / 10000 ** (torch.arange(0, channels, 2, dtype=torch.float64) / channels)
        table = torch.stack([angle.sin(), angle.cos()], dim=-1).reshape(POSITIONS, channels)
        self.register_buffer("table", table.float())

    def forward(self, tokens):
        batch, time = tokens.shape
        hidden = self.embedding(tokens) * math.sqrt(CHANNELS) + self.table[:time]
        for layer in self.layers:
            heads = layer["qkv"](hidden).view(batch, time, 3, HEADS, -1).transpose(1, 3)
            mixed = torch.nn.functional.scaled_dot_product_attention(heads[:, :, 0], heads[:, :, 1], heads[:, :, 2],
                                                                     is_causal=True)
            mixed = mixed.transpose(1, 2).reshape(batch, time, CHANNELS)
            hidden = layer["attention_norm"](hidden + layer["attention_out"](mixed))
            hidden = layer["ffn_norm"](hidden + layer["ffn_down"](torch.relu(layer["ffn_up"](hidden))))
        return hidden @ self.embedding.weight.T


def post_norm():
    config = base_config(norm_position="post", position="sinusoidal", activation="relu",
                         embedding_scale=math.sqrt(CHANNELS))
    model = PostNorm(config)
    names = {"token_embedding.weight": [(model.embedding.weight, False)]}
    for i, layer in enumerate(model.layers):
        for name, module in layer.items():
            names[f"layers.{i}.{name}.weight"] = [(module.weight, False)]
            names[f"layers.{i}.{name}.bias"] = [(module.bias, False)]
    return config, model, model, names


def stored(parts, of=lambda tensor: tensor):
    return torch.cat([of(tensor).detach().T if transposed else of(tensor).detach()
                      for tensor, transposed in parts]).contiguous().clone()


def make(name, family, seed, folder):
    torch.manual_seed(seed)
    config, model, logits_of, names = family()
    # Weights far enough from zero that attention, norms and biases all matter.
    for key, parts in names.items():
        for tensor, _ in parts:
            norm_mean = 1.0 - config.get("norm_weight_offset", 0.0)
            torch.nn.init.normal_(tensor, mean=norm_mean if key.endswith("norm.weight") else 0.0,
                                  std=0.3 if "embedding" in key or key.endswith("lm_head.weight") else 0.2)
    assert sum(stored(parts).numel() for parts in names.values()) == sum(p.numel() for p in model.parameters())
    tokens = torch.randint(VOCAB, (BATCH, TIME))
    targets = torch.randint(VOCAB, (BATCH, TIME))
    targets[1, 9:] = -100
    targets[2, 0] = -100

    embeddings = {"token_embedding.weight", "position_embedding.weight"}
    decayed = [tensor for key, parts in names.items() for tensor, _ in parts
               if tensor.dim() == 2 and key not in embeddings]
    kept = [tensor for key, parts in names.items() for tensor, _ in parts
            if tensor.dim() == 1 or key in embeddings]
    optimizer = torch.optim.AdamW(
        [{"params": decayed, "weight_decay": OPTIMIZER["weight_decay"]}, {"params": kept, "weight_decay": 0.0}],
        lr=OPTIMIZER["learning_rate"], betas=(OPTIMIZER["beta1"], OPTIMIZER["beta2"]), eps=OPTIMIZER["epsilon"])

    tensors = {f"initial.{key}": stored(parts) for key, parts in names.items()}
    losses = []
    for step in range(OPTIMIZER["steps"] + 1):
        optimizer.zero_grad()
        logits = logits_of(tokens)
        loss = torch.nn.functional.cross_entropy(logits.view(-1, VOCAB), targets.view(-1), ignore_index=-100)
        losses.append(loss.detach())
        if step == OPTIMIZER["steps"]:
            break
        loss.backward()
        if step == 0:
            tensors["logits"] = logits.detach().clone()
            tensors.update({f"gradient.{key}": stored(parts, lambda t: t.grad) for key, parts in names.items()})
        torch.nn.utils.clip_grad_norm_(model.parameters(), OPTIMIZER["max_norm"])
        optimizer.step()
    tensors.update({f"final.{key}": stored(parts) for key, parts in names.items()})
    tensors.update(tokens=tokens, targets=targets, losses=torch.stack(losses))
    path = folder / f"{name}.safetensors"
    # One entry, since safetensors writes several in no fixed order.
    save_file(tensors, path, {"golden": json.dumps({"config": config, "optimizer": OPTIMIZER})})
    print(f"{path}: {path.stat().st_size} bytes, loss {losses[0]:.4f} to {losses[-1]:.4f}")


def main():
    torch.set_num_threads(1)
    folder = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else pathlib.Path(__file__).parent
    families = [gpt2, llama, llama3, qwen2, post_norm, gpt2_erf, qwen3, smollm3, olmo2, gemma2, gemma3]
    for seed, family in enumerate(families):
        if not sys.argv[2:] or family.__name__ in sys.argv[2:]:
            make(family.__name__, family, seed, folder)


if __name__ == "__main__":
    main()
