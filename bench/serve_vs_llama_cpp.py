#!/usr/bin/env python3
"""Compares `mslt serve` with llama.cpp's server: tokens a second at 1, 8 and 32 requests at once, and the time to the first
token of a new request while 8 others decode.

    python bench/serve_vs_llama_cpp.py build/release/bin/mslt MODEL.gguf [--rounds 3] [--threads 2] [--work short mixed]

Needs the package xllamacpp, which holds llama.cpp and its server; exits with status 77 without it. Both servers stay up, and
each measurement asks one after the other, so that what else the machine does slows both. Every request streams a greedy
completion of the same number of tokens, past any end of text; no two prompts begin alike, so nothing is taken from a cache
of prompts. The work is "short" prompts of about 40 tokens, or "mixed", where every fourth has about 500. Tokens a second
are those of answers, with the time of the prompts included. Prints medians, and the median of the rounds' ratios.
"""

import argparse
import asyncio
import json
import os
import random
import signal
import statistics
import subprocess
import sys
import time

WORDS = ("the river runs past a small town where people build boats of wood and sell fish bread wine salt cloth books "
         "in spring rain falls on old roofs while children learn songs about stars mountains winter wind light").split()
AT_ONCE = [1, 8, 32]
SLOTS = 33


def prompt(rng, words):
    return " ".join(rng.choice(WORDS) for _ in range(words))


def serve_llama_cpp(path, threads):
    """Runs llama.cpp's server until standard input ends."""
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = path
    params.n_parallel = SLOTS
    params.n_ctx = SLOTS * 1024
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = threads
    params.n_gpu_layers = 0
    server = xllamacpp.Server(params)
    print(server.listening_address, flush=True)
    sys.stdin.read()
    os._exit(0)


class Server:
    def __init__(self, name, command, by_processor):
        self.name = name
        self.clock = self.processor_seconds if by_processor else time.perf_counter
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                                        text=True)
        address = ""
        while "http://" not in address:
            address = self.process.stdout.readline()
            if not address:
                sys.exit(f"{name} did not start.")
        host, port = address.split("http://")[1].strip(' \n",').rsplit(":", 1)
        self.host, self.port = host, int(port)

    def processor_seconds(self):
        with open(f"/proc/{self.process.pid}/stat", encoding="utf-8") as stat:
            fields = stat.read().rsplit(") ", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def stop(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    async def stream(self, text, tokens, seen=None):
        """Seconds to the first token and to the end; seen() is called at the first token."""
        body = json.dumps({"prompt": text, "max_tokens": tokens, "temperature": 0, "ignore_eos": True, "stream": True,
                           "stream_options": {"include_usage": True}, "cache_prompt": False}).encode()
        start = time.perf_counter()
        reader, writer = await asyncio.open_connection(self.host, self.port)
        try:
            writer.write(f"POST /v1/completions HTTP/1.1\r\nHost: {self.host}\r\nContent-Type: application/json\r\n"
                         f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode() + body)
            first = usage = None
            while line := await reader.readline():
                if not line.startswith(b"data: {"):
                    continue
                if first is None:
                    first = time.perf_counter() - start
                    if seen:
                        seen()
                if b'"usage":{' in line:
                    usage = json.loads(line[6:])["usage"]
            if usage is None or usage["completion_tokens"] != tokens:
                sys.exit(f"{self.name} wrote {usage} instead of {tokens} tokens.")
            return first, time.perf_counter() - start, usage["prompt_tokens"]
        finally:
            writer.close()

    async def rate(self, prompts, at_once, tokens):
        """Answered tokens a second."""
        waiting = list(reversed(prompts))

        async def client():
            while waiting:
                await self.stream(waiting.pop(), tokens)

        start = self.clock()
        await asyncio.gather(*(client() for _ in range(at_once)))
        return len(prompts) * tokens / (self.clock() - start)

    async def first_token(self, prompts, text):
        """Seconds to the first token of a prompt while one answer to each of the others is written."""
        started = asyncio.Semaphore(0)
        others = [asyncio.create_task(self.stream(each, 900, started.release)) for each in prompts]
        for _ in others:
            await started.acquire()
        await asyncio.sleep(0.2)
        first, _, _ = await self.stream(text, 1)
        for other in others:
            other.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        await asyncio.sleep(0.3)  # for the server to notice
        return first


async def compare(servers, arguments):
    rng = random.Random(1)
    print(f"{'work':<28} {'mslt':>9} {'llama.cpp':>10} {'ratio':>6}   load {os.getloadavg()[0]:.1f}", flush=True)

    async def row(label, measure, higher):
        results = [[], []]
        for number in range(arguments.rounds):
            order = (0, 1) if number % 2 == 0 else (1, 0)
            work = measure()
            for index in order:
                results[index].append(await work(servers[index]))
        ratio = statistics.median(mine / other if higher else other / mine for mine, other in zip(*results))
        ours, theirs = map(statistics.median, results)
        print(f"{label:<28} {ours:9.3g} {theirs:10.3g} {ratio:6.2f}", flush=True)

    def rates(kind, at_once):
        def measure():
            prompts = [prompt(rng, 480 if kind == "mixed" and i % 4 == 0 else 38) for i in range(max(at_once, 4))]
            return lambda server: server.rate(prompts, at_once, arguments.tokens)

        return measure

    def waits(words):
        def measure():
            prompts, text = [prompt(rng, 38) for _ in range(8)], prompt(rng, words)
            return lambda server: server.first_token(prompts, text)

        return measure

    for server in servers:
        await server.stream(prompt(rng, 38), 8)
    for kind in arguments.work:
        for at_once in arguments.at_once:
            await row(f"{kind}, {at_once} at once, tokens/s", rates(kind, at_once), True)
    if arguments.wait:
        for words, name in ((38, "short"), (480, "long")):
            await row(f"{name} beside 8, s to first", waits(words), False)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("mslt")
    parser.add_argument("model")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--work", nargs="+", choices=["short", "mixed"], default=["short", "mixed"])
    parser.add_argument("--at-once", nargs="+", type=int, default=AT_ONCE)
    parser.add_argument("--processor-time", action="store_true",
                        help="per second of processor time, not of the clock; best with --threads 1 on a busy machine")
    parser.add_argument("--no-wait", dest="wait", action="store_false", help="leave the times to the first token out")
    parser.add_argument("--options", nargs=argparse.REMAINDER, default=[], help="further options of mslt serve, at the end")
    arguments = parser.parse_args()
    try:
        import xllamacpp  # noqa: F401
    except ImportError as error:
        print(f"skipped: {error}")
        sys.exit(77)
    threads = str(arguments.threads)
    commands = {
        "mslt": [arguments.mslt, "serve", "--model", arguments.model, "--port", "0", "--json", "--threads", threads,
                 "--max-running", str(SLOTS), *arguments.options],
        "llama.cpp": [sys.executable, "-c", "import sys; sys.path.insert(0, sys.argv[1]); import serve_vs_llama_cpp as b; "
                      "b.serve_llama_cpp(sys.argv[2], int(sys.argv[3]))", os.path.dirname(os.path.abspath(__file__)),
                      arguments.model, threads],
    }
    servers = []
    try:
        for name, command in commands.items():
            servers.append(Server(name, command, arguments.processor_time))
        asyncio.run(compare(servers, arguments))
    finally:
        for server in servers:
            server.stop()


if __name__ == "__main__":
    main()
