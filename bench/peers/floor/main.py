"""The floor: the framework alone, with a constant answer."""

import functions_framework.aio
from starlette.requests import Request
from starlette.responses import Response


@functions_framework.aio.http
async def get_call(_: Request) -> Response:
    """Answer at once."""
    return Response(b"{}", media_type="application/json")
