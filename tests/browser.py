"""Headless Chromium for tests, driven through chromedriver with the standard library alone."""

from __future__ import annotations

import base64
import json
import os
import re
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path
from types import TracebackType
from typing import Any

ELEMENT = "element-6066-11e4-a52e-4f735466cecf"
"""The key of an element's reference, fixed by the WebDriver standard."""


def find_browser() -> tuple[str, str] | None:
    """Paths of chromedriver and of Chromium or Chrome, if both are on this machine."""
    driver = shutil.which("chromedriver")
    names = ("chromium", "chromium-browser", "google-chrome")
    browser = next((path for path in map(shutil.which, names) if path), None)
    return (driver, browser) if driver and browser else None


class Browser:
    """A browser window; a context manager."""

    def __init__(
        self,
        driver: str,
        browser: str,
        profile: Path,
        size: tuple[int, int] = (1400, 860),
        phone: bool = False,
        webgl: bool = True,
    ) -> None:
        """phone: a touch screen of `size`; webgl: by SwiftShader."""
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        self._base = f"http://127.0.0.1:{port}"
        self._process = subprocess.Popen(
            [driver, f"--port={port}"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        arguments = [
            "--headless=new",
            "--no-sandbox",
            "--disable-dev-shm-usage",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            *(["--use-angle=swiftshader", "--enable-unsafe-swiftshader"] if webgl else ["--disable-gpu"]),
            *([] if webgl else ["--disable-3d-apis"]),
            "--hide-scrollbars",
            f"--user-data-dir={profile}",
            f"--window-size={size[0]},{size[1]}",
        ]
        options: dict[str, Any] = {"binary": browser, "args": arguments}
        if phone:
            metrics = {"width": size[0], "height": size[1], "pixelRatio": 2.0, "touch": True}
            options["mobileEmulation"] = {"deviceMetrics": metrics}
        wanted = {"goog:chromeOptions": options, "goog:loggingPrefs": {"browser": "ALL"}}
        self._session = ""
        try:
            self._wait_for_driver()
            created = self._call("POST", "/session", {"capabilities": {"alwaysMatch": wanted}})
        except BaseException:
            self._process.kill()
            raise
        self._session = f"/session/{created['sessionId']}"

    def __enter__(self) -> Browser:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._call("DELETE", self._session)
        finally:
            self._process.terminate()
            self._process.wait()

    def open(self, path: Path, fragment: str = "") -> None:
        """Load a file and wait until the page says that it is ready."""
        self._call("POST", f"{self._session}/url", {"url": "about:blank"})
        self._call("POST", f"{self._session}/url", {"url": path.resolve().as_uri() + fragment})
        self.wait("document.documentElement.dataset.ready === 'yes'")

    def run(self, script: str) -> Any:
        """The value of a JavaScript expression."""
        body = {"script": f"return ({script})", "args": []}
        return self._call("POST", f"{self._session}/execute/sync", body)

    def wait(self, condition: str, seconds: float = 20.0) -> None:
        """Until a JavaScript expression is true."""
        end = time.monotonic() + seconds
        while not self.run(f"Boolean({condition})"):
            assert time.monotonic() < end, f"not true within {seconds} s: {condition}; {self.errors()}"
            time.sleep(0.05)

    def click(self, selector: str) -> None:
        """A real click in the middle of the first element that a CSS selector finds."""
        find = {"using": "css selector", "value": selector}
        element = self._call("POST", f"{self._session}/element", find)[ELEMENT]
        self._call("POST", f"{self._session}/element/{element}/click", {})

    def double_click(self, selector: str, until: str) -> None:
        """Two clicks in the middle of the first element that a CSS selector finds, until something is true.

        On a busy machine two clicks may come too far apart to be a double one: then they come again.
        """
        box = f"document.querySelector({selector!r}).getBoundingClientRect()"
        width, height = self.run(f"(r => [r.width, r.height])({box})")
        for _ in range(10):
            self.click_at(selector, width / 2, height / 2, times=2)
            if self.run(f"Boolean({until})"):
                return
            time.sleep(0.7)  # so that no click pairs up with one of the next two
        raise AssertionError(f"not true after double clicks on {selector}: {until}")

    def click_at(self, selector: str, x: float, y: float, times: int = 1) -> None:
        """Move to a place in an element, in CSS pixels from its top left corner, and click."""
        click = [{"type": "pointerDown", "button": 0}, {"type": "pointerUp", "button": 0}]
        self._pointer([self._move(selector, x, y), *times * click])

    def drag(self, selector: str, start: tuple[float, float], end: tuple[float, float]) -> None:
        """Press at one place in an element, move to another, let go."""
        down, up = {"type": "pointerDown", "button": 0}, {"type": "pointerUp", "button": 0}
        middle = ((start[0] + end[0]) / 2, (start[1] + end[1]) / 2)
        moves = [self._move(selector, *place) for place in (start, middle, end)]
        self._pointer([moves[0], down, *moves[1:], up])

    def _move(self, selector: str, x: float, y: float) -> dict[str, Any]:
        box = f"document.querySelector({selector!r}).getBoundingClientRect()"
        corner = self.run(f"(r => [r.x, r.y])({box})")
        place = {"x": round(corner[0] + x), "y": round(corner[1] + y)}
        return {"type": "pointerMove", "duration": 0, **place}

    def _pointer(self, steps: list[dict[str, Any]]) -> None:
        mouse = {"type": "pointer", "id": "mouse", "actions": steps}
        self._call("POST", f"{self._session}/actions", {"actions": [mouse]})

    def press(self, selector: str, *keys: str) -> None:
        """Focus the first element that a CSS selector finds and press keys: letters or WebDriver's codes."""
        self.run(f"document.querySelector({selector!r}).focus()")
        self.key(*keys)

    def key(self, *keys: str) -> None:
        """Press keys where the focus is."""
        steps = [
            step
            for key in keys
            for step in ({"type": "keyDown", "value": key}, {"type": "keyUp", "value": key})
        ]
        self._call(
            "POST", f"{self._session}/actions", {"actions": [{"type": "key", "id": "keys", "actions": steps}]}
        )

    def screenshot(self, path: Path) -> Path:
        """Write what the window shows as PNG."""
        path.write_bytes(base64.b64decode(self._call("GET", f"{self._session}/screenshot")))
        return path

    def cpu_seconds(self) -> float:
        """Time that all the browser's processes have worked so far, by Linux's /proc."""
        ticks = 0
        for pid in self._family():
            try:
                fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            except OSError:  # it has ended
                continue
            ticks += int(fields[11]) + int(fields[12])
        return ticks / os.sysconf("SC_CLK_TCK")

    def _family(self) -> set[int]:
        """Process ids of chromedriver and all that it started."""
        parents = {}
        for path in Path("/proc").glob("[0-9]*/stat"):
            try:
                parents[int(path.parent.name)] = int(path.read_text().rpartition(")")[2].split()[1])
            except OSError:  # it has ended
                continue
        family = {self._process.pid}
        while more := {pid for pid, parent in parents.items() if parent in family} - family:
            family |= more
        return family

    def page_bytes(self) -> int:
        """Memory of the largest process of the browser, which is the page's, by Linux's /proc."""
        most = 0
        for pid in self._family():
            try:
                found = re.search(r"^VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text(), re.M)
            except OSError:  # it has ended
                continue
            most = max(most, 1024 * int(found[1])) if found else most
        return most

    def errors(self) -> list[str]:
        """What the console has shown since the last call, warnings left out."""
        entries = self._call("POST", f"{self._session}/se/log", {"type": "browser"})
        return [entry["message"] for entry in entries if entry["level"] == "SEVERE"]

    def _wait_for_driver(self) -> None:
        for _ in range(200):
            try:
                if self._call("GET", "/status")["ready"]:
                    return
            except urllib.error.URLError:
                time.sleep(0.05)
        raise RuntimeError("chromedriver did not start")

    def _call(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self._base + path, data, {"Content-Type": "application/json"})
        request.method = method
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return json.load(answer)["value"]
        except urllib.error.HTTPError as error:
            raise RuntimeError(f"{method} {path}: {error.read().decode()[:500]}") from error
