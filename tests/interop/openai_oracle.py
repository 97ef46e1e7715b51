#!/usr/bin/env python3
"""Talks to `mslt serve` by the real client of OpenAI's API, and runs the curl examples of README.md.

    python tests/interop/openai_oracle.py build/release/bin/mslt

Trains a tiny model that knows one conversation by heart, with a chat template of its own. Exits with status 1 on any
failure, 77 where the package openai is missing.
"""

import json
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request

try:
    import openai
except ImportError:
    print("skipped: the package openai is not installed")
    sys.exit(77)

CALL = '<tool_call>\n{"name": "weather", "arguments": {"city": "Paris"}}\n</tool_call>'
LINES = ["<user>hello\n<bot>\nGood day to you.\n", f"<user>weather\n<bot>\n{CALL}\n"]
# Training puts the end-of-text token before each example.
TEMPLATE = """{{ eos_token }}{%- if tools %}{# <tool_call> #}{% endif -%}
{%- for message in messages -%}
{%- if message.role not in ['user', 'assistant'] %}{{ raise_exception('The role ' + message.role + ' is not known.') }}{% endif -%}
{{ '<user>' if message.role == 'user' else '<bot>\n' }}{{ message.content }}
{% endfor -%}
{%- if add_generation_prompt %}{{ '<bot>\n' }}{% endif -%}"""
TOOLS = [{"type": "function", "function": {"name": "weather", "parameters": {
    "type": "object", "properties": {"city": {"type": "string"}}}}}]
FORCED = [{"type": "function", "function": {"name": "weather", "parameters": {
    "type": "object", "properties": {"city": {"enum": ["Rome", "Oslo"]}}, "required": ["city"]}}}]
SCHEMA = {"type": "object", "properties": {"name": {"type": "string", "maxLength": 5}, "age": {"type": "integer"}},
          "required": ["name", "age"], "additionalProperties": False}
KEY = "secret"


def run(*arguments):
    result = subprocess.run([str(argument) for argument in arguments], capture_output=True, text=True)
    if result.returncode != 0:
        sys.exit(f"{arguments} failed:\n{result.stdout}{result.stderr}")


def make_model(mslt, folder):
    text = folder / "text.txt"
    text.write_text("".join(LINES) * 300)
    # Each conversation is an example of its own, as the server gives it to the model.
    examples = folder / "examples.jsonl"
    examples.write_text("".join(json.dumps({"text": line}) + "\n" for line in LINES) * 100)
    run(mslt, "tokenizer", "train", "--input", text, "--vocab-size", 300, "--output", folder / "tokenizer.json")
    run(mslt, "data", "prepare", "--tokenizer", folder / "tokenizer.json", "--input", examples, "--examples",
        "--output", folder / "data")
    run(mslt, "train", "--data", folder / "data", "--output", folder / "run", "--preset", "tiny", "--layers", 2,
        "--channels", 64, "--heads", 2, "--steps", 150, "--lr", "1e-2", "--batch-size", 8, "--seq-len", 64,
        "--position", "rope", "--max-positions", 512, "--eval-batches", 1, "--device", "cpu")
    (folder / "run" / "chat_template.jinja").write_text(TEMPLATE)
    return folder / "run"


class Server:
    """`mslt serve` on a free port, ended by SIGTERM."""

    def __init__(self, mslt, model, *options):
        self.process = subprocess.Popen(
            [str(mslt), "serve", "--model", str(model), "--model-name", "tiny", "--port", "0", "--device", "cpu",
             "--json", *options], stdout=subprocess.PIPE, text=True)
        answer = ""
        while not answer.endswith("}\n"):
            line = self.process.stdout.readline()
            if not line:
                sys.exit("The server did not start.")
            answer += line
        self.url = json.loads(answer)["url"]

    def client(self, **options):
        return openai.OpenAI(base_url=self.url + "/v1", api_key=KEY, max_retries=0, timeout=60, **options)

    def get(self, path):
        request = urllib.request.Request(self.url + path, headers={"Authorization": f"Bearer {KEY}"})
        return urllib.request.urlopen(request).read().decode()

    def metric(self, name):
        return float(re.search(rf"^{re.escape(name)} (\S+)$", self.get("/metrics"), re.M)[1])

    def end(self):
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=60)


def check_models(server, client):
    assert [model.id for model in client.models.list()] == ["tiny"]
    assert client.models.retrieve("tiny").owned_by == "mslt"


