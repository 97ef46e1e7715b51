#!/usr/bin/env python3
"""Drives the chat page in a headless Chromium: sends, streams, stops, regenerates, reloads, and shows hostile texts.

    python3 tests/page/page_test.py src/serve/page.html [--server URL] [--pictures FOLDER]

A server of its own speaks the API; with --server, only what holds for any model is tested, against that one. Exits with 77 where
there is no Chromium.
"""

import argparse
import base64
import http.server
import json
import os
import pathlib
import sys
import tempfile
import threading
import time

from browser import WAIT_SECONDS, Browser, check, installed

HOSTILE = """<script>window.harm = 1</script><img src=x onerror="window.harm = 2">
[a](javascript:window.harm=3) [b](data:text/html,<script>harm=4</script>) [c](JaVaScRiPt:window.harm=5)
[d]( java\tscript:window.harm=6) ![e](http://127.0.0.1:9/picture) <a href="javascript:window.harm=7">f</a>
[g](https://example.org/"onmouseover="window.harm=8) **<svg onload=window.harm=9>** `<b onclick=harm=10>`

| <img src=x onerror=window.harm=11> | b |
|---|---|
| <iframe srcdoc="<script>parent.harm=12</script>"></iframe> | c |

```<img src=x onerror=window.harm=13>
</code></pre><script>window.harm = 14</script>
```
<style>body { display: none }</style><base href="http://127.0.0.1:9/">{{nonce}}
"""

RICH = """# Title #

A **bold** and *slanted* word, `code`, snake_case_name, and a [link](https://example.org/a_b).

1. one
2. two
   - inner

| left | right |
|:-----|------:|
| 1    | 2 \\| 3 |

> said

```python
if a < b:
    print("x")
```
"""


class FakeServer(http.server.ThreadingHTTPServer):
    """Speaks as much of the API as the page uses. What it answers depends on the last message."""

    daemon_threads = True

    def __init__(self, page):
        super().__init__(("127.0.0.1", 0), FakeHandler)
        self.page = page
        self.requests = []
        self.cut = threading.Event()  # a client went away in the middle of an answer
        self.key = None

    def handle_error(self, request, client_address):
        pass


class FakeHandler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *unused):
        pass

    def reply(self, body, kind="application/json", status=200, headers=()):
        data = body.encode()
        self.send_response(status)
        for name, value in [("Content-Type", kind), ("Content-Length", str(len(data))), *headers]:
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    def refuses(self):
        if self.server.key is None or self.headers.get("Authorization") == f"Bearer {self.server.key}":
            return False
        self.reply(json.dumps({"error": {"message": "The API key is missing."}}), status=401)
        return True

    def do_GET(self):
        if self.path == "/":
            nonce = base64.b64encode(os.urandom(16)).decode()
            policy = (
                f"default-src 'none'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; connect-src 'self'; "
                "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
            )
            page = self.server.page.replace("{{nonce}}", nonce)
            return self.reply(page, "text/html; charset=utf-8", headers=[("Content-Security-Policy", policy)])
        if not self.refuses():
            self.reply(json.dumps({"object": "list", "data": [{"id": "model-<b>x</b>"}]}))

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.refuses():
            return
        self.server.requests.append(body)
        question = body["messages"][-1]["content"]
        if question == "refuse":
            return self.reply(json.dumps({"error": {"message": "Too long <b>a prompt</b>."}}), status=400)
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        self.end_headers()
        self.close_connection = True
        try:
            self.stream(question, len(self.server.requests))
        except OSError:
            self.server.cut.set()

    def event(self, value):
        self.wfile.write(f"data: {json.dumps(value)}\n\n".encode())
        self.wfile.flush()

    def chunk(self, text, reason=None):
        self.event({"choices": [{"index": 0, "delta": {"content": text}, "finish_reason": reason}], "usage": None})

    def stream(self, question, number):
        if question == "endless":
            for i in range(2000):
                self.chunk(f"word{i} ")
                time.sleep(0.05)
        text = {"hostile": HOSTILE, "rich": RICH}.get(question, f"Answer {number} to {question} \u00e9\U0001f600")
        self.wfile.write(b": ping\n\n")
        raw = text.encode()
        for i in range(0, len(text), 7):
            self.chunk(text[i : i + 7])
        if question == "break":
            return
        # An event in two pieces, within a character.
        event = {"choices": [{"delta": {"content": " end\u00e9"}}]}
        last = f"data: {json.dumps(event, ensure_ascii=False)}\n\n".encode()
        cut = last.index("\u00e9".encode()) + 1
        self.wfile.write(last[:cut])
        self.wfile.flush()
        time.sleep(0.1)
        self.wfile.write(last[cut:])
        self.chunk("", "stop")
        self.event({"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": len(raw), "total_tokens": 9}})
        self.wfile.write(b"data: [DONE]\n\n")


