"""deploy.sh: what it asks of gcloud, in which order, and what it tells an operator."""

import json
import os
import re
import shlex
import subprocess
from pathlib import Path

import pytest

from ops.hosting import hosting
from tests.support.cloud import (
    COMMANDS,
    DEPLOY_SCRIPTS,
    SETTINGS,
    SMOKE,
    After,
    Cloud,
    changes,
    grants,
    index_of,
)
from tests.support.serving import ROOT

HOSTING_APIS = ("firebase.googleapis.com", "firebasehosting.googleapis.com")
RUNTIME = "serviceAccount:get-call-14fa84@my-project.iam.gserviceaccount.com"
GATEWAY = "serviceAccount:get-call-gateway@my-project.iam.gserviceaccount.com"
RUNTIME_GRANTS = {
    ("projects", "my-project", RUNTIME, "roles/datastore.viewer"),
    ("storage", "gs://my-recordings", RUNTIME, "roles/storage.objectViewer"),
    ("iam", RUNTIME.split(":")[1], RUNTIME, "roles/iam.serviceAccountTokenCreator"),
}
PUBLIC_GRANT = ("run", "get-call", "allUsers", "roles/run.invoker")
GATEWAY_GRANT = ("run", "get-call-private", GATEWAY, "roles/run.invoker")


# Dry runs


@pytest.mark.parametrize("command", COMMANDS)
def test_a_dry_run_prints_gcloud_commands_and_runs_none(command: str, cloud: Cloud) -> None:
    result = cloud.run(command, "--dry-run")

    assert result.code == 0, result.err
    assert cloud.commands() == []
    assert result.out
    for line in result.out.splitlines():
        words = shlex.split(line)
        assert Path(words[0]).name in {"gcloud", "firebase"}
        assert "--project=my-project" in words


def test_a_dry_run_needs_no_gcloud_and_no_clean_work_tree(cloud: Cloud) -> None:
    (cloud.clone / "call_api" / "draft.py").touch()

    assert cloud.run("function", "--dry-run", without="gcloud").code == 0


@pytest.mark.parametrize("command", ["function", "gateway"])
def test_a_dry_run_prints_what_a_first_run_runs(command: str, after: After) -> None:
    """But for what names the gateway's config, since that has the hash of a file of the run."""
    config = re.compile(r"get-call-(SPEC-HASH|[0-9a-f]{12})\b")

    def forms(lines: list[str]) -> list[list[str]]:
        return [shlex.split(line)[:4] for line in lines if not config.search(line)]

    printed = after().run(command, "--dry-run").out.splitlines()
    ran = [line for line in after(command).commands() if line.startswith("gcloud ")]
    assert forms(printed) == forms(ran)


# First and second runs


def test_a_first_run_grants_three_roles_and_then_the_public_one(deployed: Cloud) -> None:
    commands = deployed.commands()

    assert grants(deployed) == RUNTIME_GRANTS | {PUBLIC_GRANT}
    deploy = index_of(commands, "functions deploy get-call ")
    for part in ("datastore.viewer", "objectViewer", "TokenCreator", "ops.firestore_rules"):
        assert index_of(commands, part) < deploy
    assert "--no-allow-unauthenticated" in commands[deploy]
    assert changes(commands)[-1] == commands[index_of(commands, "allUsers")]


def test_the_function_is_deployed_with_explicit_limits_and_its_commit(deployed: Cloud) -> None:
    commands = deployed.commands()

    words = shlex.split(commands[index_of(commands, "functions deploy get-call ")])
    head = (deployed.clone / ".git" / "refs" / "heads").iterdir()
    commit = next(head).read_text()[:12]
    assert {
        *("--gen2", "--runtime=python313", "--entry-point=get_call", "--trigger-http"),
        *("--concurrency=80", "--cpu=1", "--memory=512Mi", "--timeout=15s"),
        *("--min-instances=0", "--max-instances=20"),
        f"--update-labels=commit={commit}",
        (
            "--set-env-vars=^;^GOOGLE_CLOUD_PROJECT=my-project;RECORDINGS_BUCKET=my-recordings;"
            "FIRESTORE_DATABASE=(default);BEHIND_API_GATEWAY=false"
        ),
    } <= set(words)


