"""deploy.sh after a failure: a rerun ends in the same state."""

import pytest

from tests.support.cloud import Cloud, a_cloud, changes
from tests.support.deploy_failures import check_reruns, failed_at, steps_to_fail


@pytest.mark.parametrize("command", ["function", "gateway", "alerts"])
def test_a_rerun_after_a_failure_ends_in_the_same_state(command: str, cloud: Cloud) -> None:
    """Whichever step failed, and whether before or after its effect."""
    done = cloud.copied_to(cloud.home.with_name("done"))
    steps = steps_to_fail(done.succeed(command))
    points = [(step, "before") for step in steps]
    points += [(step, "after") for step in changes(steps)]

    failed = failed_at(points, cloud, command)
    assert [point for point, (_, code) in zip(points, failed, strict=True) if code == 0] == []
    check_reruns([cloud for cloud, _ in failed], done.resources(), command)


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


def test_delete_goes_on_after_a_failure_at_any_step(cloud: Cloud) -> None:
    delete, name = "delete", "get-call\n"
    for command in ("function", "gateway", "site"):
        cloud.succeed(command)
    done = cloud.copied_to(cloud.home.with_name("done"))
    steps = steps_to_fail(done.succeed(delete, answer=name))
    kinds = {line.split(" ")[0] for line in done.resources()}
    assert not kinds & {"functions", "iam", "api-gateway", "site"}

    failed = failed_at([(step, "after") for step in steps], cloud, delete, answer=name)
    check_reruns([cloud for cloud, _ in failed], done.resources(), delete, answer=name)
