#!/usr/bin/env python3
"""Training speed beside PyTorch on an NVIDIA GPU: the same GPT-2, batch and optimiser, in turn, in one run.

Usage: bench/train_vs_pytorch_cuda.py --mslt build/cuda/bin/mslt [--preset gpt2|gpt2-medium] [--batch-size 32]
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

# Layers, heads, channels.
PRESETS = {"gpt2": (12, 12, 768), "gpt2-medium": (24, 16, 1024)}
TIME = 1024
VOCAB = 50257
PADDED_VOCAB = 50304


def make_pytorch_step(preset, batch, eager):
    import torch
    from torch import nn
    from torch.nn import functional

    layers, heads, channels = PRESETS[preset]

    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm1, self.norm2 = nn.LayerNorm(channels), nn.LayerNorm(channels)
            self.qkv, self.out = nn.Linear(channels, 3 * channels), nn.Linear(channels, channels)
            self.up, self.down = nn.Linear(channels, 4 * channels), nn.Linear(4 * channels, channels)

        def forward(self, x):
            rows = [part.view(x.shape[0], TIME, heads, -1).transpose(1, 2)
                    for part in self.qkv(self.norm1(x)).split(channels, dim=2)]
            mixed = functional.scaled_dot_product_attention(*rows, is_causal=True)
            x = x + self.out(mixed.transpose(1, 2).reshape(x.shape))
            return x + self.down(functional.gelu(self.up(self.norm2(x)), approximate="tanh"))

    class Gpt2(nn.Module):
        def __init__(self):
            super().__init__()
            self.tokens, self.positions = nn.Embedding(PADDED_VOCAB, channels), nn.Embedding(TIME, channels)
            self.blocks = nn.ModuleList(Block() for _ in range(layers))
            self.norm = nn.LayerNorm(channels)

        def forward(self, tokens, targets):
            x = self.tokens(tokens) + self.positions.weight
            for block in self.blocks:
                x = block(x)
            logits = functional.linear(self.norm(x), self.tokens.weight)
            return functional.cross_entropy(logits.view(-1, PADDED_VOCAB).float(), targets.view(-1))

    torch.manual_seed(1)
    torch.set_float32_matmul_precision("high")
    model = Gpt2().cuda()
    run = model if eager else torch.compile(model)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, weight_decay=0.1, fused=True)
    tokens = torch.randint(VOCAB, (batch, TIME), device="cuda")
    targets = torch.randint(VOCAB, (batch, TIME), device="cuda")

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
    command = [arguments.mslt, "bench", "train", "--preset", arguments.preset, "--vocab-size", str(VOCAB),
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
