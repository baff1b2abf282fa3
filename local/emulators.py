"""`make emulators`: the function in the Firebase Emulator Suite, behind its hosting."""

import json
import os
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from http import HTTPStatus
from pathlib import Path

from local.emulator import MAIN_CLASS, OLDEST_JAVA, firebase_cli, get, google_jar
from local.install import LocalStackError
from local.process import child
from local.runtimes import java, node
from local.seed import PROJECT
from local.site import CONFIGURATION, configuration, site_files, stage, swagger_ui
from local.stack import (
    LOOPBACK,
    ROOT,
    check_free,
    greeting,
    recordings,
    seeded,
    until_interrupted,
)

# Beside firebase.json, since the CLI takes the folder of its configuration for the project's.
EMULATED = ROOT / ".firebase-emulators.json"
EMULATORS = ("functions", "firestore", "hosting")
START_SECONDS = 120  # two virtual machines and the function, on a small machine
REQUEST_SECONDS = 30  # a function that cannot be loaded leaves a request without an answer
STOP_SECONDS = 10  # the Firebase CLI ends its emulators one after the other, in 1.5 s


def main() -> None:
    """Serve until interrupted."""
    until_interrupted(_run)


def _run(folder: Path) -> None:
    ports = _ports()
    _link_venv()
    cli = firebase_cli()
    jar, _ = google_jar()
    stage(site_files(swagger_ui()))
    with recordings(folder) as settings, _suite(folder, cli, jar, settings) as suite:
        stopped = "The Firebase emulators {}; what they said is above."
        if not _loaded(suite, ports["functions"]):
            raise LocalStackError(stopped.format("did not start"))
        keys = seeded(f"{LOOPBACK}:{ports['firestore']}")
        # The suite starts the function with its first request: here, so that no one waits for it.
        hosting = f"{LOOPBACK}:{ports['hosting']}"
        if get(hosting, "/v2/calls/77", REQUEST_SECONDS)[0] != HTTPStatus.UNAUTHORIZED:
            raise LocalStackError("The function did not start; what it said is above.")
        # The function's own address to try: the CLI's hosting fails for clients that offer HTTP/2.
        function = f"http://{LOOPBACK}:{ports['functions']}/{PROJECT}/us-central1/get-call"
        site = f"http://{LOOPBACK}:{ports['hosting']}"
        more = f"Through hosting the function answers at {site}/v2/calls/{{id}}\n\n"
        print(greeting(function, site, keys, more=more), flush=True)
        suite.wait()
        raise LocalStackError(stopped.format("stopped"))


@contextmanager
def _suite(
    folder: Path, cli: str, jar: Path, settings: Mapping[str, str]
) -> Iterator[subprocess.Popen[bytes]]:
    """Run the Firebase CLI's emulators until the block ends, the function with these settings."""
    java_pid = folder / "java.pid"
    _write_java(folder / "bin" / "java", java(OLDEST_JAVA), java_pid)
    # The function inherits this, and gets from the CLI what the platform sets, and the emulator's
    # address. Nothing else of our own environment, and no home but this folder: neither the CLI
    # nor the function may find a developer's credentials, and reach for a real project.
    environment = {
        "PATH": os.pathsep.join(
            [str(folder / "bin"), str(Path(node()).parent), os.environ["PATH"]]
        ),
        "HOME": str(folder),
        "CI": "true",  # asks nothing, and does not look for newer versions and messages
        "METADATA_SERVER_DETECTION": "none",  # nor for a Google Cloud machine's credentials
        "FIRESTORE_EMULATOR_BINARY_PATH": str(_runnable(jar, folder)),
        **settings,
    }
    command = [cli, "emulators:start", "--project", PROJECT, "--only", ",".join(EMULATORS)]
    config = ["--config", str(EMULATED)]
    EMULATED.write_text(json.dumps(configuration(settings["STORAGE_EMULATOR_HOST"])), "utf-8")
    try:
        with child(
            [*command, *config],
            environment=environment,
            folder=folder,  # where the CLI leaves its logs
            grace_seconds=STOP_SECONDS,
        ) as suite:
            yield suite
    finally:
        # What outlives the CLI where it is killed, or interrupted while it starts: the function,
        # in the CLI's process group, and Java, which the CLI puts into a group of its own.
        for group in (
            suite.pid,
            *map(int, java_pid.read_text().split() if java_pid.exists() else []),
        ):
            with suppress(ProcessLookupError):
                os.killpg(group, signal.SIGKILL)
        EMULATED.unlink()


def _ports() -> dict[str, int]:
    """Return the port of each emulator, if nothing listens there."""
    configured = json.loads(CONFIGURATION.read_text())["emulators"]
    ports = {name: int(configured[name]["port"]) for name in EMULATORS}
    for name, port in ports.items():
        check_free(port, f"give the {name} emulator another port in firebase.json")
    return ports


def _link_venv() -> None:
    """Put this virtual environment where the functions emulator looks for one: `venv`."""
    link = ROOT / "venv"
    if not Path(sys.prefix, "bin", "activate").is_file():
        raise LocalStackError("The emulators need a virtual environment: run make emulators")
    if link.is_symlink():
        link.unlink()
    elif link.exists():
        raise LocalStackError(
            "venv is in the way: the Firebase emulators find there what make has installed, so"
            " rename it, or remove it."
        )
    link.symlink_to(sys.prefix)


def _runnable(jar: Path, folder: Path) -> Path:
    """Return a jar that `java -jar` runs the emulator from: the Google Cloud CLI's says not how."""
    wrapper = folder / "firestore.jar"
    entries = f"Manifest-Version: 1.0\nMain-Class: {MAIN_CLASS}\nClass-Path: {jar.as_uri()}\n"
    # A line of a manifest holds 72 bytes, and goes on after a line break and a space.
    lines = (
        "\n ".join([line[:70], *(line[i : i + 69] for i in range(70, len(line), 69))])
        for line in entries.splitlines()
    )
    with zipfile.ZipFile(wrapper, "w") as file:
        file.writestr("META-INF/MANIFEST.MF", "\n".join(lines) + "\n")
    return wrapper


def _write_java(script: Path, command: str, pid_file: Path) -> None:
    """Write the `java` that the Firebase CLI finds: ours, which leaves its process ID."""
    script.parent.mkdir()
    script.write_text(f'#!/bin/sh\necho $$ >"{pid_file}"\nexec "{command}" "$@"\n')
    script.chmod(0o755)


def _loaded(suite: subprocess.Popen[bytes], port: int) -> bool:
    """Wait until the functions emulator knows the function, which comes last."""
    deadline = time.monotonic() + START_SECONDS
    while suite.poll() is None and time.monotonic() < deadline:
        _, backends = get(f"{LOOPBACK}:{port}", "/backends", REQUEST_SECONDS)
        if b'"entryPoint":"get_call"' in backends:
            return True
        time.sleep(0.1)
    return False


if __name__ == "__main__":
    main()
