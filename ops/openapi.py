"""openapi.yaml as programs read it: the document, what its references name, the fields of a reply."""

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

OPENAPI = Path(__file__).parent.parent / "openapi.yaml"
NULL = {"type": "null"}


@functools.cache
def document() -> dict[str, Any]:
    """Return the document; it is shared, so nobody may change it."""
    loaded: dict[str, Any] = yaml.safe_load(OPENAPI.read_text("utf-8"))
    return loaded


def resolved(node: Mapping[str, Any], whole: Mapping[str, Any] | None = None) -> Mapping[str, Any]:
    """Return what a node refers to, or the node itself."""
    while "$ref" in node:
        target: Any = document() if whole is None else whole
        for name in node["$ref"].removeprefix("#/").split("/"):
            target = target[name.replace("~1", "/").replace("~0", "~")]
        node = target
    return node


def schema(name: str) -> Mapping[str, Any]:
    """Return a schema by its name, such as `Call`."""
    found: Mapping[str, Any] = document()["components"]["schemas"][name]
    return found


def without_null(node: Mapping[str, Any]) -> tuple[Mapping[str, Any], bool]:
    """Return what a field is where it is known, and whether it may be null."""
    if "oneOf" in node:
        (known,) = [each for each in node["oneOf"] if each != NULL]
        return resolved(known), NULL in node["oneOf"]
    node = resolved(node)
    if isinstance(node.get("type"), list):
        (kind,) = [each for each in node["type"] if each != "null"]
        return {**node, "type": kind}, "null" in node["type"]
    return node, False


def fields() -> dict[str, list[str]]:
    """Return the names of the fields of each object, in the order of the reply."""
    schemas = document()["components"]["schemas"].items()
    return {name: list(each["properties"]) for name, each in schemas if "properties" in each}


def published(stored: Any, node: Mapping[str, Any]) -> Any:
    """Return how a stored value reads in a reply.

    Each field of the schema is there, in its order, and no other one. What is missing is null, a list
    that cannot be null is empty, and an object that cannot be null has its own fields. Seconds that
    are published as text may be stored as a number.
    """
    known, may_be_null = without_null(node)
    if stored is None and may_be_null:
        return None
    if known["type"] == "object":
        parts = known["properties"].items()
        return {name: published((stored or {}).get(name), part) for name, part in parts}
    if known["type"] == "array":
        return [published(item, known["items"]) for item in stored or []]
    if known["type"] == "string" and isinstance(stored, int | float):
        text = f"{stored:.3f}".rstrip("0")
        return text + "0" if text.endswith(".") else text
    return stored


def published_call(stored: Mapping[str, Any], recording_url: str | None) -> dict[str, Any]:
    """Return how a stored call reads, with this link in place of the recording's object."""
    call: dict[str, Any] = published(stored, schema("Call"))
    return call | {"recording_url": recording_url}
