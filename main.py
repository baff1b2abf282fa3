"""The entry point: `get_call` answers `GET /v2/calls/{call_id}`; here its parts are put together.

The platform imports this module before it forks its workers, so nothing is contacted here.
"""

import gc

gc.disable()  # collections during the imports find nothing, and cost a fifth of their CPU

import functools
import json
import os
import sys
from datetime import UTC, datetime

import functions_framework.aio
import google.auth
from google.auth.credentials import Credentials
from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import Response
from uvicorn_worker import UvicornWorker  # type: ignore[import-untyped]  # it has no types

from call_api.access_token import AccessTokens
from call_api.admission import Admission
from call_api.calls import MAX_KNOWN_KEYS, CallAccess
from call_api.cors import Cors
from call_api.firestore import FirestoreCalls
from call_api.log_writer import LogWriter, own_descriptor
from call_api.logs import JsonLog, drop_report
from call_api.recently_used import RecentlyUsed
from call_api.settings import Settings, SettingsError, emulator_warning
from call_api.shutdown import Shutdown
from call_api.signed_urls import SignedUrls
from call_api.web import CallsApi


def default_credentials() -> tuple[Credentials, str | None]:
    """Return the Application Default Credentials and the project that they name, if any."""
    return google.auth.default(scopes=["https://www.googleapis.com/auth/cloud-platform"])


def calls_api(settings: Settings, log_writer: LogWriter) -> CallsApi:
    """Put the function together."""
    tokens = AccessTokens(default_credentials)
    return CallsApi(
        access=CallAccess(FirestoreCalls(settings, tokens), RecentlyUsed(MAX_KNOWN_KEYS)),
        admission=Admission(),
        recording_urls=SignedUrls(settings, tokens),
        cors=Cors(settings.allowed_origins),
        log=JsonLog(log_writer, settings.log_level),
        key_header=(
            "X-Forwarded-Authorization" if settings.behind_api_gateway else "Authorization"
        ),
        project=settings.project,
        now=lambda: datetime.now(UTC),
    )


# Options of the server, for which the framework has no settings; it starts the server after this
# import. CPU is allotted only during requests, so an idle instance sends no heartbeats: with the
# platform's value as the heartbeat timeout, gunicorn would kill the worker when the instance wakes.
os.environ["CLOUD_RUN_TIMEOUT_SECONDS"] = "0"
UvicornWorker.CONFIG_KWARGS = {
    "loop": "asyncio",
    "http": "h11",  # the parser that is tested, even where httptools is installed
    "timeout_keep_alive": 620,  # seconds; Google's load balancers reuse connections for up to 600
}

log_writer = LogWriter(own_descriptor(sys.stdout), drop_report)
shutdown = Shutdown(is_log_written=functools.partial(log_writer.flush, 0))
try:
    api = calls_api(Settings.from_environment(os.environ), log_writer)
except SettingsError as error:
    sys.exit(f"The function cannot start: {error}")
if warning := emulator_warning(os.environ):
    # On stderr, which nothing buffers in a thread: a thread would not survive the fork.
    print(json.dumps({"severity": "WARNING", "message": warning}), file=sys.stderr)  # noqa: T201


gc.freeze()  # what is here now stays, so no collection looks at it again
gc.enable()


@functions_framework.aio.http
async def get_call(request: Request) -> Response:
    """Answer one request."""
    shutdown.watch()
    response = await api.respond(request)
    if shutdown.begun:
        response.background = BackgroundTask(shutdown.wait_for_log)
    return response
