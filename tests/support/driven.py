"""Firefox and WebKit as Linux distributions have them: Playwright drives its own builds of them alone.

Both protocols take the same actions of a person (keys, pointer, wheel), so a browser is what opens an
address, runs JavaScript, performs actions and takes a picture. The rest is made of these.
"""

import base64
import json
import os
import socket
import subprocess
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
from websockets.sync.client import ClientConnection, connect

from local.process import child
from tests.support.browser import PATIENCE_MS, SCREENSHOTS
from tests.support.serving import START_SECONDS, free_port

PATIENCE_SECONDS = PATIENCE_MS / 1000
HOST = "127.0.0.1"
LAUNCH_SECONDS = 20  # less than START_SECONDS, since a launch that hangs is tried once more
SCREEN = "1600x1200x24"  # larger than any window
# WebDriver's codes of keys.
KEYS = {
    "ArrowLeft": "\ue012",
    "ArrowRight": "\ue014",
    "Control": "\ue009",
    "End": "\ue010",
    "Enter": "\ue007",
    "Escape": "\ue00c",
    "Home": "\ue011",
    "PageDown": "\ue00f",
    "Space": " ",
}
# Beside what is run: an element by its accessible name, as the page gives them.
NAMED = """
const named = (name) => [...document.querySelectorAll("a, button, input, select, [aria-label]")].find(
  (e) => (e.ariaLabel ?? (e.labels?.[0] ?? e).textContent).trim() === name && e.checkVisibility());
"""
MIDDLE = """
const element = named(%s);
element.scrollIntoView({ block: "nearest", behavior: "instant" });
const { left, top, width, height } = element.getBoundingClientRect();
return [left + width / 2, top + height / 2].map(Math.floor);
"""
DRAW = """
window.isDrawn = false;
requestAnimationFrame(() => requestAnimationFrame(() => setTimeout(() => { window.isDrawn = true; }, 100)));
"""


class Driven(ABC):
    """The window of a browser."""

    name: str

    @abstractmethod
    def renew(self) -> None:
        """Replace the window by another one, for which nothing is stored."""

    @abstractmethod
    def go(self, address: str) -> None:
        """Open an address, and wait until it has loaded."""

    @abstractmethod
    def run(self, script: str) -> Any:
        """Run the body of a function, and return what it returns."""

    @abstractmethod
    def perform(self, source: dict[str, Any]) -> None:
        """Perform the actions of a keyboard, a pointer or a wheel."""

    @abstractmethod
    def resize(self, width: int, height: int) -> None:
        """Give the page this size, or the next one that the window can have."""

    @abstractmethod
    def picture(self) -> str:
        """Return what the window shows, as a PNG in Base64."""

    def see(self, expression: str) -> Any:
        """Return the value of an expression."""
        return self.run(f"return {expression}")

    def until(self, expression: str) -> None:
        """Wait until an expression is true."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not self.see(expression):
            assert time.monotonic() < deadline, (expression, self.see("document.body.innerText"))
            time.sleep(0.05)  # the classic protocol reports no events

    def click(self, name: str) -> None:
        """Click on the middle of what has this name, once it can be used."""
        quoted = json.dumps(name)
        self.until(f"named({quoted}) && !named({quoted}).disabled")
        x, y = self.run(MIDDLE % quoted)
        move = {"type": "pointerMove", "x": x, "y": y}
        press = [{"type": "pointerDown", "button": 0}, {"type": "pointerUp", "button": 0}]
        self.perform({"type": "pointer", "id": "mouse", "actions": [move, *press]})

    def press(self, *keys: str) -> None:
        """Press keys at a time, and let them go."""
        values = [KEYS.get(key, key) for key in keys]
        down = [{"type": "keyDown", "value": value} for value in values]
        up = [{"type": "keyUp", "value": value} for value in values]
        self.perform({"type": "key", "id": "keyboard", "actions": down + up})

    def write(self, text: str) -> None:
        """Press a key after another."""
        strokes = [{"type": kind, "value": key} for key in text for kind in ("keyDown", "keyUp")]
        self.perform({"type": "key", "id": "keyboard", "actions": strokes})

    def turn_wheel(self, pixels: int) -> None:
        scroll = {"type": "scroll", "x": 300, "y": 500, "deltaX": 0, "deltaY": pixels}
        self.perform({"type": "wheel", "id": "wheel", "actions": [scroll]})

    def screenshot(self, state: str) -> None:
        """Keep what the window shows, for people, once it is drawn: WebKit's pictures may be late."""
        self.run(DRAW)
        self.until("window.isDrawn")
        SCREENSHOTS.mkdir(parents=True, exist_ok=True)
        (SCREENSHOTS / f"{self.name}-{state}.png").write_bytes(base64.b64decode(self.picture()))


