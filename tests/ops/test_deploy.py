"""deploy.sh: what it asks of gcloud, in which order, and how it goes on after a failure."""

import itertools
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml
from openapi_spec_validator import OpenAPIV2SpecValidator

from call_api.errors import Problem, UpstreamTimeout
from call_api.logs import RequestEntry
from ops.gateway_spec import DEADLINE_SECONDS, gateway_spec
from tests.support.serving import ROOT

DEPLOY_SCRIPTS = (ROOT / "deploy.sh", *sorted((ROOT / "ops" / "deploy").glob("*.sh")))
COMMANDS = ("function", "gateway", "alerts", "status", "rollback", "delete")
SETTINGS = {
    "PROJECT": "my-project",
    "REGION": "europe-west1",
    "RECORDINGS_BUCKET": "my-recordings",
}
EVERY_OPTION = SETTINGS | {
    "BUILD_ACCOUNT": "builder@my-project.iam.gserviceaccount.com",
    "CONCURRENCY": "40",
    "CPU": "2",
    "FIRESTORE_DATABASE": "calls",
    "FIRESTORE_LOCATION": "eur3",
    "FIRESTORE_RULES": "replace",
    "FUNCTION": "calls",
    "LOG_LEVEL": "DEBUG",
    "MAX_INSTANCES": "100",
    "MEMORY": "1Gi",
    "MIN_INSTANCES": "1",
    "NOTIFICATION_CHANNELS": "projects/my-project/notificationChannels/1",
    "RETENTION_DAYS": "90",
    "SIGNER_SECRET": "signer",
}
RUNTIME = "serviceAccount:get-call-runtime@my-project.iam.gserviceaccount.com"
GATEWAY = "serviceAccount:get-call-gateway@my-project.iam.gserviceaccount.com"
RUNTIME_GRANTS = {
    ("projects", "my-project", RUNTIME, "roles/datastore.viewer"),
    ("storage", "gs://my-recordings", RUNTIME, "roles/storage.objectViewer"),
    ("iam", RUNTIME.split(":")[1], RUNTIME, "roles/iam.serviceAccountTokenCreator"),
}
PUBLIC_GRANT = ("run", "get-call", "allUsers", "roles/run.invoker")
GATEWAY_GRANT = ("run", "get-call-private", GATEWAY, "roles/run.invoker")
CHANGES = re.compile(r" (create|update|update-traffic|enable|deploy|add-iam\S+) |rules |spec ")
# What deploy.sh runs beside gcloud; a PATH of these alone has no gcloud.
TOOLS = ("awk", "basename", "bash", "cat", "dirname", "env", "git", "grep", "make", "mkdir", "mv")
MORE_TOOLS = ("readlink", "rm", "sed", "sleep", "sort", "tr", "wc")


@dataclass(frozen=True)
class Result:
    """How a run of deploy.sh ended."""

    code: int
    out: str
    err: str


@dataclass(frozen=True)
class Cloud:
    """A clone of the repository, and a fake of the project that gcloud would change."""

    clone: Path
    home: Path

    def run(
        self, *arguments: str, answer: str = "", without: str = "", **environment: str
    ) -> Result:
        """Run deploy.sh; `without` names a tool that is not installed."""
        tools = self.home / "bin"
        if without:
            tools = self.home / f"bin-without-{without}"
            shutil.copytree(self.home / "bin", tools, symlinks=True)
            (tools / without).unlink()
        settings = {name: value for name, value in (SETTINGS | environment).items() if value}
        run = subprocess.run(
            [self.clone / "deploy.sh", *arguments],
            cwd=self.home,
            env={
                "PATH": str(tools),
                "HOME": str(self.home),
                "FAKE_CLOUD": str(self.home),
                "DEPLOY_PYTHON": str(tools / "python"),
                "REAL_PYTHON": sys.executable,
                "RETRY_SECONDS": "0",
                "GIT_CONFIG_GLOBAL": os.devnull,
                "LC_ALL": "C.UTF-8",
                **settings,
            },
            input=answer,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        return Result(run.returncode, run.stdout, run.stderr)

    def succeed(self, *arguments: str, answer: str = "", **environment: str) -> list[str]:
        """Run deploy.sh and return the commands that it ran."""
        before = len(self.commands())
        result = self.run(*arguments, answer=answer, **environment)
        assert result.code == 0, result.err
        return self.commands()[before:]

    def commands(self) -> list[str]:
        return (self.home / "log").read_text().splitlines()

    def add(self, resource: str) -> None:
        with (self.home / "resources").open("a") as resources:
            resources.write(resource + "\n")

    def resources(self) -> set[str]:
        """Return what exists; a run may end with more revisions than another, of the same."""
        lines = (self.home / "resources").read_text().splitlines()
        return {line for line in lines if not line.startswith(("revision ", "serving "))}


def a_cloud(home: Path) -> Cloud:
    clone = home / "clone"
    clone.mkdir(parents=True)
    for name in ("deploy.sh", "openapi.yaml", ".gitignore", "main.py", "requirements.txt"):
        shutil.copy(ROOT / name, clone / name)
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "ops", clone / "ops", ignore=ignored)
    (clone / "firestore.rules").write_text("deny")
    (clone / "Makefile").write_text('smoke:\n\t@echo "smoke $(URL) $(KEY) $(CALL)"\n')
    # Always the same commit, since its hash is in the label and so in the log.
    when = {"GIT_AUTHOR_DATE": "@1700000000 +0000", "GIT_COMMITTER_DATE": "@1700000000 +0000"}
    git = ["git", "-c", "user.name=t", "-c", "user.email=t@example.com", "-C", str(clone)]
    for command in (["init", "--quiet"], ["add", "."], ["commit", "--quiet", "--message=t"]):
        subprocess.run(
            [*git, *command],
            check=True,
            env={**os.environ, **when, "GIT_CONFIG_GLOBAL": os.devnull},
        )
    (home / "bin").mkdir()
    for tool in TOOLS + MORE_TOOLS:
        found = shutil.which(tool)
        assert found, tool
        (home / "bin" / tool).symlink_to(found)
    for name in ("gcloud", "python"):
        (home / "bin" / name).symlink_to(ROOT / "tests" / "support" / "fake_gcloud")
    (home / "log").touch()
    (home / "resources").touch()
    return Cloud(clone, home)