def test_the_bucket_is_created_private_with_the_requested_retention(cloud: Cloud) -> None:
    commands = cloud.succeed("function", RETENTION_DAYS="90")

    create = commands[index_of(commands, "storage buckets create")]
    assert "--uniform-bucket-level-access --public-access-prevention" in create
    rules = json.loads((cloud.home / "files" / "lifecycle.json").read_text())
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
    cloud.add("secret signer:3 ENABLED")
    commands = cloud.succeed("function", SIGNER_SECRET="signer:3")

    assert ("secrets", "signer", RUNTIME, "roles/secretmanager.secretAccessor") in grants(cloud)
    assert not any("TokenCreator" in command for command in commands)
    deploy = commands[index_of(commands, "functions deploy")]
    assert "--set-secrets=/secrets/signer/key.json=signer:3" in deploy
    assert "RECORDING_SIGNER_KEY_FILE=/secrets/signer/key.json" in deploy


def test_behind_the_gateway_only_the_gateway_may_call(after: After) -> None:
    cloud = after("gateway")
    commands = cloud.commands()

    assert grants(cloud) == RUNTIME_GRANTS | {GATEWAY_GRANT}
    deploy = commands[index_of(commands, "functions deploy get-call-private ")]
    assert "BEHIND_API_GATEWAY=true" in deploy
    assert "--no-allow-unauthenticated" in deploy
    config = commands[index_of(commands, "api-configs create")]
    assert f"--backend-auth-service-account={GATEWAY.split(':')[1]}" in config
    assert index_of(commands, "run.invoker") < index_of(commands, "gateways create")


@pytest.mark.parametrize(
    "runs", [("function",), ("gateway",), ("alerts",), ("function", "ci")], ids=" ".join
)
def test_a_second_run_creates_nothing(runs: tuple[str, ...], after: After) -> None:
    again = after(*runs, runs[-1])

    assert again.resources() == after(*runs).resources()
    assert not [c for c in again.commands() if " create" in c or " enable " in c]


def test_a_second_run_does_not_close_the_function_to_its_clients(after: After) -> None:
    again = after("function", "function").commands()

    assert not [command for command in again if "unauthenticated" in command]


def test_a_changed_spec_makes_one_config_and_moves_the_gateway_to_it(after: After) -> None:
    commands = after("gateway").succeed("gateway", SPEC="changed")

    created = [c for c in commands if " create " in c]
    assert [shlex.split(c)[1:4] for c in created] == [["api-gateway", "api-configs", "create"]]
    name = shlex.split(created[0])[4]
    assert f"--api-config={name}" in commands[index_of(commands, "gateways update")]


def test_alerts_keep_the_channels_that_a_policy_has(after: After) -> None:
    cloud = after("alerts")
    cloud.add("channels named/get-call: 5xx ratio projects/my-project/notificationChannels/7")

    commands = cloud.succeed("alerts")

    (update,) = (c for c in commands if "policies update" in c and "notificationChannels/7" in c)
    assert "--policy-from-file=ops/alerts/5xx-ratio.json" in update


# What an operator gets wrong


def test_a_project_that_is_to_be_deleted_is_one_sentence(cloud: Cloud) -> None:
    result = cloud.run("status", LIFECYCLE="DELETE_REQUESTED")

    sentence = "deploy.sh: the project my-project is DELETE_REQUESTED, not ACTIVE.\n"
    assert (result.code, result.err) == (1, sentence)


def test_why_gcloud_cannot_act_is_said(cloud: Cloud) -> None:
    """What it says itself, and a sentence."""
    said = "(gcloud.projects.describe) PERMISSION_DENIED: you may not see it, or it may not exist"

    result = cloud.run("status", FAIL="gcloud projects describe*", FAIL_SAYS=said)

    assert result.code == 1
    assert result.err.splitlines() == [
        f"ERROR: {said}",
        (
            "deploy.sh: gcloud cannot act in my-project, as it says above: is it logged in"
            " (`gcloud auth login`), and may it see the project?"
        ),
    ]


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


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        *(
            ([name], f"there is no command {name}: see ./deploy.sh --help.")
            for name in ("deploy", "lib", "settings", "project", "../deploy/status", "function.sh")
        ),
        (["status", "--force"], "status has no option --force: see ./deploy.sh status --help."),
        (["status", "now"], "status takes no argument now: see ./deploy.sh status --help."),
        # As in `./deploy.sh rollback "$REVISION"` where the variable is unset.
        (["rollback", ""], "an argument of rollback is empty: see ./deploy.sh rollback --help."),
    ],
)
def test_a_word_that_means_nothing_is_named(
    arguments: list[str], sentence: str, cloud: Cloud
) -> None:
    result = cloud.run(*arguments)

    assert (result.code, result.err) == (1, f"deploy.sh: {sentence}\n")
    assert cloud.commands() == []


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


