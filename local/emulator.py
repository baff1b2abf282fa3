"""A Firestore emulator: Google's where it is or can be downloaded, otherwise an embedded one.

Looked for in this order: the one that `FIRESTORE_EMULATOR_HOST` names, the Google Cloud CLI's
component, the Firebase CLI's cache (`FIREBASE_EMULATORS_PATH`), Google's jar as pinned in
emulator.json, and, where that cannot be downloaded, the npm package @firestore-emulator/server.
"""

import http.client
import json
import os
import re
import shutil
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from typing import IO

import grpc

from local.install import (
    HERE,
    SCRATCH,
    LocalStackError,
    Remote,
    UnreachableError,
    download,
    installed_by_npm,
    say,
)
from local.process import child
from local.runtimes import java, node, npm

MAIN_CLASS = "com.google.cloud.datastore.emulator.firestore.CloudFirestore"
# For a process that does little in its few minutes: Java's second compiler would take as much CPU time as
# all else, and never earn it back.
QUICK_START = ("-XX:TieredStopAtLevel=1",)
NAME = re.compile(r"cloud-firestore-emulator-v([\d.]+)\.jar")
OLDEST_JAVA = 21  # what the Firebase CLI asks for, and Google's newer emulators with it
START_SECONDS = 30
EMBEDDED = SCRATCH / "embedded"
# A proxy that this machine may be configured to use leads to no emulator.
CHANNEL_OPTIONS = [("grpc.enable_http_proxy", 0)]


@dataclass(frozen=True)
class Emulator:
    """An emulator that can be started, with what it runs on."""

    name: str
    command: list[str]  # an address, host:port, completes it
    is_googles: bool
    environment: dict[str, str] = field(default_factory=dict)


@contextmanager
def firestore_emulator(find: Callable[[], Emulator]) -> Iterator[str]:
    """Yield the host:port of an emulator: the running one that is set, or one for the block.

    `find` returns the emulator to start: `install`, say.

    Raises:
        LocalStackError: there is no emulator and none can be had, or it does not start.
    """
    running = running_emulator()
    if running:
        yield running
        return
    emulator = find()
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    host = f"127.0.0.1:{port}"
    address = ["--host=127.0.0.1", f"--port={port}"] if emulator.is_googles else [host]
    with (
        _log_file("emulator") as log,
        child(
            [*emulator.command, *address],
            environment=os.environ | emulator.environment,
            output=log,
        ) as process,
    ):
        deadline = time.monotonic() + START_SECONDS
        while not (is_googles(host) if emulator.is_googles else _listens(port)):
            if process.poll() is not None or time.monotonic() > deadline:
                raise LocalStackError(
                    f"The Firestore emulator did not start. It said: {_last_line(log)}"
                )
            time.sleep(0.05)
        yield host


def running_emulator() -> str | None:
    """Return the host:port that `FIRESTORE_EMULATOR_HOST` is set to, if that is set.

    Raises:
        LocalStackError: no emulator answers there.
    """
    running = os.environ.get("FIRESTORE_EMULATOR_HOST")
    if running and not answers(running):
        raise LocalStackError(
            f"FIRESTORE_EMULATOR_HOST is {running}, where no emulator answers: unset it to have"
            " one started."
        )
    return running


def install(java_options: Sequence[str] = QUICK_START) -> Emulator:
    """Return the best emulator that can be had, with what it runs on; download what is missing.

    Raises:
        LocalStackError: there is none, and none can be downloaded.
    """
    try:
        return google_emulator(java_options)
    except UnreachableError as unreachable:
        try:
            emulator = embedded_emulator()
        except LocalStackError as error:
            raise LocalStackError(
                f"There is no Firestore emulator: {unreachable} {error}"
            ) from None
        say(f"Firestore is {emulator.name} here, not Google's emulator: {unreachable}")
        return emulator


def installed() -> Emulator:
    """Return what `install` has left, without asking the network for a better one.

    Raises:
        LocalStackError: nothing is installed, and nothing can be.
    """
    embedded = (EMBEDDED / "package-lock.json").is_file() and _found_jar() is None
    return embedded_emulator() if embedded else install()


def google_emulator(java_options: Sequence[str] = QUICK_START) -> Emulator:
    """Return Google's emulator, with the Java that it runs on; download what is missing.

    Raises:
        UnreachableError: there is none, and Google's storage is out of reach.
        LocalStackError: the download is not what it should be, or there is no Java.
    """
    jar, oldest_java = google_jar()
    version = NAME.fullmatch(jar.name)
    name = f"Google's emulator {version[1] if version else 'of the Google Cloud CLI'}"
    options = ["-Duser.language=en", "-XX:+UseSerialGC", *java_options]
    command = [java(oldest_java), *options, "-cp", str(jar), MAIN_CLASS]
    return Emulator(name, command, is_googles=True)


