"""`make run`: the function as the platform starts it, with all that it needs on this machine."""

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import uvicorn
from google.cloud import firestore
from starlette.applications import Starlette
from watchfiles import PythonFilter, watch
from watchfiles.main import FileChange

from local.emulator import SCRATCH, LocalStackError, firestore_emulator
from local.process import child
from local.recordings import recordings_server
from local.seed import PROJECT, SAMPLES, sample_calls, seed
from local.signer import new_signer

ROOT = Path(__file__).parent.parent
BUCKET = "thinnestai-recordings"
SIGNER = f"local-stack@{PROJECT}.iam.gserviceaccount.com"
START_SECONDS = 30


def main() -> None:
    """Serve until interrupted, which is the way to end it and no failure."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)
    try:
        port = _free_port(os.environ.get("PORT") or "8080")
        SCRATCH.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(dir=SCRATCH, prefix="run-") as folder:
            _run(port, Path(folder))
    except LocalStackError as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        pass


def _run(port: int, folder: Path) -> None:
    signer, public_key = new_signer(SIGNER)
    key_file = folder / "signer.json"
    key_file.touch(mode=0o600)
    key_file.write_text(json.dumps(signer))
    names = (fields.get("recording_object") for fields in sample_calls().values())
    objects = {f"/{BUCKET}/{name}": SAMPLES / "tone.wav" for name in names if name}
    with (
        firestore_emulator() as emulator_host,
        _served(recordings_server(objects, {SIGNER: public_key}, lambda: datetime.now(UTC))) as url,
    ):
        # The client library finds the emulator by the first; by the second, gRPC asks it directly,
        # not through a proxy that this machine may be configured to use.
        os.environ.update(
            FIRESTORE_EMULATOR_HOST=emulator_host, no_grpc_proxy=emulator_host.partition(":")[0]
        )
        keys = seed(firestore.Client(PROJECT))
        # Nothing else of this environment: a developer's credentials must not leak into the
        # function, which would then reach for the real project.
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(Path.home()),
            "PYTHONUNBUFFERED": "1",
            "FUNCTION_TARGET": "get_call",
            "PORT": str(port),
            "RECORDINGS_BUCKET": BUCKET,
            "GOOGLE_CLOUD_PROJECT": PROJECT,
            "FIRESTORE_EMULATOR_HOST": emulator_host,
            "STORAGE_EMULATOR_HOST": url,
            "RECORDING_SIGNER_KEY_FILE": str(key_file),
        }
        _serve(port, environment, _greeting(port, keys))


def _serve(port: int, environment: Mapping[str, str], greeting: str) -> None:
    """Run the function, anew after each change of its sources."""
    command = [str(Path(sys.executable).with_name("functions-framework"))]
    # One watcher for all rounds, so that no change is missed while the function starts. It yields
    # nothing twice a second, which is when a function that has died is noticed.
    changes = watch(
        ROOT,
        ROOT / "call_api",
        watch_filter=PythonFilter(),
        recursive=False,
        rust_timeout=500,
        yield_on_timeout=True,
    )
    next(changes)
    with child(command, environment=environment) as function:
        if not _up(function, port):
            raise LocalStackError("The function did not start; what it said is above.")
        print(greeting, flush=True)
        changed = _next_change(function, changes)
    while True:
        print(f"{changed} changed: the function starts again.", flush=True)
        with child(command, environment=environment) as function:
            _up(function, port)
            changed = _next_change(function, changes)


def _next_change(function: subprocess.Popen[bytes], changes: Iterator[set[FileChange]]) -> str:
    """Return the names of the sources that change next; say once if the function ends before."""
    said = False
    while not (changed := next(changes)):
        if function.poll() is not None and not said:
            print("The function stopped; it starts again after the next change.", flush=True)
            said = True
    return ", ".join(sorted({Path(path).name for _, path in changed}))


def _up(function: subprocess.Popen[bytes], port: int) -> bool:
    """Wait until the function listens; a connection without a request leaves no line in its log."""
    deadline = time.monotonic() + START_SECONDS
    while function.poll() is None and time.monotonic() < deadline:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.05)
        else:
            return True
    return False


@contextmanager
def _served(app: Starlette) -> Iterator[str]:
    """Serve the app on a free port, in a thread, and yield its base URL."""
    config = uvicorn.Config(app, log_level="warning", lifespan="off", timeout_graceful_shutdown=1)
    server = uvicorn.Server(config)
    listener = socket.create_server(("127.0.0.1", 0))
    thread = threading.Thread(target=server.run, args=([listener],), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()


def _free_port(text: str) -> int:
    """Return the port, if it is one and nothing listens there."""
    port = int(text) if text.isascii() and text.isdecimal() else 0
    if port not in range(1, 2**16):
        raise LocalStackError(
            f"PORT is a number from 1 to 65535, not {text!r}: run PORT=8081 make run"
        )
    try:
        socket.create_server(("", port)).close()
    except PermissionError:
        raise LocalStackError(f"Port {port} needs privileges: run PORT=8081 make run") from None
    except OSError:
        raise LocalStackError(
            f"Port {port} is taken: stop what listens there, or run PORT={port + 1} make run"
        ) from None
    return port


def _greeting(port: int, keys: Mapping[str, str]) -> str:
    base = f"http://localhost:{port}"
    bearers = "".join(f"  {org_id:<12}{key}\n" for org_id, key in keys.items())
    calls = "".join(f"  {line}\n" for line in (SAMPLES / "contents.txt").read_text().splitlines())
    return f"""
The function answers at {base}/v2/calls/{{id}}

API keys
{bearers}
Calls
{calls}
Try
  curl -s -H 'Authorization: Bearer {keys["org_acme"]}' {base}/v2/calls/77

Saving main.py or a file in call_api/ restarts the function; Ctrl-C stops everything.
"""


if __name__ == "__main__":
    main()
