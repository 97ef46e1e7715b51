#!/usr/bin/env python3
"""How much of its speed mslt keeps beside other busy processes.

Usage: bench/contention.py --mslt build/release/bin/mslt [--mslt OTHER ...] [--presets tiny mini gpt2] [--busy 1]
                           [--rounds 5] [--work train generate]

Runs `mslt bench` alone and beside busy loops in turns, and prints the medians of tokens/s and their ratio for each
program, preset and kind of work. The loops are this script's own: they end with it, whatever ends it.
"""

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys

# Ends when its parent does, even if that is killed.
BUSY_LOOP = """
import os, sys
parent = int(sys.argv[1])
while os.getppid() == parent:
    for _ in range(100000):
        pass
"""

COMMANDS = {
    "train": {
        "tiny": ["--batch-size", "16", "--steps", "20"],
        "mini": ["--batch-size", "4", "--steps", "5"],
        "gpt2": ["--batch-size", "1", "--seq-len", "256", "--steps", "3"],
    },
    "generate": {
        "tiny": ["--new-tokens", "64"],
        "mini": ["--new-tokens", "128"],
        "gpt2": ["--new-tokens", "32"],
    },
}
KEYS = {"train": "tokens_per_second", "generate": "decode_tokens_per_second"}


@contextlib.contextmanager
def busy_loops(count):
    loops = [subprocess.Popen([sys.executable, "-c", BUSY_LOOP, str(os.getpid())]) for _ in range(count)]
    try:
        yield
    finally:
        for loop in loops:
            loop.kill()
        for loop in loops:
            loop.wait()


def tokens_per_second(program, work, preset):
    command = [program, "bench", work, "--preset", preset, "--device", "cpu", "--json", *COMMANDS[work][preset]]
    result = subprocess.run(command, check=True, capture_output=True, text=True)
    return json.loads(result.stdout)[KEYS[work]]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mslt", action="append", required=True, help="a program to measure; may be repeated")
    parser.add_argument("--presets", nargs="+", default=["tiny", "mini", "gpt2"], choices=["tiny", "mini", "gpt2"])
    parser.add_argument("--work", nargs="+", default=["train", "generate"], choices=["train", "generate"])
    parser.add_argument("--busy", type=int, default=1, help="busy loops")
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    print(f"{'work':<9} {'preset':<7} {'alone':>9} {'beside ' + str(arguments.busy):>9} {'ratio':>6}  program")
    for work in arguments.work:
        for preset in arguments.presets:
            alone = {program: [] for program in arguments.mslt}
            beside = {program: [] for program in arguments.mslt}
            for _ in range(arguments.rounds):
                for program in arguments.mslt:
                    alone[program].append(tokens_per_second(program, work, preset))
                with busy_loops(arguments.busy):
                    for program in arguments.mslt:
                        beside[program].append(tokens_per_second(program, work, preset))
            for program in arguments.mslt:
                free, shared = statistics.median(alone[program]), statistics.median(beside[program])
                print(f"{work:<9} {preset:<7} {free:9.0f} {shared:9.0f} {shared / free:6.0%}  {program}", flush=True)


if __name__ == "__main__":
    main()
