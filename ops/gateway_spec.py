"""The gateway's OpenAPI 2.0 spec, made from openapi.yaml so that the two cannot drift.

`python -m ops.gateway_spec --address=https://…` writes it to stdout. Every release of API Gateway
reads OpenAPI 2.0. That version cannot express the schemas of openapi.yaml (3.1), and the gateway
checks no replies, so the spec has only paths, methods, parameters and statuses.
"""

import argparse
import re
import sys
from collections.abc import Mapping
from typing import Any

import yaml

from ops.openapi import document, resolved

METHODS = ("get", "head", "options")
DEADLINE_SECONDS = 15.0  # every reply begins within 10, so the function's own 504 comes first

# Without the type of openapi.yaml: API Gateway does not check parameters, and the function answers a
# wrong ID with 404.
_PARAMETER_KEYS = ("name", "in", "required", "description")


def gateway_spec(
    openapi: Mapping[str, Any], address: str, audience: str | None = None
) -> dict[str, Any]:
    """Return the spec of a gateway before the function at `address`.

    It names no security: the function checks the keys itself. With `jwt_audience` the gateway puts
    its own identity token into `Authorization`, and what the client sent there arrives as
    `X-Forwarded-Authorization`. Paths that are not listed stop at the gateway, since
    `x-google-allow` is left at `configured`.
    """
    info = openapi["info"]
    return {
        "swagger": "2.0",
        "info": {
            "title": info["title"],
            "version": info["version"],
            "description": info["summary"],
        },
        "schemes": ["https"],
        "produces": ["application/json", "application/problem+json"],
        "x-google-backend": {
            "address": address,
            # With CONSTANT_ADDRESS, a client's `?call_id=99` could replace the call ID of the path.
            "path_translation": "APPEND_PATH_TO_ADDRESS",
            "jwt_audience": audience or address,
            "deadline": DEADLINE_SECONDS,
        },
        "paths": {
            path: _path_item(openapi, item) for path, item in sorted(openapi["paths"].items())
        },
    }


def _path_item(openapi: Mapping[str, Any], item: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _operation(openapi, item[name]) for name in METHODS if name in item}


def _parameter(parameter: Mapping[str, Any]) -> dict[str, Any]:
    return {key: parameter[key] for key in _PARAMETER_KEYS if key in parameter} | {"type": "string"}


def _operation(openapi: Mapping[str, Any], operation: Mapping[str, Any]) -> dict[str, Any]:
    parameters = operation["parameters"]
    responses = operation["responses"].items()
    return {
        "operationId": operation["operationId"],
        "summary": operation["summary"],
        "parameters": [_parameter(resolved(each, openapi)) for each in parameters],
        "responses": {
            status: {"description": resolved(response, openapi)["description"]}
            for status, response in responses
        },
    }


def _https_origin(text: str) -> str:
    if not re.fullmatch(r"https://[A-Za-z0-9.-]+", text):
        raise argparse.ArgumentTypeError(f"not https://HOST without a path: {text!r}")
    return text


def main(arguments: list[str] | None = None) -> None:
    """Write the spec to stdout."""
    parser = argparse.ArgumentParser(
        prog="python -m ops.gateway_spec",
        description="Write API Gateway's spec, made from openapi.yaml, to stdout.",
    )
    parser.add_argument(
        "--address", required=True, type=_https_origin, help="the private function's https://HOST"
    )
    parser.add_argument(
        "--audience",
        type=_https_origin,
        help="the audience of the gateway's token, if it is not the address",
    )
    options = parser.parse_args(arguments)
    spec = gateway_spec(document(), options.address, options.audience)
    yaml.safe_dump(spec, sys.stdout, sort_keys=False, allow_unicode=True, width=100)


if __name__ == "__main__":
    main()
