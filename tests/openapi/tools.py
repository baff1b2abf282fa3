"""The npm packages that read openapi.yaml, installed as their lock names them."""

import os
import sys
from pathlib import Path

from local.install import SCRATCH, LocalStackError, installed_by_npm
from local.runtimes import node, npm

LOCKED = Path(__file__).parent / "npm"
INSTALLED = SCRATCH / "openapi-tools"
MODULES = INSTALLED / "node_modules"


def install() -> None:
    """Install the packages where they are missing.

    Raises:
        LocalStackError: they cannot be installed.
    """
    installed_by_npm("tools for openapi.yaml", LOCKED, INSTALLED, npm)


def command(name: str) -> list[str]:
    """Return the command of a package's program, run by a Node.js that is new enough."""
    return [node(), str((MODULES / ".bin" / name).resolve())]


def environment(home: Path) -> dict[str, str]:
    """Return an environment in which the tools report to nobody and look for no updates."""
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "REDOCLY_TELEMETRY": "off",
        "REDOCLY_SUPPRESS_UPDATE_NOTICE": "true",
    }


if __name__ == "__main__":
    try:
        install()
    except LocalStackError as error:
        sys.exit(str(error))
