"""Saves the coverage of a server's worker, which uvicorn ends with the very signal that it caught.

Python runs no exit handlers then, so what the worker has measured would be lost.
"""

import signal

import coverage

raise_signal = signal.raise_signal


def save_and_raise(number: int) -> None:
    measured = coverage.Coverage.current()
    if measured is not None:
        measured.save()
    raise_signal(number)


signal.raise_signal = save_and_raise
