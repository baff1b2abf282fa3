"""A Google Cloud project as deploy.sh sees it: a fake gcloud, and a clone of the repository."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from tests.support.serving import ROOT

DEPLOY_SCRIPTS = (ROOT / "deploy.sh", *sorted((ROOT / "ops" / "deploy").glob("*.sh")))
COMMANDS = (
    *("function", "gateway", "edge", "site", "alerts", "ci"),
    *("canary", "status", "rollback", "delete"),
)
SETTINGS = {
    "PROJECT": "my-project",
    "REGION": "europe-west1",
    "RECORDINGS_BUCKET": "my-recordings",
    "REPOSITORY": "my-org/get-call",
    "REPOSITORY_ID": "123456789",
    "CI_ENVIRONMENT": "staging",
    "DOMAIN": "api.example.com",
}
EVERY_OPTION = SETTINGS | {
    "BUILD_ACCOUNT": "builder@my-project.iam.gserviceaccount.com",
    "ADDRESS_REQUESTS_PER_MINUTE": "1200",
    "CONCURRENCY": "40",
    "CPU": "2",
    "FIRESTORE_DATABASE": "calls",
    "FIRESTORE_LOCATION": "eur3",
    "FIRESTORE_RULES": "replace",
    "FUNCTION": "calls",
    "ALLOWED_ORIGINS": "https://app.example.com,http://localhost:3000",
    "INGRESS": "all",
    "KEY_REQUESTS_PER_MINUTE": "0",
    "LOG_LEVEL": "DEBUG",
    "MAX_INSTANCES": "100",
    "MEMORY": "1Gi",
    "MIN_INSTANCES": "1",
    "NOTIFICATION_CHANNELS": "projects/my-project/notificationChannels/1",
    "FIRESTORE_RECOVERY": "on",
    "INVOKER_CHECK": "off",
    "RETENTION_DAYS": "90",
    "SIGNER_SECRET": "signer:3",
}
SMOKE = {"SMOKE_KEY": "the-key", "SMOKE_CALL": "77"}
CHANGES = re.compile(
    r" (create|create-oidc|update|update-oidc|update-traffic|undelete|enable|deploy|add-backend|add-iam\S+) "
    r"|_rules |_spec "
)
# What deploy.sh runs beside gcloud; a PATH of these alone has no gcloud.
TOOLS = (
    *("awk", "basename", "bash", "cat", "dirname", "env"),
    *("git", "grep", "make", "mkdir", "mktemp"),
)
MORE_TOOLS = ("mv", "readlink", "rm", "sed", "sleep", "sort", "tee", "tr", "wc")


@dataclass(frozen=True)
class Result:
    """How a run ended; of deploy.sh also what it ran."""

    code: int
    out: str
    err: str
    commands: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Cloud:
    """A clone of the repository, and a fake of the project that gcloud would change."""

    clone: Path
    home: Path

    def run(
        self, *arguments: str, answer: str = "get-call\n", without: str = "", **environment: str
    ) -> Result:
        """Run deploy.sh; `without` names a tool that is not installed, and `delete` gets the answer."""
        tools = self.home / "bin"
        if without:
            tools = self.home / f"bin-without-{without}"
            shutil.copytree(self.home / "bin", tools, symlinks=True)
            (tools / without).unlink()
        settings = {name: value for name, value in (SETTINGS | environment).items() if value}
        before = len(self.commands())
        run = subprocess.run(
            [self.clone / "deploy.sh", *arguments],
            cwd=self.home,
            env={
                "PATH": str(tools),
                "HOME": str(self.home),
                "FAKE_CLOUD": str(self.home),
                "DEPLOY_PYTHON": str(tools / "python"),
                "DEPLOY_FIREBASE": str(tools / "firebase"),
                "REAL_PYTHON": sys.executable,
                "RETRY_PAUSE_SECONDS": "0",
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
        return Result(run.returncode, run.stdout, run.stderr, self.commands()[before:])

    def succeed(self, *arguments: str, **environment: str) -> list[str]:
        """Run deploy.sh and return the commands that it ran."""
        result = self.run(*arguments, **environment)
        assert result.code == 0, result.err
        return result.commands

    def commands(self) -> list[str]:
        return (self.home / "log").read_text().splitlines()

    def add(self, resource: str) -> None:
        with (self.home / "resources").open("a") as resources:
            resources.write(resource + "\n")

    def copied_to(self, home: Path) -> "Cloud":
        """Return a copy in the same state, with the same tools."""
        shutil.copytree(self.home, home, symlinks=True, ignore=shutil.ignore_patterns("bin"))
        (home / "bin").symlink_to(self.home / "bin")
        return Cloud(home / self.clone.name, home)

    def state(self) -> tuple[str, ...]:
        """Return all that a further run could find: what exists, and the files of earlier runs."""
        left = sorted(file for file in (self.clone / ".local").rglob("*") if file.is_file())
        return ((self.home / "resources").read_text(), *(file.read_text() for file in left))

    def resources(self) -> set[str]:
        """Return what exists; a run may end with more revisions than another, of the same."""
        lines = (self.home / "resources").read_text().splitlines()
        return {line for line in lines if not line.startswith(("reads ", "revision ", "serving "))}


class Grant(NamedTuple):
    """A role of a member, on a resource of a kind."""

    kind: str
    resource: str
    member: str
    role: str


def grants(cloud: Cloud) -> set[Grant]:
    lines = [line for line in cloud.resources() if line.startswith("grant ")]
    return {Grant(*line.split(" ")[1:]) for line in lines}


# Makes a project in which these steps came one after another. A step is a command of deploy.sh, or a line to
# add to what exists. The log is that of the last command.
After = Callable[..., Cloud]


def a_cloud(home: Path) -> Cloud:
    clone = home / "clone"
    clone.mkdir(parents=True)
    for name in ("deploy.sh", "openapi.yaml", ".gitignore", "main.py", "requirements.txt"):
        shutil.copy(ROOT / name, clone / name)
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "ops", clone / "ops", ignore=ignored)
    (clone / "call_api").mkdir()
    for name in ("__init__.py", "names.py", "settings.py"):
        shutil.copy(ROOT / "call_api" / name, clone / "call_api" / name)
    (clone / "firestore.rules").write_text("deny")
    (clone / "Makefile").write_text(
        'smoke:\n\t@echo "smoke $(URL) $(KEY) $(CALL)" && test "$(URL)" != "$(BROKEN_URL)"\n'
    )
    # Always the same commit, since its hash is in the label and so in the log.
    when = {"GIT_AUTHOR_DATE": "@1700000000 +0000", "GIT_COMMITTER_DATE": "@1700000000 +0000"}
    git = ["git", "-c", "user.name=t", "-c", "user.email=t@example.com", "-C", str(clone)]
    for command in (
        ["init", "--quiet", "--template="],
        ["add", "."],
        ["commit", "--quiet", "--message=t"],
        ["repack", "-adq"],  # few files, as the clone is copied for every test
    ):
        subprocess.run(
            [*git, *command],
            check=True,
            env={**os.environ, **when, "GIT_CONFIG_GLOBAL": os.devnull},
        )
    (home / "bin").mkdir()
    for tool in TOOLS + MORE_TOOLS:
        (home / "bin" / tool).symlink_to(find(tool))
    # An operator's own, without the packages of this environment.
    (home / "bin" / "python3").symlink_to(Path(sys.executable).resolve())
    # By Bash itself: `env` is one start more for each command.
    fake = (ROOT / "tests" / "support" / "fake_gcloud").read_text("utf-8")
    for name in ("firebase", "gcloud", "python"):
        (home / "bin" / name).write_text(fake.replace("/usr/bin/env bash", find("bash"), 1))
        (home / "bin" / name).chmod(0o755)
    (home / "log").touch()
    (home / "resources").touch()
    return Cloud(clone, home)


def find(tool: str) -> str:
    found = shutil.which(tool)
    assert found, tool
    return found


def changes(commands: list[str]) -> list[str]:
    return [command for command in commands if CHANGES.search(command)]


def index_of(commands: list[str], part: str) -> int:
    (index,) = (i for i, command in enumerate(commands) if part in command)
    return index
