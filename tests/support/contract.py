"""What tables in the tests take from openapi.yaml: the fields of a stored call, the headers of a reply."""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from ops.openapi import document, resolved, schema, without_null

PATH = "/v2/calls/{call_id}"


class Field(NamedTuple):
    """A field's kind, and whether it may be null."""

    kind: str
    may_be_null: bool


def kind_of(known: Mapping[str, Any]) -> str:
    """Return the type of what is not null; texts of a certain form are kinds of their own."""
    if "enum" in known:
        return "enum"
    kind: str = {"date-time": "time", "uri": "link"}.get(known.get("format", ""), known["type"])
    return kind


def stored_fields() -> dict[str, Field]:
    """Return the fields of a call, with the recording's object in place of its link."""
    found = {}
    for name, node in schema("Call")["properties"].items():
        known, may_be_null = without_null(node)
        stored = "recording_object" if name == "recording_url" else name
        found[stored] = Field(kind_of(known), may_be_null)
    return found


def every_field(node: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Field]]:
    """Yield each field of an object, and of the objects in it, by a name such as `transcript[].role`."""
    for name, part in node["properties"].items():
        known, may_be_null = without_null(part)
        field = Field(kind_of(known), may_be_null)
        yield prefix + name, field
        inner, suffix = (known["items"], "[].") if field.kind == "array" else (known, ".")
        inner = resolved(inner)
        if "properties" in inner:
            yield from every_field(inner, prefix + name + suffix)


def with_value(call: Mapping[str, Any], name: str, value: Any) -> dict[str, Any]:
    """Return a call with this value in a field, named as above: in each item, where it is in a list."""
    first, _, rest = name.partition(".")
    if not rest:
        return {**call, first: value}
    if first.endswith("[]"):
        first = first.removesuffix("[]")
        return {**call, first: [with_value(item, rest, value) for item in call[first]]}
    return {**call, first: with_value(call[first], rest, value)}


def headers_of(method: str, status: int) -> dict[str, Mapping[str, Any]]:
    """Return the headers of an answer. What answers other methods is published with GET."""
    operations = document()["paths"][PATH]
    responses = operations.get(method.lower(), operations["get"])["responses"]
    headers = resolved(responses[str(status)]).get("headers", {})
    return {name: resolved(header) for name, header in headers.items()}


def constant_headers(method: str, status: int) -> dict[str, str]:
    """Return the headers that every such answer has, with the same value each time."""
    return {
        name: header["schema"]["const"]
        for name, header in headers_of(method, status).items()
        if header.get("required") and "const" in header["schema"]
    }


def constant(name: str) -> str:
    """Return the one value that a header has."""
    return str(document()["components"]["headers"][name]["schema"]["const"])


def example_headers(method: str, status: int, *, of_browsers: bool = False) -> dict[str, str]:
    """Return headers as such an answer has them; those that only browsers are sent where asked for."""
    return {
        name: str(header.get("example", header["schema"].get("const")))
        for name, header in headers_of(method, status).items()
        if header.get("required") or (of_browsers and name != "Content-Encoding")
    }
