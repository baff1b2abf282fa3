"""`make install` and every other target: the virtual environment, installed where it is missing.

The machine's Python runs this, so it imports the standard library alone. The packages that running
and the operator's commands need are part of those that testing needs, at the same versions: one
environment holds either, and what runs from it goes on while the rest is added.
"""

import contextlib
import hashlib
import importlib.util
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from local.install import LocalStackError, lock, pip_install, say

ROOT = Path(__file__).parent.parent
VENV = ROOT / ".venv"


@dataclass(frozen=True)
class Packages:
    """What a lock names, and the file that says that it is installed."""

    what: str
    requirements: Path
    stamp: Path

    def digest(self) -> str:
        """Tell this lock, and the Python that it is installed for, from all others."""
        contents = self.requirements.read_bytes()
        return f"{sys.version_info[:2]} {hashlib.sha256(contents).hexdigest()}\n"

    def installed(self) -> bool:
        """Tell whether the environment has what the lock names now."""
        return self.stamp.is_file() and self.stamp.read_text() == self.digest()


RUN = Packages("packages for running", ROOT / "ops" / "requirements.txt", VENV / "installed-run")
DEV = Packages("packages for development", ROOT / "requirements-dev.txt", VENV / "installed")
PACKAGES = {"run": RUN, "dev": DEV}


def install(packages: Packages) -> None:
    """Install the packages, unless they are or another process is about to.

    Raises:
        LocalStackError: they cannot be installed.
    """
    with lock(packages.what):
        if not packages.installed() and not (packages is RUN and DEV.installed()):
            with _environment() as python:
                say(f"installing the {packages.what} into .venv …")
                pip_install(packages.what, python, packages.requirements)
        packages.stamp.write_text(packages.digest())


@contextlib.contextmanager
def _environment() -> Iterator[str]:
    """Yield the environment's Python; what was made of another lock or Python is made anew."""
    kept = any(packages.installed() for packages in PACKAGES.values())
    if not kept:
        if importlib.util.find_spec("ensurepip") is None:
            raise LocalStackError(
                f"{sys.executable} cannot make a virtual environment: install Debian's package"
                " python3-venv, or the like."
            )
        shutil.rmtree(VENV, ignore_errors=True)
    try:
        if not kept:
            _make()
        yield str(VENV / "bin" / "python")
    except BaseException:
        if not kept:
            shutil.rmtree(VENV, ignore_errors=True)
        raise


def _make() -> None:
    command = [sys.executable, "-m", "venv", str(VENV)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        said = (done.stdout + done.stderr).strip().splitlines()
        raise LocalStackError(
            f"{sys.executable} cannot make the virtual environment {VENV}: {said[-1]}"
        )


if __name__ == "__main__":
    try:
        install(PACKAGES[sys.argv[1]])
    except LocalStackError as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        sys.exit(130)
