"""deploy.sh and the function's settings: which reach it, and that it judges them before it is deployed."""

import re
import shlex
import subprocess
import sys

import pytest

from call_api.settings import Settings
from ops import deploy_settings
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


def test_every_setting_but_the_emulators_hosts_reaches_the_function(cloud: Cloud) -> None:
    """A setting that is not in FUNCTION_SETTINGS would never be set. The Python here accepts any text."""
    written = {
        "RECORDINGS_BUCKET": "other-recordings",
        "FIRESTORE_DATABASE": "calls",
        **{name: f"{name} \u0905,=:'\"$x^|\\" for name in ("LOG_LEVEL", "ALLOWED_ORIGINS")},
    }
    assert sorted(written) == PASSED_ON
    hosts = {"FIRESTORE_EMULATOR_HOST": "localhost:1", "STORAGE_EMULATOR_HOST": "http://localhost"}

    result = cloud.run("function", "--dry-run", **written, **hosts)

    assert result.code == 0, result.err
    assert deployed_environment(result.out) == written | {
        "GOOGLE_CLOUD_PROJECT": "my-project",
        "BEHIND_API_GATEWAY": "false",
    }


# What each setting may be


WELL_FORMED = {
    "PROJECT": ["my-project", "x" * 30, "example.com:my-project"],
    "REGION": ["europe-west1", "us-east4", "northamerica-northeast2"],
    "RECORDINGS_BUCKET": ["abc", "recordings.example.com"],
    "FUNCTION": ["ab", "get-call", "a" * 22],
    "GATEWAY_REGION": ["asia-northeast1"],
    "FIRESTORE_DATABASE": ["(default)", "calls"],
    "FIRESTORE_LOCATION": ["eur3", "nam5", "asia-south1"],
    "FIRESTORE_RULES": ["keep", "replace"],
    "FIRESTORE_RECOVERY": ["on"],
    "RETENTION_DAYS": ["1", "36500"],
    "SIGNER_SECRET": ["signer:1", "The_signer-2:17"],
    "BUILD_ACCOUNT": ["builder@my-project.iam.gserviceaccount.com"],
    "INVOKER_CHECK": ["on", "off"],
    "MIN_INSTANCES": ["0", "20"],
    "MAX_INSTANCES": ["1", "1000"],
    "CONCURRENCY": ["1", "99", "100"],
    "CPU": ["1", "2"],
    "MEMORY": ["512Mi", "1Gi", "4096Mi"],
    "LOG_LEVEL": ["anything"],
    "ALLOWED_ORIGINS": ["https://a.example,https://b.example"],
    "DOMAIN": ["api.example.com", "a.bc", "xn--80ak6aa92e.xn--p1ai", "a" * 60 + ".com"],
    "KEY_REQUESTS_PER_MINUTE": ["0", "1", "999999"],
    "ADDRESS_REQUESTS_PER_MINUTE": ["1", "999999"],
    "INGRESS": ["balancer", "all"],
    "NOTIFICATION_CHANNELS": [
        "projects/p/notificationChannels/1",
        "projects/p/notificationChannels/1,projects/p/notificationChannels/2",
    ],
    "REPOSITORY": ["owner/name", "An-Owner/a.repo_1"],
    "REPOSITORY_ID": ["1", "823719402"],
    "CI_ENVIRONMENT": ["staging", "production"],
    "SMOKE_KEY": ["ige17YnP-dVs"],
    "SMOKE_CALL": ["77"],
}
MALFORMED = {
    "PROJECT": ["short", "123456789012", "My Project", "my-project\n", "m\xff-project", "a;b"],
    "REGION": [" ", "europe", "Europe-west1", "europe-west1-b", "europe-west1\n"],
    "RECORDINGS_BUCKET": ["a..b", "gs://", "gs://a/b", "gs://gs://abc"],
    "FUNCTION": ["Get_Call", "a", "1st", "a" * 23, "get-call-", "get-call-private"],
    "GATEWAY_REGION": ["Europe"],
    "FIRESTORE_DATABASE": ["(Default)", "db1", "1st-database"],
    "FIRESTORE_LOCATION": ["Europe", "3"],
    "FIRESTORE_RULES": ["yes", "keep "],
    "FIRESTORE_RECOVERY": ["off", "true"],
    "RETENTION_DAYS": ["0", "a week", "-1", "1.5", "36501"],
    "SIGNER_SECRET": ["signer", "signer:latest", "signer:0", "projects/p/secrets/signer:1", ":1"],
    "BUILD_ACCOUNT": ["builder", "me@example.com", "a@b.iam.gserviceaccount.com,c"],
    "INVOKER_CHECK": ["false", "OFF"],
    "MIN_INSTANCES": ["-1", "many", "01", "21"],  # MAX_INSTANCES is 20
    "MAX_INSTANCES": ["0", "1001", "1e3"],
    "CONCURRENCY": ["0", "101", "1000", "-1", "8 0", "080", "eighty", "80,LOG_LEVEL=DEBUG"],
    "CPU": ["0.5", "3", "16", "1000m"],
    "MEMORY": ["256Mi", "511Mi", "512", "512M", "0Gi", "33Gi", "5Gi"],  # CPU is 1
    "LOG_LEVEL": ["a;X=1", "a\n", "a\x7f"],
    "ALLOWED_ORIGINS": ["https://a.example;LOG_LEVEL=DEBUG", "a\x00"],
    "DOMAIN": [
        *("example", "API.example.com", "https://api.example.com"),
        *("a_b.example", "a..b", "a.b."),
    ],
    "KEY_REQUESTS_PER_MINUTE": ["many", "-1", "1000000"],
    "ADDRESS_REQUESTS_PER_MINUTE": ["0", "1e3"],
    "INGRESS": ["internal", "All"],
    "NOTIFICATION_CHANNELS": ["7", "projects/p/notificationChannels/1,", "pager@example.com"],
    "REPOSITORY": [
        *("name", "owner/", "owner/name/x", "https://github.com/owner/name", "o'/n"),
        'owner/name" || true || "',  # in the condition under which Google lets somebody in
    ],
    "REPOSITORY_ID": ["0", "owner", "-1", "1" * 20],
    "CI_ENVIRONMENT": ["test", "Staging"],
    "SMOKE_KEY": ["two words", "k\xe9y"],
    "SMOKE_CALL": ["abc", "-7", "7,8"],
}