def test_a_deployment_installs_what_make_install_does_and_a_dry_run_nothing() -> None:
    """Both by the function that finds Python, with a `make` that says what it is asked for."""
    script = (
        'make() { echo "$*"; }; . ops/deploy/project.sh; require_python; echo "${DEPLOY_PYTHON}"'
    )
    for dry_run, asked in (("false", "--silent .venv/installed-run\n"), ("true", "")):
        run = subprocess.run(
            ["bash", "-euc", script],
            cwd=ROOT,
            env={"PATH": os.environ["PATH"], "DRY_RUN": dry_run},
            capture_output=True,
            text=True,
            check=True,
        )
        assert (run.stdout, run.stderr) == (".venv/bin/python\n", asked)


def test_the_help_names_every_variable_that_the_script_reads(cloud: Cloud) -> None:
    script = "".join(path.read_text() for path in DEPLOY_SCRIPTS)
    internal = {"BASH_SOURCE", "DEPLOY_FIREBASE", "DEPLOY_PYTHON", "PYTHON", "RETRY_PAUSE_SECONDS"}
    read = set(re.findall(r"\$\{([A-Z_]+):", script)) - internal

    named = set(re.findall(r"[A-Z][A-Z_]+", cloud.run("--help").out))

    assert read
    assert read <= named


# The site


def test_the_site_is_deployed_after_its_files_are_prepared_and_nothing_else_is(
    after: After,
) -> None:
    cloud = after("function", "site")
    commands = cloud.commands()

    prepared = index_of(commands, "python -m ops.hosting ")
    deployed = index_of(commands, "firebase deploy ")
    assert prepared < deployed
    assert "--function=get-call --region=europe-west1" in commands[prepared]
    assert "--only=hosting --config=.firebase-deploy.json " in commands[deployed]
    assert changes(commands[:prepared]) == [
        f"gcloud services enable {' '.join(HOSTING_APIS)} --project=my-project"
    ]
    assert grants(cloud) == RUNTIME_GRANTS | {PUBLIC_GRANT}


@pytest.mark.parametrize("command", ["site", "edge", "ci", "canary"])
def test_a_command_that_needs_the_function_says_so_without_it(command: str, cloud: Cloud) -> None:
    result = cloud.run(command, **SMOKE)

    assert (result.code, result.err) == (
        1,
        "deploy.sh: get-call is not deployed in europe-west1: run ./deploy.sh function first.\n",
    )
    assert not changes(result.commands)
    assert not any("firebase" in command for command in result.commands)


def test_hosting_rewrites_calls_to_the_deployed_function_and_keeps_its_headers() -> None:
    configured = json.loads((ROOT / "firebase.json").read_text())["hosting"]
    run = {"serviceId": "calls", "region": "asia-south1"}
    rewrites = [{"source": "/v2/calls/**", "run": run}]

    assert hosting("calls", "asia-south1") == {"hosting": configured | {"rewrites": rewrites}}


# After the deployment


def test_the_smoke_test_runs_where_there_is_a_key_for_it(deployed: Cloud) -> None:
    without = deployed.run("function")
    with_key = deployed.run("function", **SMOKE)

    assert "KEY=… make smoke URL=https://get-call-abc.a.run.app CALL=…" in without.out
    assert with_key.out == "smoke https://get-call-abc.a.run.app the-key 77\n"


def test_the_smoke_test_goes_through_the_gateway(after: After) -> None:
    result = after("gateway").run("gateway", **SMOKE)

    assert result.out == "smoke https://get-call-abc.gateway.dev the-key 77\n"


