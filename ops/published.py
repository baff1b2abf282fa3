"""openapi.yaml as a judge of replies, stricter than it asks clients to be."""

import copy
import functools
import json
from collections.abc import Mapping
from email.message import Message
from typing import Any

from openapi_core import Config, OpenAPI
from openapi_core.exceptions import OpenAPIError
from openapi_core.testing import MockRequest, MockResponse

from ops.openapi import document

PLATFORMS_OWN = "429"


class UnpublishedError(Exception):
    """An answer is not as openapi.yaml publishes it."""


def closed(whole: Mapping[str, Any]) -> dict[str, Any]:
    """Return the document without what only clients must allow for.

    Clients must ignore keys that they do not know, and the platform may answer 429. The function
    itself answers neither.
    """
    narrowed = copy.deepcopy(dict(whole))
    for schema in narrowed["components"]["schemas"].values():
        # `additionalProperties` knows the keys beside it alone, and not those of `allOf`.
        if schema.get("type") == "object" and "allOf" not in schema:
            schema["additionalProperties"] = False
    for operations in narrowed["paths"].values():
        for operation in operations.values():
            operation["responses"].pop(PLATFORMS_OWN, None)
    return narrowed


@functools.cache
def _openapi() -> OpenAPI:
    config = Config(extra_media_type_deserializers={"application/problem+json": json.loads})
    return OpenAPI.from_dict(closed(document()), config)


def check_reply(
    method: str, status: int, headers: Message | Mapping[str, str], body: bytes
) -> None:
    """Check an answer against openapi.yaml, down to the keys that it names.

    What answers other methods and other paths is published with GET, as its 405 and 404.

    Raises:
        UnpublishedError: it is not published so; in one sentence, which quotes no value.
    """
    published = method if method in {"GET", "HEAD", "OPTIONS"} else "GET"
    try:
        _openapi().validate_response(
            MockRequest("http://127.0.0.1:8080", published.lower(), "/v2/calls/77"),
            MockResponse(body, status, dict(headers.items()), headers.get("Content-Type", "")),
        )
    except OpenAPIError as error:
        raise UnpublishedError(_fault(error)) from None


def _fault(error: OpenAPIError) -> str:
    """Name what is at fault without the value, which an exception's own text would quote."""
    cause = error.__cause__ or error
    faults = [f"{one.json_path} ({one.validator})" for one in getattr(cause, "schema_errors", ())]
    said = ", ".join(faults[:5]) or type(cause).__name__
    return f"header {error.name}: {said}" if hasattr(error, "name") else said
