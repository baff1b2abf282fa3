"""Uploads firestore.rules through the REST API, as gcloud has no command for it.

`gcloud auth print-access-token | python -m ops.firestore_rules --project=…` needs the standard
library only. If the database has other rules, nothing changes without `--replace`: another program
may depend on them. `FIREBASERULES_ENDPOINT` replaces Google's server.
"""

import argparse
import json
import os
import sys
import urllib.error
import urllib.request
from http import HTTPStatus
from pathlib import Path
from typing import Any

RULES = Path(__file__).parent.parent / "firestore.rules"
SECONDS = 30


class Refused(Exception):
    """The rules were not uploaded; the message says why, in one sentence."""


class RulesApi:
    """The releases and rulesets of one project."""

    def __init__(self, project: str, token: str, endpoint: str) -> None:
        self._base = f"{endpoint}/v1/"
        self._headers = {
            "Authorization": f"Bearer {token}",
            "Content-Type": "application/json",
            "X-Goog-User-Project": project,  # its quota is used; in gcloud's own, the API is off
        }

    def request(self, method: str, path: str, body: object = None) -> dict[str, Any] | None:
        """Return the answer, or None if there is no such resource."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(  # noqa: S310  (not a client's URL)
            self._base + path, data, self._headers, method=method
        )
        try:
            with urllib.request.urlopen(request, timeout=SECONDS) as answer:  # noqa: S310
                found: dict[str, Any] = json.load(answer)
                return found
        except urllib.error.HTTPError as error:
            with error:
                if method == "GET" and error.code == HTTPStatus.NOT_FOUND:
                    return None
                why = error.read(2000).decode(errors="replace").replace("\n", " ")
            raise Refused(f"the rules API answered {error.code}: {why}") from None
        except OSError as error:
            raise Refused(f"the rules API cannot be reached: {error}") from None


def upload(api: RulesApi, project: str, database: str, rules: str, *, replace: bool) -> bool:
    """Release the rules for the database. Return whether they had to be uploaded.

    Raises:
        Refused: the database has other rules, or the API refuses these.
    """
    service = "cloud.firestore" if database == "(default)" else f"cloud.firestore/{database}"
    name = f"projects/{project}/releases/{service}"
    release = api.request("GET", name)
    if release is not None:
        ruleset = api.request("GET", release["rulesetName"]) or {}
        files = ruleset.get("source", {}).get("files", [])
        if [file.get("content", "").strip() for file in files] == [rules.strip()]:
            return False
        if not replace:
            raise Refused(
                f"the database {database} has security rules other than firestore.rules: read"
                " whether they deny clients `calls` and `api_keys`, then run again with"
                " FIRESTORE_RULES=keep or FIRESTORE_RULES=replace."
            )
    source = {"files": [{"name": RULES.name, "content": rules}]}
    made = api.request("POST", f"projects/{project}/rulesets", {"source": source}) or {}
    now = {"name": name, "rulesetName": made["name"]}
    if release is None:
        api.request("POST", f"projects/{project}/releases", now)
    else:
        api.request("PATCH", name, {"release": now})
    return True


def main() -> None:
    """Read the token from stdin and upload."""
    parser = argparse.ArgumentParser(
        prog="python -m ops.firestore_rules",
        description="Upload firestore.rules, with the access token that comes on stdin.",
    )
    parser.add_argument("--project", required=True)
    parser.add_argument("--database", default="(default)")
    parser.add_argument("--replace", action="store_true", help="also where other rules are")
    options = parser.parse_args()
    endpoint = os.environ.get("FIREBASERULES_ENDPOINT", "https://firebaserules.googleapis.com")
    api = RulesApi(options.project, sys.stdin.read().strip(), endpoint)
    try:
        rules = RULES.read_text(encoding="utf-8")
        upload(api, options.project, options.database, rules, replace=options.replace)
    except Refused as refused:
        sys.exit(f"firestore.rules: {refused}")


if __name__ == "__main__":
    main()
