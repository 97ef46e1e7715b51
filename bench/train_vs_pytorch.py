#!/usr/bin/env python3
"""Training speed beside PyTorch: the same model, batch and optimiser, in turn, in one run.

Usage: bench/train_vs_pytorch.py --mslt build/release/bin/mslt [--device cpu|cuda] [--preset gpt2] [--batch-size 32]
           [--seq-len 1024] [--rounds 3] [--eager] [--products msl] [--attention msl]
Needs PyTorch. On a GPU both compute in bf16 with f32 master weights (PyTorch by autocast), on the CPU in f32. PyTorch's
model is compiled by torch.compile unless --eager, its attention is scaled_dot_product_attention and its optimiser fused
AdamW. Prints tokens/s of both, round by round, and the ratio of the medians.
"""

import argparse
import contextlib
import json
import statistics
import subprocess
import time
from typing import NamedTuple


class Shape(NamedTuple):
    layers: int
    heads: int
    kv_heads: int
    channels: int
    inner: int
    time: int
    vocab: int


SHAPES = {
    "tiny": Shape(4, 4, 4, 128, 512, 128, 1776),
    "mini": Shape(6, 6, 6, 384, 1536, 256, 2048),
    "gpt2": Shape(12, 12, 12, 768, 3072, 1024, 50257),
    "gpt2-medium": Shape(24, 16, 16, 1024, 4096, 1024, 50257),
    "llama-1b": Shape(22, 32, 4, 2048, 5632, 1024, 32000),
}


def make_pytorch_step(shape, llama, batch, device, eager):
    import torch
    from torch import nn
    from torch.nn import functional

    # A multiple of 128 is what PyTorch's users are advised to take on GPUs; mslt pads inside.
    vocab = (shape.vocab + 127) // 128 * 128 if device == "cuda" else shape.vocab
    size = shape.channels // shape.heads
    norm = nn.RMSNorm if llama else nn.LayerNorm

    def linear(inputs, outputs):
        return nn.Linear(inputs, outputs, bias=not llama)

    angles = torch.outer(torch.arange(shape.time), 10000.0 ** (-torch.arange(0, size, 2) / size)).repeat(1, 2).to(device)
    cosines, sines = angles.cos(), angles.sin()

    def rotate(x):
        low, high = x.chunk(2, dim=-1)
        return (x * cosines + torch.cat((-high, low), dim=-1) * sines).to(x.dtype)

    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm1, self.norm2 = norm(shape.channels), norm(shape.channels)
            self.qkv = linear(shape.channels, shape.channels + 2 * shape.kv_heads * size)
            self.out = linear(shape.channels, shape.channels)
            self.up = linear(shape.channels, 2 * shape.inner if llama else shape.inner)
            self.down = linear(shape.inner, shape.channels)

        def forward(self, x):
            columns = [shape.channels, shape.kv_heads * size, shape.kv_heads * size]
            query, key, value = [part.view(x.shape[0], shape.time, -1, size).transpose(1, 2)
                                 for part in self.qkv(self.norm1(x)).split(columns, dim=2)]
            if llama:
                query, key = rotate(query), rotate(key)
            mixed = functional.scaled_dot_product_attention(query, key, value, is_causal=True,
                                                            enable_gqa=shape.kv_heads < shape.heads)
            x = x + self.out(mixed.transpose(1, 2).reshape(x.shape))
            up = self.up(self.norm2(x))
            if not llama:
                return x + self.down(functional.gelu(up, approximate="tanh"))
            gate, up = up.chunk(2, dim=-1)
            return x + self.down(functional.silu(gate) * up)

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.tokens = nn.Embedding(vocab, shape.channels)
            self.positions = None if llama else nn.Embedding(shape.time, shape.channels)
            self.blocks = nn.ModuleList(Block() for _ in range(shape.layers))
            self.norm = norm(shape.channels)
            self.head = nn.Linear(shape.channels, vocab, bias=False)
            if not llama:
                self.head.weight = self.tokens.weight

        def forward(self, tokens, targets):
            x = self.tokens(tokens)
            if not llama:
                x = x + self.positions.weight
            for block in self.blocks:
                x = block(x)
            logits = self.head(self.norm(x))
            return functional.cross_entropy(logits.view(-1, vocab).float(), targets.view(-1))

    torch.manual_seed(1)
    torch.set_float32_matmul_precision("high")
    model = Model().to(device)
    run = model if eager else torch.compile(model)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, weight_decay=0.1, fused=True)
    tokens = torch.randint(shape.vocab, (batch, shape.time), device=device)
    targets = torch.randint(shape.vocab, (batch, shape.time), device=device)

    def precision():
        return torch.autocast("cuda", dtype=torch.bfloat16) if device == "cuda" else contextlib.nullcontext()

    def step():
        with precision():
            loss = run(tokens, targets)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return loss.item()

    return step


def pytorch_tokens_per_second(step, tokens, steps):
    seconds = []
    for _ in range(steps):
        start = time.perf_counter()
        step()
        seconds.append(time.perf_counter() - start)
    return tokens / statistics.median(seconds)


def mslt_result(arguments, shape):
    model = ["--preset", arguments.preset]
    if arguments.preset == "llama-1b":
        model = ["--preset", "smollm-135m", "--tied-embeddings", "false", "--layers", str(shape.layers), "--channels",
                 str(shape.channels), "--heads", str(shape.heads), "--kv-heads", str(shape.kv_heads), "--head-size",
                 str(shape.channels // shape.heads), "--ffn-size", str(shape.inner)]
    command = [arguments.mslt, "bench", "train", *model, "--vocab-size", str(shape.vocab), "--seq-len", str(shape.time),
               "--batch-size", str(arguments.batch_size), "--device", arguments.device, "--steps",
               str(arguments.steps), "--json"]
    if arguments.device == "cuda":
        command += ["--dtype", "bf16", "--products", arguments.products, "--attention", arguments.attention]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--mslt", required=True)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--preset", choices=SHAPES, default="gpt2")
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--seq-len", type=int, help="tokens per sequence, unless the model's context")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--products", default="auto")
    parser.add_argument("--attention", default="auto")
    parser.add_argument("--eager", action="store_true", help="without torch.compile")
    arguments = parser.parse_args()

    shape = SHAPES[arguments.preset]
    if arguments.seq_len:
        shape = shape._replace(time=arguments.seq_len)
    tokens = arguments.batch_size * shape.time
    step = make_pytorch_step(shape, arguments.preset.startswith("llama"), arguments.batch_size, arguments.device,
                             arguments.eager)
    for _ in range(3):
        step()
    ours, theirs = [], []
    for number in range(arguments.rounds):
        result = mslt_result(arguments, shape)
        ours.append(result["tokens_per_second"])
        theirs.append(pytorch_tokens_per_second(step, tokens, arguments.steps))
        print(f"round {number + 1}: mslt {ours[-1]:.0f} tokens/s ({100 * result['share_of_ceiling']:.0f} % of its ceiling), "
              f"PyTorch {theirs[-1]:.0f} tokens/s", flush=True)
    print(f"ratio of the medians: {statistics.median(ours) / statistics.median(theirs):.2f}")


if __name__ == "__main__":
    main()