def test_status_says_what_is_and_what_is_not_deployed(after: After) -> None:
    nothing = after().run("status").out
    function = after("function").run("status").out

    assert nothing.splitlines() == [
        "get-call: not deployed in europe-west1",
        "get-call-private: not deployed in europe-west1",
        "gateway: not deployed in europe-west1",
        "edge: not deployed",
    ]
    assert function.startswith("get-call:\nstate: ACTIVE\n")


@pytest.fixture
def thrice(after: After) -> Cloud:
    """A function with three revisions, of which the third serves."""
    return after("function", "function", "function")


@pytest.mark.parametrize("passed_over", ["broken get-call-2", "twin get-call-3"])
def test_rollback_is_to_the_ready_revision_of_another_image(
    passed_over: str, thrice: Cloud
) -> None:
    """A revision that only a changed setting has made would not be a way back."""
    thrice.add(passed_over)

    (*_, command) = thrice.succeed("rollback")

    assert "update-traffic get-call --to-revisions=get-call-1=100" in command
    again = thrice.run("rollback")
    assert again.code == 1
    assert "no ready revision of get-call that is older than get-call-1" in again.err


def test_rollback_goes_to_the_revision_that_was_named(thrice: Cloud) -> None:
    (*_, command) = thrice.succeed("rollback", "get-call-1")

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
    assert result.err.startswith("deploy.sh: REVISION is malformed: ")
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
    name: str, sentence: str, after: After
) -> None:
    cloud = after("function", "function", "function", "gateway", "broken get-call-2")

    result = cloud.run("rollback", name)

    assert (result.code, result.err) == (1, f"deploy.sh: {sentence}\n")
    assert not changes(result.commands)


def test_delete_removes_all_but_what_is_stored(cloud: Cloud) -> None:
    cloud.add("secret signer:3 ENABLED")
    for bucket in ("my-recordings", "new-recordings"):
        cloud.succeed("function", RECORDINGS_BUCKET=bucket, SIGNER_SECRET="signer:3")
    for command in ("gateway", "site", "alerts"):
        cloud.succeed(command)

    commands = cloud.succeed("delete")

    stored = [c for c in changes(commands) if re.search(r"firestore|storage|gs://", c)]
    assert [c for c in stored if "remove-iam-policy-binding" not in c] == []
    of_runtime = {grant.kind for grant in grants(cloud) if RUNTIME in grant}
    assert of_runtime <= {"iam"}  # on itself, so it went with the account
    left = {line.split(" ")[0] for line in cloud.resources()}
    assert left <= {
        *("api", "boost", "firestore", "gateway-config", "grant", "recovery", "rules", "secret"),
        "storage",
    }
    assert {"firestore databases (default)", "storage buckets gs://my-recordings"} <= (
        cloud.resources()
    )


def test_delete_disables_the_site_before_the_functions_end(after: After) -> None:
    commands = after("function", "site").succeed("delete")

    disabled = index_of(commands, "ops.hosting_release")
    assert commands[disabled].endswith(
        "--project=my-project --function=get-call --region=europe-west1"
    )
    assert disabled < index_of(commands, "functions delete")


def test_delete_stops_if_the_site_cannot_be_disabled(after: After) -> None:
    cloud = after("function", "site")

    result = cloud.run("delete", FAIL="python -m ops.hosting_release*")

    assert result.code == 1
    assert {"functions get-call", "site"} <= cloud.resources()


@pytest.mark.parametrize("answer", ["", "y\n", "get-cal\n"])
def test_delete_does_nothing_without_the_name(answer: str, deployed: Cloud) -> None:
    before = deployed.resources()

    result = deployed.run("delete", answer=answer)

    assert result.code == 1
    assert "nothing was deleted" in result.err
    assert deployed.resources() == before


def test_delete_keeps_what_another_region_uses(after: After) -> None:
    cloud = after("function", "ci")
    cloud.add("functions projects/my-project/locations/asia-south1/functions/get-call")

    commands = cloud.succeed("delete")

    shared = re.compile("get-call-gateway|get-call-deploy@|workload-identity")
    assert not [command for command in commands if shared.search(command)]
