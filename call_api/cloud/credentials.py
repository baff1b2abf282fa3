"""Application Default Credentials: found and refreshed by google-auth, in blocking functions.

What they return is complete: credentials with a project, a token that can be sent. What is incomplete is
a failure, so that nobody keeps it.
"""

import os
import re
from copy import copy
from datetime import UTC, datetime
from time import monotonic
from typing import Any, NamedTuple

import google.auth
from google.auth.compute_engine import Credentials as MetadataCredentials
from google.auth.credentials import Credentials
from google.auth.exceptions import DefaultCredentialsError
from google.auth.transport.requests import Request

from call_api.cloud.failures import Failure, is_transport, may_change, refresh_failure
from call_api.names import PROJECT_ID, is_account

UNIVERSE = "googleapis.com"
SCOPES = ["https://www.googleapis.com/auth/cloud-platform"]
# When an attempt sends no further request: nobody can stop its thread, and google-auth tries for minutes.
END_SECONDS = 10.0

_TOKEN = re.compile(r"[\x21-\x7e]+")  # what fits into an Authorization header
# On these platforms there is a metadata server, though it may be late.
_PLATFORM_VARIABLES = ("K_SERVICE", "GCE_METADATA_HOST", "GCE_METADATA_ROOT")


class CredentialsError(Exception):
    """There are no credentials, or no token, right now (`is_transient`) or until something is corrected."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.reason)
        self.is_transient = failure.is_transient


class DefaultCredentials(NamedTuple):
    """Credentials, and the project that the function works in."""

    credentials: Credentials
    project: str


class Token(NamedTuple):
    """An access token; its expiry is None where it never expires."""

    text: str
    expiry: datetime | None

    def is_valid_at(self, moment: datetime) -> bool:
        """Tell whether it has not expired."""
        return self.expiry is None or moment < self.expiry

    def expires_before(self, other: "Token") -> bool:
        """Tell whether the other one serves longer."""
        return self.expiry is not None and (other.expiry is None or self.expiry < other.expiry)


def find_credentials(project: str | None) -> DefaultCredentials:
    """Return the Application Default Credentials; the project is this one, or else theirs.

    Raises:
        CredentialsError: there are none, or they are incomplete.
    """
    request = _Request()
    try:
        credentials, their_project = google.auth.default(scopes=SCOPES, request=request)
        universe = credentials.universe_domain
    except CredentialsError:  # of `_Request`
        raise
    except Exception as error:  # of a file of any content; the message may quote it
        raise CredentialsError(_search_failure(error, request.http_status)) from error
    project = project or their_project
    if fault := _fault_of(credentials, universe, project, request.http_status):
        raise CredentialsError(fault)
    return DefaultCredentials(credentials, str(project))


def _fault_of(
    credentials: Credentials, universe: object, project: object, http_status: int | None
) -> Failure | None:
    """Say what is missing. What a server names may come a moment later; a file does not change."""
    is_of_server = isinstance(credentials, MetadataCredentials)
    quota_project = credentials.quota_project_id
    if universe != UNIVERSE:
        is_a_name = re.fullmatch(r"[a-z0-9.-]+", str(universe))
        reason = f"the default credentials are not of {UNIVERSE}"
        return Failure(is_of_server and not is_a_name, reason)
    if project is None and is_of_server:
        return Failure(True, "the metadata server names no project")
    if project is None:
        reason = "GOOGLE_CLOUD_PROJECT is unset, and the credentials name no project"
        return Failure(may_change(http_status), reason)  # Resource Manager may have been asked
    if not _is_project(project):
        return Failure(is_of_server, "the credentials name no valid project")
    if quota_project and not _is_project(quota_project):
        return Failure(False, "the credentials name no valid quota project")
    return None


def _is_project(value: object) -> bool:
    return isinstance(value, str) and re.fullmatch(PROJECT_ID, value) is not None


def refreshed(credentials: Any) -> Token:
    """Refresh the credentials, over a connection of its own, and return their token.

    Raises:
        CredentialsError: there is no usable token.
    """
    request = _Request()
    is_of_server = isinstance(credentials, MetadataCredentials)
    # google-auth keeps the account's address that it is told, and asks by it: so a copy is refreshed.
    asking = copy(credentials) if is_of_server else credentials
    try:
        asking.refresh(request)
    except CredentialsError:  # of `_Request`
        raise
    except Exception as error:  # it uses files and answers without checking them first
        raise CredentialsError(refresh_failure(error, request.http_status)) from error
    text, expiry = asking.token, asking.expiry  # the expiry is naive, in UTC
    if not isinstance(text, str) or not _TOKEN.fullmatch(text):
        raise CredentialsError(Failure(True, "malformed token"))
    if is_of_server and is_account(asking.service_account_email):
        credentials._service_account_email = asking.service_account_email  # noqa: SLF001  (it has no setter)
    return Token(text, expiry and expiry.replace(tzinfo=UTC))


def quota_metadata(credentials: Credentials) -> list[tuple[str, str]]:
    """Return the metadata that names whose quota a request counts for, where the credentials say so."""
    project = credentials.quota_project_id  # of a developer's own login
    return [("x-goog-user-project", project)] if project else []


class _Request(Request):
    """Requests of one attempt, until its end, and the status of the last answer."""

    http_status: int | None = None

    def __init__(self) -> None:
        super().__init__()
        self._ends_at = monotonic() + END_SECONDS

    def __call__(self, *args: Any, **options: Any) -> Any:
        """Send a request."""
        time_left = self._ends_at - monotonic()
        if time_left <= 0:  # google-auth tries again after any exception of its own
            raise CredentialsError(Failure(True, f"no usable answer within {END_SECONDS} s"))
        options["timeout"] = min(options.get("timeout") or END_SECONDS, time_left)
        response = super().__call__(*args, **options)  # type: ignore[no-untyped-call]
        self.http_status = response.status
        return response


def _search_failure(error: Exception, http_status: int | None) -> Failure:
    names_a_file = os.environ.get("GOOGLE_APPLICATION_CREDENTIALS")
    if isinstance(error, DefaultCredentialsError) and not names_a_file:
        if any(map(os.environ.get, _PLATFORM_VARIABLES)):
            return Failure(True, "the metadata server does not answer")
        return Failure(False, "there are no Application Default Credentials")
    if http_status is not None or is_transport(error):
        # The project of a federated identity takes a token.
        return refresh_failure(error, http_status)
    what = "the file of the default credentials cannot be used"
    return Failure(False, f"{what}: {type(error).__name__}")
