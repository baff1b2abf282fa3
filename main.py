"""The entry point: `get_call` answers `GET /v2/calls/{call_id}`; `call_api/app.py` puts it together.

The platform imports this module before it forks its workers, so nothing is contacted here.
"""

import gc

gc.disable()  # collections during the imports find nothing, and take a good part of the start

import os

import functions_framework.aio
from starlette.requests import Request
from starlette.responses import Response

from call_api.app import create_api, set_server_options

set_server_options()
api = create_api(os.environ)

gc.freeze()  # what is here now stays, so no collection looks at it again
gc.enable()


@functions_framework.aio.http
async def get_call(request: Request) -> Response:
    """Answer one request: the framework calls this for every path, and sends what it returns."""
    return await api.respond(request)
