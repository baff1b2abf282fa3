"""deploy.sh from CI: whom `ci` lets in, what it lets them do, and how `canary` moves the traffic."""

import re
import shlex
from typing import Any

import pytest
import yaml

from ops.deploy_settings import SETTINGS as KNOWN_SETTINGS
from tests.support.cloud import SMOKE, After, Cloud, Grant, grants, index_of
from tests.support.serving import ROOT

ADDRESS = "https://get-call-abc.a.run.app"
CANDIDATE_ADDRESS = "https://candidate---get-call-abc.a.run.app"
ACCOUNTS = "@my-project.iam.gserviceaccount.com"
DEPLOYER = f"get-call-deploy{ACCOUNTS}"
BUILDER = f"builder{ACCOUNTS}"
POOL = "projects/824047712345/locations/global/workloadIdentityPools/get-call-ci"
CONDITION = (
    'assertion.repository == "my-org/get-call" && assertion.repository_id == "123456789"'
    ' && assertion.environment == "staging" && assertion.ref.startsWith("refs/tags/v")'
)


def traffic(cloud: Cloud, kind: str = "serving") -> set[str]:
    lines = (cloud.home / "resources").read_text().splitlines()
    return {line.removeprefix(f"{kind} get-call ") for line in lines if line.startswith(kind)}


# Whom it lets in


def test_the_jobs_of_one_environment_of_one_repository_may_act_as_the_deployer(
    deployed: Cloud,
) -> None:
    result = deployed.run("ci")

    (provider,) = (c for c in deployed.commands() if "create-oidc" in c)
    assert {
        "--issuer-uri=https://token.actions.githubusercontent.com",
        '--attribute-mapping=google.subject=assertion.repository_id + ":" + assertion.environment',
        f"--attribute-condition={CONDITION}",
    } <= set(shlex.split(provider))
    assert [grant for grant in grants(deployed) if grant.resource == DEPLOYER] == [
        Grant(
            "iam",
            DEPLOYER,
            f"principal://iam.googleapis.com/{POOL}/subject/123456789:staging",
            "roles/iam.workloadIdentityUser",
        )
    ]
    assert result.out.splitlines()[1:] == [
        f"WORKLOAD_IDENTITY_PROVIDER={POOL}/providers/github",
        f"DEPLOYER={DEPLOYER}",
    ]
    assert not any(" keys " in command for command in deployed.commands())


def test_another_repository_takes_the_place_of_the_first(after: After) -> None:
    commands = after("function", "ci").succeed("ci", REPOSITORY="my-org/renamed")

    update = commands[index_of(commands, "providers update-oidc github")]
    assert 'assertion.repository == "my-org/renamed" && ' in shlex.split(update)[-2]


def test_what_was_deleted_is_restored(after: After) -> None:
    cloud = after("function", "ci")
    first = cloud.resources()
    cloud.add("state iam workload-identity-pools get-call-ci DELETED")
    cloud.add("state iam workload-identity-pools providers github DELETED")

    commands = cloud.succeed("ci")

    assert cloud.resources() == first
    assert len([c for c in commands if " undelete " in c]) == 2
    assert not [c for c in commands if " create" in c]


def test_delete_takes_the_identity_of_ci_too(after: After) -> None:
    cloud = after("function", "ci", "delete")
    commands = cloud.commands()

    pool = index_of(commands, "workload-identity-pools delete get-call-ci ")
    assert pool < index_of(commands, f"service-accounts delete {DEPLOYER} ")
    assert not any(grant.resource == "my-project" for grant in grants(cloud))


# How the traffic moves


def test_a_good_revision_gets_the_traffic_in_steps_and_nothing_else_changes(
    deployed: Cloud,
) -> None:
    before = deployed.resources()

    result = deployed.run("canary", **SMOKE)

    assert result.code == 0, result.err
    assert moves(result.commands) == [
        "--to-revisions=get-call-1=100",
        "deploy",
        "--update-tags=candidate=get-call-2",
        "--to-revisions=get-call-2=10,get-call-1=90",
        "--remove-tags=candidate --to-revisions=get-call-2=100",
    ]
    assert result.out.splitlines() == [
        f"smoke {CANDIDATE_ADDRESS} the-key 77",
        *[f"smoke {ADDRESS} the-key 77"] * 5,
    ]
    assert (traffic(deployed), traffic(deployed, "tag")) == ({"100 get-call-2"}, set())
    assert deployed.resources() == before


