"""deploy.sh and what it meets: failures that pass or last, and resources that are not as they should be."""

import os
import shlex
import subprocess
from pathlib import Path

import pytest

from tests.support.cloud import After, Cloud, index_of
from tests.support.serving import ROOT

PUBLIC = "gcloud run services add-iam-policy-binding get-call *allUsers*"
DISABLED = (
    "(gcloud) PERMISSION_DENIED: API Gateway API has not been used in project 824047712345 before or"
    " it is disabled: https://console.developers.google.com/apis/api/apigateway.googleapis.com/x"
)
ACCOUNT = "get-call-14fa84@my-project.iam.gserviceaccount.com"


# Failures


UNAVAILABLE = "(gcloud) UNAVAILABLE: try again"
OFTEN, ONCE = 5, 1


@pytest.mark.parametrize(
    ("how", "said", "tries"),
    [
        ("query ''", DISABLED, OFTEN),
        ("query ''", UNAVAILABLE, OFTEN),
        ("query ''", "(gcloud) PERMISSION_DENIED: you may not see it", ONCE),
        ("exists", DISABLED, OFTEN),
        ("exists", "(gcloud.functions) ResponseError: status=[503]", OFTEN),
        # It may exist, so it is not created.
        ("exists", "the connection broke", ONCE),
        ("exists", "PERMISSION_DENIED: project 8 was not found, or you may not see it", ONCE),
        ("exists", "(gcloud) 503: the project team-404 is busy", ONCE),
        ("state_of", UNAVAILABLE, OFTEN),
        ("state_of", "(gcloud) PERMISSION_DENIED: you may not see it", ONCE),
        ("run", DISABLED, OFTEN),
        # It may have been created before the connection broke: a rerun looks.
        ("run", UNAVAILABLE, ONCE),
        ("run", "(gcloud) RESOURCE_EXHAUSTED: quota", ONCE),
        ("retry", DISABLED, OFTEN),
        ("retry", "(gcloud) INVALID_ARGUMENT: Service account a@b does not exist.", OFTEN),
        ("retry", "(gcloud) ABORTED: There were concurrent policy changes.", OFTEN),
        ("retry", "(gcloud.storage) HTTPError 429: quota", OFTEN),
        ("retry", "Connection reset by peer", OFTEN),
        ("retry", "(gcloud) PERMISSION_DENIED: you may not set the policy", ONCE),
        ("retry", "(gcloud) INVALID_ARGUMENT: role is malformed", ONCE),
        ("retry", "(gcloud) FAILED_PRECONDITION: the organisation has changed it", ONCE),
    ],
)
def test_what_may_pass_is_tried_again_in_a_minute(
    how: str, said: str, tries: int, tmp_path: Path
) -> None:
    """How often, by the function that a command of gcloud goes through, and by gcloud's words."""
    script = f"""
    source ops/deploy/lib.sh
    SCRATCH="$1"
    gcloud() {{ printf . >>"${{SCRATCH}}/tries"; echo "$1" >&2; return 1; }}
    {how} gcloud "$2"
    """
    run = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script, "deploy.sh", tmp_path, said],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], "RETRY_PAUSE_SECONDS": "0"},
        capture_output=True,
        text=True,
        check=False,
    )

    assert run.returncode == 1
    assert (tmp_path / "tries").read_text().count(".") == tries
    assert said in run.stderr


def test_an_api_that_was_enabled_a_moment_ago_may_still_refuse_any_command(cloud: Cloud) -> None:
    result = cloud.run("function", FAIL="gcloud *", FAIL_SAYS=DISABLED, FAIL_TIMES="1")

    assert result.code == 0, result.err


def test_grants_may_be_made_twice(cloud: Cloud) -> None:
    said = "(gcloud) ABORTED: There were concurrent policy changes."

    result = cloud.run("function", FAIL="*add-iam-policy-*", FAIL_SAYS=said, FAIL_TIMES="4")

    assert result.code == 0, result.err


def test_nothing_is_created_twice(cloud: Cloud) -> None:
    result = cloud.run("function", FAIL="gcloud * create *", FAIL_SAYS=UNAVAILABLE)

    assert result.code == 1
    assert len([command for command in result.commands if " create " in command]) == 1


@pytest.mark.parametrize("command", ["status", "delete"])
def test_a_disabled_api_has_no_resources(command: str, deployed: Cloud) -> None:
    """As in a project that never had a gateway."""
    result = deployed.run(command, FAIL="gcloud api-gateway *", FAIL_SAYS=DISABLED)

    assert result.code == 0, result.err


