"""Child processes that end with this one, however this one ends."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

GRACE_SECONDS = 3  # from the request to end to the kill


@contextmanager
def child(
    command: Sequence[str],
    *,
    environment: Mapping[str, str] | None = None,
    output: IO[bytes] | int | None = None,
    folder: Path | None = None,
    grace_seconds: float = GRACE_SECONDS,
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a command until the block ends, with its output in a file, in a pipe or on our own.

    What is yielded, and ends when the command does, is its keeper: this module run as a program,
    at the other end of a pipe. The pipe closes when the block ends, but also when this process is
    killed without a chance to clean up, so no emulator is ever left behind. The session of its own
    keeps a terminal's Ctrl-C from reaching the command: we end it, in our order.
    """
    keeper = subprocess.Popen(
        [sys.executable, "-IS", __file__, str(grace_seconds), *command],
        cwd=folder,
        env=environment,
        stdin=subprocess.PIPE,
        stdout=output,
        stderr=None if output is None else subprocess.STDOUT,
        start_new_session=True,
    )
    try:
        yield keeper
    finally:
        keeper.communicate()


def _keep(grace_seconds: float, command: Sequence[str]) -> int:
    """Run the command, and end its whole process group when standard input closes."""
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL)
    # Set after the start, so that the command does not inherit it: the group's SIGTERM is meant
    # for everybody else, since the keeper stays to collect its child.
    signal.signal(signal.SIGTERM, lambda *_: None)
    threading.Thread(target=_end_with_parent, args=[grace_seconds], daemon=True).start()
    return process.wait()


def _end_with_parent(grace_seconds: float) -> None:
    os.read(sys.stdin.fileno(), 1)
    os.killpg(0, signal.SIGTERM)
    time.sleep(grace_seconds)
    os.killpg(0, signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(_keep(float(sys.argv[1]), sys.argv[2:]))
