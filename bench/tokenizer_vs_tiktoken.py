#!/usr/bin/env python3
"""Encoding speed of mslt against tiktoken: the same text, the same vocabulary, one thread, taking turns in one run,
in processor time.

    tokenizer_vs_tiktoken.py TOOL TEXT [--vocab-size N] [--pattern P] [--rounds R]

TOOL is the program tokenizer_tool of tests/interop, which trains the vocabulary. Checks that the ids are equal in
number, prints the best time of each and their ratio.
"""
import argparse
import json
import pathlib
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent / "tests" / "interop"))

import tiktoken  # noqa: E402
from tokenizer_oracle import PATTERNS, ranks_of  # noqa: E402


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tool")
    parser.add_argument("text")
    parser.add_argument("--vocab-size", type=int, default=1776)
    parser.add_argument("--pattern", choices=PATTERNS, default="gpt2")
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    text = pathlib.Path(arguments.text).read_text()
    megabytes = len(text.encode()) / 1e6
    # tiktoken's own expression for gpt2; its engine runs it faster than the one with a word for each contraction.
    expression = PATTERNS[arguments.pattern]
    if arguments.pattern == "gpt2":
        expression = r"'(?:[sdmt]|ll|ve|re)| ?\p{L}++| ?\p{N}++| ?[^\s\p{L}\p{N}]++|\s++$|\s+(?!\S)|\s"
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "tokenizer.json"

        def tool(*words):
            return subprocess.run([arguments.tool, *map(str, words)], capture_output=True, check=True).stdout.split()

        training = tool("train", arguments.text, path, arguments.vocab_size, arguments.pattern, 0, 2)
        print(f"training {arguments.vocab_size} tokens on {megabytes:.1f} MB: {float(training[0]):.3f} s")
        ranks = ranks_of(json.loads(path.read_text()))
        encoding = tiktoken.Encoding("bench", pat_str=expression, mergeable_ranks=ranks, special_tokens={})
        ours, theirs = [], []
        for _ in range(arguments.rounds):
            *seconds, count = tool("time", path, "-", arguments.text, 3)
            ours.append(min(map(float, seconds)))
            start = time.process_time()
            ids = encoding.encode_ordinary(text)
            theirs.append(time.process_time() - start)
            if len(ids) != int(count):
                raise SystemExit(f"mslt gives {int(count)} ids, tiktoken {len(ids)}")
    print(f"mslt      {megabytes / min(ours):8.1f} MB/s")
    print(f"tiktoken  {megabytes / min(theirs):8.1f} MB/s")
    print(f"ratio     {min(theirs) / min(ours):8.1f}")


if __name__ == "__main__":
    main()
