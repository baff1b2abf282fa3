"""Every command in the pages works as it is written, or is checked as far as it can be here."""

import ast
import functools
import importlib
import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import pytest

from call_api.calls.keys import is_well_formed
from tests.support.cloud import SETTINGS
from tests.support.serving import ROOT, Service

PAGES = [ROOT / "README.md", ROOT / "SECURITY.md", *sorted((ROOT / "docs").glob("*.md"))]
PROGRAMS = r"make|\./deploy\.sh|(?:\.venv/bin/)?python -m|gcloud|npm|\.ci/run"


class Command(NamedTuple):
    """A command, the variables that are set for it, and the folder that it runs in."""

    words: tuple[str, ...]
    variables: tuple[tuple[str, str], ...]
    folder: Path


def written(page: str) -> Iterator[str]:
    """Yield the command lines of a page, from its console blocks and from its text."""
    for block in re.findall(r"```console\n(.*?)```", page, re.DOTALL):
        yield from re.findall(r"^ *\$ (.+)$", block, re.MULTILINE)
    text = re.sub(r"```.*?```", "", page, flags=re.DOTALL)
    yield from re.findall(rf"`((?:[A-Z_]+=\S+ )*(?:{PROGRAMS})(?![\w-])[^`]*)`", text)


def commands(line: str) -> Iterator[Command]:
    """Yield the simple commands of a line; one in $(…) is a command, too."""
    if inner := re.search(r"\$\((.+)\)", line):
        yield from commands(inner[1])
        line = line.replace(inner[0], "PRINTED")
    folder = ROOT
    for part in line.split(" && "):
        words = shlex.split(part, comments=True)
        variables = []
        while words and (variable := re.fullmatch(r"([A-Z_]+)=(.*)", words[0])):
            variables.append((variable[1], variable[2]))
            words.pop(0)
        if words[:1] == ["cd"]:
            folder = ROOT / words[1]
        elif words:
            yield Command(tuple(words), tuple(variables), folder)


LINES = [line for page in PAGES for line in written(page.read_text("utf-8"))]
COMMANDS = sorted({command for line in LINES for command in commands(line)})
GCLOUD = [command for command in COMMANDS if command.words[0] == "gcloud"]
CURL = [command for command in COMMANDS if command.words[0] == "curl"]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_fence_stands_alone_on_its_line(page: Path) -> None:
    """What stands beside it is not shown, and its commands are not tested here."""
    text = page.read_text("utf-8")

    assert re.findall(r"^ *```\w*[ \t].*$|^.*\S.*```$", text, re.MULTILINE) == []


def check_make(command: Command) -> None:
    makefile = (ROOT / "Makefile").read_text("utf-8")
    smoke = (ROOT / "ops" / "smoke.py").read_text("utf-8")
    names = [name for name, _ in command.variables]
    for word in command.words[1:]:
        name, assigned, _ = word.partition("=")
        if assigned:
            names.append(name)
        else:
            assert re.search(rf"^{re.escape(name)}:", makefile, re.MULTILINE)
    assert [name for name in names if not re.search(rf"\b{name}\b", makefile + smoke)] == []


def check_deploy(command: Command) -> None:
    is_dry = {"--dry-run", "--help"} & set(command.words)
    run = subprocess.run(
        [*command.words, *([] if is_dry else ["--dry-run"])],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], **SETTINGS, **dict(command.variables)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr


def check_python(command: Command) -> None:
    _, option, what, *arguments = command.words
    if option == "-c":
        for statement in ast.walk(ast.parse(what)):
            if isinstance(statement, ast.ImportFrom):
                module = importlib.import_module(statement.module or "")
                assert all(hasattr(module, alias.name) for alias in statement.names)
        return
    known = options_of(what, *(word for word in arguments[:1] if word[0] != "-"))
    assert {word for word in arguments if word[0] == "-"} <= known


@functools.cache
def options_of(*command: str) -> set[str]:
    """Return the options in the help of a module, or of one of its commands."""
    shown = subprocess.run(
        [sys.executable, "-m", *command, "--help"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    return set(re.findall(r"--[\w-]+", shown))


def check_npm(command: Command) -> None:
    packages = json.loads((command.folder / "package.json").read_text("utf-8"))
    names = {**packages.get("dependencies", {}), **packages.get("devDependencies", {})}
    assert command.words[1] == "install"
    assert command.words[-1].partition("@")[0] in names


def check_export(command: Command) -> None:
    assert all(re.fullmatch(r"[A-Z_]+=\S+", word) for word in command.words[1:])


def check_file(command: Command) -> None:
    assert os.access(ROOT / command.words[0], os.X_OK)


CHECKS = {
    "make": check_make,
    "./deploy.sh": check_deploy,
    "python": check_python,
    ".venv/bin/python": check_python,
    "npm": check_npm,
    "export": check_export,
    ".ci/run": check_file,
}


@pytest.mark.parametrize(
    "command",
    [command for command in COMMANDS if command not in GCLOUD + CURL],
    ids=lambda command: shlex.join(command.words),
)
def test_a_documented_command_is_one(command: Command) -> None:
    CHECKS[command.words[0]](command)


@pytest.fixture(scope="module")
def linted(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """Let gcloud parse all documented commands at once: each start of it takes seconds."""
    home = tmp_path_factory.mktemp("gcloud")
    commands = home / "commands.json"
    lines = [{"command_string": shlex.join(command.words)} for command in GCLOUD]
    commands.write_text(json.dumps(lines))
    answer = subprocess.run(
        ["gcloud", "meta", "lint-gcloud-commands", f"--commands-file={commands}"],
        cwd=home,  # it creates the files that a command would write
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "CLOUDSDK_CONFIG": str(home)},
    )
    return {one["command_string"]: one for one in json.loads(answer.stdout)}


@pytest.mark.gcloud
@pytest.mark.parametrize("command", GCLOUD, ids=lambda command: shlex.join(command.words))
def test_gcloud_accepts_a_documented_command(
    command: Command, linted: dict[str, dict[str, Any]]
) -> None:
    answer = linted[shlex.join(command.words)]

    assert answer["success"], answer["error_message"]


@pytest.mark.parametrize("command", CURL, ids=lambda command: command.words[-1])
def test_a_documented_curl_gets_the_call(command: Command, service: Service, acme_key: str) -> None:
    _, silent, header, credentials, url = command.words
    name, _, key = credentials.partition(": Bearer ")

    assert (silent, header, name) == ("-s", "-H", "Authorization")
    assert is_well_formed(key)
    path = re.sub("^/demo-call-api/us-central1/get-call(?=/)", "", urlsplit(url).path)
    assert service.request(target=path, key=acme_key).status == 200


def test_the_pages_name_every_target_of_make_and_every_command_of_deploy() -> None:
    targets = set(
        re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE)
    ) - {"help"}
    usage = subprocess.run(
        [ROOT / "deploy.sh", "--help"], capture_output=True, text=True, check=True
    ).stdout
    deployments = re.findall(r"^  ([a-z]+)   ", usage, re.MULTILINE)
    named = {word for command in COMMANDS for word in command.words[1:2]}

    assert deployments
    assert {*targets, *deployments} - named == set()
