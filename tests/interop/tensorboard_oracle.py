#!/usr/bin/env python3
"""Reads the event files of a training run with TensorBoard's own EventAccumulator and compares them with metrics.jsonl.

    tensorboard_oracle.py TOOL

TOOL is the program train_tool. Trains a tiny model in a temporary folder, and compares every scalar. Exits 1 at any
difference, and 77 with the reason where the package tensorboard is missing.
"""
import json
import pathlib
import struct
import subprocess
import sys
import tempfile

try:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
except ImportError as error:
    print(f"skipped: {error}")
    sys.exit(77)

TAGS = {
    "loss/train": "loss",
    "learning_rate": "lr",
    "gradient_norm": "grad_norm",
    "loss/validation": "val_loss",
    "bits_per_byte/validation": "val_bits_per_byte",
}


def as_f32(value):
    return struct.unpack("f", struct.pack("f", value))[0]


def main():
    tool = sys.argv[1]
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        subprocess.run([tool, "prepare", folder], check=True)
        # A run that stops half way and continues writes two files; the second one replaces the first from the step at which it
        # resumes.
        stopped = subprocess.run([tool, "fill-disk", folder, "run", "18"], stderr=subprocess.DEVNULL)
        assert stopped.returncode == 1, "the first half should have ended with a full disk"
        subprocess.run([tool, "run", folder, "run"], check=True)
        run = folder / "run"
        lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
        events = EventAccumulator(str(run / "tensorboard"), size_guidance={"scalars": 0, "tensors": 0})
        events.Reload()
        wrong = 0
        for tag, member in TAGS.items():
            expected = [(line["step"], as_f32(line[member])) for line in lines if member in line]
            found = [(event.step, event.value) for event in events.Scalars(tag)]
            same = found == expected and len(expected) > 0
            wrong += not same
            print(f"{tag}: {len(found)} values, {'equal' if same else f'expected {expected[:3]}, found {found[:3]}'}")
        sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