def test_an_api_that_is_disabled_elsewhere_hides_no_resources(after: After) -> None:
    """As in the project whose quota gcloud uses: here, the gateway may well exist."""
    cloud = after("gateway")

    result = cloud.run("delete", FAIL="gcloud api-gateway *", FAIL_SAYS=DISABLED)

    assert result.code == 1
    assert "cannot tell whether something exists" in result.err
    assert "functions get-call-private" in cloud.resources()


def test_a_region_that_does_not_answer_may_still_have_the_function(after: After) -> None:
    result = after("function", "unreachable").run("delete")

    assert result.code == 1
    assert "a region does not answer, and may still have get-call: run this again" in result.err


# An organisation that forbids grants to everybody


@pytest.mark.parametrize(
    "said",
    [
        "(gcloud.run) FAILED_PRECONDITION: One or more users do not belong to a permitted customer.",
        "(gcloud) constraints/iam.allowedPolicyMemberDomains violated",
    ],
)
def test_a_forbidden_grant_names_the_setting_that_goes_without(said: str, cloud: Cloud) -> None:
    result = cloud.run("function", FAIL=PUBLIC, FAIL_SAYS=said)

    assert result.code == 1
    assert result.err.splitlines()[-1] == (
        "deploy.sh: the organisation forbids grants to allUsers (iam.allowedPolicyMemberDomains):"
        " INVOKER_CHECK=off lets everybody call get-call without a grant, which goes around that"
        " policy, so ask whoever owns it first."
    )
    assert result.err.count("ERROR") == 1


def test_the_invoker_check_is_turned_off_and_on_again_once(cloud: Cloud) -> None:
    off = cloud.succeed("function", INVOKER_CHECK="off")
    again = cloud.succeed("function", INVOKER_CHECK="off")
    on = cloud.succeed("function")
    more = cloud.succeed("function")

    assert not any("allUsers" in command for command in off + again)
    assert [
        [word for word in " ".join(run).split(" ") if word.endswith("invoker-iam-check")]
        for run in (off, again, on, more)
    ] == [["--no-invoker-iam-check"], [], ["--invoker-iam-check"], []]
    # Never closed to its clients on the way.
    assert index_of(on, "allUsers") < index_of(on, "--invoker-iam-check")


# Resources of the wrong kind, or in the wrong state


@pytest.mark.parametrize(
    ("resources", "state", "sentence"),
    [
        (
            ["firestore databases (default)"],
            "state firestore databases (default) DATASTORE_MODE",
            "the database (default) is of type DATASTORE_MODE, which the function cannot read",
        ),
        (
            [f"iam service-accounts {ACCOUNT.partition('@')[0]}"],
            f"state iam service-accounts {ACCOUNT} True",
            f"the service account {ACCOUNT} is disabled: enable it, `gcloud iam service-accounts ena",
        ),
        (
            ["api-gateway apis get-call"],
            "state api-gateway apis get-call FAILED",
            "the API get-call is FAILED: delete it, `gcloud api-gateway apis delete get-call ",
        ),
        (
            ["api-gateway apis get-call"],
            "state api-gateway apis get-call DELETING",
            "the API get-call is DELETING: run this again when it is ACTIVE.",
        ),
        (
            ["api-gateway gateways get-call"],
            "state api-gateway gateways get-call FAILED",
            "the gateway get-call is FAILED: delete it, `gcloud api-gateway gateways delete",
        ),
        (
            ["api-gateway gateways get-call"],
            "state api-gateway gateways get-call UPDATING",
            "the gateway get-call is UPDATING: run this again when it is ACTIVE.",
        ),
    ],
)
def test_what_exists_but_cannot_be_used_is_said(
    resources: list[str], state: str, sentence: str, cloud: Cloud
) -> None:
    for resource in (*resources, state):
        cloud.add(resource)

    result = cloud.run("gateway")

    assert result.code == 1
    assert f"deploy.sh: {sentence}" in result.err.splitlines()[-1]


def test_a_config_that_failed_is_created_anew(after: After) -> None:
    """A rerun finds it by its name, the hash of its spec."""
    cloud = after("gateway")
    (config,) = (c.split(" ")[4] for c in cloud.commands() if "api-configs create" in c)
    cloud.add(f"state api-gateway api-configs {config} FAILED")

    commands = cloud.succeed("gateway")

    assert index_of(commands, "api-configs delete") < index_of(commands, "api-configs create")


