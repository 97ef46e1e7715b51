"""A headless Chromium for tests of pages. Speaks the DevTools protocol over a pipe, so only Python's own library is needed."""

import base64
import json
import os
import select
import shutil
import subprocess
import time

WAIT_SECONDS = 60


def installed():
    """The program, or None."""
    return next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


def check(holds, what):
    if not holds:
        raise AssertionError(what)


class Browser:
    """One page of a Chromium, over the DevTools protocol on descriptors 3 and 4."""

    def __init__(self, program, folder):
        to_read, self.output = os.pipe()
        self.input, to_write = os.pipe()
        # Through high numbers, so that neither pair overwrites the other.
        high_read, high_write = os.dup(to_read), os.dup(to_write)
        for descriptor in (high_read, high_write):
            os.set_inheritable(descriptor, True)
        arguments = [
            program, "--headless=new", "--remote-debugging-pipe", f"--user-data-dir={folder}", "--no-first-run",
            "--disable-gpu", "--disable-dev-shm-usage", "--disable-background-networking", "--no-sandbox",
        ]  # fmt: skip
        shell = f'exec 3<&{high_read} 4>&{high_write}; exec "$@"'
        self.process = subprocess.Popen(
            ["bash", "-c", shell, "browser", *arguments],
            pass_fds=(high_read, high_write), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        for descriptor in (to_read, to_write, high_read, high_write):
            os.close(descriptor)
        self.buffer = b""
        self.number = 0
        self.session = None
        self.errors = []
        self.fetched = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def read(self):
        while b"\0" not in self.buffer:
            ready, _, _ = select.select([self.input], [], [], WAIT_SECONDS)
            data = os.read(self.input, 1 << 16) if ready else b""
            if not data:
                raise RuntimeError("Chromium ended or is silent.")
            self.buffer += data
        message, self.buffer = self.buffer.split(b"\0", 1)
        return json.loads(message)

    def call(self, method, **parameters):
        self.number += 1
        message = {"id": self.number, "method": method, "params": parameters}
        if self.session:
            message["sessionId"] = self.session
        os.write(self.output, json.dumps(message).encode() + b"\0")
        while True:
            answer = self.read()
            if answer.get("id") == self.number:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']}")
                return answer["result"]
            if answer.get("method") == "Runtime.exceptionThrown":
                self.errors.append(answer["params"]["exceptionDetails"])
            if answer.get("method") == "Network.requestWillBeSent":
                self.fetched.append(answer["params"]["request"]["url"])

    def js(self, expression):
        result = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in result:
            raise RuntimeError(f"{expression}: {result['exceptionDetails']}")
        return result["result"].get("value")

    def wait(self, expression):
        end = time.monotonic() + WAIT_SECONDS
        while time.monotonic() < end:
            if self.js(expression):
                return
            time.sleep(0.05)
        raise AssertionError(f"never true: {expression}; the page says {self.js('document.body.innerText')}")

    def open(self, address, ready="true"):
        self.call("Page.navigate", url=address)
        self.wait(f"document.readyState === 'complete' && ({ready})")

    def press(self, key, modifiers=0, text=None):
        code = {"Enter": 13, "Escape": 27, "Tab": 9}[key]
        common = {"key": key, "code": key, "windowsVirtualKeyCode": code, "modifiers": modifiers}
        self.call("Input.dispatchKeyEvent", type="keyDown", **common, **({"text": text} if text else {}))
        self.call("Input.dispatchKeyEvent", type="keyUp", **common)

    def click(self, name):
        self.js(
            "[...document.querySelectorAll('button')].filter(b => !b.hidden && "
            f"(b.getAttribute('aria-label') ?? b.textContent) === {json.dumps(name)}).at(-1).click()"
        )

    def picture(self, path):
        path.write_bytes(base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"]))

    def close(self):
        try:
            self.session = None
            self.call("Browser.close")
        except (OSError, RuntimeError):
            pass
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
