"""deploy.sh before the real gcloud, which parses its commands and lists what it uploads."""

import itertools
import json
import os
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support.cloud import (
    COMMANDS,
    EVERY_OPTION,
    SETTINGS,
    a_cloud,
)
from tests.support.serving import ROOT

# Names of files and of resources made from them.
VARIED = re.compile(r"ops/\S+|named/\S+|get-call-[a-z-]+")


def dry_run(command: str, **environment: str) -> list[str]:
    """Return the lines that a dry run prints, without a gcloud that could be run."""
    run = subprocess.run(
        [ROOT / "deploy.sh", command, "--dry-run"],
        env={"PATH": os.environ["PATH"], **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    return run.stdout.splitlines()


@pytest.mark.gcloud
def test_the_real_gcloud_accepts_every_command_of_every_dry_run(tmp_path: Path) -> None:
    # Another name would make other commands of the same words, and gcloud takes long over each.
    every_option = {name: value for name, value in EVERY_OPTION.items() if name != "FUNCTION"}
    lines = {
        line
        for command, environment in itertools.product(COMMANDS, (SETTINGS, every_option))
        for line in dry_run(command, **environment)
        if not line.startswith("firebase ")
    }
    # The commands of a second run, which a dry run (of an empty project) does not print.
    lines |= {line for line in second_runs(tmp_path) if line.startswith("gcloud ")}
    # Nine policies are created alike, and each command takes gcloud a fifth of a second.
    lines = set({VARIED.sub("X", line): line for line in sorted(lines)}.values())
    commands = tmp_path / "commands.json"
    commands.write_text(json.dumps([{"command_string": line} for line in sorted(lines)]))

    answer = subprocess.run(
        ["gcloud", "meta", "lint-gcloud-commands", f"--commands-file={commands}"],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "CLOUDSDK_CONFIG": str(tmp_path / "gcloud")},
    )
    checked = json.loads(answer.stdout)

    assert {one["command_string"] for one in checked} == lines
    assert [(o["command_string"], o["error_message"]) for o in checked if not o["success"]] == []


def second_runs(tmp_path: Path) -> list[str]:
    cloud = a_cloud(tmp_path / "second")
    for command in ("function", "gateway", "alerts", "function", "gateway", "alerts", "rollback"):
        cloud.succeed(command)
    cloud.succeed("ci")
    cloud.succeed("ci", CI_ENVIRONMENT="production")
    smoke = {"SMOKE_KEY": "the-key", "SMOKE_CALL": "77"}
    cloud.succeed("canary", **smoke)
    assert cloud.run("canary", **smoke, BROKEN_URL="https://get-call-abc.a.run.app").code == 1
    cloud.add("state iam workload-identity-pools get-call-ci DELETED")
    cloud.add("state iam workload-identity-pools providers github DELETED")
    cloud.succeed("ci")
    cloud.succeed("alerts", NOTIFICATION_CHANNELS="projects/my-project/notificationChannels/1")
    cloud.succeed("edge")
    cloud.succeed("edge", KEY_REQUESTS_PER_MINUTE="0", ADDRESS_REQUESTS_PER_MINUTE="6000")
    cloud.succeed("edge", DOMAIN="calls.example.com")
    cloud.add("state compute ssl-certificates get-call-edge-d0c43d ACTIVE")
    cloud.succeed("edge")
    cloud.succeed("delete", answer="get-call\n")
    return [shlex.join(shlex.split(command)) for command in cloud.commands()]


@pytest.mark.gcloud
def test_a_new_clone_uploads_what_is_deployed_and_nothing_else(tmp_path: Path) -> None:
    sources = tmp_path / "sources"
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, check=True)
    for name in [*listed.stdout.decode().splitlines(), ".gcloudignore"]:
        if (ROOT / name).exists():
            (sources / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, sources / name)

    uploaded = subprocess.run(
        ["gcloud", "meta", "list-files-for-upload"],
        cwd=sources,
        env={**os.environ, "CLOUDSDK_CONFIG": str(tmp_path / "gcloud")},
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()

    modules = {str(file.relative_to(ROOT)) for file in (ROOT / "call_api").rglob("*.py")}
    assert set(uploaded) == {"main.py", "requirements.txt"} | modules
