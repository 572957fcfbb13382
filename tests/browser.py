"""Headless Chromium driven through its debugging pipe: a page of a given size, its screenshots, real mouse events."""

import base64
import contextlib
import fcntl
import io
import itertools
import json
import os
import select
import shutil
import subprocess
import sys
import tempfile
import time

import numpy as np
from PIL import Image

PROGRAM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")

# The browser reads commands from file descriptor 3 and answers on 4; here they have other numbers, so as to meet no others.
_LAUNCH = (
    "import os, sys; os.dup2(int(sys.argv[1]), 3); os.dup2(int(sys.argv[2]), 4); os.execvp(sys.argv[3], sys.argv[3:])"
)
_FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --remote-debugging-pipe"
).split()
_SECONDS = 30  # for any one answer, on a busy machine


@contextlib.contextmanager
def opened(url, width=800, height=600):
    """Yield the `Page` of an address, its inner size width x height pixels; the browser ends with the block."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        (read_3, write_3), (read_4, write_4) = _pipe(), _pipe()
        command = [sys.executable, "-c", _LAUNCH, str(read_3), str(write_4), PROGRAM, *_FLAGS]
        process = subprocess.Popen(
            [*command, f"--user-data-dir={profile}", "about:blank"],
            pass_fds=(read_3, write_4),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(read_3)
        os.close(write_4)
        try:
            page = Page(write_3, read_4)
            page.call(
                "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False
            )
            for domain in ("Runtime", "Log"):
                page.call(f"{domain}.enable")
            page.call("Page.navigate", url=url)
            yield page
        finally:
            os.close(write_3)
            process.kill()
            process.wait()
            os.close(read_4)


class Page:
    """The page of a running browser."""

    def __init__(self, to_browser, from_browser):
        self._to, self._from, self._answers, self._session = to_browser, from_browser, b"", None
        self.errors = []  # what the console has shown as such, and exceptions
        self._numbers = itertools.count(1)
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]

    def call(self, method, **parameters):
        """Return the result of a command of the debugging protocol."""
        number = next(self._numbers)
        message = {"id": number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._to, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._receive()
            self._note(answer)
            if answer.get("id") == number:
                assert "error" not in answer, answer
                return answer["result"]

    def evaluate(self, expression):
        """Return the value of a JavaScript expression."""
        result = self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    def wait(self, expression):
        """Wait until a JavaScript expression is true; until its names are there it is not."""
        end = time.monotonic() + _SECONDS
        while not self.evaluate(f"(() => {{ try {{ return !!({expression}); }} catch {{ return false; }} }})()"):
            assert time.monotonic() < end, f"not true within {_SECONDS} s: {expression}"
            time.sleep(0.05)

    def screenshot(self):
        """Return the pixels, uint8 (height, width, 3)."""
        data = base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"])
        return np.array(Image.open(io.BytesIO(data)).convert("RGB"))

    def mouse(self, kind, x, y, **more):
        self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, **more)

    def _note(self, event):
        told = event.get("params", {})
        method, level = event.get("method"), told.get("entry", {}).get("level") or told.get("type")
        if (
            method == "Runtime.exceptionThrown"
            or level == "error"
            and method in ("Runtime.consoleAPICalled", "Log.entryAdded")
        ):
            self.errors.append(told)

    def _receive(self):
        end = time.monotonic() + _SECONDS
        while b"\0" not in self._answers:
            ready, _, _ = select.select([self._from], [], [], max(0, end - time.monotonic()))
            data = os.read(self._from, 2**20) if ready else b""
            assert data, "the browser does not answer"
            self._answers += data
        message, self._answers = self._answers.split(b"\0", 1)
        return json.loads(message)


def _pipe():
    """Return (read, write) of a pipe, numbers of 100 and more."""
    ends = os.pipe()
    high = tuple(fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 100) for end in ends)
    for end in ends:
        os.close(end)
    return high
