"""openapi.yaml as a judge of replies."""

import functools
import json
from collections.abc import Mapping
from email.message import Message
from pathlib import Path

from openapi_core import Config, OpenAPI
from openapi_core.testing import MockRequest, MockResponse

OPENAPI = Path(__file__).parent.parent / "openapi.yaml"


@functools.cache
def _openapi() -> OpenAPI:
    config = Config(extra_media_type_deserializers={"application/problem+json": json.loads})
    return OpenAPI.from_file_path(str(OPENAPI), config)


def check_reply(
    method: str, status: int, headers: Message | Mapping[str, str], body: bytes
) -> None:
    """Raise unless openapi.yaml publishes this answer.

    What answers other methods and other paths is published with GET, as its 405 and 404.
    """
    published = method if method in {"GET", "HEAD", "OPTIONS"} else "GET"
    _openapi().validate_response(
        MockRequest("http://localhost:8080", published.lower(), "/v2/calls/77"),
        MockResponse(body, status, dict(headers.items()), headers.get("Content-Type", "")),
    )
