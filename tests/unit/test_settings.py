"""The settings: each is read by its name, and a wrong one stops the start with it."""

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from call_api.settings import Settings, SettingsError, emulator_warning, main
from tests.support.serving import ROOT, measuring

LEAST = {"RECORDINGS_BUCKET": "thinnestai-recordings"}
AUTHORITIES = [  # none of them is host:port
    *(":8080", "localhost:0", "localhost:65536", "localhost:99999", "localhost:abc"),
    *("localhost:-1", "localhost:+80", "localhost:8_0", "localhost:08080"),
    *("localhost:\u0668\u0660", "localhost:", "localhost:80:80", "user@localhost:8080"),
    *("user:pw@localhost:8080", "@localhost:8080", "localhost:8080?x", "localhost:8080?"),
    *("localhost:8080#x", "localhost:8080#", "localhost:8080/", "local host:8080"),
    *(" localhost:8080", "localhost:8080 ", "localhost:8080\n", "local\thost:8080"),
    *("local\x01host:8080", "local\x7fhost:8080", "l\xf6calhost:8080"),
    *("\N{KELVIN SIGN}ubernetes:8080", "local,host:8080", "local%68ost:8080", "-localhost:8080"),
    *("local..host:8080", f"{'x' * 64}:8080", "127.0.0.256:8080", "127.0.0:8080", "::1:8080"),
    *("[::1:8080", "[::1]8080", "[::1]x:8080", "[::g]:8080", "[127.0.0.1]:8080", "[]:8080"),
    *("[::1]:0", "[::1]:65536"),
]
MALFORMED = {
    "RECORDINGS_BUCKET": [
        *("Bucket", "b", "bb", "bb.", "gs://bucket", "bucket/folder", "-bucket", "_bucket"),
        *(".bucket", "bucket-", "bucket_", "bucket.", "a..b", "a b", "bucket\n", "\nbucket"),
        *("bucket,LOG_LEVEL=DEBUG", "b\xfccket"),
        "x" * 64,
        f"bucket.{'x' * 64}",
        ".".join(["x" * 55] * 4),
        "x" * 223,
        "192.168.5.4",
        "0.0.0.0",
        "999.1.1.1",
    ],
    "GOOGLE_CLOUD_PROJECT": [
        *("My Project", "My-project", "my-project,LOG_LEVEL=DEBUG", "m\xff-project", "a/b", "-p"),
        *("projects/p", "p\n", "short"),
        "x" * 31,
        *("1st-project", "123456789012", "my-project-", "my_project", "my-project\n"),
        *("example.com:", ":my-project", "example:my-project", "a.b:c.d:my-project"),
    ],
    "FIRESTORE_DATABASE": [
        *("(Default)", "()", "a/b", "a,b", "1st-database", "-", "db1"),
        "x" * 64,
        *("calls-", "Calls", "call_s", "calls\n", "c\xe4lls"),
    ],
    "BEHIND_API_GATEWAY": ["1", "0", "yes", "on", "truee", " true", "none"],
    "LOG_LEVEL": ["VERBOSE", "10", "INFO,DEBUG", "NOTSET", "WARN", "FATAL", " INFO", "INFO\n"],
    "ALLOWED_ORIGINS": [
        *("*", "null", "https://*.example.com", "app.example.com", "https://"),
        *("https://app.example.com/", "https://app.example.com/path", "https://app.example.com?"),
        *("https://app.example.com#", "https://user@app.example.com", "HTTPS://app.example.com"),
        *("https://App.example.com", "https://äpp.example.com", "https://app.example.com."),
        *("https://app..example.com", "https://-app.example.com", "https://app_1.example.com"),
        *(f"https://{'x' * 64}.example.com", "https://app.example.com:"),
        *("https://app.example.com:0", "https://app.example.com:0443"),
        *("https://app.example.com:08443", "https://app.example.com:443"),
        *("https://app.example.com:65536", "https://[::1]", "https://999.1.1.1"),
        *("http://app.example.com", "http://localhost.example.com", "http://localhost:80"),
        *("http://127.0.0.1:80", "http://127.0.0.2", "http://[::2]", "http://[0:0:0:0:0:0:0:1]"),
        *("http://[::1]:80", "ftp://localhost", "capacitor://", "capacitor://app.example.com"),
        *("capacitor://localhost/", "capacitor://localhost:8080", "Capacitor://localhost"),
        *("ionic://localhost.example.com", "ionic://*", "file://", "https://a.example,"),
        *(",https://a.example", "https://a.example, https://b.example"),
        *("https://a.example;https://b.example", "https://a.example;LOG_LEVEL=DEBUG"),
        "https://a.example\n",
    ],
    "FIRESTORE_EMULATOR_HOST": ["localhost", "[::1]", "http://localhost:8080", *AUTHORITIES],
    "STORAGE_EMULATOR_HOST": [
        *("localhost:9199", "//localhost:9199", "ftp://localhost", "HTTP://localhost"),
        *("http:localhost:9199", "http:///localhost", "http://http://localhost", "http://"),
        " http://localhost",
        *(f"http://{authority}" for authority in AUTHORITIES),
    ],
}
WELL_FORMED = {
    "RECORDINGS_BUCKET": [
        *("abc", "1-2", "a_b-c.d", "a-.-b"),
        "x" * 63,
        "recordings.example.com",
        ".".join([*["x" * 54] * 3, "x" * 57]),
        *("1.2.3", "1.2.3.4a", "1.2.3.4.5", "google-samples"),
    ],
    "GOOGLE_CLOUD_PROJECT": [
        "abcdef",
        "a----1",
        "a" + "1" * 29,
        "demo-call-api",
        "example.com:my-project",
    ],
    "FIRESTORE_DATABASE": ["(default)", "default", "a234", "a--b", "x" * 63],
    "LOG_LEVEL": ["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"],
    "ALLOWED_ORIGINS": [
        *("https://app.example.com", "https://app.example.com:8443"),
        *("https://app.example.com:65535", "https://xn--pp-via.example.com", "https://localhost"),
        *("https://192.0.2.1", f"https://{'x' * 63}.example.com", "http://localhost"),
        *("http://localhost:3000", "http://127.0.0.1", "http://127.0.0.1:5500", "http://[::1]"),
        *("http://[::1]:5173", "capacitor://localhost", "ionic://localhost"),
        "https://localhost,capacitor://localhost,ionic://localhost",
        "https://a.example,https://b.example,http://localhost:8081",
    ],
    "FIRESTORE_EMULATOR_HOST": [
        *("localhost:8080", "127.0.0.1:8080", "0.0.0.0:1", "[::1]:8080", "[2001:DB8::1]:65535"),
        "Firestore_1.example.com:8080",
    ],
    "STORAGE_EMULATOR_HOST": [
        *("http://localhost:9199", "https://localhost", "http://127.0.0.1:9199"),
        *("http://[::1]:9199", "https://[::1]"),
    ],
}


