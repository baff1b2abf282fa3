"""What a served function does besides serving while the tests are measured."""

import os
import signal
from pathlib import Path

# Save the coverage of the server's worker, which uvicorn ends with the very signal that it caught:
# Python runs no exit handlers then, so what the worker has measured would be lost.
if any(name.startswith("COVERAGE_") for name in os.environ):
    import coverage

    raise_signal = signal.raise_signal

    def save_and_raise(number: int) -> None:
        measured = coverage.Coverage.current()
        if measured is not None:
            measured.save()
        raise_signal(number)

    signal.raise_signal = save_and_raise

# Tell tests/mutants/plugin.py which functions of call_api ran, in one file for this process and
# the worker that it forks.
if os.environ.get("MUTANT_UNDER_TEST") == "stats":
    from mutmut.mutation import trampoline

    reached = Path(os.environ["MUTANT_SCRATCH"], f"reached-{os.getpid()}").open("a", buffering=1)  # noqa: SIM115  (to the end)
    trampoline.record_trampoline_hit = lambda name, **_: reached.write(f"{name}\n")  # type: ignore[attr-defined, assignment]