def read(name: str, text: str) -> tuple[dict[str, str], list[str]]:
    (setting,) = (one for one in deploy_settings.SETTINGS if one.name == name)
    command = "gateway" if "gateway" in setting.commands else min(setting.commands)
    return deploy_settings.read(command, SETTINGS | {name: text})


@pytest.mark.parametrize("name", [setting.name for setting in deploy_settings.SETTINGS])
def test_a_setting_is_what_its_rule_says(name: str) -> None:
    for text in WELL_FORMED[name]:
        values, faults = read(name, text)
        assert (faults, values[name]) == ([], text)
    for text in MALFORMED[name]:
        (fault,) = read(name, text)[1]
        assert fault.startswith(f"{name} is malformed: ")
        assert (repr(text) in fault) == (name != "SMOKE_KEY")


@pytest.mark.parametrize(
    ("cpu", "memory", "goes"),
    [
        ("4", "2Gi", True),
        ("4", "1Gi", False),
        ("8", "32Gi", True),
        ("8", "3Gi", False),
        ("2", "8Gi", True),
        ("2", "9Gi", False),
    ],
)
def test_memory_goes_with_cpu_as_cloud_run_says(cpu: str, memory: str, goes: bool) -> None:
    _, faults = deploy_settings.read("function", SETTINGS | {"CPU": cpu, "MEMORY": memory})

    assert (faults == []) == goes


@pytest.mark.parametrize(
    ("command", "required"),
    [
        ("alerts", ["PROJECT"]),
        ("status", ["PROJECT", "REGION"]),
        ("function", ["PROJECT", "REGION", "RECORDINGS_BUCKET"]),
        ("ci", ["PROJECT", "REGION", "REPOSITORY", "REPOSITORY_ID", "CI_ENVIRONMENT"]),
    ],
)
def test_what_has_no_default_is_required(command: str, required: list[str]) -> None:
    _, faults = deploy_settings.read(command, {})

    assert [fault.partition(" is required: ")[0] for fault in faults] == required


def test_every_fault_is_said_at_once_and_before_anything_is_asked(cloud: Cloud) -> None:
    result = cloud.run("function", PROJECT="", REGION="x", SMOKE_KEY="s3cret key")

    assert result.code == 1
    assert [line.split(" ")[1] for line in result.err.splitlines()] == [
        "PROJECT",
        "REGION",
        "SMOKE_KEY",
    ]
    assert "s3cret" not in result.err
    assert cloud.commands() == []


def test_a_command_reads_no_setting_of_another(cloud: Cloud) -> None:
    assert cloud.run("status", "--dry-run", MEMORY="none", RECORDINGS_BUCKET="").code == 0


@pytest.mark.parametrize(
    ("project", "accounts"),
    [
        ("my-project", "my-project.iam.gserviceaccount.com"),
        ("example.com:my-project", "my-project.example.com.iam.gserviceaccount.com"),
        ("a.b.example:my-project", "my-project.a.b.example.iam.gserviceaccount.com"),
    ],
)
def test_accounts_are_named_as_google_does(project: str, accounts: str) -> None:
    found = deploy_settings.names({"PROJECT": project, "FUNCTION": "f", "REGION": "asia-south1"})

    assert found["GATEWAY_ACCOUNT"] == f"f-gateway@{accounts}"
    assert found["RUNTIME_ACCOUNT"].partition("@")[2] == accounts


def test_each_region_s_function_has_an_account_of_its_own() -> None:
    longest = {"PROJECT": "my-project", "FUNCTION": "f" * 22}
    regions = ("europe-west1", "europe-west2", "northamerica-northeast1")
    found = {deploy_settings.names({**longest, "REGION": r})["RUNTIME_ACCOUNT"] for r in regions}

    assert len(found) == 3
    assert max(len(account.partition("@")[0]) for account in found) <= 30


@pytest.mark.parametrize("written", ["gs://my-recordings", "gs://my-recordings/", "my-recordings/"])
def test_a_bucket_may_be_written_as_its_url(written: str, cloud: Cloud) -> None:
    result = cloud.run("function", "--dry-run", RECORDINGS_BUCKET=written)

    assert deployed_environment(result.out)["RECORDINGS_BUCKET"] == "my-recordings"


def test_what_the_function_refuses_is_not_deployed(cloud: Cloud) -> None:
    """In a line each, before Google is asked for anything; tests/unit has all that it refuses."""
    written = {"LOG_LEVEL": "verbose", "ALLOWED_ORIGINS": "*"}

    result = cloud.run("gateway", DEPLOY_PYTHON=sys.executable, **written)

    assert result.code == 1
    assert result.err.splitlines() == [
        f"deploy.sh: {name} is malformed: {DESCRIPTIONS[name]}, not {text!r}"
        for name, text in written.items()
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
        "(The function's settings are not checked: run `make install` first.)"
    )
    assert deployed_environment(run.stdout)["LOG_LEVEL"] == "verbose"