@pytest.fixture
def cloud(tmp_path: Path) -> Cloud:
    return a_cloud(tmp_path / "cloud")


def grants(cloud: Cloud) -> set[tuple[str, ...]]:
    lines = [line for line in cloud.resources() if line.startswith("grant ")]
    return {tuple(line.split(" ")[1:]) for line in lines}


def changes(commands: list[str]) -> list[str]:
    return [command for command in commands if CHANGES.search(command)]


def index_of(commands: list[str], part: str) -> int:
    (index,) = (i for i, command in enumerate(commands) if part in command)
    return index


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


# What gcloud itself says


@pytest.mark.gcloud
def test_the_real_gcloud_accepts_every_command_of_every_dry_run(tmp_path: Path) -> None:
    lines = {
        line
        for command, environment in itertools.product(COMMANDS, (SETTINGS, EVERY_OPTION))
        for line in dry_run(command, **environment)
    }
    # The commands of a second run, which a dry run (of an empty project) does not print.
    lines |= {line for line in second_runs(tmp_path) if line.startswith("gcloud ")}
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
    cloud.succeed("alerts", NOTIFICATION_CHANNELS="projects/my-project/notificationChannels/1")
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

    tops = {Path(name).parts[0] for name in uploaded}
    assert tops == {"main.py", "requirements.txt", "call_api"}


# Dry runs


@pytest.mark.parametrize("command", COMMANDS)
def test_a_dry_run_prints_gcloud_commands_and_runs_none(command: str, cloud: Cloud) -> None:
    result = cloud.run(command, "--dry-run")

    assert result.code == 0, result.err
    assert cloud.commands() == []
    assert result.out
    for line in result.out.splitlines():
        words = shlex.split(line)
        assert words[0] == "gcloud"
        assert "--project=my-project" in words


def test_a_dry_run_needs_no_gcloud_and_no_clean_work_tree(cloud: Cloud) -> None:
    (cloud.clone / "call_api").mkdir()
    (cloud.clone / "call_api" / "draft.py").touch()

    assert cloud.run("function", "--dry-run", without="gcloud").code == 0


def test_a_dry_run_prints_what_a_first_run_runs(cloud: Cloud) -> None:
    for command in ("function", "gateway"):
        home = a_cloud(cloud.home / command)
        printed = home.run(command, "--dry-run").out.splitlines()
        ran = [shlex.split(line) for line in home.succeed(command)]

        ran = [words for words in ran if words[0] == "gcloud"]
        assert [shlex.split(line)[:4] for line in printed if "SPEC-HASH" not in line] == [
            words[:4] for words in ran if "get-call-spec" not in words and not is_of_spec(words)
        ]


def is_of_spec(words: list[str]) -> bool:
    return any(re.search(r"get-call-[0-9a-f]{12}$", word) for word in words)


# First and second runs


def test_a_first_run_grants_three_roles_and_then_the_public_one(cloud: Cloud) -> None:
    commands = cloud.succeed("function")

    assert grants(cloud) == RUNTIME_GRANTS | {PUBLIC_GRANT}
    deployed = index_of(commands, "functions deploy get-call ")
    for part in ("datastore.viewer", "objectViewer", "TokenCreator", "ops.firestore_rules"):
        assert index_of(commands, part) < deployed
    assert "--no-allow-unauthenticated" in commands[deployed]
    assert "allUsers" in commands[-1]
    assert [i for i, c in enumerate(commands) if "allUsers" in c] == [len(commands) - 1]


