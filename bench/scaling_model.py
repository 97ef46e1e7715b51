#!/usr/bin/env python3
"""Predicts data-parallel training on many GPUs: tables of docs/scaling.md.

Usage: bench/scaling_model.py [--batch TOKENS_A_GPU] [--table memory|speed|edge|all]

One H100's speed is measured (docs/benchmarks.md); everything that needs a second GPU is computed from the rates below,
which are the makers' or common ones and were not measured here. Formulas are in docs/scaling.md.
"""

import argparse
from dataclasses import dataclass

GB = 1e9


@dataclass(frozen=True)
class Model:
    name: str
    parameters: float  # P
    undivided: float  # parameters of the last bucket: embeddings that are done when the backward pass ends
    flops: float  # of training, for a token
    share: float  # of the ceiling set by products that one GPU reaches
    is_measured: bool
    activations: float  # bytes for a token, nothing computed again


# GPT-2 124M, 355M and the Llama of 1.1 B as measured; the others at the share of the largest one that was, with
# activations by layers and channels.
MODELS = [
    Model("GPT-2 124M", 124e6, 39.4e6, 0.742e9, 0.54, True, 0.305e6),
    Model("GPT-2 355M", 355e6, 52.5e6, 2.12e9, 0.55, True, 0.80e6),
    Model("Llama 1.1B", 1.10e9, 65.5e6, 6.20e9, 0.58, True, 0.665e6),
    Model("GPT-2 1.5B", 1.56e9, 82.0e6, 9.8e9, 0.58, False, 2.5e6),
    Model("Llama 7B", 6.74e9, 131e6, 41.7e9, 0.58, False, 1.94e6),
]

CEILING = 798e12  # FLOP/s in large bf16 products of the H100 that was measured
GPU_MEMORY = 80e9 * 15 / 16
GPUS_A_HOST = 8
NVLINK = 360 * GB  # bytes/s each way that a ring uses of 450 of NVLink 4
INFINIBAND = 40 * GB  # of each GPU's own 400 Gbit/s, of 50
LAUNCH = 20e-6  # seconds of a collective within a host, whatever its size
HOP = 10e-6  # seconds for each further host, in the tree that small messages take: times log2 of the hosts
BUCKET = 2**25  # bytes
GPUS = [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024]


def log2(value):
    return max(0, (int(value) - 1).bit_length())


def half_seconds(size, gpus):
    """A reduce-scatter, or an all-gather, of so many bytes."""
    if gpus == 1:
        return 0.0
    inside = min(gpus, GPUS_A_HOST)
    hosts = gpus // inside
    seconds = LAUNCH + size * (inside - 1) / inside / NVLINK
    if hosts > 1:
        # Each GPU of a host passes its part on to those at its place in other hosts.
        seconds += HOP * log2(hosts) + size / inside * (hosts - 1) / hosts / INFINIBAND
    return seconds


def buckets(model):
    """Bytes of the buckets that are reduced while the backward pass goes on, and of the last one."""
    size = 2 * (model.parameters - model.undivided)
    count = max(1, int(size / BUCKET))
    return [size / count] * count, 2 * model.undivided


def step(model, gpus, tokens, zero, micro_batches=1):
    """Seconds of computing and of a whole step of so many tokens a GPU, and those of communication in it."""
    compute = tokens * model.flops / (model.share * CEILING)
    if gpus == 1:
        return compute, compute, 0.0
    early, last = buckets(model)
    halves = 2 if zero == 0 else 1
    times = [halves * half_seconds(size, gpus) for size in early]
    # Two thirds of a pass go backwards; only the last batch's hides the reduction, with stage 2 every batch's.
    passes = micro_batches if zero == 2 else 1
    backward = compute / micro_batches * 2 / 3
    each = backward / len(early)
    at = done = 0.0
    for seconds in times:
        at += each
        done = max(done, at) + seconds
    late = halves * half_seconds(last, gpus)
    exposed = max(0.0, done - backward) + late
    communication = passes * (sum(times) + late)
    total = compute + passes * exposed
    if zero > 0:
        gathered = sum(half_seconds(size, gpus) for size in [*early, last])
        total += gathered
        communication += gathered
    return compute, total, communication


def state_bytes(model, gpus, zero):
    """Bytes of parameters, gradients, moments and master weights on one GPU, in bf16."""
    parameters = 2 * model.parameters
    gradients = 2 * model.parameters
    optimizer = 12 * model.parameters / (gpus if zero >= 1 else 1)
    if zero >= 2 and gpus > 1:
        gradients = 2 * model.undivided + 2 * BUCKET + 2 * model.parameters / gpus
    return parameters + gradients + optimizer


def print_memory():
    print("| GB a GPU, bf16 | 1 GPU | 8, stage 0 | 8, stage 1 | 8, stage 2 | 64, stage 1 | 64, stage 2 | 1,024, stage 2 |")
    print("|---|---|---|---|---|---|---|---|")
    for model in MODELS:
        cells = [(1, 0), (8, 0), (8, 1), (8, 2), (64, 1), (64, 2), (1024, 2)]
        sizes = [state_bytes(model, gpus, zero) / GB for gpus, zero in cells]
        print(f"| {model.name} | " + " | ".join(f"{size:.3g}" for size in sizes) + " |")


def stage_for(model, gpus, tokens):
    """The lowest stage whose memory fits beside the activations; None where none does."""
    for zero in (0, 1, 2):
        if state_bytes(model, gpus, zero) + tokens * model.activations <= GPU_MEMORY:
            return zero
    return None


def print_speed(tokens):
    print("| GPUs | " + " | ".join(model.name for model in MODELS) + " |")
    print("|---" * (len(MODELS) + 1) + "|")
    for gpus in GPUS:
        cells = []
        for model in MODELS:
            zero = stage_for(model, gpus, tokens)
            if zero is None:
                cells.append("does not fit")
                continue
            compute, total, _ = step(model, gpus, tokens, zero)
            rate = gpus * tokens / total
            cells.append(f"{rate / 1e6:.3g} M, {100 * compute / total:.0f} %, stage {zero}")
        print(f"| {gpus:,} | " + " | ".join(cells) + " |")


def print_edge(batch):
    """A batch of fixed size: where more GPUs no longer pay."""
    print("| tokens of a step / GPUs | 8 | 64 | 256 | 1,024 |")
    print("|---|---|---|---|---|")
    for model in MODELS:
        cells = []
        for gpus in (8, 64, 256, 1024):
            tokens = batch / gpus
            compute, total, _ = step(model, gpus, tokens, 1)
            cells.append(f"{gpus * tokens / total / 1e6:.3g} M, {100 * compute / total:.0f} %")
        print(f"| {model.name} | " + " | ".join(cells) + " |")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=16384, help="tokens of a GPU's step in the table of speeds")
    parser.add_argument("--global-batch", type=int, default=2**20, help="tokens of all GPUs' step in the last table")
    parser.add_argument("--table", choices=["memory", "speed", "edge", "all"], default="all")
    arguments = parser.parse_args()
    if arguments.table in ("memory", "all"):
        print_memory()
        print()
    if arguments.table in ("speed", "all"):
        print_speed(arguments.batch)
        print()
    if arguments.table in ("edge", "all"):
        print_edge(arguments.global_batch)


if __name__ == "__main__":
    main()