def check_completions(server, client):
    whole = client.completions.create(model="tiny", prompt="<user>hello\n<bot>\n", max_tokens=40, temperature=0, stop="\n")
    assert whole.choices[0].text == "Good day to you.", whole
    assert whole.choices[0].finish_reason == "stop"
    assert whole.usage.total_tokens == whole.usage.prompt_tokens + whole.usage.completion_tokens
    streamed = "".join(chunk.choices[0].text for chunk in client.completions.create(
        model="tiny", prompt="<user>hello\n<bot>\n", max_tokens=40, temperature=0, stop="\n", stream=True))
    assert streamed == whole.choices[0].text, streamed
    several = client.completions.create(model="tiny", prompt=["<user>", "<bot>"], n=2, max_tokens=5, echo=True, seed=3)
    assert [choice.index for choice in several.choices] == [0, 1, 2, 3]
    assert [choice.text[:5] for choice in several.choices] == ["<user", "<user", "<bot>", "<bot>"]
    again = client.completions.create(model="tiny", prompt=["<user>", "<bot>"], n=2, max_tokens=5, echo=True, seed=3)
    assert [choice.text for choice in several.choices] == [choice.text for choice in again.choices]
    logprobs = client.completions.create(model="tiny", prompt="<user>hello\n<bot>\n", max_tokens=4, temperature=0,
                                         logprobs=3).choices[0].logprobs
    assert len(logprobs.tokens) == len(logprobs.token_logprobs) == len(logprobs.top_logprobs) == 4
    assert all(value <= 0 for value in logprobs.token_logprobs)


def check_chat(server, client):
    messages = [{"role": "user", "content": [{"type": "text", "text": "hello"}]}]
    answer = client.chat.completions.create(model="tiny", messages=messages, temperature=0, max_completion_tokens=40,
                                            stop=["\n"], logprobs=True, top_logprobs=2)
    choice = answer.choices[0]
    assert choice.message.role == "assistant" and choice.message.content == "Good day to you.", choice
    assert choice.logprobs.content and len(choice.logprobs.content[0].top_logprobs) == 2
    chunks = list(client.chat.completions.create(model="tiny", messages=messages, temperature=0, max_tokens=40, stop="\n",
                                                 stream=True, stream_options={"include_usage": True}))
    assert chunks[0].choices[0].delta.role == "assistant"
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices) == choice.message.content
    assert chunks[-2].choices[0].finish_reason == "stop"
    assert not chunks[-1].choices and chunks[-1].usage.completion_tokens == answer.usage.completion_tokens
    plain = list(client.chat.completions.create(model="tiny", messages=messages, max_tokens=3, stream=True))
    assert all(chunk.usage is None for chunk in plain)


def check_tools(server, client):
    messages = [{"role": "user", "content": "weather"}]
    choice = client.chat.completions.create(model="tiny", messages=messages, tools=TOOLS, temperature=0,
                                            max_tokens=100, stop="\n<user>").choices[0]
    assert choice.finish_reason == "tool_calls", choice
    call = choice.message.tool_calls[0]
    assert call.function.name == "weather" and json.loads(call.function.arguments) == {"city": "Paris"}
    calls = [call for chunk in client.chat.completions.create(
        model="tiny", messages=messages, tools=TOOLS, temperature=0, max_tokens=100, stop="\n<user>", stream=True)
        for call in chunk.choices[0].delta.tool_calls or []]
    assert len(calls) == 1 and json.loads(calls[0].function.arguments) == {"city": "Paris"}
    text = client.chat.completions.create(model="tiny", messages=messages, tools=TOOLS, tool_choice="none", temperature=0,
                                          max_tokens=100, stop="\n<user>").choices[0]
    assert not text.message.tool_calls and text.message.content.strip() == CALL, text
    # A call that the model would not make by itself.
    chosen = {"type": "function", "function": {"name": "weather"}}
    for choice, stream in (("required", False), (chosen, False), ("required", True)):
        answer = client.chat.completions.create(model="tiny", messages=[{"role": "user", "content": "hello"}],
                                                tools=FORCED, tool_choice=choice, max_tokens=100, stream=stream)
        if stream:
            calls = [call for chunk in answer for call in chunk.choices[0].delta.tool_calls or []]
        else:
            assert answer.choices[0].finish_reason == "tool_calls", answer
            calls = answer.choices[0].message.tool_calls
        assert len(calls) == 1 and calls[0].function.name == "weather", calls
        assert json.loads(calls[0].function.arguments)["city"] in ("Rome", "Oslo"), calls
    try:
        client.chat.completions.create(model="tiny", messages=messages, tools=TOOLS,
                                       tool_choice={"type": "function", "function": {"name": "other"}})
        sys.exit("A tool that is not there was accepted.")
    except openai.BadRequestError as error:
        assert error.param == "tool_choice", error