class ChatPage(Browser):
    """The page in a browser."""

    def open(self, address):
        super().open(address, "!!document.querySelector('#log')?.childNodes.length")

    def type(self, text):
        self.js("document.querySelector('#prompt').focus()")
        self.call("Input.insertText", text=text)

    def ask(self, text):
        self.type(text)
        self.press("Enter", text="\r")


IDLE = "document.querySelector('#stop').hidden"
ANSWERS = "[...document.querySelectorAll('article.assistant .content')].map(e => e.innerText)"
LAST = "document.querySelector('#log article.assistant:last-of-type .content')?.innerText ?? ''"


def talk(browser, address):
    """What holds for any model: an answer streams, survives a reload, and can be made anew and deleted."""
    browser.open(address)
    # A small model may talk for minutes.
    browser.js("(e => { e.value = '20'; e.dispatchEvent(new Event('input', {bubbles: true})); })(document.querySelector('#max_tokens'))")
    browser.ask("Say hello.")
    browser.wait(f"{IDLE} && ({LAST}).length > 0")
    check("tokens/s" in browser.js("document.querySelector('.speed').textContent"), "no speed is shown")
    before = browser.js(ANSWERS)
    browser.open(address)
    check(browser.js(ANSWERS) == before, "the conversation did not survive a reload")
    browser.click("Generate this answer anew")
    browser.wait(f"{IDLE} && ({LAST}).length > 0")
    check(browser.js("document.querySelectorAll('article').length") == 2, "regenerating added a message")
    browser.click("Delete your last message and its answer")
    check(browser.js("document.querySelectorAll('article').length") == 0, "deleting left a message")


def stream_and_stop(browser, server):
    browser.ask("endless")
    browser.wait(f"({LAST}).includes('word3')")
    check(not browser.js(IDLE), "an endless answer ended")
    check(browser.js("document.querySelector('#log').getAttribute('aria-busy')") == "true", "the log is not busy")
    browser.press("Escape")
    browser.wait(IDLE)
    check(server.cut.wait(WAIT_SECONDS), "stopping left the connection open")
    check("stopped" in browser.js("document.querySelector('.speed').textContent"), "nothing says that it was stopped")
    # The button does it as well, and another request may follow.
    browser.click("Generate this answer anew")
    browser.wait(f"({LAST}).includes('word1')")
    browser.click("Stop")
    browser.wait(IDLE)
    browser.click("Delete your last message and its answer")


def lines_and_edits(browser, server):
    browser.type("two")
    browser.press("Enter", modifiers=8, text="\r")
    browser.type("lines")
    check(browser.js("document.querySelector('#prompt').value") == "two\nlines", "Shift+Enter started no line")
    browser.press("Enter", text="\r")
    browser.wait(f"{IDLE} && ({LAST}).includes('end\u00e9')")
    check(server.requests[-1]["messages"][-1]["content"] == "two\nlines", "the message changed on its way")
    check("\u00e9\U0001f600" in browser.js(LAST) and "\ufffd" not in browser.js(LAST), "characters were torn")
    browser.click("Edit your last message")
    check(browser.js("document.querySelector('#prompt').value") == "two\nlines", "editing lost the message")
    browser.js("document.querySelector('#prompt').value = ''")


