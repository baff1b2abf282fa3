"""How operators' commands ask Google Cloud: each request once, and its failure in one sentence."""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from google.api_core.exceptions import Forbidden, GoogleAPICallError, RetryError
from google.api_core.retry import Retry, if_exception_type
from google.auth.exceptions import GoogleAuthError

SECONDS = 10.0
# Tried once, as no type of failure is retried: who runs this sees it fail, and can run it again.
FIRESTORE_ONCE: dict[str, Any] = {"retry": Retry(if_exception_type()), "timeout": SECONDS}
STORAGE_ONCE: dict[str, Any] = {"retry": None, "timeout": SECONDS}


@contextmanager
def asking(service: str, role: str) -> Iterator[None]:
    """Leave by `SystemExit` with one sentence where a service, or the way to it, fails."""
    try:
        yield
    except Forbidden:
        sys.exit(f"{service} refuses: is {role}?")
    # The last: credentials that cannot be read, and what `requests` raises.
    except (GoogleAPICallError, RetryError, GoogleAuthError, OSError) as error:
        sys.exit(unusable(service, error))


def run_as_program(main: Callable[[], None]) -> None:
    """Run a command as a program, which Ctrl-C ends at once.

    The interpreter's own end waits for gRPC, and that for a call which was interrupted while it started:
    for ever.
    """
    try:
        main()
    except SystemExit as left:
        if not isinstance(left.__context__, KeyboardInterrupt):
            raise
        if isinstance(left.code, int):
            os._exit(left.code)
        sys.stderr.write(f"{left.code}\n")
        sys.stderr.flush()
        os._exit(1)


def unusable(service: str, error: Exception) -> str:
    """Return the sentence for it."""
    return " ".join(f"{service} cannot be used: {error}".split())