def test_the_function_is_deployed_with_explicit_limits_and_its_commit(cloud: Cloud) -> None:
    commands = cloud.succeed("function")

    words = shlex.split(commands[index_of(commands, "functions deploy get-call ")])
    head = (cloud.clone / ".git" / "refs" / "heads").iterdir()
    commit = next(head).read_text()[:12]
    assert {
        "--gen2",
        "--runtime=python313",
        "--entry-point=get_call",
        "--trigger-http",
        "--concurrency=80",
        "--cpu=1",
        "--memory=512Mi",
        "--timeout=15s",
        "--min-instances=0",
        "--max-instances=20",
        f"--update-labels=commit={commit}",
        (
            "--set-env-vars=GOOGLE_CLOUD_PROJECT=my-project,RECORDINGS_BUCKET=my-recordings,"
            "FIRESTORE_DATABASE=(default),BEHIND_API_GATEWAY=false,LOG_LEVEL=INFO"
        ),
    } <= set(words)


def test_the_bucket_is_created_closed_and_with_the_retention_that_was_asked_for(
    cloud: Cloud,
) -> None:
    commands = cloud.succeed("function", RETENTION_DAYS="90")

    create = commands[index_of(commands, "storage buckets create")]
    assert "--uniform-bucket-level-access --public-access-prevention" in create
    rules = json.loads((cloud.clone / ".local" / "deploy" / "lifecycle.json").read_text())
    assert rules == {"rule": [{"action": {"type": "Delete"}, "condition": {"age": 90}}]}


def test_a_bucket_and_a_database_that_exist_are_left_as_they_are(cloud: Cloud) -> None:
    cloud.add("firestore databases (default)")
    cloud.add("storage buckets gs://my-recordings")

    commands = cloud.succeed("function", RETENTION_DAYS="90")

    touching = [c for c in changes(commands) if " databases " in c or " buckets " in c]
    assert [shlex.split(c)[1:4] for c in touching] == [
        ["storage", "buckets", "add-iam-policy-binding"]
    ]


def test_a_secret_takes_the_place_of_signing_through_iam(cloud: Cloud) -> None:
    commands = cloud.succeed("function", SIGNER_SECRET="signer")

    assert ("secrets", "signer", RUNTIME, "roles/secretmanager.secretAccessor") in grants(cloud)
    assert not any("TokenCreator" in command for command in commands)
    deploy = commands[index_of(commands, "functions deploy")]
    assert "--set-secrets=/secrets/signer/key.json=signer:latest" in deploy
    assert "RECORDING_SIGNER_KEY_FILE=/secrets/signer/key.json" in deploy


def test_behind_the_gateway_only_the_gateway_may_call(cloud: Cloud) -> None:
    commands = cloud.succeed("gateway")

    assert grants(cloud) == RUNTIME_GRANTS | {GATEWAY_GRANT}
    deploy = commands[index_of(commands, "functions deploy get-call-private ")]
    assert "BEHIND_API_GATEWAY=true" in deploy
    assert "--no-allow-unauthenticated" in deploy
    config = commands[index_of(commands, "api-configs create")]
    assert f"--backend-auth-service-account={GATEWAY.split(':')[1]}" in config
    assert index_of(commands, "run.invoker") < index_of(commands, "gateways create")


@pytest.mark.parametrize("command", ["function", "gateway", "alerts"])
def test_a_second_run_creates_nothing(command: str, cloud: Cloud) -> None:
    cloud.succeed(command)
    first = cloud.resources()

    second = cloud.succeed(command)

    assert cloud.resources() == first
    assert not [c for c in second if " create " in c or " enable " in c]


def test_a_second_run_does_not_close_the_function_to_its_clients(cloud: Cloud) -> None:
    cloud.succeed("function")

    second = cloud.succeed("function")

    assert not [command for command in second if "unauthenticated" in command]


def test_a_changed_spec_makes_one_config_and_moves_the_gateway_to_it(cloud: Cloud) -> None:
    cloud.succeed("gateway")

    commands = cloud.succeed("gateway", SPEC="changed")

    created = [c for c in commands if " create " in c]
    assert [shlex.split(c)[1:4] for c in created] == [["api-gateway", "api-configs", "create"]]
    name = shlex.split(created[0])[4]
    assert f"--api-config={name}" in commands[index_of(commands, "gateways update")]


def test_alerts_keep_the_channels_that_a_policy_has(cloud: Cloud) -> None:
    cloud.succeed("alerts")
    cloud.add("channels named/get-call: 5xx ratio projects/my-project/notificationChannels/7")

    commands = cloud.succeed("alerts")

    (update,) = (c for c in commands if "policies update" in c and "notificationChannels/7" in c)
    assert "--policy-from-file=ops/alerts/5xx-ratio.json" in update


# Failures


def resumed(home: Path, command: str, failing: str, when: str) -> tuple[int, set[str]]:
    """Fail at a command, run again, and return the first code and the last state."""
    cloud = a_cloud(home)
    failed = cloud.run(command, FAIL=failing, FAIL_WHEN=when)
    cloud.succeed(command)
    return failed.code, cloud.resources()


