"""What users read must be true: openapi.yaml is valid, complete and in step with the code."""

from collections.abc import Mapping
from typing import Any

import pytest
from openapi_schema_validator import OAS31Validator, oas31_format_checker
from openapi_spec_validator import OpenAPIV31SpecValidator

from call_api.calls.schema import MAX_ITEMS
from call_api.errors import Problem
from local.seed import sample_calls
from ops.openapi import document
from ops.openapi import resolved as resolved_in
from ops.published import closed
from tests.support.problems import PROBLEMS
from tests.support.serving import ROOT

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
    samples = (ROOT / "local" / "samples" / "calls").glob("*.json")
    assert sorted(CALLS) == sorted(int(sample.stem) for sample in samples)


def test_an_example_has_a_link_where_its_call_has_a_recording() -> None:
    for call_id, example in CALLS.items():
        stored = sample_calls()[call_id]
        is_recorded = bool(stored.get("recording_object")) and stored["status"] != "deleted"
        assert (example["recording_url"] is not None) == is_recorded


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