def settings(browser, server, address):
    browser.click("Settings")
    for name, value in [("temperature", "0.5"), ("top_p", "0.9"), ("max_tokens", "17"), ("seed", "4"), ("system", "Be kind.")]:
        browser.js(
            f"(e => {{ e.value = '{value}'; e.dispatchEvent(new Event('input', {{bubbles: true}})); }})"
            f"(document.querySelector('#{name}'))"
        )
    browser.open(address)
    browser.ask("settings")
    browser.wait(f"{IDLE} && ({LAST}).length > 0")
    body = server.requests[-1]
    expected = {"temperature": 0.5, "top_p": 0.9, "max_tokens": 17, "seed": 4}
    check(all(body.get(name) == value for name, value in expected.items()), f"the settings were not sent: {body}")
    check(body["messages"][0] == {"role": "system", "content": "Be kind."}, "the system prompt was not sent")


def hostile_texts(browser, pictures):
    browser.ask("hostile")
    browser.wait(f"{IDLE} && ({LAST}).includes('end\u00e9')")
    browser.js(
        "for (const e of document.querySelectorAll('#log .content *')) "
        "for (const kind of ['click', 'mouseover', 'focus']) if (e.tagName !== 'A') e.dispatchEvent(new Event(kind))"
    )
    time.sleep(0.5)
    check(browser.js("window.harm === undefined"), f"text of the model ran: {browser.js('window.harm')}")
    made = browser.js("[...new Set([...document.querySelectorAll('.content *')].map(e => e.tagName))].sort()")
    allowed = set("A BR BUTTON CODE DEL DIV EM LI OL P PRE SPAN STRONG TABLE TBODY TD TH THEAD TR UL".split())
    check(set(made) <= allowed, f"the text became other elements: {made}")
    links = browser.js("[...document.querySelectorAll('.content a')].map(e => [e.protocol, e.rel, e.getAttributeNames().sort().join()])")
    check(links, "the harmless link is missing")
    for protocol, relation, names in links:
        check(protocol in ("http:", "https:"), f"a link to {protocol}")
        check("noopener" in relation and names == "href,rel,target", f"a link with {relation} and {names}")
    check(browser.js("document.querySelector('#model').textContent") == "model-<b>x</b>", "the model's name changed")
    if pictures:
        browser.picture(pictures / "hostile.png")


def markdown(browser, pictures):
    browser.ask("rich")
    browser.wait(f"{IDLE} && ({LAST}).includes('end\u00e9')")
    content = "document.querySelector('#log article.assistant:last-of-type .content')"
    for selector, text in {
        "h3": "Title", "strong": "bold", "em": "slanted", "p code": "code", "p a": "link", "ol > li": "one",
        "ol ul li": "inner", "th.right": "right", "td.right": "2 | 3", "blockquote": "said",
        "pre code": 'if a < b:\n    print("x")',
    }.items():  # fmt: skip
        found = browser.js(f"{content}.querySelector('{selector}')?.textContent")
        check(found == text, f"{selector} is {found!r}")
    check("snake_case_name" in browser.js(f"{content}.textContent"), "a name with underscores was changed")
    check(browser.js(f"{content}.querySelector('a').href") == "https://example.org/a_b", "the link was changed")
    if not pictures:
        return
    for name, width, scheme in [("wide_light", 1100, "light"), ("narrow_light", 360, "light"), ("narrow_dark", 360, "dark"),
                                ("wide_dark", 1100, "dark")]:  # fmt: skip
        browser.call("Emulation.setDeviceMetricsOverride", width=width, height=800, deviceScaleFactor=1, mobile=False)
        browser.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        browser.picture(pictures / f"{name}.png")


