"""deploy.sh and call_api/settings.py accept and refuse the same values of the settings they share.

A value that only deploy.sh accepts would deploy a function that does not start.
"""

import os
import re
import string
import subprocess

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from call_api.settings import Settings, SettingsError
from tests.support.serving import ROOT

# The variable of the operator and the one of the function, where they differ.
FUNCTION_VARIABLES = {"PROJECT": "GOOGLE_CLOUD_PROJECT"}
NOT_THE_OPERATOR_S = {
    "BEHIND_API_GATEWAY",  # the deployment knows
    "RECORDING_SIGNER_KEY_FILE",  # where the deployment mounts the secret
    "FIRESTORE_EMULATOR_HOST",  # local
    "STORAGE_EMULATOR_HOST",  # local
}
REQUIRED = {
    "PROJECT": "my-project",
    "REGION": "europe-west1",
    "RECORDINGS_BUCKET": "my-recordings",
}
CHECK = """
source ops/deploy/lib.sh
source ops/deploy/settings.sh
require_project
require_region
require_function_settings
"""

ACCEPTED = {
    "PROJECT": ["my-project", "abc123", "a" * 30, "a-----b", "example.com:my-project"],
    "RECORDINGS_BUCKET": [
        "abc",
        "0a0",
        "my_recordings",
        "a.b.c",
        "recordings.example.com",
        "1.2.3",
        "1.2.3.4.5",
        "1.2.3.4a",
        "x" * 63,
        ".".join(["x" * 63] * 3),
        "a-.-b",
    ],
    "FIRESTORE_DATABASE": ["(default)", "default", "calls", "a234", "a" * 63, "a--b", ""],
    "LOG_LEVEL": ["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL", "debug", "Info", ""],
    "ALLOWED_ORIGINS": [
        "https://app.example.com",
        "https://app.example.com:8443",
        "https://a.example:65535,https://b.example,http://localhost:3000",
        "http://localhost",
        "https://xn--pp-via.example",
        "",
    ],
}
REFUSED = {
    "PROJECT": [
        "a" * 31,
        "short",
        "1project",
        "my-project-",
        "My-project",
        "my_project",
        "my project",
        "my-project\n",
        "my-project,LOG_LEVEL=DEBUG",
        "example:my-project",
        "example.com:",
        "123456789012",
        "mÿ-project",
    ],
    "RECORDINGS_BUCKET": [
        "ab",
        "-ab",
        "ab-",
        "ab.",
        "a..b",
        "Recordings",
        "my recordings",
        "my-recordings\n",
        "\nmy-recordings",
        "b,LOG_LEVEL=DEBUG",
        "192.168.5.4",
        "0.0.0.0",
        "999.1.1.1",
        "x" * 64,
        ".".join(["x" * 63] * 4),
        "bücket",
        "my/recordings",
    ],
    "FIRESTORE_DATABASE": [
        "(Default)",
        "()",
        "a23",
        "a" * 64,
        "1calls",
        "calls-",
        "Calls",
        "call_s",
        "a,b",
        "calls\n",
        "cällse",
    ],
    "ALLOWED_ORIGINS": [
        "*",
        "null",
        "https://app.example.com/",
        "https://App.example.com",
        "HTTPS://app.example.com",
        "https://app.example.com:443",
        "https://app.example.com:65536",
        "https://app.example.com:0",
        "http://app.example.com",
        "http://localhost:80",
        "https://a.example,",
        "https://a.example, https://b.example",
        "https://a.example;LOG_LEVEL=DEBUG",
        "https://a.example\n",
        "https://\u00e4pp.example",
    ],
    "LOG_LEVEL": ["verbose", "WARN", "FATAL", "20", " INFO", "INFO\n", "INFO,DEBUG", "NOTSET"],
}


