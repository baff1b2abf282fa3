"""What users read must be true: openapi.yaml is valid, complete and in step with the code."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from openapi_schema_validator import OAS31Validator, oas31_format_checker
from openapi_spec_validator import OpenAPIV31SpecValidator

from call_api.calls.schema import MAX_ITEMS, Call
from call_api.errors import Problem
from ops.openapi import document
from ops.openapi import resolved as resolved_in
from ops.published import closed
from tests.support.problems import PROBLEMS
from tests.support.serving import ROOT

SAMPLES = sorted((ROOT / "local" / "samples" / "calls").glob("*.json"))
LONG_CALL = 86
TURNS_SHOWN_OF_THE_LONG_CALL = 3

DOCUMENT = closed(document())
OPERATIONS = DOCUMENT["paths"]["/v2/calls/{call_id}"]
SCHEMAS = DOCUMENT["components"]["schemas"]


def resolved(node: Mapping[str, Any]) -> Mapping[str, Any]:
    return resolved_in(node, DOCUMENT)


def response(method: str, status: str) -> Mapping[str, Any]:
    return resolved(OPERATIONS[method]["responses"][status])


def content(status: str) -> dict[str, Any]:
    """Return the schema and the examples of what GET answers with a status."""
    (media_type,) = response("get", status)["content"].values()
    assert isinstance(media_type, dict)
    return media_type


def errors(value: object, schema: dict[str, Any]) -> list[str]:
    """Return what the document says against a value; references resolve inside the document."""
    whole = {**schema, "components": DOCUMENT["components"]}
    validator = OAS31Validator(whole, format_checker=oas31_format_checker)
    return [f"{fault.json_path}: {fault.message}" for fault in validator.iter_errors(value)]


def text(value: object) -> str:
    """Write JSON for comparison: unlike `==` it tells the order of keys, and 1 from 1.0."""
    return json.dumps(value, ensure_ascii=False, indent=1)


EXAMPLES = [
    (status, name)
    for status in OPERATIONS["get"]["responses"]
    if "content" in response("get", status)
    for name in content(status)["examples"]
]
CALLS = {
    example["value"]["id"]: example["value"]
    for example in map(resolved, content("200")["examples"].values())
}


def test_the_document_is_valid_openapi_3_1() -> None:
    assert DOCUMENT["openapi"] == "3.1.0"
    assert list(OpenAPIV31SpecValidator(DOCUMENT).iter_errors()) == []


@pytest.mark.parametrize(("status", "name"), EXAMPLES)
def test_an_example_keeps_its_schema(status: str, name: str) -> None:
    example = resolved(content(status)["examples"][name])
    assert errors(example["value"], content(status)["schema"]) == []


def test_every_sample_call_is_an_example_and_every_example_a_sample_call() -> None:
    assert sorted(CALLS) == [int(sample.stem) for sample in SAMPLES]


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: sample.stem)
def test_the_example_of_a_sample_call_is_what_the_code_answers(sample: Path) -> None:
    call = Call.model_validate(json.loads(sample.read_text("utf-8")))
    example = CALLS[call.id]
    answer = json.loads(call.render())
    assert answer["recording_url"] is None
    answer["recording_url"] = example["recording_url"]
    if call.id == LONG_CALL:
        answer["transcript"] = answer["transcript"][:TURNS_SHOWN_OF_THE_LONG_CALL]
    assert text(example) == text(answer)
    signed = call.recording_object is not None and call.status != "deleted"
    assert (example["recording_url"] is not None) == signed


def test_every_code_is_documented_and_no_other() -> None:
    codes = [problem.code for problem in PROBLEMS]
    assert sorted(SCHEMAS["Problem"]["properties"]["code"]["enum"]) == sorted(codes)


@pytest.mark.parametrize("problem", PROBLEMS, ids=lambda problem: problem.code)
def test_a_problem_is_documented_as_the_code_answers_it(problem: type[Problem]) -> None:
    status = str(problem.status.value)
    example = resolved(content(status)["examples"][problem.code])["value"]
    assert example == {
        "type": "about:blank",
        "title": problem.status.phrase,
        "status": problem.status.value,
        "detail": problem.detail,
        "code": problem.code,
        "request_id": example["request_id"],
    }
    assert problem.headers.keys() <= response("get", status)["headers"].keys()


@pytest.mark.parametrize("problem", PROBLEMS, ids=lambda problem: problem.code)
@pytest.mark.parametrize("member", ["type", "title", "status", "detail", "code"])
def test_a_problem_with_another_value_breaks_the_schema(
    problem: type[Problem], member: str
) -> None:
    status = str(problem.status.value)
    example = resolved(content(status)["examples"][problem.code])["value"]
    other: str | int = 400 if member == "status" else "other"
    assert errors({**example, member: other}, content(status)["schema"]) != []


def test_the_longest_transcript_is_documented() -> None:
    assert SCHEMAS["Call"]["properties"]["transcript"]["maxItems"] == MAX_ITEMS


@pytest.mark.parametrize(
    "name",
    [name for name in SCHEMAS if "properties" in SCHEMAS[name] and "allOf" not in SCHEMAS[name]],
)
def test_every_key_is_required_and_the_tests_allow_no_other(name: str) -> None:
    assert SCHEMAS[name]["required"] == list(SCHEMAS[name]["properties"])
    assert SCHEMAS[name]["additionalProperties"] is False


def test_head_answers_what_get_answers_but_no_content() -> None:
    statuses = OPERATIONS["get"]["responses"].keys() - {"405"}  # that one is other methods'
    assert OPERATIONS["head"]["responses"].keys() == statuses
    for status in statuses:
        assert "content" not in response("head", status)
        assert response("head", status)["headers"] == response("get", status)["headers"]
