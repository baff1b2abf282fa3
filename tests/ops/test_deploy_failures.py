"""deploy.sh after a failure: a rerun goes on, and ends in the same state."""

import re

import pytest

from tests.support.cloud import SMOKE, After

READS = re.compile(r" (describe|get-iam-policy|list|list-configs|print-access-token)( |$)")
# Without it, a database whose backups failed to be scheduled would be one that was there already.
ENVIRONMENT = SMOKE | {"FIRESTORE_RECOVERY": "on"}


@pytest.mark.parametrize(
    ("before", "command"),
    [
        ((), "gateway"),
        (("gateway",), "function"),
        ((), "alerts"),
        (("function", "state compute ssl-certificates get-call-edge-d0c43d ACTIVE"), "edge"),
        (("function",), "ci"),
        (("function", "gateway", "site", "edge"), "delete"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_each_rerun_goes_on_after_a_failure_at_each_kind_of_step(
    before: tuple[str, ...], command: str, after: After
) -> None:
    """Each run fails at the step of the run before or at the next one, and a last one does not fail.

    What changes something also fails behind its effect, as where a connection breaks. A run that forgot
    something would not come to the step that is to fail, or end in another state. What the command before
    asks and does as well has failed there: `function` prepares the project as `gateway` does.
    """
    done = after(*before, command)
    cloud = after(*before)
    known = set(cloud.commands())

    for step in of_each_kind([step for step in done.commands() if step not in known]):
        for when in ("before",) if READS.search(step) else ("before", "after"):
            assert cloud.run(command, **ENVIRONMENT, FAIL=step, FAIL_WHEN=when).code == 1, step
    cloud.succeed(command, **ENVIRONMENT)

    assert cloud.resources() == done.resources()


def of_each_kind(commands: list[str]) -> list[str]:
    """Return the first and the last command of each kind: nine policies are created alike."""
    kinds: dict[tuple[str, ...], list[str]] = {}
    for command in dict.fromkeys(commands):
        words = command.split(" ")
        kinds.setdefault(tuple(words[: 4 if words[0] == "python" else 5]), []).append(command)
    picked = {one for alike in kinds.values() for one in (alike[0], alike[-1])}
    return [command for command in dict.fromkeys(commands) if command in picked]