def deploy_accepts(variable: str, value: str) -> bool:
    """Check the settings as every deployment does, in a locale that is not the C locale."""
    run = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", CHECK],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8", **REQUIRED, variable: value},
        capture_output=True,
        text=True,
        check=False,
    )
    if run.returncode:
        assert run.stderr.startswith(f"deploy.sh: {variable} is malformed: "), run.stderr
    return run.returncode == 0


def function_accepts(variable: str, value: str) -> bool:
    environment = REQUIRED | {FUNCTION_VARIABLES.get(variable, variable): value}
    try:
        Settings.from_environment(environment)
    except SettingsError:
        return False
    return True


def test_no_setting_is_left_out() -> None:
    compared = {FUNCTION_VARIABLES.get(variable, variable) for variable in ACCEPTED}
    settings = {setting.alias for setting in Settings.model_fields.values()}

    assert ACCEPTED.keys() == REFUSED.keys()
    assert compared | NOT_THE_OPERATOR_S == settings


@pytest.mark.parametrize(("variable", "value"), [(n, v) for n in ACCEPTED for v in ACCEPTED[n]])
def test_both_accept(variable: str, value: str) -> None:
    assert function_accepts(variable, value)
    assert deploy_accepts(variable, value)


@pytest.mark.parametrize(("variable", "value"), [(n, v) for n in REFUSED for v in REFUSED[n]])
def test_both_refuse(variable: str, value: str) -> None:
    assert not function_accepts(variable, value)
    assert not deploy_accepts(variable, value)


@st.composite
def edited(draw: st.DrawFn) -> tuple[str, str]:
    """Take a value of a table and replace, insert or remove a few characters."""
    variable = draw(st.sampled_from(sorted(ACCEPTED)))
    value = draw(st.sampled_from([v for v in ACCEPTED[variable] + REFUSED[variable] if v]))
    for _ in range(draw(st.integers(1, 3))):
        start = draw(st.integers(0, len(value)))
        end = draw(st.integers(start, min(len(value), start + 1)))
        new = draw(st.sampled_from(["", *"aZ09.-_:()/, \n\té", *string.ascii_lowercase]))
        value = value[:start] + new + value[end:]
    return variable, value


@given(edited())
@example(("LOG_LEVEL", "dEbUg"))
def test_they_agree_about_any_edit_of_these(case: tuple[str, str]) -> None:
    variable, value = case
    assume(value or variable not in REQUIRED)  # empty is unset, and only deploy.sh needs PROJECT
    assume(variable != "RECORDINGS_BUCKET" or not value.endswith("/"))  # see the next test

    assert deploy_accepts(variable, value) == function_accepts(variable, value)


@pytest.mark.parametrize("written", ["gs://my-recordings", "gs://my-recordings/", "my-recordings/"])
def test_deploy_passes_on_the_name_in_a_bucket_url(written: str) -> None:
    passed_on = deployed_environment(RECORDINGS_BUCKET=written)

    assert passed_on["RECORDINGS_BUCKET"] == "my-recordings"


@pytest.mark.parametrize(("variable", "value"), [(n, v) for n in ACCEPTED for v in ACCEPTED[n]])
def test_what_is_deployed_is_what_was_accepted(variable: str, value: str) -> None:
    deployed = Settings.from_environment(deployed_environment(**{variable: value}))
    given_to_it = {
        FUNCTION_VARIABLES.get(n, n): v for n, v in (REQUIRED | {variable: value}).items()
    }

    assert deployed == Settings.from_environment(given_to_it)


def deployed_environment(**environment: str) -> dict[str, str]:
    """Return the variables that a deployment gives to the function."""
    run = subprocess.run(
        [ROOT / "deploy.sh", "function", "--dry-run"],
        env={"PATH": os.environ["PATH"], **REQUIRED, **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    (variables,) = re.findall(r"'?--set-env-vars=\^;\^([^' ]+)'?", run.stdout)
    return dict(pair.split("=", 1) for pair in variables.split(";"))
