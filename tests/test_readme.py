"""The README says what the code does."""

import json
import re
import subprocess
import sys
from pathlib import Path

from call_api.schema import Call
from call_api.settings import Settings
from tests.serving import ROOT, Service
from tests.test_openapi import PROBLEMS

README = (ROOT / "README.md").read_text("utf-8")


def table(heading: str) -> list[list[str]]:
    """Return the cells of the first table under a heading, without its head."""
    section = README.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    rows = [line for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip().strip("`") for cell in row.split("|")[1:-1]] for row in rows[2:]]


def test_the_documented_reply_is_the_reply(service: Service, acme_key: str) -> None:
    (block,) = re.findall(r"```json\n(.*?)```", README, re.DOTALL)
    documented = json.loads(block)
    reply = service.request(key=acme_key).json()

    object_name = "/thinnestai-recordings/recordings/2026/03/25/call-77.wav?X-Goog-"
    assert object_name in documented.pop("recording_url")
    assert object_name in reply.pop("recording_url")
    assert json.dumps(documented) == json.dumps(reply)


def test_every_refusal_is_in_the_table() -> None:
    documented = {tuple(row[:3]) for row in table("Refusals")}

    assert documented == {(str(p.status.value), p.code, p.detail) for p in PROBLEMS}


def test_every_setting_is_in_the_table_with_its_default() -> None:
    documented = {name: default for name, default, _ in table("Settings")}

    assert documented.keys() == {field.alias for field in Settings.model_fields.values()}
    assert documented.pop("RECORDINGS_BUCKET") == "required"
    assert documented.pop("GOOGLE_CLOUD_PROJECT") == "from the credentials"
    defaults = {field.alias: field.default for field in Settings.model_fields.values()}
    for name, default in documented.items():
        assert default == {None: "unset", False: "false"}.get(defaults[name], defaults[name])


def test_every_module_is_on_the_way_of_a_request() -> None:
    modules = {str(path.relative_to(ROOT)) for path in (ROOT / "call_api").glob("[!_]*.py")}
    way = README.split("## How a request travels")[1].split("```")[1]

    assert {line.split()[0] for line in way.strip().splitlines()} == modules | {"main.py"}


def test_every_stored_field_is_documented() -> None:
    assert set(Call.model_fields) <= set(
        re.findall(r'"(\w+)"', README) + re.findall(r"`(\w+)`", README)
    )


def test_every_linked_file_exists() -> None:
    links = re.findall(r"\]\((?!http)([^)#]+)\)", README)

    assert [link for link in links if not Path(ROOT, link).exists()] == []


def test_the_benchmark_s_tables_are_those_of_the_run_that_is_kept() -> None:
    assert (ROOT / "bench" / "results.md").read_text("utf-8").strip() in README


def test_the_tables_of_capacity_are_the_script_s() -> None:
    command = [sys.executable, "-m", "bench.capacity"]
    printed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    scale, dollars, _ = re.findall(r"(?:^\|.*\|\n)+", printed, re.MULTILINE)

    assert scale in README
    assert dollars in README