@pytest.mark.parametrize("command", ["function", "gateway", "alerts"])
def test_a_run_after_a_failure_at_any_step_ends_in_the_same_state(
    command: str, cloud: Cloud
) -> None:
    steps = list(dict.fromkeys(cloud.succeed(command)))
    points = [(step, "before") for step in steps]
    points += [(step, "after") for step in changes(steps)]

    with ThreadPoolExecutor(max_workers=4) as pool:
        runs = [
            pool.submit(resumed, cloud.home / f"{number}", command, *point)
            for number, point in enumerate(points)
        ]
        for point, run in zip(points, runs, strict=True):
            code, state = run.result()
            assert code != 0, point
            assert state == cloud.resources(), point


@pytest.mark.parametrize(
    "said",
    [
        "the connection broke",
        "PERMISSION_DENIED: project 824047712345 was not found, or you may not see it",
        "(gcloud) 503: the project team-404 is busy",
    ],
)
def test_what_cannot_be_seen_is_not_created(said: str, cloud: Cloud) -> None:
    describe = next(c for c in cloud.succeed("function") if "databases describe" in c)
    other = a_cloud(cloud.home / "other")

    result = other.run("function", FAIL=describe, FAIL_SAYS=said)

    assert result.code == 1
    assert "cannot tell whether something exists" in result.err
    assert "firestore databases (default)" not in other.resources()


# What an operator gets wrong


@pytest.mark.parametrize(
    ("command", "environment", "sentence"),
    [
        ("function", {"PROJECT": ""}, "PROJECT is required: the ID of the Google Cloud project"),
        ("status", {"REGION": ""}, "REGION is required: the region to deploy to"),
        ("gateway", {"RECORDINGS_BUCKET": ""}, "RECORDINGS_BUCKET is required: the name of the"),
        ("function", {"FUNCTION": "Get_Call"}, "FUNCTION is malformed"),
        ("function", {"RETENTION_DAYS": "a week"}, "RETENTION_DAYS is malformed"),
        ("function", {"FIRESTORE_RULES": "yes"}, "FIRESTORE_RULES is malformed"),
        ("function", {"PROJECT": "no-project"}, "there is no project no-project that operator@"),
        ("status", {"LIFECYCLE": "DELETE_REQUESTED"}, "is DELETE_REQUESTED, not ACTIVE"),
        ("function", {"FUNCTION": "get-call-private"}, "is the name of the function behind the"),
        ("function", {"PROJECT": "My Project"}, "PROJECT is malformed"),
        ("function", {"REGION": " "}, "REGION is malformed"),
        ("gateway", {"GATEWAY_REGION": "Europe"}, "GATEWAY_REGION is malformed"),
        ("function", {"RECORDINGS_BUCKET": "b,LOG_LEVEL=DEBUG"}, "RECORDINGS_BUCKET is malformed"),
        ("function", {"FIRESTORE_DATABASE": "a,b"}, "FIRESTORE_DATABASE is malformed"),
        ("function", {"LOG_LEVEL": "verbose"}, "LOG_LEVEL is malformed"),
        ("function", {"SIGNER_SECRET": "signer:3"}, "SIGNER_SECRET is malformed"),
        ("function", {"PROJECT": "123456789012"}, "PROJECT is malformed"),
        ("function", {"PROJECT": "short"}, "PROJECT is malformed"),
        ("function", {"RECORDINGS_BUCKET": "a..b"}, "RECORDINGS_BUCKET is malformed"),
        ("function", {"RECORDINGS_BUCKET": "x" * 64}, "RECORDINGS_BUCKET is malformed"),
        ("gateway", {"RECORDINGS_BUCKET": "192.168.5.4"}, "RECORDINGS_BUCKET is malformed"),
        *(
            (command, {"CONCURRENCY": number}, "CONCURRENCY is malformed: 1 to 100, as an instance")
            for command in ("function", "gateway")
            for number in ("0", "101", "1000", "-1", "8 0", "080", "eighty", "80,LOG_LEVEL=DEBUG")
        ),
        ("function", {"NO_ACCOUNT": "1"}, "gcloud has no active account: run `gcloud auth login`"),
    ],
)
def test_a_mistake_is_one_sentence(
    command: str, environment: dict[str, str], sentence: str, cloud: Cloud
) -> None:
    result = cloud.run(command, **environment)

    assert result.code == 1
    assert sentence in result.err
    assert len(result.err.splitlines()) == 1
    assert cloud.resources() == set()


def test_a_missing_gcloud_is_one_sentence(cloud: Cloud) -> None:
    result = cloud.run("function", without="gcloud")

    assert result.code == 1
    assert result.err.startswith("deploy.sh: gcloud is missing: install the Google Cloud CLI")
    assert len(result.err.splitlines()) == 1


def test_a_work_tree_with_changes_is_not_deployed(cloud: Cloud) -> None:
    (cloud.clone / "main.py").write_text("changed")

    result = cloud.run("function")

    assert result.code == 1
    assert "the work tree has uncommitted changes" in result.err
    assert len(result.err.splitlines()) == 1
    assert cloud.commands() == []


@pytest.mark.parametrize("arguments", [["deploy"], ["status", "--force"], ["status", "now"]])
def test_an_unknown_word_is_named(arguments: list[str], cloud: Cloud) -> None:
    result = cloud.run(*arguments)

    assert result.code == 1
    assert arguments[-1] in result.err
    assert "--help" in result.err


