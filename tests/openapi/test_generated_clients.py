"""Clients that are generated from openapi.yaml pass strict type checks and read calls."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from local.runtimes import node
from local.seed import sample_calls
from ops.openapi import OPENAPI
from tests.openapi import tools
from tests.support.project import PutCall
from tests.support.serving import Service

CLIENTS = Path(__file__).parent / "clients"
BIN = Path(sys.executable).parent
FOREIGN_CALL = 87


def succeed(command: Sequence[str], folder: Path) -> str:
    """Run a command in a folder and return its output, which must not warn of anything."""
    done = subprocess.run(
        command,
        cwd=folder,
        env=tools.environment(folder) | {"PYTHONPATH": str(folder)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def python_client(folder: Path) -> list[str]:
    """Generate the Python client, check its types and return the command that reads calls with it."""
    generator = str(BIN / "openapi-python-client")
    config = folder / "generator.json"
    config.write_text(json.dumps({"post_hooks": []}))  # which tidy up what nobody will edit
    options = ["--meta=none", "--output-path=calls_api", "--fail-on-warning"]
    command = [generator, "generate", f"--path={OPENAPI}", f"--config={config}", *options]
    succeed(command, folder)
    shutil.copy(CLIENTS / "read_calls.py", folder)
    mypy = [str(BIN / "mypy"), "--strict", "--config-file="]
    succeed([*mypy, "read_calls.py", "calls_api"], folder)
    return [sys.executable, "read_calls.py"]


def typescript_client(folder: Path) -> list[str]:
    """Generate the TypeScript types, compile a client and return the command that reads calls with it."""
    (folder / "node_modules").symlink_to(tools.MODULES)
    generator = tools.command("openapi-typescript")
    succeed([*generator, str(OPENAPI), "--output=calls_api.d.mts"], folder)
    for name in ("read_calls.mts", "tsconfig.json"):
        shutil.copy(CLIENTS / name, folder)
    succeed([*tools.command("tsc"), "--project", "."], folder)
    return [node(), "read_calls.mjs"]


def has_link(call: dict[str, Any]) -> bool:
    return call["recording_url"] is not None


def without_links(calls: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return the calls with links that differ in every answer reduced to whether there is one."""
    return {call_id: call | {"recording_url": has_link(call)} for call_id, call in calls.items()}


@pytest.mark.parametrize("client", [python_client, typescript_client])
def test_a_generated_client_reads_calls(
    client: Callable[[Path], list[str]],
    service: Service,
    acme_key: str,
    put_call: PutCall,
    tmp_path: Path,
) -> None:
    without_times = put_call({"transcript": [{"role": "user", "content": "Hello?"}]})
    samples = [call_id for call_id in sample_calls() if call_id != FOREIGN_CALL]
    ids = [str(call_id) for call_id in (*samples, without_times)]
    answered = {
        call_id: service.request(target=f"/v2/calls/{call_id}", key=acme_key).json()
        for call_id in ids
    }
    url = f"http://127.0.0.1:{service.port}"

    output = succeed([*client(tmp_path), url, acme_key, str(FOREIGN_CALL), *ids], tmp_path)

    # The Python client reads times as `datetime`, which writes UTC as an offset.
    read = json.loads(output.replace("+00:00", "Z"))
    assert without_links(read.pop("calls")) == without_links(answered)
    assert read == {
        "unchanged": {call_id: 304 for call_id, call in answered.items() if not has_link(call)},
        "exists": 200,
        "methods": "GET, HEAD, OPTIONS",
        "forbidden": "forbidden",
        "missing": "call_not_found",
        "unauthenticated": "unauthenticated",
    }