@pytest.mark.parametrize("state", ["DISABLED", "DESTROYED"])
def test_a_secret_s_version_that_cannot_be_read_is_not_deployed(state: str, cloud: Cloud) -> None:
    cloud.add(f"secret signer:3 {state}")

    result = cloud.run("function", SIGNER_SECRET="signer:3")

    assert result.code == 1
    assert f"version 3 of the secret signer is {state}, not ENABLED." in result.err
    assert not any("deploy get-call" in command for command in cloud.commands())


# Recovery


def test_a_database_that_is_created_can_be_recovered(deployed: Cloud) -> None:
    commands = deployed.commands()

    assert "--delete-protection --enable-pitr" in commands[index_of(commands, "databases create")]
    schedule = commands[index_of(commands, "backups schedules create")]
    assert "--recurrence=daily --retention=7d" in schedule


def test_a_database_that_was_there_is_changed_only_if_asked_to(cloud: Cloud) -> None:
    cloud.add("firestore databases (default)")

    unasked = cloud.run("function")
    assert "lacks point-in-time recovery or backups: FIRESTORE_RECOVERY=on adds them" in unasked.err
    asked = cloud.succeed("function", FIRESTORE_RECOVERY="on")
    again = cloud.succeed("function", FIRESTORE_RECOVERY="on")

    assert not any("pitr" in c or "schedules create" in c for c in unasked.commands)
    assert index_of(asked, "databases update") < index_of(asked, "schedules create")
    assert not any("pitr" in c or "schedules create" in c for c in again)


# Two runs from one clone


def test_runs_from_one_clone_read_each_their_own_files(cloud: Cloud) -> None:
    """Production's config was once created from staging's address."""
    cloud.succeed("gateway", FUNCTION="staging")
    cloud.succeed("gateway", FUNCTION="production")

    configs = {c.split(" ")[4]: c for c in cloud.commands() if "api-configs create" in c}
    assert len(configs) == 2
    assert list((cloud.clone / ".local" / "deploy").iterdir()) == []


# Settings that changed


def test_grants_of_settings_that_changed_are_named_until_they_are_taken_back(cloud: Cloud) -> None:
    """They are not taken back at once: a rollback needs them, and so do the links that are out."""
    cloud.add("secret signer:3 ENABLED")
    first = cloud.run("function").err
    changed = {"RECORDINGS_BUCKET": "new-recordings", "SIGNER_SECRET": "signer:3"}
    second = cloud.run("function", **changed).err
    third = cloud.run("function", **changed).err
    taken_back = [line.strip() for line in second.splitlines() if line.startswith("  gcloud ")]
    for command in taken_back:
        subprocess.run(
            shlex.split(command),
            env={"PATH": str(cloud.home / "bin"), "FAKE_CLOUD": str(cloud.home)},
            check=True,
        )
    fourth = cloud.run("function", **changed).err

    member = f"--member=serviceAccount:{ACCOUNT}"
    remove, project = "remove-iam-policy-binding", "--project=my-project"
    viewer, signer = (
        f"--role=roles/{role} --format=none"
        for role in ("storage.objectViewer", "iam.serviceAccountTokenCreator")
    )
    assert taken_back == [
        f"gcloud storage buckets {remove} gs://my-recordings {member} {viewer} {project}",
        f"gcloud iam service-accounts {remove} {ACCOUNT} {member} {signer} {project}",
    ]
    assert "remove-iam-policy-binding" not in first + fourth
    assert third.count("remove-iam-policy-binding") == 2


def test_what_the_other_function_of_the_region_needs_is_not_named(after: After) -> None:
    result = after("gateway").run("function", RECORDINGS_BUCKET="new-recordings")

    assert "remove-iam-policy-binding" not in result.err


def test_a_revision_that_somebody_made_by_hand_is_passed_over(deployed: Cloud) -> None:
    deployed.add("reads get-call ^;^LOG_LEVEL=DEBUG||0")

    assert deployed.run("function").code == 0


def test_another_secret_takes_the_place_of_one(cloud: Cloud) -> None:
    for secret in ("signer:3", "next:1"):
        cloud.add(f"secret {secret} ENABLED")
        result = cloud.run("function", SIGNER_SECRET=secret)

    assert "gcloud secrets remove-iam-policy-binding signer --member=" in result.err