class Firefox(Driven):
    """Firefox, over WebDriver BiDi."""

    name = "firefox"

    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection
        self._sent = 0
        self._user = self._window = ""
        self._call("session.new", capabilities={})

    def renew(self) -> None:
        if self._user:
            self._call("browser.removeUserContext", userContext=self._user)
        self._user = self._call("browser.createUserContext")["userContext"]
        created = self._call("browsingContext.create", type="tab", userContext=self._user)
        self._window = created["context"]
        self._call("browsingContext.activate", context=self._window)

    def go(self, address: str) -> None:
        self._call("browsingContext.navigate", context=self._window, url=address, wait="complete")

    def run(self, script: str) -> Any:
        answer = self._call(
            "script.callFunction",
            functionDeclaration=f"() => JSON.stringify((() => {{ {NAMED} {script} }})() ?? null)",
            target={"context": self._window},
            awaitPromise=False,
        )
        assert answer["type"] == "success", (script, answer["exceptionDetails"]["text"])
        return json.loads(answer["result"]["value"])

    def perform(self, source: dict[str, Any]) -> None:
        self._call("input.performActions", context=self._window, actions=[source])

    def resize(self, width: int, height: int) -> None:
        viewport = {"width": width, "height": height}
        self._call("browsingContext.setViewport", context=self._window, viewport=viewport)

    def picture(self) -> str:
        data: str = self._call("browsingContext.captureScreenshot", context=self._window)["data"]
        return data

    def _call(self, method: str, **parameters: Any) -> dict[str, Any]:
        self._sent += 1
        self._connection.send(
            json.dumps({"id": self._sent, "method": method, "params": parameters})
        )
        answer = json.loads(self._connection.recv(timeout=START_SECONDS))
        assert answer["type"] == "success", (method, answer["message"])
        result: dict[str, Any] = answer["result"]
        return result


class WebKit(Driven):
    """WebKitGTK's MiniBrowser, over WebDriver."""

    name = "webkit"

    def __init__(self, driver: httpx2.Client) -> None:
        self._driver = driver
        self._session = ""

    def renew(self) -> None:
        """Start another MiniBrowser: one that has shown many pages crashes at times."""
        if self._session:
            _value(self._driver.delete(self._session))
            self._session = ""
        try:
            self._session = self._launch()
        except httpx2.ReadTimeout:
            # At times MiniBrowser cannot listen, and its driver waits for it.
            self._session = self._launch()

    def _launch(self) -> str:
        wanted: dict[str, Any] = {"capabilities": {}}
        answer = self._driver.post("/session", json=wanted, timeout=LAUNCH_SECONDS)
        return f"/session/{_value(answer)['sessionId']}"

    def go(self, address: str) -> None:
        self._call("url", url=address)

    def run(self, script: str) -> Any:
        return self._call("execute/sync", script=NAMED + script, args=[])

    def perform(self, source: dict[str, Any]) -> None:
        self._call("actions", actions=[source])

    def resize(self, width: int, height: int) -> None:
        edges = self.see("outerHeight - innerHeight")
        self._call("window/rect", width=width, height=height + edges)
        self.until(f"innerWidth >= {width} && innerHeight === {height}")

    def picture(self) -> str:
        data: str = _value(self._driver.get(f"{self._session}/screenshot"))
        return data

    def _call(self, command: str, **parameters: Any) -> Any:
        return _value(self._driver.post(f"{self._session}/{command}", json=parameters))


def _value(answer: httpx2.Response) -> Any:
    value = answer.json()["value"]
    assert answer.is_success, value["message"]
    return value


@contextmanager
def firefox(program: str, *, has_audio: bool = True) -> Iterator[Driven]:
    """Start Firefox with an audio device that it plays itself, or with none."""
    device = "mock" if has_audio else "null"
    port = free_port()
    with tempfile.TemporaryDirectory() as profile:
        preference = f'user_pref("media.cubeb.force_{device}_context", true);'
        Path(profile, "user.js").write_text(preference)
        options = ["--headless", f"--remote-debugging-port={port}", "--profile", profile]
        with child([program, *options], output=subprocess.DEVNULL):
            _wait_for(port)
            with connect(f"ws://{HOST}:{port}/session", max_size=None) as connection:
                yield Firefox(connection)


@contextmanager
def webkit(program: str) -> Iterator[Driven]:
    """Start WebKit on a display that nobody sees."""
    port = free_port()
    with (
        tempfile.TemporaryDirectory() as home,
        child(["Xvfb", "-displayfd", "1", "-screen", "0", SCREEN], output=subprocess.PIPE) as xvfb,
    ):
        assert xvfb.stdout
        number = next(line for line in xvfb.stdout if line.strip().isdigit())  # after any warnings
        environment = os.environ | {"DISPLAY": f":{int(number)}", "HOME": home}
        command = [program, f"--port={port}"]
        with child(command, environment=environment, output=subprocess.DEVNULL):
            _wait_for(port)
            with httpx2.Client(base_url=f"http://{HOST}:{port}", timeout=START_SECONDS) as driver:
                yield WebKit(driver)


def _wait_for(port: int) -> None:
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            socket.create_connection((HOST, port)).close()
        except ConnectionRefusedError:
            assert time.monotonic() < deadline
            time.sleep(0.05)  # neither browser tells when it listens
        else:
            return