@pytest.mark.parametrize("name", ["lib", "settings", "project", "../deploy/status", "function.sh"])
def test_a_file_that_is_no_command_is_an_unknown_word(name: str, cloud: Cloud) -> None:
    result = cloud.run(name)

    assert (result.code, result.err) == (
        1,
        f"deploy.sh: there is no command {name}: see ./deploy.sh --help.\n",
    )


def test_each_file_whose_header_is_a_usage_is_a_command(cloud: Cloud) -> None:
    """The dispatcher lists the commands in the order of the help; the files are the commands."""
    headers = {path.stem: path.read_text() for path in (ROOT / "ops" / "deploy").glob("*.sh")}
    found = {name for name, text in headers.items() if text.startswith("# usage: ")}
    listed = re.findall(r"^  ([a-z]+) +\w", cloud.run("--help").out, re.MULTILINE)

    assert found == set(COMMANDS)
    assert listed == list(COMMANDS)


def test_the_script_is_found_through_symbolic_links(cloud: Cloud) -> None:
    """One is absolute, the other relative to its own directory, and the working directory neither."""
    links = cloud.home / "links"
    links.mkdir()
    (links / "absolute").symlink_to(cloud.clone / "deploy.sh")
    (links / "relative").symlink_to("absolute")

    run = subprocess.run(
        [links / "relative", "status", "--dry-run"],
        cwd="/",
        env={"PATH": str(cloud.home / "bin"), **SETTINGS},
        capture_output=True,
        text=True,
        check=False,
    )

    assert (run.returncode, run.stdout) == (0, cloud.run("status", "--dry-run").out), run.stderr


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_has_help_that_needs_no_settings(command: str, cloud: Cloud) -> None:
    result = cloud.run(command, "--help", without="gcloud", PROJECT="", REGION="")

    assert result.code == 0
    assert result.out.startswith(f"usage: ./deploy.sh {command} ")


def test_the_help_names_every_variable_that_the_script_reads(cloud: Cloud) -> None:
    script = "".join(path.read_text() for path in DEPLOY_SCRIPTS)
    read = set(re.findall(r"\$\{([A-Z_]+):|  require_set ([A-Z_]+)", script))
    read = {name for names in read for name in names if name} - {
        "BASH_SOURCE",
        "DEPLOY_PYTHON",
        "RETRY_SECONDS",
    }

    named = set(re.findall(r"[A-Z][A-Z_]+", cloud.run("--help").out))

    assert read
    assert read <= named


# After the deployment


def test_the_smoke_test_runs_where_there_is_a_key_for_it(cloud: Cloud) -> None:
    without = cloud.run("function")
    with_key = cloud.run("function", SMOKE_KEY="the-key", SMOKE_CALL="77")

    assert "KEY=… make smoke URL=https://get-call-abc.a.run.app CALL=…" in without.out
    assert with_key.out == "smoke https://get-call-abc.a.run.app the-key 77\n"


def test_the_smoke_test_goes_through_the_gateway(cloud: Cloud) -> None:
    result = cloud.run("gateway", SMOKE_KEY="the-key", SMOKE_CALL="77")

    assert result.out == "smoke https://get-call-abc.gateway.dev the-key 77\n"


def test_status_says_what_is_and_what_is_not_deployed(cloud: Cloud) -> None:
    nothing = cloud.run("status").out
    cloud.succeed("function")
    function = cloud.run("status").out

    assert nothing.splitlines() == [
        "get-call: not deployed in europe-west1",
        "get-call-private: not deployed in europe-west1",
        "gateway: not deployed in europe-west1",
    ]
    assert function.startswith("get-call:\nstate: ACTIVE\n")


def test_rollback_gives_the_traffic_to_the_ready_revision_before(cloud: Cloud) -> None:
    for _ in range(3):
        cloud.succeed("function")
    cloud.add("broken get-call-2")

    (*_, command) = cloud.succeed("rollback")

    assert "update-traffic get-call --to-revisions=get-call-1=100" in command
    again = cloud.run("rollback")
    assert again.code == 1
    assert "no ready revision of get-call that is older than get-call-1" in again.err


def test_rollback_is_never_to_the_same_image(cloud: Cloud) -> None:
    """A revision that only a changed setting has made would not be a way back."""
    for _ in range(3):
        cloud.succeed("function")
    cloud.add("twin get-call-3")

    (*_, command) = cloud.succeed("rollback")

    assert "--to-revisions=get-call-1=100" in command


def test_rollback_goes_to_the_revision_that_was_named(cloud: Cloud) -> None:
    for _ in range(3):
        cloud.succeed("function")

    (*_, command) = cloud.succeed("rollback", "get-call-1")

    assert "update-traffic get-call --to-revisions=get-call-1=100" in command


