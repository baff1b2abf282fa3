"""A REST API of Google's that gcloud has no command for, called with gcloud's access token."""

import json
import urllib.error
import urllib.request
from http import HTTPStatus
from http.client import HTTPException
from typing import Any

SECONDS = 30


class Refused(Exception):
    """What was asked was not done; the message says why, in one sentence."""


class ApiDisabled(Refused):
    """The API is not enabled in the project."""


class RestApi:
    """The part of an API that belongs to one project."""

    def __init__(self, name: str, base: str, project: str, token: str) -> None:
        self._name = name
        self._base = base
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
                why = " ".join(error.read(4000).decode(errors="replace").split())
            refusal = ApiDisabled if '"SERVICE_DISABLED"' in why else Refused
            raise refusal(f"the {self._name} API answered {error.code}: {why}") from None
        except (OSError, ValueError, HTTPException) as error:  # not JSON, as from a proxy's page
            raise Refused(f"the {self._name} API cannot be reached: {error}") from None
