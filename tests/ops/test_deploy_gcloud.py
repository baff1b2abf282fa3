"""deploy.sh before the real gcloud, which parses its commands and lists what it uploads."""

import itertools
import json
import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.cloud import COMMANDS, EVERY_OPTION, SMOKE, After, Cloud
from tests.support.serving import ROOT

# What varies among commands of one form: names of files and resources, numbers, and what is printed, which
# gcloud does not parse here.
VARIED = re.compile(r"ops/\S+|'?named/[^']+'?|(?:get-call|[A-Z]{4,})[\w-]*|\d+|'?--format=[^']+'?")


@pytest.mark.gcloud
def test_the_real_gcloud_accepts_every_command_of_every_run(after: After, tmp_path: Path) -> None:
    lines = [*first_runs(after()), *later_runs(after("function", "gateway", "alerts"))]
    # One of each form, since gcloud is slow.
    forms = {VARIED.sub("X", line): line for line in lines if line.startswith("gcloud ")}
    commands = tmp_path / "commands.json"
    commands.write_text(json.dumps([{"command_string": line} for line in forms.values()]))

    answer = subprocess.run(
        ["gcloud", "meta", "lint-gcloud-commands", f"--commands-file={commands}"],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "CLOUDSDK_CONFIG": str(tmp_path / "gcloud")},
    )
    checked = json.loads(answer.stdout)

    assert {one["command_string"] for one in checked} == set(forms.values())
    assert [(o["command_string"], o["error_message"]) for o in checked if not o["success"]] == []


def first_runs(cloud: Cloud) -> Iterator[str]:
    """Yield the commands of every dry run, which are those of an empty project."""
    # Another name would make other commands of the same words.
    every_option = {name: value for name, value in EVERY_OPTION.items() if name != "FUNCTION"}
    for command, environment in itertools.product(COMMANDS, ({}, every_option)):
        yield from cloud.run(command, "--dry-run", **environment).out.splitlines()


def later_runs(cloud: Cloud) -> list[str]:
    """Return the commands of further runs, which a dry run does not print."""
    for command in ("function", "gateway", "alerts", "rollback", "ci"):
        cloud.succeed(command)
    cloud.succeed("ci", CI_ENVIRONMENT="production")
    cloud.succeed("canary", **SMOKE)
    broken = cloud.run("canary", **SMOKE, BROKEN_URL="https://get-call-abc.a.run.app")
    assert broken.code == 1
    cloud.add("state iam workload-identity-pools get-call-ci DELETED")
    cloud.add("state iam workload-identity-pools providers github DELETED")
    cloud.succeed("ci")
    cloud.succeed("alerts", NOTIFICATION_CHANNELS="projects/my-project/notificationChannels/1")
    cloud.succeed("edge")
    cloud.succeed("edge", KEY_REQUESTS_PER_MINUTE="0", ADDRESS_REQUESTS_PER_MINUTE="6000")
    cloud.succeed("edge", DOMAIN="calls.example.com")
    cloud.add("state compute ssl-certificates get-call-edge-d0c43d ACTIVE")
    cloud.succeed("edge")
    cloud.succeed("delete")
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