@pytest.mark.parametrize(
    "name",
    [
        "Get-call-1",
        "1-get-call",
        "get-call-1-",
        "get_call-1",
        "get-call-1=50",
        "get-call-1,get-call-2",
        "get-call-1 ",
        "get-call-1\n",
        "LATEST",
        "projects/p/revisions/get-call-1",
        "x" * 64,
    ],
)
def test_a_malformed_revision_is_refused_before_gcloud_is_asked(name: str, cloud: Cloud) -> None:
    result = cloud.run("rollback", name)

    assert result.code == 1
    assert result.err.startswith("deploy.sh: REVISION is malformed: up to 63 lower-case letters")
    assert len(result.err.splitlines()) == 1
    assert cloud.commands() == []


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("get-call-7", "there is no revision get-call-7 of get-call in europe-west1."),
        (
            "get-call-private-1",
            "there is no revision get-call-private-1 of get-call in europe-west1.",
        ),
        ("get-call-2", "the revision get-call-2 is not ready, so it cannot take the traffic."),
    ],
)
def test_rollback_is_to_a_ready_revision_of_the_function_alone(
    name: str, sentence: str, cloud: Cloud
) -> None:
    for command in ("function", "function", "function", "gateway"):
        cloud.succeed(command)
    cloud.add("broken get-call-2")
    before = len(cloud.commands())

    result = cloud.run("rollback", name)

    assert (result.code, result.err) == (1, f"deploy.sh: {sentence}\n")
    assert not changes(cloud.commands()[before:])


def test_an_empty_revision_is_no_revision_left_out(cloud: Cloud) -> None:
    """As in `./deploy.sh rollback "$REVISION"` where the variable is unset."""
    result = cloud.run("rollback", "")

    assert result.code == 1
    assert result.err == (
        "deploy.sh: an argument of rollback is empty: see ./deploy.sh rollback --help.\n"
    )
    assert cloud.commands() == []


@pytest.mark.parametrize("number", ["1", "99", "100"])
def test_an_instance_may_answer_up_to_100_calls_at_a_time(number: str, cloud: Cloud) -> None:
    commands = cloud.succeed("function", CONCURRENCY=number)

    assert f"--concurrency={number} " in commands[index_of(commands, "functions deploy get-call ")]


def test_delete_removes_all_but_what_is_stored(cloud: Cloud) -> None:
    for command in ("function", "gateway", "alerts"):
        cloud.succeed(command)

    commands = cloud.succeed("delete", answer="get-call\n")

    assert not [c for c in commands if re.search(r"firestore|storage|gs://|my-recordings", c)]
    left = {line.split(" ")[0] for line in cloud.resources()}
    assert left <= {"api", "firestore", "storage", "grant", "boost", "rules", "gateway-config"}
    assert {"firestore databases (default)", "storage buckets gs://my-recordings"} <= (
        cloud.resources()
    )


@pytest.mark.parametrize("answer", ["", "y\n", "get-cal\n"])
def test_delete_does_nothing_without_the_name(answer: str, cloud: Cloud) -> None:
    cloud.succeed("function")
    before = cloud.resources()

    result = cloud.run("delete", answer=answer)

    assert result.code == 1
    assert "nothing was deleted" in result.err
    assert cloud.resources() == before


def test_delete_goes_on_after_a_failure_at_any_step(cloud: Cloud) -> None:
    def deployed(home: Path) -> Cloud:
        one = a_cloud(home)
        one.succeed("function")
        one.succeed("gateway")
        return one

    steps = list(dict.fromkeys(deployed(cloud.home / "a").succeed("delete", answer="get-call\n")))

    def rerun(number: int) -> set[str]:
        one = deployed(cloud.home / f"{number}")
        one.run("delete", answer="get-call\n", FAIL=steps[number], FAIL_WHEN="after")
        one.succeed("delete", answer="get-call\n")
        return one.resources()

    with ThreadPoolExecutor(max_workers=4) as pool:
        ends = list(pool.map(rerun, range(len(steps))))
    for step, end in zip(steps, ends, strict=True):
        kinds = {line.split(" ")[0] for line in end}
        assert not kinds & {"functions", "iam", "api-gateway"}, step


def test_delete_keeps_what_another_region_uses(cloud: Cloud) -> None:
    cloud.succeed("function")
    cloud.add("functions projects/my-project/locations/asia-south1/functions/get-call")

    commands = cloud.succeed("delete", answer="get-call\n")

    assert not [c for c in commands if "service-accounts" in c]


# The gateway's spec


DOCUMENT: dict[str, Any] = yaml.safe_load((ROOT / "openapi.yaml").read_text("utf-8"))
SPEC = gateway_spec(DOCUMENT, "https://get-call-private-abc.a.run.app")


def operations(document: Mapping[str, Any]) -> dict[tuple[str, str], tuple[str, list[str]]]:
    return {
        (path, method): (operation["operationId"], sorted(operation["responses"]))
        for path, item in document["paths"].items()
        for method, operation in item.items()
        if method != "parameters"
    }


