"""Puts the function together, and sets the options of its server."""

import os
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import partial

from gunicorn.config import ControlSocketDisable  # type: ignore[import-untyped]  # it has no types
from uvicorn_worker import UvicornWorker  # type: ignore[import-untyped]  # it has no types

from call_api.calls.access import CallAccess
from call_api.calls.publish import LargeCallThread
from call_api.cloud.credentials import find_credentials
from call_api.cloud.tokens import AccessTokens
from call_api.firestore.store import FirestoreCalls
from call_api.log import JsonLog, LineWriter, stdout_sender
from call_api.recordings.links import SignedUrls
from call_api.settings import Settings, SettingsError, emulator_warning
from call_api.web.admission import Admission
from call_api.web.api import CallsApi
from call_api.web.cors import Cors
from call_api.web.protocol import BoundedProtocol


def create_api(environment: Mapping[str, str]) -> CallsApi:
    """Put the function together; a setting that is missing or malformed ends the process."""
    try:
        settings = Settings.from_environment(environment)
        api = _api(settings, JsonLog(LineWriter(stdout_sender()), settings.log_level))
    except SettingsError as error:
        sys.exit(f"The function cannot start: {error}")
    if warning := emulator_warning(environment):
        api.log.write("WARNING", warning, {})
    return api


def _api(settings: Settings, log: JsonLog) -> CallsApi:
    tokens = AccessTokens(partial(find_credentials, settings.project))
    now = partial(datetime.now, UTC)
    return CallsApi(
        access=CallAccess(FirestoreCalls(settings, tokens), now),
        admission=Admission(),
        large_call_thread=LargeCallThread(),
        recording_urls=SignedUrls(settings, tokens),
        cors=Cors(settings.allowed_origins),
        log=log,
        key_header=(
            "X-Forwarded-Authorization" if settings.behind_api_gateway else "Authorization"
        ),
        project=settings.project,
        now=now,
    )


def set_server_options() -> None:
    """Set what the framework has no settings for; called at import, before it starts the server."""
    # The framework makes this gunicorn's heartbeat timeout. CPU is allotted only during requests, so an idle
    # instance sends no heartbeats: with the platform's value, gunicorn would kill the worker when it wakes.
    os.environ["CLOUD_RUN_TIMEOUT_SECONDS"] = "0"
    # Through its control socket, any process of the same user could stop the server. Where the path of
    # the home directory is long, it cannot even be opened.
    ControlSocketDisable.default = True
    UvicornWorker.CONFIG_KWARGS = {
        "loop": "asyncio",
        # What is tested, also where uvicorn could import more: httptools, or a library for WebSockets.
        "http": BoundedProtocol,
        "ws": "none",
        "timeout_keep_alive": 620,  # seconds; Google's load balancers reuse connections for up to 600
    }