@pytest.mark.parametrize("address", [CANDIDATE_ADDRESS, ADDRESS])
def test_a_smoke_test_that_fails_gives_the_traffic_back(address: str, deployed: Cloud) -> None:
    result = deployed.run("canary", **SMOKE, BROKEN_URL=address)

    assert result.code == 1
    assert result.err.endswith(
        "deploy.sh: get-call-2 was not taken over: get-call-1 serves, as before.\n"
    )
    ended = moves(result.commands)
    rejected = "rejected-2=get-call-2"
    assert ended[-1] == (
        f"--remove-tags=candidate --update-tags={rejected} --to-revisions=get-call-1=100"
    )
    assert ("--to-revisions=get-call-2=10,get-call-1=90" in ended) == (address == ADDRESS)
    assert traffic(deployed) == {"100 get-call-1"}
    assert traffic(deployed, "tag") == {rejected.replace("=", " ")}
    # Once: another try would mostly miss the tenth that the new revision has.
    tries = result.out.count(f"smoke {ADDRESS} ") + result.err.count(ADDRESS)
    assert tries == (address == ADDRESS)


def test_a_rejected_revision_is_never_rolled_back_to(deployed: Cloud) -> None:
    deployed.run("canary", **SMOKE, BROKEN_URL=CANDIDATE_ADDRESS)
    deployed.succeed("canary", **SMOKE)
    assert traffic(deployed) == {"100 get-call-3"}

    deployed.succeed("rollback")

    assert traffic(deployed) == {"100 get-call-1"}


def test_traffic_that_cannot_be_given_back_is_said(deployed: Cloud) -> None:
    result = deployed.run(
        "canary",
        **SMOKE,
        BROKEN_URL=ADDRESS,
        FAIL="*--remove-tags=candidate*",
        FAIL_SAYS="SSL error",
    )

    assert result.code == 1
    assert result.err.splitlines()[-1] == (
        "deploy.sh: get-call-2 may still have a share of the traffic: run ./deploy.sh rollback"
        " get-call-1."
    )
    assert result.err.count("SSL error") == 5


def test_a_failure_at_any_step_leaves_the_old_revision_serving_and_a_rerun_succeeds(
    after: After,
) -> None:
    done = after("function")
    left: dict[tuple[str, ...], Cloud] = {}
    for step in dict.fromkeys(done.succeed("canary", **SMOKE)):
        failed = after("function")
        assert failed.run("canary", **SMOKE, FAIL=step, FAIL_WHEN="after").code == 1, step
        assert {line.split()[1] for line in traffic(failed)} == {"get-call-1"}
        left.setdefault(failed.state(), failed)
    for again in left.values():
        again.succeed("canary", **SMOKE)
        assert len(traffic(again)) == 1
        assert {line for line in again.resources() if "rejected-" not in line} == done.resources()


@pytest.fixture
def interrupted(deployed: Cloud) -> Cloud:
    """A canary that was killed while the new revision had its tenth."""
    deployed.succeed("canary", **SMOKE)
    text = (deployed.home / "resources").read_text()
    shares = "serving get-call 10 get-call-2\nserving get-call 90 get-call-1\ntag get-call candidate get-call-2"
    text = text.replace("serving get-call 100 get-call-2", shares)
    (deployed.home / "resources").write_text(text)
    return deployed


def test_a_rerun_after_an_interruption_starts_from_the_old_revision(interrupted: Cloud) -> None:
    commands = interrupted.succeed("canary", **SMOKE)

    assert moves(commands)[0] == "--to-revisions=get-call-1=100"
    assert moves(commands)[3] == "--to-revisions=get-call-3=10,get-call-1=90"
    assert (traffic(interrupted), traffic(interrupted, "tag")) == ({"100 get-call-3"}, set())


def test_rollback_ends_an_interrupted_canary(interrupted: Cloud) -> None:
    interrupted.succeed("rollback")

    assert traffic(interrupted) == {"100 get-call-1"}


def test_rollback_and_the_next_deployment_work_after_a_canary(deployed: Cloud) -> None:
    deployed.succeed("canary", **SMOKE)

    deployed.succeed("rollback")
    assert traffic(deployed) == {"100 get-call-1"}
    deployed.succeed("function")
    assert traffic(deployed) == {"100 get-call-3 True"}


def test_nothing_is_deployed_without_what_judges_it(deployed: Cloud) -> None:
    result = deployed.run("canary", SMOKE_KEY="the-key")

    assert result.code == 1
    assert result.err.startswith("deploy.sh: SMOKE_KEY and SMOKE_CALL are required: ")
    assert result.commands == []


def moves(commands: list[str]) -> list[str]:
    """Return what changes the traffic: deployments, and the first flags of the moves."""
    found = []
    for command in commands:
        words = shlex.split(command)
        if "update-traffic" in words:
            found.append(" ".join(word for word in words if re.match("--(to-rev|.*-tags)", word)))
        elif words[:3] == ["gcloud", "functions", "deploy"]:
            found.append("deploy")
    return found


# What it lets them do


def verb_of(command: str) -> tuple[str, ...]:
    """Return group and verb of a command of gcloud."""
    words = shlex.split(command)[1:]
    verbs = {"deploy", "describe", "list", "update", "update-traffic", "add-iam-policy-binding"}
    return tuple(words[: next(i for i, word in enumerate(words) if word in verbs) + 1])