def embedded_emulator() -> Emulator:
    """Return the embedded emulator, with the Node.js that it runs on; download what is missing.

    Raises:
        LocalStackError: it cannot be installed.
    """
    folder = installed_by_npm("embedded Firestore emulator", HERE / "embedded", EMBEDDED, npm)
    return Emulator(
        "@firestore-emulator/server",
        [node(), str(HERE / "embedded" / "server.js")],
        is_googles=False,
        environment={"NODE_PATH": str(folder / "node_modules")},
    )


def google_jar() -> tuple[Path, int]:
    """Return Google's emulator, downloaded if it is nowhere, and the oldest Java it runs on.

    Raises:
        UnreachableError: there is none, and Google's storage is out of reach.
        LocalStackError: the download is not what it should be.
    """
    found = _found_jar()
    if found is not None:
        return found
    pinned = json.loads((HERE / "emulator.json").read_text("utf-8"))
    what = f"Firestore emulator {pinned['version']}"
    file = _pinned_jar()
    download(Remote(what, pinned["url"], pinned["size"], pinned["sha256"]), file)
    return file, OLDEST_JAVA


def firebase_cli() -> str:
    """Return the Firebase CLI of the version that local/firebase locks, installed where missing.

    Raises:
        LocalStackError: it cannot be installed.
    """
    folder = installed_by_npm("Firebase CLI", HERE / "firebase", SCRATCH / "firebase", npm)
    return str(folder / "node_modules" / ".bin" / "firebase")


def answers(host: str) -> bool:
    """Tell whether an emulator answers there: Google's also speaks HTTP/1, the embedded does not."""
    if is_googles(host):
        return True
    with grpc.insecure_channel(host, CHANNEL_OPTIONS) as channel:
        try:
            grpc.channel_ready_future(channel).result(timeout=1)
        except grpc.FutureTimeoutError:
            return False
    return True


def is_googles(host: str) -> bool:
    """Tell whether what answers there is Google's emulator."""
    return get(host, "/", 1)[0] == HTTPStatus.OK


def get(host: str, path: str, seconds: float) -> tuple[int, bytes]:
    """Return status and body of what host:port answers in time, else 0 and nothing.

    Not by urllib, which would ask a configured proxy.
    """
    connection = http.client.HTTPConnection(host, timeout=seconds)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.read()
    except (OSError, http.client.HTTPException):
        return 0, b""
    finally:
        connection.close()


def _found_jar() -> tuple[Path, int] | None:
    """Return Google's emulator if it is on this machine, and the oldest Java it runs on."""
    jar = _google_cloud_cli_jar()
    if jar is not None:
        return jar, 11
    jar = _firebase_cli_jar() or _pinned_jar()
    return (jar, OLDEST_JAVA) if jar.is_file() else None


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


def _google_cloud_cli_jar() -> Path | None:
    gcloud = shutil.which("gcloud")
    if gcloud is None:
        return None
    component = Path(gcloud).resolve().parent.parent / "platform" / "cloud-firestore-emulator"
    jar = component / "cloud-firestore-emulator.jar"
    return jar if jar.is_file() else None


def _firebase_cli_jar() -> Path | None:
    """Return the newest emulator in the Firebase CLI's cache, which has one file a version."""
    default = Path.home() / ".cache" / "firebase" / "emulators"
    cache = Path(os.environ.get("FIREBASE_EMULATORS_PATH") or default)
    jars = cache.glob("cloud-firestore-emulator-v*.jar")
    return max(jars, key=lambda jar: [int(n) for n in re.findall(r"\d+", jar.name)], default=None)


def _pinned_jar() -> Path:
    """Return where the jar that emulator.json pins is downloaded to."""
    version = json.loads((HERE / "emulator.json").read_text("utf-8"))["version"]
    return SCRATCH / f"cloud-firestore-emulator-v{version}.jar"


def _log_file(name: str) -> IO[bytes]:
    SCRATCH.mkdir(exist_ok=True)
    return tempfile.NamedTemporaryFile(dir=SCRATCH, prefix=f"{name}-", suffix=".log")


def _last_line(log: IO[bytes]) -> str:
    lines = Path(log.name).read_text(errors="replace").split("\n")
    return next((line.strip() for line in reversed(lines) if line.strip()), "nothing.")


def main(also: Sequence[str]) -> None:
    """Install the emulator that the tests are about to start, and what else they need."""
    others: dict[str, Callable[[], object]] = {
        "embedded": embedded_emulator,
        "firebase-cli": firebase_cli,
        "java": lambda: java(OLDEST_JAVA),
    }
    try:
        if running_emulator() is None:
            install()
        for name in also:
            others[name]()
    except LocalStackError as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main(sys.argv[1:])
