"""deploy.sh and the function's settings: which reach it, and that it judges them before it is deployed."""

import re
import shlex
import subprocess
import sys

import pytest

from call_api.settings import Settings
from tests.support.cloud import SETTINGS, Cloud

DESCRIPTIONS = {field.alias: field.description for field in Settings.model_fields.values()}
# PROJECT, the command and SIGNER_SECRET decide the first three; the emulators' hosts are for development.
NOT_PASSED_ON = {
    "GOOGLE_CLOUD_PROJECT",
    "BEHIND_API_GATEWAY",
    "RECORDING_SIGNER_KEY_FILE",
    "FIRESTORE_EMULATOR_HOST",
    "STORAGE_EMULATOR_HOST",
}
PASSED_ON = sorted(name for name in DESCRIPTIONS if name and name not in NOT_PASSED_ON)


def deployed_environment(output: str) -> dict[str, str]:
    """Return the variables that a dry run would give to the function."""
    (variables,) = re.findall(r"--set-env-vars=\^;\^(.*)", "\n".join(shlex.split(output)))
    return dict(pair.split("=", 1) for pair in variables.split(";"))


def test_every_setting_but_the_emulators_hosts_reaches_the_function_as_written(
    cloud: Cloud,
) -> None:
    """A setting that is not in FUNCTION_SETTINGS would never be set. The Python here accepts any value."""
    written = {name: f"{name} \u0905,=:'\"$x^|\\" for name in PASSED_ON}
    hosts = {"FIRESTORE_EMULATOR_HOST": "localhost:1", "STORAGE_EMULATOR_HOST": "http://localhost"}

    result = cloud.run("function", "--dry-run", **written, **hosts)

    assert result.code == 0, result.err
    assert deployed_environment(result.out) == written | {
        "GOOGLE_CLOUD_PROJECT": "my-project",
        "BEHIND_API_GATEWAY": "false",
    }


def test_the_help_names_every_setting_that_is_passed_on(cloud: Cloud) -> None:
    assert set(PASSED_ON) <= set(re.findall(r"[A-Z_]+", cloud.run("--help").out))


@pytest.mark.parametrize("value", ["a;X=1", "a\n", "a\x7f"])
@pytest.mark.parametrize("name", PASSED_ON)
def test_no_setting_can_add_another_one(name: str, value: str, cloud: Cloud) -> None:
    result = cloud.run("function", **{name: value})

    sentence = "a setting holds no control character, and no semicolon, which separates settings"
    assert (result.code, result.err) == (1, f"deploy.sh: {name} is malformed: {sentence}.\n")
    assert cloud.commands() == []


@pytest.mark.parametrize("written", ["gs://my-recordings", "gs://my-recordings/", "my-recordings/"])
def test_a_bucket_may_be_written_as_its_url(written: str, cloud: Cloud) -> None:
    result = cloud.run("function", "--dry-run", RECORDINGS_BUCKET=written)

    assert deployed_environment(result.out)["RECORDINGS_BUCKET"] == "my-recordings"


@pytest.mark.parametrize(
    ("command", "environment", "faults"),
    [
        ("function", {"PROJECT": "short"}, {"PROJECT": "GOOGLE_CLOUD_PROJECT"}),
        ("function", {"RECORDINGS_BUCKET": "a..b"}, {"RECORDINGS_BUCKET": "RECORDINGS_BUCKET"}),
        (
            "gateway",
            {"ALLOWED_ORIGINS": "*", "LOG_LEVEL": "verbose"},
            {"LOG_LEVEL": "LOG_LEVEL", "ALLOWED_ORIGINS": "ALLOWED_ORIGINS"},
        ),
    ],
    ids=["the project", "one", "two"],
)
def test_what_the_function_refuses_is_not_deployed(
    command: str, environment: dict[str, str], faults: dict[str, str], cloud: Cloud
) -> None:
    """In a line each, before Google is asked for anything; tests/unit has all that it refuses."""
    result = cloud.run(command, DEPLOY_PYTHON=sys.executable, **environment)

    assert result.code == 1
    assert result.err.splitlines() == [
        f"deploy.sh: {name} is malformed: {DESCRIPTIONS[alias]}" for name, alias in faults.items()
    ]
    assert cloud.commands() == []


def test_only_the_environment_that_is_deployed_is_judged(cloud: Cloud) -> None:
    mine = {"FIRESTORE_EMULATOR_HOST": "of my shell", "BEHIND_API_GATEWAY": "perhaps"}

    result = cloud.run("function", "--dry-run", DEPLOY_PYTHON=sys.executable, **mine)

    assert result.code == 0, result.err


def test_a_dry_run_without_the_function_s_packages_says_how_to_get_them(cloud: Cloud) -> None:
    run = subprocess.run(
        [cloud.clone / "deploy.sh", "function", "--dry-run"],
        env={"PATH": str(cloud.home / "bin"), **SETTINGS, "LOG_LEVEL": "verbose"},
        capture_output=True,
        text=True,
        check=False,
    )

    assert run.returncode == 0
    assert run.stderr.splitlines()[0] == (
        "(The settings of the function are not checked: run `make install` first.)"
    )
    assert deployed_environment(run.stdout)["LOG_LEVEL"] == "verbose"
