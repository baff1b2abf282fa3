"""Uploads firestore.rules through the REST API, as gcloud has no command for it.

`gcloud auth print-access-token | python -m ops.firestore_rules --project=…` needs the standard
library only. If the database has other rules, nothing changes without `--replace`: another program
may depend on them. `FIREBASERULES_ENDPOINT` replaces Google's server.
"""

import argparse
import os
import sys
from pathlib import Path

from ops.google_rest import Refused, RestApi

RULES = Path(__file__).parent.parent / "firestore.rules"


def upload(api: RestApi, project: str, database: str, rules: str, *, replace: bool) -> bool:
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
    api = RestApi("rules", f"{endpoint}/v1/", options.project, sys.stdin.read().strip())
    try:
        rules = RULES.read_text(encoding="utf-8")
        upload(api, options.project, options.database, rules, replace=options.replace)
    except Refused as refused:
        sys.exit(f"firestore.rules: {refused}")


if __name__ == "__main__":
    main()
