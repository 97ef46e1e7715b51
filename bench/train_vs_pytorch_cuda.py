#!/usr/bin/env python3
"""Training speed beside PyTorch on an NVIDIA GPU: the same model, batch and optimiser, in turn, in one run.

Usage: bench/train_vs_pytorch_cuda.py --mslt build/cuda/bin/mslt [--preset gpt2|gpt2-medium|llama-1b] [--batch-size 32]
           [--rounds 3] [--products msl] [--attention msl] [--eager]
Needs PyTorch. Its model is compiled by torch.compile, in bf16 with f32 master weights (autocast), its attention is
scaled_dot_product_attention and its optimiser fused AdamW. Prints tokens/s of both, round by round, and the ratio of
the medians.
"""

import argparse
import json
import statistics
import subprocess
import time

# Layers, heads, key/value heads, channels, columns of the feed-forward network, tokens.
PRESETS = {"gpt2": (12, 12, 12, 768, 3072, 50257), "gpt2-medium": (24, 16, 16, 1024, 4096, 50257),
           "llama-1b": (22, 32, 4, 2048, 5632, 32000)}
TIME = 1024


def make_pytorch_step(preset, batch, eager):
    import torch
    from torch import nn
    from torch.nn import functional

    layers, heads, kv_heads, channels, inner, vocab = PRESETS[preset]
    padded_vocab = (vocab + 127) // 128 * 128
    size = channels // heads
    llama = preset.startswith("llama")
    norm = nn.RMSNorm if llama else nn.LayerNorm

    def linear(inputs, outputs):
        return nn.Linear(inputs, outputs, bias=not llama)

    angles = torch.outer(torch.arange(TIME), 10000.0 ** (-torch.arange(0, size, 2) / size)).repeat(1, 2).cuda()
    cosines, sines = angles.cos(), angles.sin()

    def rotate(x):
        low, high = x.chunk(2, dim=-1)
        return (x * cosines + torch.cat((-high, low), dim=-1) * sines).to(x.dtype)

    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm1, self.norm2 = norm(channels), norm(channels)
            self.qkv, self.out = linear(channels, channels + 2 * kv_heads * size), linear(channels, channels)
            self.up, self.down = linear(channels, 2 * inner if llama else inner), linear(inner, channels)

        def forward(self, x):
            query, key, value = [
                part.view(x.shape[0], TIME, -1, size).transpose(1, 2)
                for part in self.qkv(self.norm1(x)).split([channels, kv_heads * size, kv_heads * size], dim=2)]
            if llama:
                query, key = rotate(query), rotate(key)
            mixed = functional.scaled_dot_product_attention(query, key, value, is_causal=True,
                                                            enable_gqa=kv_heads < heads)
            x = x + self.out(mixed.transpose(1, 2).reshape(x.shape))
            up = self.up(self.norm2(x))
            if not llama:
                return x + self.down(functional.gelu(up, approximate="tanh"))
            gate, up = up.chunk(2, dim=-1)
            return x + self.down(functional.silu(gate) * up)

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.tokens = nn.Embedding(padded_vocab, channels)
            self.positions = None if llama else nn.Embedding(TIME, channels)
            self.blocks = nn.ModuleList(Block() for _ in range(layers))
            self.norm = norm(channels)
            self.head = nn.Linear(channels, padded_vocab, bias=False)
            if not llama:
                self.head.weight = self.tokens.weight

        def forward(self, tokens, targets):
            x = self.tokens(tokens)
            if not llama:
                x = x + self.positions.weight
            for block in self.blocks:
                x = block(x)
            logits = self.head(self.norm(x))
            return functional.cross_entropy(logits.view(-1, padded_vocab).float(), targets.view(-1))

    torch.manual_seed(1)
    torch.set_float32_matmul_precision("high")
    model = Model().cuda()
    run = model if eager else torch.compile(model)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, weight_decay=0.1, fused=True)
    tokens = torch.randint(vocab, (batch, TIME), device="cuda")
    targets = torch.randint(vocab, (batch, TIME), device="cuda")

    def step():
        with torch.autocast("cuda", dtype=torch.bfloat16):
            loss = run(tokens, targets)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return loss.item()

    return step


def pytorch_tokens_per_second(step, batch, steps):
    seconds = []
    for _ in range(steps):
        start = time.perf_counter()
        step()
        seconds.append(time.perf_counter() - start)
    return batch * TIME / statistics.median(seconds)


def mslt_tokens_per_second(arguments):
    layers, heads, kv_heads, channels, inner, vocab = PRESETS[arguments.preset]
    model = ["--preset", arguments.preset]
    if arguments.preset == "llama-1b":
        model = ["--preset", "smollm-135m", "--tied-embeddings", "false", "--layers", str(layers), "--channels",
                 str(channels), "--heads", str(heads), "--kv-heads", str(kv_heads), "--head-size",
                 str(channels // heads), "--ffn-size", str(inner)]
    command = [arguments.mslt, "bench", "train", *model, "--vocab-size", str(vocab), "--seq-len", str(TIME),
               "--batch-size", str(arguments.batch_size), "--device", "cuda", "--dtype", "bf16", "--steps",
               str(arguments.steps), "--products", arguments.products, "--attention", arguments.attention, "--json"]
    result = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(result.stdout)["tokens_per_second"]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--mslt", required=True)
    parser.add_argument("--preset", choices=PRESETS, default="gpt2")
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--products", default="auto")
    parser.add_argument("--attention", default="auto")
    parser.add_argument("--eager", action="store_true", help="without torch.compile")
    arguments = parser.parse_args()

    step = make_pytorch_step(arguments.preset, arguments.batch_size, arguments.eager)
    for _ in range(3):
        step()
    ours, theirs = [], []
    for number in range(arguments.rounds):
        ours.append(mslt_tokens_per_second(arguments))
        theirs.append(pytorch_tokens_per_second(step, arguments.batch_size, arguments.steps))
        print(f"round {number + 1}: mslt {ours[-1]:.0f} tokens/s, PyTorch {theirs[-1]:.0f} tokens/s", flush=True)
    print(f"ratio of the medians: {statistics.median(ours) / statistics.median(theirs):.2f}")


if __name__ == "__main__":
    main()