def read(**changes: str) -> Settings:
    return Settings.from_environment(LEAST | changes)


def test_every_setting_is_read_by_its_name() -> None:
    given = {
        "GOOGLE_CLOUD_PROJECT": "example.com:my-project-1",
        "RECORDINGS_BUCKET": "my-recordings",
        "FIRESTORE_DATABASE": "calls-eu",
        "BEHIND_API_GATEWAY": "True",
        "RECORDING_SIGNER_KEY_FILE": "/secrets/signer.json",
        "ALLOWED_ORIGINS": "https://app.example.com",
        "LOG_LEVEL": "debug",
        "FIRESTORE_EMULATOR_HOST": "[::1]:8080",
        "STORAGE_EMULATOR_HOST": "http://localhost:9199",
    }
    settings = Settings.from_environment(given)
    assert given.keys() == {setting.alias for setting in Settings.model_fields.values()}

    assert settings.project == "example.com:my-project-1"
    assert settings.recordings_bucket == "my-recordings"
    assert settings.allowed_origins == {"https://app.example.com"}
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


@pytest.mark.parametrize(
    ("name", "value"), [(name, value) for name, values in MALFORMED.items() for value in values]
)
def test_a_malformed_setting_is_named_and_not_shown(name: str, value: str) -> None:
    with pytest.raises(SettingsError) as refused:
        Settings.from_environment(LEAST | {name: value})

    assert str(refused.value).startswith(f"{name} is malformed: ")
    assert ";" not in str(refused.value)


@pytest.mark.parametrize(
    ("name", "value"), [(name, value) for name, values in WELL_FORMED.items() for value in values]
)
def test_a_well_formed_setting_is_kept_as_it_is(name: str, value: str) -> None:
    settings = Settings.from_environment(LEAST | {name: value})

    kept = settings.model_dump(by_alias=True)[name]
    if name == "ALLOWED_ORIGINS":
        assert kept == frozenset(value.split(","))
    else:
        assert str(kept) == value