def narrow(browser):
    browser.call("Emulation.setDeviceMetricsOverride", width=320, height=600, deviceScaleFactor=1, mobile=False)
    check(browser.js("document.documentElement.scrollWidth <= 320"), "a narrow screen scrolls sideways")
    browser.call("Emulation.clearDeviceMetricsOverride")


def failures(browser, server, address):
    problem = "document.querySelector('#problem')"
    browser.ask("refuse")
    browser.wait(f"{IDLE} && !{problem}.hidden")
    check(browser.js(f"{problem}.textContent") == "Too long <b>a prompt</b>.", "the server's message was lost")
    browser.click("Delete your last message and its answer")
    browser.ask("break")
    browser.wait(f"{IDLE} && (document.querySelector('.below:last-of-type .speed'), true)")
    browser.wait("[...document.querySelectorAll('.speed')].at(-1).textContent.includes('cut off')")
    server.key = "secret"
    browser.open(address)
    browser.wait("!document.querySelector('#key-form').hidden")
    browser.js("document.querySelector('#key').value = 'secret'")
    browser.click("Use this key")
    browser.wait(f"{problem}.hidden && document.querySelector('#key-form').hidden")
    browser.ask("with a key")
    browser.wait(f"{IDLE} && ({LAST}).includes('with a key')")
    server.key = None


def new_chat(browser, address):
    browser.click("New chat")
    check(browser.js("document.querySelectorAll('article').length") == 0, "a new chat has messages")
    browser.click("Bring back the last chat")
    check(browser.js("document.querySelectorAll('article').length") > 0, "the last chat did not come back")
    browser.click("New chat")
    browser.open(address)
    check(browser.js("document.querySelectorAll('article').length") == 0, "the new chat did not survive a reload")


def names(browser):
    """Every field and button has a name, and the focus is seen."""
    unnamed = browser.js(
        "[...document.querySelectorAll('button, input, textarea')].filter(e => "
        "!(e.getAttribute('aria-label') || e.textContent.trim() || e.labels?.length)).map(e => e.outerHTML)"
    )
    check(unnamed == [], f"without a name: {unnamed}")
    check(browser.js("document.querySelector('#log').getAttribute('aria-live')") == "polite", "the log is not live")
    skip = "document.querySelector('a, button, input, textarea')"
    check(browser.js(f"{skip}.className") == "skip", "the skip link is not the first to get the focus")
    check(browser.js(f"{skip}.focus(), {skip}.getBoundingClientRect().left >= 0"), "the focused skip link is not seen")
    browser.js("document.querySelector('#prompt').focus()")
    browser.press("Tab")
    outline = browser.js("getComputedStyle(document.activeElement).outlineStyle")
    check(outline == "solid", f"the focus is not seen: its outline is {outline}")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("page", type=pathlib.Path)
    parser.add_argument("--server")
    parser.add_argument("--pictures", type=pathlib.Path)
    arguments = parser.parse_args()
    program = installed()
    if not program:
        print("skipped: there is no Chromium")
        return 77
    if arguments.pictures:
        arguments.pictures.mkdir(parents=True, exist_ok=True)
    server = FakeServer(arguments.page.read_text(encoding="utf-8"))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = arguments.server or f"http://127.0.0.1:{server.server_port}/"
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        browser = ChatPage(program, folder)
        try:
            talk(browser, address)
            if not arguments.server:
                names(browser)
                stream_and_stop(browser, server)
                lines_and_edits(browser, server)
                settings(browser, server, address)
                hostile_texts(browser, arguments.pictures)
                markdown(browser, arguments.pictures)
                narrow(browser)
                failures(browser, server, address)
                new_chat(browser, address)
            elsewhere = [url for url in browser.fetched if not url.startswith(address) and not url.startswith("data:")]
            check(elsewhere == [], f"the page asked others: {elsewhere}")
            check(browser.errors == [], f"the page's script failed: {browser.errors}")
        finally:
            browser.close()
            server.shutdown()
    print("The page does what it should.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