def test_the_gateway_has_the_operations_of_the_published_api() -> None:
    assert operations(SPEC) == operations(DOCUMENT)
    assert {method for _, method in operations(SPEC)} == {"get", "head", "options"}
    (item,) = SPEC["paths"].values()
    parameters = DOCUMENT["components"]["parameters"]
    assert [p["name"] for p in item["parameters"]] == list(parameters)
    assert SPEC["info"]["version"] == DOCUMENT["info"]["version"]


def test_a_change_of_the_published_api_changes_the_gateway() -> None:
    changed = json.loads(json.dumps(DOCUMENT))
    changed["paths"]["/v2/calls/{call_id}"]["get"]["responses"]["429"] = {"description": "Slower"}

    assert gateway_spec(changed, SPEC["x-google-backend"]["address"]) != SPEC


def test_the_spec_is_valid_openapi() -> None:
    OpenAPIV2SpecValidator(SPEC).validate()


def test_the_spec_keeps_the_gateways_rules_for_extensions() -> None:
    backend = SPEC["x-google-backend"]

    assert {key for key in SPEC if key.startswith("x-google")} == {"x-google-backend"}
    assert backend == {
        "address": "https://get-call-private-abc.a.run.app",
        "path_translation": "APPEND_PATH_TO_ADDRESS",
        "jwt_audience": "https://get-call-private-abc.a.run.app",
        "deadline": DEADLINE_SECONDS,
    }
    assert DEADLINE_SECONDS > 10
    assert "x-google-allow" not in json.dumps(SPEC)
    assert "security" not in json.dumps(SPEC)  # the keys are the function's to check


def test_the_spec_comes_from_the_command_that_deploy_runs(tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "ops.gateway_spec",
        "--address=https://get-call-private-abc.a.run.app",
    ]
    written = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    refused = subprocess.run(
        [*command[:-1], "--address="], cwd=tmp_path, capture_output=True, text=True, check=False
    )

    assert yaml.safe_load(written) == SPEC
    assert refused.returncode != 0


# The security rules