# The permissions that a command needs, each by the method that gcloud calls. They are of the reference of
# each API and of gcloud's source; what gcloud only warns about is left out.
NEEDED = {
    # cloudresourcemanager.projects.get
    ("projects", "describe"): {"resourcemanager.projects.get"},
    # run.namespaces.services.get
    ("run", "services", "describe"): {"run.services.get"},
    # run.namespaces.services.get and replaceService
    ("run", "services", "update"): {"run.services.get", "run.services.update"},
    ("run", "services", "update-traffic"): {"run.services.get", "run.services.update"},
    # cloudfunctions.projects.locations.functions.get
    ("functions", "describe"): {"cloudfunctions.functions.get"},
    # functions.get, generateUploadUrl and patch, operations.get, and cloudbuild's
    # projects.locations.getDefaultServiceAccount; beside them, actAs on the accounts that it names
    ("functions", "deploy"): {
        "cloudbuild.builds.get",
        "cloudfunctions.functions.get",
        "cloudfunctions.functions.sourceCodeSet",
        "cloudfunctions.functions.update",
        "cloudfunctions.operations.get",
        "resourcemanager.projects.get",
    },
}
ACT_AS = "iam.serviceAccounts.actAs"
# Of each role, the permissions that are in question here, by
# https://cloud.google.com/iam/docs/roles-permissions
ROLES = {
    "roles/cloudfunctions.developer": {
        "cloudbuild.builds.get",
        "cloudfunctions.functions.get",
        "cloudfunctions.functions.sourceCodeSet",
        "cloudfunctions.functions.update",
        "cloudfunctions.operations.get",
        "resourcemanager.projects.get",
        "run.services.get",
        "run.services.update",
    },
    "roles/iam.serviceAccountUser": {ACT_AS, "resourcemanager.projects.get"},
}
Need = tuple[str, str]  # a permission, and the resource that it is needed on


def needs_of(commands: list[str]) -> set[Need]:
    needs = set[Need]()
    for command in commands:
        if not command.startswith("gcloud "):
            continue
        needs |= {(permission, "my-project") for permission in NEEDED[verb_of(command)]}
        accounts = re.findall(r"--(?:build-)?service-account=(?:\S+/)?(\S+)", command)
        needs |= {(ACT_AS, account) for account in accounts}
    return needs


def granted(by: list[Grant]) -> set[Need]:
    return {(permission, grant.resource) for grant in by for permission in ROLES[grant.role]}


def test_the_deployer_has_the_roles_that_canary_needs_and_no_other(deployed: Cloud) -> None:
    """Also where the smoke test fails, and where an account of its own builds."""
    deployed.succeed("ci", BUILD_ACCOUNT=BUILDER)
    roles = [g for g in grants(deployed) if g.member == f"serviceAccount:{DEPLOYER}"]
    good = deployed.run("canary", **SMOKE, BUILD_ACCOUNT=BUILDER)
    bad = deployed.run("canary", **SMOKE, BUILD_ACCOUNT=BUILDER, BROKEN_URL=ADDRESS)
    assert (good.code, bad.code) == (0, 1)
    needs = needs_of(good.commands + bad.commands)

    assert needs - granted(roles) == set()
    for role in roles:
        assert needs - granted([other for other in roles if other != role]), f"unneeded: {role}"
    on_the_project = [role.role for role in roles if role.resource == "my-project"]
    assert on_the_project == ["roles/cloudfunctions.developer"]


# The workflow


JOBS: dict[str, Any] = yaml.safe_load((ROOT / ".github/workflows/deploy.yml").read_text())["jobs"]


def test_production_is_deployed_after_staging_and_in_the_same_way() -> None:
    staging, production = JOBS["staging"], JOBS["production"]

    assert production.pop("needs") == "staging"
    for name, job in (("staging", staging), ("production", production)):
        assert (job.pop("environment"), job.pop("concurrency")) == (name, f"deploy-{name}")
    assert staging == production


def test_the_workflow_sets_all_that_canary_reads_from_the_environment() -> None:
    """A setting that is missing there would be deployed with its default."""
    step = JOBS["staging"]["steps"][-1]
    read = {setting for setting in KNOWN_SETTINGS if "canary" in setting.commands}

    assert step["run"] == "./deploy.sh canary"
    assert step["env"] == {
        setting.name: f"${{{{ {'secrets' if setting.is_secret else 'vars'}.{setting.name} }}}}"
        for setting in read
    }


def test_the_credentials_of_the_workflow_do_not_dirty_the_work_tree(deployed: Cloud) -> None:
    """The action that logs in writes them there, and only a clean work tree is deployed."""
    (deployed.clone / "gha-creds-0123456789abcdef.json").write_text("{}")

    deployed.succeed("canary", **SMOKE)
