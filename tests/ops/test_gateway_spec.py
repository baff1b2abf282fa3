"""The gateway's spec, which is made of openapi.yaml."""

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from openapi_spec_validator import OpenAPIV2SpecValidator

from ops.gateway_spec import DEADLINE_SECONDS, gateway_spec
from tests.support.serving import ROOT

DOCUMENT: dict[str, Any] = yaml.safe_load((ROOT / "openapi.yaml").read_text("utf-8"))
SPEC = gateway_spec(DOCUMENT, "https://get-call-private-abc.a.run.app")


def operations(document: Mapping[str, Any]) -> dict[tuple[str, str], tuple[str, list[str]]]:
    return {
        (path, method): (operation["operationId"], sorted(operation["responses"]))
        for path, item in document["paths"].items()
        for method, operation in item.items()
    }


def test_the_gateway_has_the_operations_of_the_published_api() -> None:
    assert operations(SPEC) == operations(DOCUMENT)
    assert {method for _, method in operations(SPEC)} == {"get", "head", "options"}
    (item,) = SPEC["paths"].values()
    parameters = list(DOCUMENT["components"]["parameters"])
    asked = {method: [p["name"] for p in item[method]["parameters"]] for method in item}
    without_condition = [name for name in parameters if name != "If-None-Match"]
    assert asked == {"get": parameters, "head": parameters, "options": without_condition}
    assert SPEC["info"]["version"] == DOCUMENT["info"]["version"]


def test_the_spec_is_valid_openapi() -> None:
    OpenAPIV2SpecValidator(SPEC).validate()


def test_the_spec_keeps_the_gateways_rules_for_extensions() -> None:
    backend = SPEC["x-google-backend"]

    assert {key for key in SPEC if key.startswith("x-google")} == {"x-google-backend"}
    assert backend == {
        "address": "https://get-call-private-abc.a.run.app",
        "path_translation": "APPEND_PATH_TO_ADDRESS",
        "jwt_audience": "https://get-call-private-abc.a.run.app",
        "deadline": DEADLINE_SECONDS,
    }
    assert DEADLINE_SECONDS > 10
    assert "x-google-allow" not in json.dumps(SPEC)
    assert "security" not in json.dumps(SPEC)  # the keys are the function's to check


def test_the_spec_comes_from_the_command_that_deploy_runs(tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "ops.gateway_spec",
        "--address=https://get-call-private-abc.a.run.app",
    ]
    written = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    refused = subprocess.run(
        [*command[:-1], "--address="], cwd=tmp_path, capture_output=True, text=True, check=False
    )

    assert yaml.safe_load(written) == SPEC
    assert refused.returncode != 0
