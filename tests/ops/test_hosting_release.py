"""The end of a function's Hosting site, against a fake of the Hosting API."""

from typing import Any

import pytest

from ops.hosting import hosting
from tests.support.cloud import Result
from tests.support.rest import TOKEN, rest_server, run_tool

DEFAULT = {"name": "projects/p/sites/p", "type": "DEFAULT_SITE"}
MORE = {"name": "projects/p/sites/more", "type": "USER_SITE"}
CONFIGURED: dict[str, Any] = hosting("get-call", "europe-west1")
(REWRITE,) = CONFIGURED["hosting"]["rewrites"]
# The Firebase CLI sends what it reads, with `source` as `glob`.
OURS = {"glob" if name == "source" else name: value for name, value in REWRITE.items()}
# What the API answers where it is not enabled, shortened.
DISABLED = {
    "error": {
        "code": 403,
        "message": "Firebase Hosting API has not been used in project 1 before or it is disabled.",
        "status": "PERMISSION_DENIED",
        "details": [
            {
                "@type": "type.googleapis.com/google.rpc.ErrorInfo",
                "reason": "SERVICE_DISABLED",
                "domain": "googleapis.com",
            }
        ],
    }
}


def released(*rewrites: dict[str, Any]) -> dict[str, Any]:
    """Return a live channel as the API has it after a deployment."""
    version = {"name": "sites/p/versions/1", "config": {"rewrites": list(rewrites)}}
    return {"release": {"name": "sites/p/releases/1", "type": "DEPLOY", "version": version}}


class Hosting:
    """A fake of the API: a project with sites, each on a page, and the live channel of its default one."""

    def __init__(self, live: dict[str, Any], *sites: dict[str, str]) -> None:
        self.live = live
        self.sites = sites
        self.changes: list[tuple[str, dict[str, Any]]] = []

    def answers(self, method: str, path: str, body: dict[str, Any]) -> tuple[int, object]:
        path, _, query = path.removeprefix("/v1beta1/").partition("?pageToken=")
        if method == "POST":
            self.changes.append((path, body))
            self.live = {"release": {**self.live["release"], **body}}
            return 200, self.live["release"]
        if path == "projects/p/sites":
            page = int(query or 0)
            more = {"nextPageToken": str(page + 1)} if page + 1 < len(self.sites) else {}
            return 200, {"sites": self.sites[page : page + 1], **more}
        return (200, self.live) if path == "sites/p/channels/live" else (404, "none")


def disable(endpoint: str, token: str = TOKEN) -> Result:
    tool = ("ops.hosting_release", "--project=p", "--function=get-call", "--region=europe-west1")
    return run_tool(*tool, token=token, FIREBASEHOSTING_ENDPOINT=endpoint)


def test_the_site_of_the_function_is_disabled_once() -> None:
    project = Hosting(released(OURS), MORE, DEFAULT)
    with rest_server(project.answers) as endpoint:
        first = disable(endpoint)
        second = disable(endpoint)

    assert (first.code, first.err) == (0, "the Hosting site p is disabled\n")
    assert (second.code, second.err) == (0, "the Hosting site p is disabled already\n")
    assert project.changes == [("sites/p/releases", {"type": "SITE_DISABLE"})]


@pytest.mark.parametrize(
    "live",
    [
        pytest.param({}, id="no release"),
        pytest.param(released(), id="no rewrites"),
        pytest.param(released({"glob": "**", "path": "/index.html"}), id="a site of files"),
        pytest.param(released(OURS, {"glob": "**", "function": "app"}), id="another one's too"),
        pytest.param(
            released({"glob": "**", "run": {"serviceId": "app", "region": "europe-west1"}}),
            id="another function",
        ),
        pytest.param(
            released({"glob": "**", "run": {"serviceId": "get-call", "region": "asia-south1"}}),
            id="another region",
        ),
    ],
)
def test_another_release_stays(live: dict[str, Any]) -> None:
    project = Hosting(live, DEFAULT)
    with rest_server(project.answers) as endpoint:
        result = disable(endpoint)

    assert (result.code, result.err) == (
        0,
        "the Hosting site p stays, as its release is not of get-call in europe-west1\n",
    )
    assert project.changes == []


@pytest.mark.parametrize(
    ("status", "answer"),
    [
        pytest.param(200, {}, id="no sites"),
        pytest.param(200, {"sites": [MORE]}, id="no default site"),
        pytest.param(404, {"error": {"code": 404, "status": "NOT_FOUND"}}, id="no Firebase"),
        pytest.param(403, DISABLED, id="the API is disabled"),
    ],
)
def test_a_project_without_a_site_is_left_alone(status: int, answer: object) -> None:
    with rest_server(lambda *_: (status, answer)) as endpoint:
        result = disable(endpoint)

    assert (result.code, result.err) == (0, "p has no Hosting site\n")


def test_a_failure_is_one_sentence_without_the_token() -> None:
    denied = {"error": {"code": 403, "status": "PERMISSION_DENIED"}}
    with rest_server(lambda *_: (403, denied)) as endpoint:
        forbidden = disable(endpoint)
        unknown = disable(endpoint, token="another-token")
    unreachable = disable("http://127.0.0.1:9")

    for result, why in (
        (forbidden, "answered 403"),
        (unknown, "answered 401"),
        (unreachable, "cannot be reached"),
    ):
        assert result.code == 1
        assert result.err.startswith(f"the site: the hosting API {why}: ")
        assert len(result.err.splitlines()) == 1
        assert "token" not in result.err
