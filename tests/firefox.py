"""Firefox without a screen, by its own remote protocol (Marionette): enough to look at a page."""

import json
import os
import shutil
import socket
import subprocess
import time
from pathlib import Path
from typing import Any

BINARY = shutil.which("firefox-esr") or shutil.which("firefox")


class Firefox:
    """A browser with a profile of its own, closed when the `with` block ends."""

    def __init__(self, profile: Path) -> None:
        assert BINARY
        profile.mkdir()
        # Any free port, which the browser writes into a file.
        (profile / "user.js").write_text('user_pref("marionette.port", 0);\n')
        words = [BINARY, "--headless", "--marionette", "--no-remote", "--profile", str(profile)]
        self.process = subprocess.Popen(
            words,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "HOME": str(profile)},
        )
        port = profile / "MarionetteActivePort"
        until = time.monotonic() + 60
        while not (port.exists() and port.read_text().strip()):
            assert self.process.poll() is None, "Firefox ended by itself"
            assert time.monotonic() < until, "Firefox did not begin within a minute"
            time.sleep(0.1)
        self.socket = socket.create_connection(("127.0.0.1", int(port.read_text())), timeout=60)
        self.stream, self.number = self.socket.makefile("rwb"), 0
        self._answer()
        self.call("WebDriver:NewSession", capabilities={})

    def call(self, command: str, **parameters: Any) -> Any:
        """Carry out a command of WebDriver; return what it gives."""
        self.number += 1
        message = json.dumps([0, self.number, command, parameters]).encode()
        self.stream.write(b"%d:%s" % (len(message), message))
        self.stream.flush()
        _, _, error, value = self._answer()
        assert not error, error
        return value

    def text_of(self, page: Path, element: str, seconds: float = 30) -> str:
        """Open a page and wait until an element of it has a text."""
        self.call("WebDriver:Navigate", url=page.as_uri())
        script = f"return document.getElementById({json.dumps(element)})?.textContent"
        until = time.monotonic() + seconds
        while not (found := self.call("WebDriver:ExecuteScript", script=script, args=[])["value"]):
            assert time.monotonic() < until, f"{page}: {element} stays empty"
            time.sleep(0.2)
        return str(found)

    def _answer(self) -> Any:
        length = b""
        while (letter := self.stream.read(1)) not in (b":", b""):
            length += letter
        return json.loads(self.stream.read(int(length)))

    def __enter__(self) -> "Firefox":
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()
        self.process.terminate()
        self.process.wait(30)
