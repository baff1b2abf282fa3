"""Prepares a deployment of the site: copies its files, writes its configuration, finds the CLI.

`firebase.json` rewrites calls to the emulated function. A deployed one is a Cloud Run service, whose
name and region the deployment chooses.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from local.emulator import firebase_cli
from local.install import LocalStackError
from local.site import CONFIGURATION, site_files, stage, swagger_ui


def hosting(function: str, region: str) -> dict[str, object]:
    """Return the configuration of hosting, with calls rewritten to a deployed function."""
    configured: dict[str, object] = json.loads(CONFIGURATION.read_text("utf-8"))["hosting"]
    rewrite = {"source": "/v2/calls/**", "run": {"serviceId": function, "region": region}}
    return {"hosting": configured | {"rewrites": [rewrite]}}


def main(arguments: Sequence[str] | None = None) -> None:
    """Prepare the deployment, and print the Firebase CLI's path."""
    parser = argparse.ArgumentParser(prog="python -m ops.hosting", description=__doc__)
    parser.add_argument("--config", type=Path, required=True, help="the file to write")
    parser.add_argument("--function", required=True, help="the function's name")
    parser.add_argument("--region", required=True, help="where it runs")
    asked = parser.parse_args(arguments)
    try:
        stage(site_files(swagger_ui()))
        asked.config.write_text(json.dumps(hosting(asked.function, asked.region)), "utf-8")
        print(firebase_cli())  # noqa: T201 (the caller reads it)
    except LocalStackError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
