"""Headless Chromium spoken to over a pipe, with real uploads and downloads."""

import base64
import fcntl
import json
import os
import select
import shutil
import subprocess
import time

from patience import PATIENCE

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
_SWITCHES = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--remote-debugging-pipe",
]


class Browser:
    """One page of a browser of its own.

    Attributes:
        problems: what the page's console complained of, and requests that were blocked.
    """

    def __init__(self, folder):
        self._number = 0
        self._text = b""
        self._session = None
        self.problems = []
        # The browser reads from its descriptor 3 and writes to 4.
        theirs_in, self._out = _pipe()
        self._in, theirs_out = _pipe()

        def connect():
            os.dup2(theirs_in, 3)
            os.dup2(theirs_out, 4)

        self._process = subprocess.Popen(
            [CHROMIUM, *_SWITCHES, f"--user-data-dir={folder}", "about:blank"],
            preexec_fn=connect,
            pass_fds=(3, 4),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(theirs_in)
        os.close(theirs_out)
        pages = self.call("Target.getTargets")["targetInfos"]
        target = next(page["targetId"] for page in pages if page["type"] == "page")
        self._session = self.call(
            "Target.attachToTarget", targetId=target, flatten=True
        )["sessionId"]
        for domain in ("Page", "Runtime", "Log", "DOM"):
            self.call(f"{domain}.enable")

    def call(self, method, **parameters):
        """Call a method of the DevTools protocol."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._out, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._receive()
            if answer.get("id") == self._number:
                assert "error" not in answer, (method, answer["error"])
                return answer["result"]
            self._note(answer)

    def run(self, script):
        """The value of an expression, promises awaited."""
        answer = self.call(
            "Runtime.evaluate",
            expression=script,
            awaitPromise=True,
            returnByValue=True,
            userGesture=True,
        )
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def wait(self, condition):
        """Wait until an expression is true."""
        end = time.monotonic() + PATIENCE
        while not self.run(condition):
            assert time.monotonic() < end, f"in vain: {condition}"
            self.run("new Promise(done => setTimeout(done, 20))")

    def open(self, url):
        """Go to a page."""
        self.call("Page.navigate", url=url)
        self.wait(f"location.href === {url!r} && document.readyState === 'complete'")

    def findings(self, page, script):
        """Open a file, and return what a script puts into its object `out`."""
        self.problems.clear()
        self.open(page.as_uri())
        return self.run(f"(() => {{ const out = {{}}; {script}\nreturn out; }})()")

    def upload(self, selector, *paths):
        """Choose files in a file input, as a person does in its dialogue."""
        root = self.call("DOM.getDocument")["root"]["nodeId"]
        node = self.call("DOM.querySelector", nodeId=root, selector=selector)["nodeId"]
        files = [str(path) for path in paths]
        self.call("DOM.setFileInputFiles", nodeId=node, files=files)

    def press(self, key, code):
        """Press a key of the keyboard."""
        for kind in ("keyDown", "keyUp"):
            self.call(
                "Input.dispatchKeyEvent",
                type=kind,
                key=key,
                code=key,
                windowsVirtualKeyCode=code,
            )

    def look(self, width, height, *, dark=False):
        """Set the window's size, and light or dark."""
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=False,
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])

    def picture(self):
        """The window as PNG bytes."""
        return base64.b64decode(self.call("Page.captureScreenshot")["data"])

    def close(self):
        message = {"id": self._number + 1, "method": "Browser.close"}
        os.write(self._out, json.dumps(message).encode() + b"\0")
        try:
            self._process.wait(timeout=PATIENCE)
        finally:
            self._process.kill()
        os.close(self._in)
        os.close(self._out)

    def _receive(self):
        while b"\0" not in self._text:
            ready, _, _ = select.select([self._in], [], [], PATIENCE)
            assert ready, "the browser is silent"
            block = os.read(self._in, 1 << 20)
            assert block, "the browser has ended"
            self._text += block
        text, _, self._text = self._text.partition(b"\0")
        return json.loads(text)

    def _note(self, event):
        method, found = event.get("method"), event.get("params", {})
        if method == "Runtime.exceptionThrown":
            self.problems.append(found["exceptionDetails"])
        elif method == "Log.entryAdded" and found["entry"]["level"] == "error":
            self.problems.append(found["entry"])
        elif method == "Runtime.consoleAPICalled" and found["type"] in (
            "error",
            "warning",
        ):
            self.problems.append(found)


def _pipe():
    """Both ends of a pipe, away from the numbers that the browser takes."""
    ends = os.pipe()
    moved = [fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 10) for end in ends]
    for end in ends:
        os.close(end)
    return moved