@contextmanager
def rules_server(releases: dict[str, Any]) -> Iterator[str]:
    """Serve the part of the rules API that is asked, from a dictionary of its resources."""

    class Handler(BaseHTTPRequestHandler):
        def answer(self, status: int, body: object) -> None:
            self.send_response(status)
            self.end_headers()
            self.wfile.write(json.dumps(body).encode())

        def body(self) -> dict[str, Any]:
            found: dict[str, Any] = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            return found

        def do_GET(self) -> None:
            found = releases.get(self.path.removeprefix("/v1/"))
            self.answer(200 if found else 404, found or {"error": "none"})

        def do_POST(self) -> None:
            if self.headers["Authorization"] != "Bearer the-token":
                self.answer(403, {"error": "no"})
                return
            made = self.body()
            if self.path.endswith("/rulesets"):
                made["name"] = f"projects/p/rulesets/{len(releases)}"
            releases[made["name"]] = made
            self.answer(200, made)

        def do_PATCH(self) -> None:
            made = self.body()["release"]
            releases[made["name"]] = made
            self.answer(200, made)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 (the base's name)
            del format, args

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def upload(endpoint: str, *arguments: str, token: str = "the-token") -> Result:
    run = subprocess.run(
        [sys.executable, "-m", "ops.firestore_rules", "--project=p", *arguments],
        cwd=ROOT,
        env={**os.environ, "FIREBASERULES_ENDPOINT": endpoint},
        input=token,
        capture_output=True,
        text=True,
        check=False,
    )
    return Result(run.returncode, run.stdout, run.stderr)


def in_force(releases: dict[str, Any], release: str) -> str:
    content = releases[releases[release]["rulesetName"]]["source"]["files"][0]["content"]
    assert isinstance(content, str)
    return content


def test_rules_are_uploaded_once() -> None:
    rules = (ROOT / "firestore.rules").read_text()
    releases: dict[str, Any] = {}
    with rules_server(releases) as endpoint:
        first = upload(endpoint)
        after_first = dict(releases)
        second = upload(endpoint)
        named = upload(endpoint, "--database=calls")

    assert (first.code, second.code, named.code) == (0, 0, 0), first.err + second.err + named.err
    assert after_first.items() <= releases.items()
    assert len(after_first) == 2
    assert in_force(releases, "projects/p/releases/cloud.firestore") == rules
    assert in_force(releases, "projects/p/releases/cloud.firestore/calls") == rules


def test_rules_of_somebody_else_are_replaced_only_on_demand() -> None:
    name = "projects/p/releases/cloud.firestore"
    releases: dict[str, Any] = {
        name: {"name": name, "rulesetName": "projects/p/rulesets/x"},
        "projects/p/rulesets/x": {"source": {"files": [{"content": "allow all"}]}},
    }
    with rules_server(releases) as endpoint:
        refused = upload(endpoint)
        kept = in_force(releases, name)
        replaced = upload(endpoint, "--replace")

    assert refused.code == 1
    assert "FIRESTORE_RULES=keep or FIRESTORE_RULES=replace" in refused.err
    assert len(refused.err.splitlines()) == 1
    assert kept == "allow all"
    assert replaced.code == 0, replaced.err
    assert in_force(releases, name) == (ROOT / "firestore.rules").read_text()


def test_a_refused_upload_is_one_sentence_without_the_token() -> None:
    with rules_server({}) as endpoint:
        refused = upload(endpoint, token="another-token")
    unreachable = upload("http://127.0.0.1:9")

    for result in (refused, unreachable):
        assert result.code == 1
        assert len(result.err.splitlines()) == 1
        assert "token" not in result.err


# What watches it


def test_another_function_is_watched_by_files_of_its_own(cloud: Cloud) -> None:
    commands = cloud.succeed("alerts", FUNCTION="calls")

    for path in [*(ROOT / "ops/alerts").iterdir(), ROOT / "ops/dashboard.json"]:
        name = path.relative_to(ROOT)
        written = json.loads((cloud.clone / ".local/deploy" / name).read_text("utf-8"))
        assert written == json.loads(path.read_text("utf-8").replace("get-call", "calls"))
        assert [c for c in commands if f"-from-file=.local/deploy/{name}" in c]
    for path in (ROOT / "ops/metrics").iterdir():
        name = path.relative_to(ROOT)
        written = yaml.safe_load((cloud.clone / ".local/deploy" / name).read_text("utf-8"))
        assert written == yaml.safe_load(path.read_text("utf-8").replace("get-call", "calls"))
        assert [c for c in commands if f"-from-file=.local/deploy/{name}" in c]


def test_policies_are_found_again_however_their_json_is_laid_out(cloud: Cloud) -> None:
    for path in [*(cloud.clone / "ops/alerts").iterdir(), cloud.clone / "ops/dashboard.json"]:
        document = json.loads(path.read_text("utf-8"))
        path.write_text(json.dumps(dict(reversed(document.items()))))
    cloud.succeed("alerts")

    commands = cloud.succeed("alerts")

    assert not [c for c in commands if " create " in c]


@pytest.mark.parametrize("command", ["alerts", "delete"])
def test_a_missing_python_is_one_sentence(command: str, cloud: Cloud) -> None:
    result = cloud.run(command, answer="get-call\n", without="python")

    assert result.code == 1
    assert result.err == "deploy.sh: python3 is missing: install Python 3.\n"


def problem_codes(kind: type[Problem] = Problem) -> set[str]:
    heirs = kind.__subclasses__()
    own = {kind.code} if "code" in vars(kind) else set()
    return own.union(*(problem_codes(heir) for heir in heirs))


POLICIES = {path.stem: json.loads(path.read_text()) for path in (ROOT / "ops/alerts").iterdir()}
METRICS = {path.stem: yaml.safe_load(path.read_text()) for path in (ROOT / "ops/metrics").iterdir()}


def test_there_is_a_policy_for_each_thing_to_watch() -> None:
    assert set(POLICIES) == {
        "5xx-ratio",
        "p99-latency",
        "signatures-refused",
        "stored-call-invalid",
    }
    names = [policy["displayName"] for policy in POLICIES.values()]
    assert len(set(names)) == len(names)
    assert all("First:" in policy["documentation"]["content"] for policy in POLICIES.values())


def test_what_is_watched_is_measured() -> None:
    watching = json.dumps(POLICIES) + (ROOT / "ops/dashboard.json").read_text()
    used = set(re.findall(r"logging\.googleapis\.com/user/get-call-([a-z-]+)", watching))

    assert used == set(METRICS)


def test_what_is_measured_is_what_the_function_logs() -> None:
    """By the fields of an entry. A message is prose: a reworded one would silence its alert."""
    filters = " ".join(metric["filter"] for metric in METRICS.values())
    fields = set(re.findall(r"jsonPayload\.(\w+)", filters))
    codes = set(re.findall(r'jsonPayload\.code="(\w+)"', filters))

    assert {"code", "sign_ms"} == fields <= set(RequestEntry("id", {}).fields(200))
    assert codes
    assert codes <= problem_codes()


def test_a_failure_while_signing_is_counted_and_another_is_not() -> None:
    """The metric tells them apart by `sign_ms`."""
    reading, signing = RequestEntry("id", {}), RequestEntry("id", {})
    for entry, stage in ((reading, "read"), (signing, "sign")):
        with pytest.raises(UpstreamTimeout), entry.stage(stage):
            raise UpstreamTimeout

    assert reading.fields(504)["sign_ms"] is None
    assert isinstance(signing.fields(504)["sign_ms"], float)


# How it is written


@pytest.mark.parametrize(
    "script", [*DEPLOY_SCRIPTS, ROOT / "tests/support/fake_gcloud"], ids=lambda path: path.name
)
def test_the_shell_scripts_pass_shellcheck_and_shfmt(script: Path) -> None:
    for tool in (["shellcheck"], ["shfmt", "--indent=2", "--case-indent", "--diff"]):
        found = shutil.which(
            tool[0], path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        )
        assert found, f"{tool[0]} is missing: it is one of the development dependencies"
        checked = subprocess.run(
            [found, *tool[1:], script], capture_output=True, text=True, check=False
        )
        assert checked.returncode == 0, checked.stdout
