#!/usr/bin/env python3
"""Continues prompts greedily by the golden GGUF files (tests/golden/gguf) and compares the tokens with llama.cpp's.

    python tests/interop/gguf_families_oracle.py build/release/tests/interop/gguf_tool

Left out is what llama.cpp does not compute: Phi-3's windows and OLMo 2's biases. Needs the packages gguf, numpy and
xllamacpp (a build of llama.cpp). Exits with status 1 on any difference, 77 where a package is missing.
"""

import json
import pathlib
import subprocess
import sys
import tempfile
import urllib.request

try:
    import gguf
    import numpy
    import xllamacpp
except ImportError as error:
    print(f"skipped: {error}")
    sys.exit(77)

GOLDEN = pathlib.Path(__file__).parents[1] / "golden" / "gguf"
PROMPTS = [[3, 1, 4, 1, 5, 9, 2, 6], [7], [30, 31, 32, 33, 12, 14, 8, 8, 8, 2, 20, 21]]
COUNT = 20
END = 2


def write_with_tokenizer(source, path):
    """The same model with names for its tokens, without which neither generates."""
    reader = gguf.GGUFReader(source)
    architecture = reader.fields["general.architecture"].contents()
    writer = gguf.GGUFWriter(path, architecture)
    for key, field in reader.fields.items():
        if not key.startswith("GGUF.") and key not in ("general.architecture", "phi3.attention.sliding_window"):
            writer.add_key_value(key, field.contents(), field.types[0])
    writer.add_tokenizer_model("llama")
    names = ["<unk>", "<s>", "</s>", *(f"{chr(97 + i % 26)}{i}" for i in range(34))]
    writer.add_token_list(names)
    writer.add_token_scores([0.0] * len(names))
    writer.add_token_types([2, 3, 3] + [1] * 34)
    writer.add_bos_token_id(1)
    for tensor in reader.tensors:
        if architecture != "olmo2" or not tensor.name.endswith("bias"):
            writer.add_tensor(tensor.name, numpy.array(tensor.data))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def llama_cpp(path):
    parameters = xllamacpp.CommonParams()
    parameters.model.path = str(path)
    parameters.n_ctx = 96
    parameters.warmup = parameters.fit_params = False
    parameters.verbosity = -1
    parameters.cpuparams.n_threads = 1
    parameters.flash_attn_type = xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
    server = xllamacpp.Server(parameters)
    tokens = []
    for prompt in PROMPTS:
        data = {"prompt": prompt, "n_predict": COUNT, "samplers": ["top_k"], "top_k": 1, "return_tokens": True, "cache_prompt": False}
        request = urllib.request.Request(server.listening_address + "/completion", json.dumps(data).encode(), {"Content-Type": "application/json"})
        with urllib.request.urlopen(request) as reply:
            tokens.append(json.load(reply)["tokens"])
    return tokens


def main():
    failures = 0
    for name in ["qwen3", "phi3", "gemma2", "gemma3", "olmo2", "smollm3"]:
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder) / f"{name}.gguf"
            write_with_tokenizer(GOLDEN / path.name, path)
            ours = subprocess.run([sys.argv[1], "generate", path, str(COUNT)], input=json.dumps(PROMPTS), capture_output=True,
                                  check=True, text=True).stdout
            # llama.cpp stops at the token that ends texts.
            ours = [ids[: ids.index(END) + 1] if END in ids else ids for ids in json.loads(ours)]
            same = ours == llama_cpp(path)
        print(f"{name}: the tokens of llama.cpp {'are the same' if same else 'DIFFER'}")
        failures += not same
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main()
