"""deploy.sh and what it meets: failures that pass or last, and resources that are not as they should be."""

import shlex
import subprocess

import pytest

from tests.support.cloud import Cloud, index_of

CREATE_DATABASE = "gcloud firestore databases create*"
GRANT = "gcloud projects add-iam-policy-binding*"
PUBLIC = "gcloud run services add-iam-policy-binding get-call *allUsers*"
DISABLED = (
    "(gcloud) PERMISSION_DENIED: API Gateway API has not been used in project 824047712345 before or"
    " it is disabled: https://console.developers.google.com/apis/api/apigateway.googleapis.com/x"
)
ACCOUNT = "get-call-14fa84@my-project.iam.gserviceaccount.com"


# Failures


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (CREATE_DATABASE, DISABLED),
        ("gcloud firestore databases describe*", DISABLED),
        ("gcloud firestore databases describe*", "(gcloud) UNAVAILABLE: try again"),
        ("gcloud functions describe*", "(gcloud.functions) ResponseError: status=[503]"),
        (GRANT, f"(gcloud) INVALID_ARGUMENT: Service account {ACCOUNT} does not exist."),
        (GRANT, "(gcloud) ABORTED: There were concurrent policy changes."),
        ("gcloud storage buckets add-iam-policy-binding*", "(gcloud.storage) HTTPError 429: quota"),
        ("gcloud storage buckets add-iam-policy-binding*", "Connection reset by peer"),
    ],
)
def test_what_passes_is_tried_again(command: str, said: str, cloud: Cloud) -> None:
    result = cloud.run("function", FAIL=command, FAIL_SAYS=said, FAIL_TIMES="4")

    assert result.code == 0, result.err


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (GRANT, "(gcloud) PERMISSION_DENIED: you may not set the policy"),
        (GRANT, "(gcloud) INVALID_ARGUMENT: role is malformed"),
        (PUBLIC, "(gcloud.run) FAILED_PRECONDITION: the policy was changed by the organisation"),
        # It may have been created before the connection broke: a rerun looks.
        (CREATE_DATABASE, "(gcloud) UNAVAILABLE: try again"),
        (CREATE_DATABASE, "(gcloud) RESOURCE_EXHAUSTED: quota"),
    ],
)
def test_what_lasts_is_said_at_once(command: str, said: str, cloud: Cloud) -> None:
    result = cloud.run("function", FAIL=command, FAIL_SAYS=said)

    assert result.code == 1
    assert f"ERROR: {said}" in result.err.splitlines()
    words = command.strip("*").split("*")
    failed = [line for line in cloud.commands() if all(word in line for word in words)]
    assert len(failed) == 1


def test_what_does_not_pass_in_a_minute_is_said(cloud: Cloud) -> None:
    result = cloud.run("function", FAIL=GRANT, FAIL_SAYS="(gcloud) UNAVAILABLE: try again")

    assert result.code == 1
    assert result.err.count("UNAVAILABLE") == 5


@pytest.mark.parametrize("command", ["status", "delete"])
def test_a_disabled_api_has_no_resources(command: str, cloud: Cloud) -> None:
    """As in a project that never had a gateway."""
    cloud.succeed("function")

    result = cloud.run(
        command, answer="get-call\n", FAIL="gcloud api-gateway *", FAIL_SAYS=DISABLED
    )

    assert result.code == 0, result.err


def test_an_api_that_is_disabled_elsewhere_hides_no_resources(cloud: Cloud) -> None:
    """As in the project whose quota gcloud uses: here, the gateway may well exist."""
    cloud.succeed("gateway")

    result = cloud.run(
        "delete", answer="get-call\n", FAIL="gcloud api-gateway *", FAIL_SAYS=DISABLED
    )

    assert result.code == 1
    assert "cannot tell whether something exists" in result.err
    assert "functions get-call-private" in cloud.resources()


def test_a_region_that_does_not_answer_may_still_have_the_function(cloud: Cloud) -> None:
    cloud.succeed("function")
    cloud.add("unreachable")

    result = cloud.run("delete", answer="get-call\n")

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


def test_a_config_that_failed_is_created_anew(cloud: Cloud) -> None:
    """A rerun finds it by its name, the hash of its spec."""
    (config,) = (c.split(" ")[4] for c in cloud.succeed("gateway") if "api-configs create" in c)
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


def test_a_database_that_is_created_can_be_recovered(cloud: Cloud) -> None:
    commands = cloud.succeed("function")

    assert "--delete-protection --enable-pitr" in commands[index_of(commands, "databases create")]
    schedule = commands[index_of(commands, "backups schedules create")]
    assert "--recurrence=daily --retention=7d" in schedule


def test_a_database_that_was_there_is_changed_only_if_asked_to(cloud: Cloud) -> None:
    cloud.add("firestore databases (default)")

    unasked = cloud.run("function")
    assert "lacks point-in-time recovery or backups: FIRESTORE_RECOVERY=on adds them" in unasked.err
    before = len(cloud.commands())
    asked = cloud.succeed("function", FIRESTORE_RECOVERY="on")
    again = cloud.succeed("function", FIRESTORE_RECOVERY="on")

    assert not any("pitr" in c or "schedules create" in c for c in cloud.commands()[:before])
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


def test_what_the_other_function_of_the_region_needs_is_not_named(cloud: Cloud) -> None:
    cloud.succeed("gateway")

    result = cloud.run("function", RECORDINGS_BUCKET="new-recordings")

    assert "remove-iam-policy-binding" not in result.err


def test_a_revision_that_somebody_made_by_hand_is_passed_over(cloud: Cloud) -> None:
    cloud.succeed("function")
    cloud.add("reads get-call ^;^LOG_LEVEL=DEBUG||0")

    assert cloud.run("function").code == 0


def test_another_secret_takes_the_place_of_one(cloud: Cloud) -> None:
    for secret in ("signer:3", "next:1"):
        cloud.add(f"secret {secret} ENABLED")
        result = cloud.run("function", SIGNER_SECRET=secret)

    assert "gcloud secrets remove-iam-policy-binding signer --member=" in result.err
