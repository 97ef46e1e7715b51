#!/usr/bin/env python3
"""Loads `mslt serve` with many clients, most of which misbehave, and checks that the others notice nothing.

    python bench/serve_load.py build/release/bin/mslt MODEL [--connections 1000] [--seconds 60]

MODEL is any that mslt opens. A few clients ask the same greedy completions again and again; their answers must be equal to
those of the idle server. All others, at random: read slowly, cut the connection, send garbage, oversized bodies, halves of
requests, several requests at once, or end their sending early. At the end the server must be idle and end by SIGTERM with
status 0, which under AddressSanitizer also means that nothing leaked. Prints counts as JSON; exits with status 1 on any
failure.
"""

import argparse
import asyncio
import json
import random
import signal
import subprocess
import sys
import time

PROMPTS = ["In the beginning", "hello", "a b c d", "0 1 2 3 4"]


def request(body, path="/v1/completions"):
    data = json.dumps(body).encode()
    return (f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(data)}\r\n\r\n").encode() + data


def completion(prompt, tokens, **more):
    return request({"prompt": prompt, "max_tokens": tokens, "temperature": 0, **more})


async def read_response(reader):
    head = (await reader.readuntil(b"\r\n\r\n")).decode()
    length = int(head.lower().split("content-length: ")[1].split("\r\n")[0])
    return int(head.split()[1]), await reader.readexactly(length)


class Load:
    def __init__(self, port, seconds):
        self.port = port
        self.end = time.monotonic() + seconds
        self.counts = {}
        self.failures = []

    def count(self, name):
        self.counts[name] = self.counts.get(name, 0) + 1

    async def ask(self, prompt, tokens):
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(completion(prompt, tokens))
        status, body = await read_response(reader)
        writer.close()
        return json.loads(body)["choices"][0]["text"] if status == 200 else status

    async def honest(self, prompt, expected, tokens):
        while time.monotonic() < self.end:
            text = await self.ask(prompt, tokens)
            if text in (429, 503):
                self.count("busy")
                await asyncio.sleep(0.2)
            elif text == expected:
                self.count("equal")
            else:
                self.failures.append(f"{prompt!r}: {text!r} is not {expected!r}")
                return

    async def hostile(self, seed):
        rng = random.Random(seed)
        while time.monotonic() < self.end:
            act = rng.choice([self.slow, self.cut, self.garbage, self.large, self.half, self.pipeline, self.half_open])
            try:
                await asyncio.wait_for(act(rng), 30)
                self.count(act.__name__)
            except (OSError, asyncio.IncompleteReadError, asyncio.TimeoutError, asyncio.LimitOverrunError):
                self.count(act.__name__ + " ended by the server")
            await asyncio.sleep(rng.random())

    async def connect(self):
        return await asyncio.open_connection("127.0.0.1", self.port, limit=1 << 16)

    async def slow(self, rng):
        reader, writer = await self.connect()
        writer.write(completion(rng.choice(PROMPTS), 64, stream=True))
        for _ in range(20):
            if not await reader.read(64):
                break
            await asyncio.sleep(rng.random() / 2)
        writer.close()

    async def cut(self, rng):
        _, writer = await self.connect()
        message = completion(rng.choice(PROMPTS), 400, stream=rng.random() < 0.5, n=rng.choice([1, 1, 3]))
        writer.write(message[:rng.randrange(1, len(message))] if rng.random() < 0.3 else message)
        await writer.drain()
        await asyncio.sleep(rng.random())
        writer.transport.abort()

    async def garbage(self, rng):
        reader, writer = await self.connect()
        writer.write(rng.randbytes(rng.randrange(1, 4000)) + b"\r\n\r\n")
        await asyncio.wait_for(reader.read(), 5)
        writer.close()

    async def large(self, rng):
        reader, writer = await self.connect()
        size = rng.choice([9 << 20, 1 << 40])
        writer.write(f"POST /v1/completions HTTP/1.1\r\nContent-Length: {size}\r\n\r\n".encode() + bytes(1 << 16))
        assert b" 413 " in await reader.read(64)
        writer.close()

    async def half(self, rng):
        _, writer = await self.connect()
        message = completion("x", 4)
        for byte in message[:rng.randrange(len(message))]:
            writer.write(bytes([byte]))
            await asyncio.sleep(0.01)
        writer.close()

    async def pipeline(self, rng):
        reader, writer = await self.connect()
        count = rng.randrange(2, 6)
        writer.write(b"".join(b"GET /health HTTP/1.1\r\n\r\n" + completion("a", 2) for _ in range(count)))
        for _ in range(2 * count):
            status, _ = await read_response(reader)
            assert status in (200, 429, 503), status
        writer.close()

    async def half_open(self, rng):
        reader, writer = await self.connect()
        writer.write(completion(rng.choice(PROMPTS), 400, stream=True))
        await writer.drain()
        writer.write_eof()
        await reader.read()
        writer.close()


async def load(port, connections, seconds, tokens):
    clients = Load(port, seconds)
    expected = {prompt: await clients.ask(prompt, tokens) for prompt in PROMPTS}
    clients.end = time.monotonic() + seconds
    await asyncio.gather(*(clients.honest(prompt, text, tokens) for prompt, text in expected.items()),
                         *(clients.hostile(seed) for seed in range(connections - len(PROMPTS))))
    # The same again, when all others have gone.
    for prompt, text in expected.items():
        if await clients.ask(prompt, tokens) != text:
            clients.failures.append(f"{prompt!r} is answered otherwise after the load")
    return clients


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("mslt")
    parser.add_argument("model")
    parser.add_argument("--connections", type=int, default=1000)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--tokens", type=int, default=24)
    arguments = parser.parse_args()
    server = subprocess.Popen([arguments.mslt, "serve", "--model", arguments.model, "--port", "0", "--json"],
                              stdout=subprocess.PIPE, text=True)
    answer = ""
    while not answer.endswith("\n}\n"):
        line = server.stdout.readline()
        if not line:
            sys.exit("The server did not start.")
        answer += line
    port = int(json.loads(answer)["url"].rsplit(":", 1)[1])
    try:
        clients = asyncio.run(load(port, arguments.connections, arguments.seconds, arguments.tokens))
        with open(f"/proc/{server.pid}/status", encoding="utf-8") as status:
            memory = [line.split(":")[1].strip() for line in status if line.startswith(("VmHWM", "VmRSS"))]
        server.send_signal(signal.SIGTERM)
        status = server.wait(timeout=120)
    finally:
        server.kill()
    failures = clients.failures + ([] if status == 0 else [f"the server ended with status {status}"])
    print(json.dumps({"counts": dict(sorted(clients.counts.items())), "memory": memory, "failures": failures}, indent=2))
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main()