BUCKET_FAULT = "the name of the bucket that holds the recordings"
LEVEL_FAULT = "LOG_LEVEL is malformed: one of DEBUG, INFO, WARNING, ERROR, CRITICAL"


def test_all_faults_are_named_at_once_and_what_is_empty_is_missing() -> None:
    with pytest.raises(SettingsError) as refused:
        Settings.from_environment(
            {"RECORDINGS_BUCKET": "", "BEHIND_API_GATEWAY": "maybe", "LOG_LEVEL": "loud"}
        )

    assert str(refused.value).split("; ") == [
        f"RECORDINGS_BUCKET is missing: {BUCKET_FAULT}",
        "BEHIND_API_GATEWAY is malformed: true or false",
        LEVEL_FAULT,
    ]


def check(monkeypatch: pytest.MonkeyPatch, environment: Mapping[str, str], *options: str) -> None:
    """Run the check in this process."""
    monkeypatch.setattr(os, "environ", environment)
    monkeypatch.setattr(sys, "argv", ["settings.py", *options])
    main()


@pytest.mark.parametrize(
    ("environment", "faults"),
    [
        (
            {"RECORDINGS_BUCKET": "b\udcff"},
            f"RECORDINGS_BUCKET is malformed: {BUCKET_FAULT}, not 'b\\udcff'",
        ),
        (
            {"LOG_LEVEL": "loud\nand clear;"},
            f"RECORDINGS_BUCKET is missing: {BUCKET_FAULT}\n{LEVEL_FAULT}, not 'loud\\nand clear;'",
        ),
    ],
    ids=["one", "two"],
)
def test_the_check_ends_with_a_line_for_each_fault_and_what_was_written(
    environment: Mapping[str, str], faults: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(SystemExit) as end:
        check(monkeypatch, environment, "--check")

    assert end.value.code == faults


def test_the_check_says_nothing_where_nothing_is_wrong(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    check(monkeypatch, LEAST | {"LOG_LEVEL": "", "UNKNOWN": "loud"}, "--check")

    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("options", "status", "explanation"),
    [
        (
            ["--help"],
            0,
            "--check Print a line for each setting of this environment that is missing",
        ),
        ([], 2, "error: the following arguments are required: --check"),
    ],
)
def test_the_check_is_explained(
    options: list[str],
    status: int,
    explanation: str,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit) as end:
        check(monkeypatch, LEAST, *options)
    said = " ".join("".join(capfd.readouterr()).split())

    assert end.value.code == status
    assert said.startswith("usage: python -m call_api.settings [-h] --check ")
    assert explanation in said


def test_the_check_is_a_command() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "call_api.settings", "--check"],
        cwd=ROOT,
        env={"RECORDINGS_BUCKET": "A", **measuring()},
        capture_output=True,
        text=True,
        check=False,
    )
    fault = f"RECORDINGS_BUCKET is malformed: {BUCKET_FAULT}, not 'A'\n"

    assert (done.returncode, done.stdout, done.stderr) == (1, "", fault)


EMULATORS = {
    "FIRESTORE_EMULATOR_HOST": "localhost:8080",
    "STORAGE_EMULATOR_HOST": "http://localhost:9199",
}


@pytest.mark.parametrize(
    ("environment", "named"),
    [
        (EMULATORS, None),
        ({"K_SERVICE": "get-call"}, None),
        ({"K_SERVICE": "get-call", **dict.fromkeys(EMULATORS, "")}, None),
        ({"K_SERVICE": "", **EMULATORS}, None),
        ({"K_SERVICE": "get-call", "FUNCTIONS_EMULATOR": "true", **EMULATORS}, None),
        *(({"K_SERVICE": "get-call", name: EMULATORS[name]}, name) for name in EMULATORS),
        ({"K_SERVICE": "get-call", **EMULATORS}, " and ".join(EMULATORS)),
    ],
)
def test_an_emulator_on_cloud_run_is_warned_of(
    environment: Mapping[str, str], named: str | None
) -> None:
    """Not in the Firebase Emulator Suite, which sets K_SERVICE too."""
    expected = None if named is None else f"An emulator is used on Cloud Run: unset {named}"

    assert emulator_warning(environment) == expected
