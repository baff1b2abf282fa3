"""Disables the Hosting site of a function, through the REST API, as gcloud has no command for it.

`gcloud auth print-access-token | python -m ops.hosting_release --project=… --function=… --region=…`
needs the standard library only. It disables the project's default site if all rewrites of its live
release go to that function. Anything else may be somebody else's, and stays.
`FIREBASEHOSTING_ENDPOINT` replaces Google's server.
"""

import argparse
import os
import sys
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode

from ops.google_rest import ApiDisabled, Refused, RestApi


def disable(api: RestApi, project: str, function: str, region: str) -> str:
    """Disable the site that leads to the function, if there is one. Return what became of it.

    Raises:
        Refused: the API does not tell, or does not disable the site.
    """
    site = default_site(api, project)
    if site is None:
        return f"{project} has no Hosting site"
    # A site's own list of releases would include those of preview channels.
    channel = api.request("GET", f"sites/{site}/channels/live") or {}
    release = channel.get("release", {})
    if release.get("type") == "SITE_DISABLE":
        return f"the Hosting site {site} is disabled already"
    if not leads_to(release, function, region):
        return f"the Hosting site {site} stays, as its release is not of {function} in {region}"
    api.request("POST", f"sites/{site}/releases", {"type": "SITE_DISABLE"})
    return f"the Hosting site {site} is disabled"


def default_site(api: RestApi, project: str) -> str | None:
    """Return the ID of the site to which the Firebase CLI deploys, or None if there is none."""
    try:
        for site in sites(api, project):
            if site.get("type") == "DEFAULT_SITE":
                return str(site["name"]).rpartition("/")[2]
    except ApiDisabled:
        pass
    return None


def sites(api: RestApi, project: str) -> Iterator[dict[str, Any]]:
    """Yield the sites of a project. One without Firebase has none."""
    page = ""
    while True:
        query = urlencode({"pageToken": page})
        listed = api.request("GET", f"projects/{project}/sites?{query}") or {}
        yield from listed.get("sites", [])
        page = listed.get("nextPageToken", "")
        if not page:
            return


def leads_to(release: dict[str, Any], function: str, region: str) -> bool:
    """Tell whether a release has rewrites, and all of them go to the function."""
    rewrites = release.get("version", {}).get("config", {}).get("rewrites", [])
    services = [rewrite.get("run", {}) for rewrite in rewrites]
    targets = {(service.get("serviceId"), service.get("region")) for service in services}
    return targets == {(function, region)}


def main() -> None:
    """Read the token from stdin, disable the site, and say so."""
    parser = argparse.ArgumentParser(
        prog="python -m ops.hosting_release",
        description="Disable a function's Hosting site, with the access token that comes on stdin.",
    )
    parser.add_argument("--project", required=True)
    parser.add_argument("--function", required=True, help="the function's name")
    parser.add_argument("--region", required=True, help="where it runs")
    options = parser.parse_args()
    endpoint = os.environ.get("FIREBASEHOSTING_ENDPOINT", "https://firebasehosting.googleapis.com")
    api = RestApi("hosting", f"{endpoint}/v1beta1/", options.project, sys.stdin.read().strip())
    try:
        done = disable(api, options.project, options.function, options.region)
    except Refused as refused:
        sys.exit(f"the site: {refused}")
    print(done, file=sys.stderr)  # noqa: T201  (a command's output)


if __name__ == "__main__":
    main()
