"""What both local stacks share: how they run and end, the recordings, the sample calls."""

import json
import os
import signal
import socket
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import uvicorn
from google.cloud import firestore
from starlette.applications import Starlette

from local.install import SCRATCH, LocalStackError
from local.recordings import recordings_server
from local.seed import PROJECT, SAMPLES, sample_calls, seed
from local.signer import new_signer
from local.sounds import write_recording

ROOT = Path(__file__).parent.parent
# Where everything listens, and what is printed. Not localhost: a browser may take that for ::1, where
# another application can listen at the same port.
LOOPBACK = "127.0.0.1"
BUCKET = "thinnestai-recordings"
SIGNER = f"local-stack@{PROJECT}.iam.gserviceaccount.com"


def until_interrupted(run: Callable[[Path], None]) -> None:
    """Run in a folder of its own until interrupted, which is the way to end it and no failure."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)
    try:
        SCRATCH.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(dir=SCRATCH, prefix="run-") as folder:
            run(Path(folder))
    except LocalStackError as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        pass


def utc_now() -> datetime:
    """Return the time of this machine."""
    return datetime.now(UTC)


@contextmanager
def recordings(folder: Path, now: Callable[[], datetime] = utc_now) -> Iterator[dict[str, str]]:
    """Serve the sample recordings, and yield the settings of a function whose links open them.

    `make run` adds the emulator's host and the developer's ALLOWED_ORIGINS to them.
    """
    signer, public_key = new_signer(SIGNER)
    key_file = folder / "signer.json"
    key_file.touch(mode=0o600)
    key_file.write_text(json.dumps(signer))
    objects = {}
    for call_id, call in sample_calls().items():
        if name := call.get("recording_object"):
            objects[f"/{BUCKET}/{name}"] = folder / f"call-{call_id}.wav"
            write_recording(call, objects[f"/{BUCKET}/{name}"])
    app = recordings_server(objects, {SIGNER: public_key}, now)
    with app_served(app) as url:
        yield {
            "RECORDINGS_BUCKET": BUCKET,
            "GOOGLE_CLOUD_PROJECT": PROJECT,
            "STORAGE_EMULATOR_HOST": url,
            "RECORDING_SIGNER_KEY_FILE": str(key_file),
        }


def seeded(emulator_host: str) -> dict[str, str]:
    """Write the sample calls into the emulator, and return the API keys by org."""
    # The client library finds the emulator by the first; by the second, gRPC asks it directly,
    # not through a proxy that this machine may be configured to use.
    os.environ.update(
        FIRESTORE_EMULATOR_HOST=emulator_host, no_grpc_proxy=emulator_host.partition(":")[0]
    )
    return seed(firestore.Client(PROJECT))


def check_free(port: int, remedy: str) -> None:
    """Refuse a port that something listens on; the remedy says what else can be done."""
    try:
        socket.create_server((LOOPBACK, port)).close()
    except PermissionError:
        raise LocalStackError(f"Port {port} needs privileges: {remedy}") from None
    except OSError:
        raise LocalStackError(
            f"Port {port} is taken: stop what listens there, or {remedy}"
        ) from None


def greeting(
    base: str, site: str, keys: Mapping[str, str], *, has_reference: bool = True, more: str = ""
) -> str:
    """Return what to say to who has started a stack: addresses, keys, calls and a line to paste."""
    reference = f"The API reference is {site}/reference/\n" if has_reference else ""
    bearers = "".join(f"  {org_id:<12}{key}\n" for org_id, key in keys.items())
    calls = "".join(f"  {line}\n" for line in (SAMPLES / "contents.txt").read_text().splitlines())
    return f"""
The call page is {site}/?call=77
  It asks for an API key: {keys["org_acme"]}
{reference}The function answers at {base}/v2/calls/{{id}}

API keys
{bearers}
Calls
{calls}
Try
  curl -s -H 'Authorization: Bearer {keys["org_acme"]}' {base}/v2/calls/77

{more}Saving main.py or a file in call_api/ restarts the function; Ctrl-C stops everything.
"""


@contextmanager
def app_served(app: Starlette, port: int = 0) -> Iterator[str]:
    """Serve the app in a thread, on a free port if none is given, and yield its base URL."""
    config = uvicorn.Config(app, log_level="warning", lifespan="off", timeout_graceful_shutdown=1)
    server = uvicorn.Server(config)
    listener = socket.create_server((LOOPBACK, port))
    thread = threading.Thread(target=server.run, args=([listener],), daemon=True)
    thread.start()
    try:
        yield f"http://{LOOPBACK}:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()
