#!/usr/bin/env python3
"""Training speed compared with PyTorch on this machine's CPU: same GPT-2 shape, batch and optimiser, alternating in one run.

Usage: bench/train_vs_pytorch.py --mslt build/release/bin/mslt [--rounds 3]
Needs PyTorch and transformers. Prints tokens/s of both, round by round, and the ratio of the medians.
"""

import argparse
import json
import statistics
import subprocess
import time

LAYERS, HEADS, CHANNELS, TIME, VOCAB, BATCH = 6, 6, 384, 256, 2048, 16


def make_pytorch_step():
    import torch
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(1)
    config = GPT2Config(
        vocab_size=VOCAB, n_positions=TIME, n_embd=CHANNELS, n_layer=LAYERS, n_head=HEADS,
        resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0, use_cache=False,
    )
    model = GPT2LMHeadModel(config).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, weight_decay=0.1, fused=True)
    tokens = torch.randint(VOCAB, (BATCH, TIME))

    def step():
        loss = model(input_ids=tokens, labels=tokens).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return loss.item()

    return step


def pytorch_tokens_per_second(step, steps):
    step()
    seconds = []
    for _ in range(steps):
        start = time.perf_counter()
        step()
        seconds.append(time.perf_counter() - start)
    return BATCH * TIME / statistics.median(seconds)


def mslt_result(program, steps):
    command = [program, "bench", "train", "--preset", "mini", "--vocab-size", str(VOCAB), "--batch-size", str(BATCH),
               "--steps", str(steps), "--json"]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--mslt", required=True)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=3)
    arguments = parser.parse_args()

    step = make_pytorch_step()
    ours, theirs = [], []
    for number in range(arguments.rounds):
        result = mslt_result(arguments.mslt, arguments.steps)
        ours.append(result["tokens_per_second"])
        theirs.append(pytorch_tokens_per_second(step, arguments.steps))
        print(f"round {number + 1}: mslt {ours[-1]:.0f} tokens/s ({100 * result['share_of_ceiling']:.0f} % of its ceiling), "
              f"PyTorch {theirs[-1]:.0f} tokens/s", flush=True)
    print(f"ratio of the medians: {statistics.median(ours) / statistics.median(theirs):.2f}")


if __name__ == "__main__":
    main()
