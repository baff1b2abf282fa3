"""The function in Node.js, installed with the packages that its lock names."""

import shutil
import sys
from pathlib import Path

from local.install import SCRATCH, LocalStackError, installed_by_npm
from local.runtimes import npm

SOURCE = Path(__file__).parent / "peers" / "node"
INSTALLED = SCRATCH / "bench-node"


def install() -> None:
    """Put it where it runs, and its packages where they are missing.

    Raises:
        LocalStackError: they cannot be installed.
    """
    installed_by_npm("benchmark's function in Node.js", SOURCE, INSTALLED, npm)
    shutil.copy(SOURCE / "index.js", INSTALLED)  # which changes without the lock


if __name__ == "__main__":
    try:
        install()
    except LocalStackError as error:
        sys.exit(str(error))