def check_schemas(server, client):
    for seed in range(3):
        answer = client.chat.completions.create(
            model="tiny", messages=[{"role": "user", "content": "hello"}], seed=seed, max_tokens=300,
            response_format={"type": "json_schema", "json_schema": {"name": "person", "schema": SCHEMA}})
        value = json.loads(answer.choices[0].message.content)
        assert set(value) == {"name", "age"} and isinstance(value["age"], int), value


def refused(kind, status, code, action):
    try:
        action()
    except kind as error:
        assert error.status_code == status and error.code == code, (error.status_code, error.code)
        return
    raise AssertionError(f"{kind} was not raised")


def check_errors(server, client):
    chat = client.chat.completions.create
    hello = [{"role": "user", "content": "hello"}]
    refused(openai.NotFoundError, 404, "model_not_found", lambda: chat(model="other", messages=hello))
    refused(openai.BadRequestError, 400, None, lambda: chat(model="tiny", messages=[]))
    refused(openai.BadRequestError, 400, None, lambda: chat(model="tiny", messages=hello, temperature=3))
    refused(openai.BadRequestError, 400, None,
            lambda: chat(model="tiny", messages=[{"role": "tool", "content": "x", "tool_call_id": "1"}]))
    refused(openai.BadRequestError, 400, "context_length_exceeded",
            lambda: client.completions.create(model="tiny", prompt="hello " * 2000))
    refused(openai.BadRequestError, 400, None, lambda: chat(
        model="tiny", messages=hello,
        response_format={"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "odd"}}}))
    try:
        chat(model="tiny", messages=hello, extra_body={"chat_template_kwargs": {"messages": 1}})
        raise AssertionError("messages that are no list were accepted")
    except openai.BadRequestError as error:
        assert "line" in error.body["message"] and "/" not in error.body["message"], error.body
    wrong = openai.OpenAI(base_url=server.url + "/v1", api_key="wrong", max_retries=0)
    refused(openai.AuthenticationError, 401, "invalid_api_key", lambda: wrong.models.list())


def check_cancellation(server, client):
    before = server.metric('mslt_requests_total{outcome="cancelled"}')
    stream = client.completions.create(model="tiny", prompt="<user>", max_tokens=450, stream=True, n=40,
                                       extra_body={"ignore_eos": True})
    next(iter(stream))
    stream.close()
    for _ in range(600):
        if server.metric("mslt_requests_running") == 0 and server.metric("mslt_requests_queued") == 0:
            break
        time.sleep(0.05)
    assert server.metric('mslt_requests_total{outcome="cancelled"}') > before


def check_readme(server, client):
    readme = (pathlib.Path(__file__).parents[2] / "README.md").read_text()
    examples = re.findall(r"^    (curl (?:.*\\\n)*.*)$", readme, re.M)
    examples = [example for example in examples if "127.0.0.1:8080" in example]
    assert examples, "README.md has no curl examples"
    if shutil.which("curl") is None:
        print("The examples of README.md were left out: there is no curl.")
        return
    for example in examples:
        command = example.replace("http://127.0.0.1:8080", server.url).replace(
            "curl ", f"curl -sS --fail-with-body -H 'Authorization: Bearer {KEY}' ")
        result = subprocess.run(command, shell=True, capture_output=True, text=True)
        assert result.returncode == 0 and result.stdout, (example, result.stdout, result.stderr)


def main():
    mslt = pathlib.Path(sys.argv[1]).resolve()
    checks = [check_models, check_completions, check_chat, check_tools, check_schemas, check_errors, check_cancellation,
              check_readme]
    with tempfile.TemporaryDirectory(prefix="mslt_openai_") as name:
        folder = pathlib.Path(name)
        model = make_model(mslt, folder)
        (folder / "key").write_text(KEY + "\n")
        server = Server(mslt, model, "--api-key-file", str(folder / "key"))
        try:
            client = server.client()
            for check in checks:
                check(server, client)
                print(check.__name__, "passed")
            assert server.end() == 0, "SIGTERM must end an idle server with status 0"
        finally:
            server.process.kill()


if __name__ == "__main__":
    main()
