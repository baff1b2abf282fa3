"""openapi.yaml is written so that code generators and consoles of all makers read it right."""

import copy
import json
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from ops.openapi import document
from ops.published import UnpublishedError, check_reply
from tests.support.contract import example_headers
from tests.support.judge import judge

DOCUMENT = document()
COMPONENTS = DOCUMENT["components"]
SCHEMAS = COMPONENTS["schemas"]
OPERATIONS = [operation for item in DOCUMENT["paths"].values() for operation in item.values()]
LARGEST_EXACT_IN_JAVASCRIPT = 2**53 - 1
HEADERS = {"Content-Type": "application/json", **example_headers("GET", 200)}


def nodes(value: object, place: str = "") -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Walk the objects of the document with the place of each, but for the examples."""
    if isinstance(value, list):
        for index, item in enumerate(value):
            yield from nodes(item, f"{place}/{index}")
    if isinstance(value, dict):
        yield place, value
        for name, item in value.items():
            if name not in {"example", "examples"}:
                yield from nodes(item, f"{place}/{name}")


def holders(word: str) -> dict[str, Mapping[str, Any]]:
    """Return the objects that have a key, by place; there must be one."""
    found = {place: node for place, node in nodes(DOCUMENT) if word in node}
    assert found
    return found


def published_call() -> dict[str, Any]:
    return copy.deepcopy(dict(COMPONENTS["examples"]["published"]["value"]))


@pytest.mark.parametrize("word", ["enum", "const"])
def test_every_enum_and_const_has_one_type(word: str) -> None:
    types = {place: node.get("type") for place, node in holders(word).items()}

    assert {place: said for place, said in types.items() if said not in {"string", "integer"}} == {}


def test_javascript_holds_every_number() -> None:
    numbers = [
        value
        for _, node in nodes(DOCUMENT)
        for value in node.values()
        if isinstance(value, int | float)
    ]

    assert numbers
    assert max(numbers) <= LARGEST_EXACT_IN_JAVASCRIPT


def test_a_union_has_a_name_or_is_one_schema_or_null() -> None:
    named = {f"/components/schemas/{name}" for name in SCHEMAS}
    inline = [node["oneOf"] for place, node in holders("oneOf").items() if place not in named]

    assert inline
    for reference, null in inline:
        assert list(reference) == ["$ref"]
        assert null == {"type": "null"}


def test_contents_are_named_schemas() -> None:
    contents = [answer.get("content", {}) for answer in COMPONENTS["responses"].values()]
    schemas = [body["schema"] for content in contents for body in content.values()]

    assert schemas
    assert [schema for schema in schemas if list(schema) != ["$ref"]] == []


def test_no_schema_is_named_as_one_of_its_own_keys() -> None:
    keys = {name: SCHEMAS[name].get("properties", {}) for name in SCHEMAS}

    assert [name for name in keys if name.lower() in keys[name]] == []


def test_each_operation_declares_its_parameters() -> None:
    """Generators that add those of the path lose or double what an operation declares anew."""
    assert all(item.keys() == {"get", "head", "options"} for item in DOCUMENT["paths"].values())
    for operation in OPERATIONS:
        named = [
            each.get("name") or each["$ref"].split("/")[-1] for each in operation["parameters"]
        ]
        assert named.count("call_id") == 1


def test_consoles_are_given_no_header_to_send() -> None:
    """A console sends an example as it stands: every second request would be answered with 304."""
    headers = [each for each in COMPONENTS["parameters"].values() if each["in"] == "header"]

    assert headers
    for header in headers:
        assert not {"example", "examples"} & header.keys()
        assert not {"example", "examples", "default"} & header["schema"].keys()


def test_the_published_schemas_are_open() -> None:
    words = {"additionalProperties", "unevaluatedProperties"}

    assert [place for place, node in nodes(SCHEMAS) if words & node.keys()] == []


def test_what_the_platform_answers_is_published_for_every_operation() -> None:
    answers = [operation["responses"]["429"]["$ref"] for operation in OPERATIONS]

    assert set(answers) == {"#/components/responses/TooManyRequests"}
    assert COMPONENTS["responses"]["TooManyRequests"].keys() == {"description"}


@pytest.mark.parametrize(
    "path", [(), ("transcript", 0), ("cost", "breakdown"), ("analysis", "score")], ids=str
)
def test_the_tests_refuse_a_key_that_is_not_published(path: tuple[str | int, ...]) -> None:
    call = published_call()
    check_reply("GET", 200, HEADERS, json.dumps(call).encode())
    part: Any = call
    for name in path:
        part = part[name]
    part["internal_note"] = "of use to us alone"

    with pytest.raises(UnpublishedError, match=r"^\$.* \((additionalProperties|oneOf)\)$"):
        check_reply("GET", 200, HEADERS, json.dumps(call).encode())


def test_the_tests_refuse_a_header_that_is_not_published() -> None:
    body = json.dumps(published_call()).encode()
    judge("GET", 200, HEADERS | {"Date": "now"}, body)

    with pytest.raises(AssertionError, match="x-internal-note"):
        judge("GET", 200, HEADERS | {"X-Internal-Note": "of use to us alone"}, body)


def test_the_tests_refuse_a_429_of_the_function() -> None:
    with pytest.raises(UnpublishedError):
        check_reply("GET", 429, HEADERS, b"{}")


LISTED = example_headers("GET", 200, of_browsers=True)
PREFLIGHT = example_headers("OPTIONS", 204, of_browsers=True)


def test_what_a_browser_of_a_listed_origin_is_answered_is_published() -> None:
    check_reply("GET", 200, HEADERS | LISTED, json.dumps(published_call()).encode())
    check_reply("OPTIONS", 204, PREFLIGHT, b"")


@pytest.mark.parametrize("name", [name for name in PREFLIGHT if name.startswith("Access-Control-")])
def test_a_preflight_that_allows_something_else_is_not_published(name: str) -> None:
    with pytest.raises(UnpublishedError):
        check_reply("OPTIONS", 204, PREFLIGHT | {name: "*"}, b"")
