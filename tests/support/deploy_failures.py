"""Runs of deploy.sh that fail at each of their steps, and what the next run makes of that."""

from concurrent.futures import ThreadPoolExecutor

from tests.support.cloud import Cloud

WORKERS = 4
# Without it, a database whose backups failed to be scheduled would be one that was there already.
RECOVERY = {"FIRESTORE_RECOVERY": "on"}

Point = tuple[str, str]  # a command that fails, before or after its effect


def steps_to_fail(commands: list[str]) -> list[str]:
    """Return the first and the last command of each kind: nine policies are created alike."""
    kinds: dict[tuple[str, ...], list[str]] = {}
    for command in dict.fromkeys(commands):
        words = command.split(" ")
        kinds.setdefault(tuple(words[: 4 if words[0] == "python" else 5]), []).append(command)
    picked = {one for alike in kinds.values() for one in (alike[0], alike[-1])}
    return [command for command in dict.fromkeys(commands) if command in picked]


def failed_at(
    points: list[Point], start: Cloud, *arguments: str, answer: str = ""
) -> list[tuple[Cloud, int]]:
    """Let deploy.sh fail at each point, on copies of a project; return them and its exit codes."""

    def fail(cloud: Cloud, point: Point) -> tuple[Cloud, int]:
        command, when = point
        failing = {"FAIL": command, "FAIL_WHEN": when}
        return cloud, cloud.run(*arguments, answer=answer, **RECOVERY, **failing).code

    # Before anything runs: a process that starts meanwhile holds the script that is being copied open,
    # and a script that is open for writing cannot be run.
    clouds = [start.copied_to(start.home.with_name(f"failed-{n}")) for n in range(len(points))]
    with ThreadPoolExecutor(max_workers=WORKERS) as pool:
        return list(pool.map(fail, clouds, points))


def check_reruns(
    clouds: list[Cloud], expected: set[str], *arguments: str, answer: str = ""
) -> None:
    """Run deploy.sh again, once for each state that the failures left."""
    of_state = {cloud.state(): cloud for cloud in clouds}

    def rerun(cloud: Cloud) -> None:
        cloud.succeed(*arguments, answer=answer, **RECOVERY)
        assert cloud.resources() == expected, cloud.commands()

    with ThreadPoolExecutor(max_workers=WORKERS) as pool:
        list(pool.map(rerun, of_state.values()))
