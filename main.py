"""The entry point: `get_call` answers `GET /v2/calls/{call_id}`; here its parts are put together.

The platform imports this module before it forks its workers, so nothing is contacted here.
"""

import gc

gc.disable()  # while all below is imported: collections would find nothing, and take their time

import functools
import os
import sys
from datetime import UTC, datetime

import functions_framework.aio
import google.auth
from google.auth.credentials import Credentials
from starlette.requests import Request
from starlette.responses import Response

from call_api.access_token import AccessTokens
from call_api.firestore import FirestoreCalls
from call_api.logs import JsonLog
from call_api.settings import Settings, SettingsError
from call_api.signed_urls import SignedUrls
from call_api.web import CallsApi


@functools.cache
def default_credentials() -> tuple[Credentials, str | None]:
    """Return the Application Default Credentials and the project that they name, if any."""
    return google.auth.default(scopes=["https://www.googleapis.com/auth/cloud-platform"])


def calls_api(settings: Settings) -> CallsApi:
    """Put the function together."""
    if settings.signer_key_file is None:  # then it signs through IAM
        import aiohttp  # noqa: F401, PLC0415  (here, since a request would hold up all others)
    tokens = AccessTokens(default_credentials)
    return CallsApi(
        store=FirestoreCalls(settings, default_credentials),
        signer=SignedUrls(settings, tokens),
        log=JsonLog(sys.stdout, settings.log_level),
        key_header=(
            "X-Forwarded-Authorization" if settings.behind_api_gateway else "Authorization"
        ),
        project=settings.project,
        now=lambda: datetime.now(UTC),
    )


try:
    api = calls_api(Settings.from_environment(os.environ))
except SettingsError as error:
    sys.exit(f"The function cannot start: {error}")


gc.freeze()  # what is here now stays, so no collection looks at it again
gc.enable()


@functions_framework.aio.http
async def get_call(request: Request) -> Response:
    """Answer one request."""
    return await api.respond(request)
