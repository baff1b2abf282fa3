"""`make run`: the function as the platform starts it, with all that it needs on this machine."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from local.emulator import firestore_emulator, install
from local.install import LocalStackError, say
from local.process import child
from local.site import site_files, site_server, swagger_ui
from local.stack import (
    LOOPBACK,
    ROOT,
    app_served,
    check_free,
    greeting,
    recordings,
    seeded,
    until_interrupted,
)

START_SECONDS = 30
LOOK_SECONDS = 0.5  # between two looks at the sources


def main() -> None:
    """Serve until interrupted."""
    until_interrupted(_run)


def _run(folder: Path) -> None:
    port = _free_port("PORT", "8080")
    site_port = _free_port("SITE_PORT", "8081")
    if port == site_port:
        raise LocalStackError(f"PORT and SITE_PORT are both {port}: give one of them another")
    with firestore_emulator(install) as emulator_host, recordings(folder) as settings:
        keys = seeded(emulator_host)
        reference = _reference()
        function = f"http://{LOOPBACK}:{port}"
        site = site_server(function, settings["STORAGE_EMULATOR_HOST"], site_files(reference))
        # Nothing else of this environment, and no home but this folder: a developer's credentials
        # must not leak into the function, which would then reach for the real project.
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(folder),
            "PYTHONUNBUFFERED": "1",
            "FUNCTION_TARGET": "get_call",
            "PORT": str(port),
            "FIRESTORE_EMULATOR_HOST": emulator_host,
            # The one setting that is about who develops here, not about what is served.
            "ALLOWED_ORIGINS": os.environ.get("ALLOWED_ORIGINS", ""),
            **settings,
        }
        with app_served(site, site_port) as page:
            said = greeting(function, page, keys, has_reference=reference is not None)
            _serve(port, environment, said)


def _reference() -> Path | None:
    """Return the folder of Swagger UI; without it, everything else is served."""
    try:
        return swagger_ui()
    except LocalStackError as error:
        say(f"There is no API reference: {error}")
        return None


def _serve(port: int, environment: Mapping[str, str], greeting: str) -> None:
    """Run the function, anew after each change of its sources."""
    framework = Path(sys.executable).with_name("functions-framework")
    command = [str(framework), f"--host={LOOPBACK}"]  # its default is every interface
    seen = _sources()  # before the start, so that no change is missed meanwhile
    with child(command, environment=environment) as function:
        if not _up(function, port):
            raise LocalStackError("The function did not start; what it said is above.")
        print(greeting, flush=True)
        seen = _next_change(function, seen)
    while True:
        with child(command, environment=environment) as function:
            _up(function, port)
            seen = _next_change(function, seen)


def _next_change(function: subprocess.Popen[bytes], seen: Mapping[Path, int]) -> dict[Path, int]:
    """Wait for a source that differs from what was seen; say once if the function ends before."""
    ended = False
    while (now := _sources()) == seen:
        if function.poll() is not None and not ended:
            print("The function stopped; it starts again after the next change.", flush=True)
            ended = True
        time.sleep(LOOK_SECONDS)
    names = sorted({path.name for path, _ in now.items() ^ seen.items()})
    print(f"{', '.join(names)} changed: the function starts again.", flush=True)
    return now


def _sources() -> dict[Path, int]:
    """Return when each source of the function was last written."""
    found: dict[Path, int] = {}
    for path in (ROOT / "main.py", *(ROOT / "call_api").rglob("*.py")):
        with suppress(FileNotFoundError):  # an editor is replacing it
            found[path] = path.stat().st_mtime_ns
    return found


def _up(function: subprocess.Popen[bytes], port: int) -> bool:
    """Wait until the function listens; a connection without a request leaves no line in its log."""
    deadline = time.monotonic() + START_SECONDS
    while function.poll() is None and time.monotonic() < deadline:
        try:
            socket.create_connection((LOOPBACK, port), timeout=1).close()
        except OSError:
            time.sleep(0.05)
        else:
            return True
    return False


def _free_port(name: str, default: str) -> int:
    """Return the port that a variable sets, if it is one and nothing listens there."""
    text = os.environ.get(name) or default
    port = int(text) if text.isascii() and text.isdecimal() else 0
    if port not in range(1, 2**16):
        raise LocalStackError(
            f"{name} is a number from 1 to 65535, not {text!r}: run {name}=8082 make run"
        )
    # Below 1024 are privileged ones, and the defaults are next to each other.
    check_free(port, f"run {name}={max(port + 1, 8082)} make run")
    return port


if __name__ == "__main__":
    main()
