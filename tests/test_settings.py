"""The settings: each is read by its name, and a wrong one stops the start with it."""

import json
from collections.abc import Mapping
from pathlib import Path

import pytest

from call_api.settings import Settings, SettingsError
from local.signer import new_signer
from tests.serving import started

LEAST = {"RECORDINGS_BUCKET": "thinnestai-recordings"}
MALFORMED = {
    "RECORDINGS_BUCKET": [
        "Bucket",
        "b",
        "gs://bucket",
        "bucket/folder",
        "-bucket",
        "x" * 223,
        "a b",
    ],
    "GOOGLE_CLOUD_PROJECT": ["My Project", "a/b", "-p", "projects/p", "p\n"],
    "FIRESTORE_DATABASE": ["default", "(Default)", "a/b", "1st-database", "-", "db\n"][1:],
    "BEHIND_API_GATEWAY": ["1", "0", "yes", "on", "truee", " true", "none"],
    "LOG_LEVEL": ["VERBOSE", "10", "INFO,DEBUG", "NOTSET", "WARN"],
    "FIRESTORE_EMULATOR_HOST": ["localhost", "http://localhost:8080", "localhost:port", ":8080"],
    "STORAGE_EMULATOR_HOST": [
        "localhost:9199",
        "ftp://localhost",
        "http://localhost:9199/",
        "http://",
    ],
}


def read(**changes: str) -> Settings:
    return Settings.from_environment(LEAST | changes)


def test_the_bucket_is_all_that_is_required() -> None:
    settings = read()

    assert settings.recordings_bucket == "thinnestai-recordings"
    assert settings.project is None
    assert settings.database == "(default)"
    assert settings.behind_api_gateway is False
    assert settings.signer_key_file is None
    assert settings.log_level == "INFO"
    assert settings.firestore_emulator_host is None
    assert settings.storage_endpoint == "https://storage.googleapis.com"


def test_every_setting_is_read_by_its_name() -> None:
    settings = read(
        GOOGLE_CLOUD_PROJECT="example.com:my-project-1",
        FIRESTORE_DATABASE="calls-eu",
        BEHIND_API_GATEWAY="True",
        RECORDING_SIGNER_KEY_FILE="/secrets/signer.json",
        LOG_LEVEL="debug",
        FIRESTORE_EMULATOR_HOST="[::1]:8080",
        STORAGE_EMULATOR_HOST="http://localhost:9199",
    )

    assert settings.project == "example.com:my-project-1"
    assert settings.database == "calls-eu"
    assert settings.behind_api_gateway is True
    assert settings.signer_key_file == Path("/secrets/signer.json")
    assert settings.log_level == "DEBUG"
    assert settings.firestore_emulator_host == "[::1]:8080"
    assert settings.storage_endpoint == "http://localhost:9199"


@pytest.mark.parametrize(("text", "flag"), [("true", True), ("FALSE", False), ("false", False)])
def test_a_flag_is_true_or_false(text: str, flag: bool) -> None:
    assert read(BEHIND_API_GATEWAY=text).behind_api_gateway is flag


def test_an_empty_variable_is_an_unset_one() -> None:
    assert read(**dict.fromkeys(MALFORMED.keys() - LEAST.keys(), "")) == read()


@pytest.mark.parametrize("environment", [{}, {"RECORDINGS_BUCKET": ""}])
def test_a_missing_bucket_is_named(environment: Mapping[str, str]) -> None:
    with pytest.raises(
        SettingsError, match=r"^RECORDINGS_BUCKET is missing: the name of the bucket"
    ):
        Settings.from_environment(environment)


@pytest.mark.parametrize(
    ("name", "value"), [(name, value) for name, values in MALFORMED.items() for value in values]
)
def test_a_malformed_setting_is_named_and_not_shown(name: str, value: str) -> None:
    with pytest.raises(SettingsError) as refused:
        Settings.from_environment(LEAST | {name: value})

    assert str(refused.value).startswith(f"{name} is malformed: ")
    assert ";" not in str(refused.value)


def test_all_faults_are_named_at_once() -> None:
    with pytest.raises(
        SettingsError, match=r"RECORDINGS_BUCKET is missing.*; LOG_LEVEL is malformed"
    ):
        Settings.from_environment({"LOG_LEVEL": "loud"})


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"RECORDINGS_BUCKET": ""}, "RECORDINGS_BUCKET is missing"),
        ({"BEHIND_API_GATEWAY": "maybe"}, "BEHIND_API_GATEWAY is malformed: true or false"),
        (
            {"RECORDING_SIGNER_KEY_FILE": "/nowhere"},
            "RECORDING_SIGNER_KEY_FILE is no service-account key",
        ),
    ],
)
def test_a_wrong_setting_stops_the_start_by_its_name(
    changes: dict[str, str], named: str, settings: dict[str, str]
) -> None:
    with started(settings | changes) as (process, service):
        assert process.wait(30) != 0
        output = service.output()

    assert f"The function cannot start: {named}" in output
    assert "Traceback" not in output


@pytest.mark.parametrize(
    "contents",
    [
        "",
        "s3cret",
        "[]",
        "{}",
        json.dumps({"type": "service_account", "private_key": "s3cret", "client_email": "a@b"}),
        json.dumps(
            {
                "type": "service_account",
                "private_key": "s3cret",
                "client_email": "a@b",
                "token_uri": "x",
            }
        ),
        json.dumps(new_signer("s3cret")[0]),  # which signs, as nobody
    ],
)
def test_a_key_file_that_cannot_sign_stops_the_start(
    contents: str, tmp_path: Path, settings: dict[str, str]
) -> None:
    file = tmp_path / "key.json"
    file.write_text(contents)
    with started(settings | {"RECORDING_SIGNER_KEY_FILE": str(file)}) as (process, service):
        assert process.wait(30) != 0
        output = service.output()

    assert (
        "The function cannot start: RECORDING_SIGNER_KEY_FILE is no service-account key" in output
    )
    assert "s3cret" not in output
