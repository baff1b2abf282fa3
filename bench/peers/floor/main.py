"""The floor: the framework alone, with a constant answer."""

import functions_framework.aio
from starlette.requests import Request
from starlette.responses import Response
from uvicorn_worker import UvicornWorker  # type: ignore[import-untyped]  # it has no types

UvicornWorker.CONFIG_KWARGS = {"loop": "asyncio", "http": "h11"}  # as the function


@functions_framework.aio.http
async def get_call(_: Request) -> Response:
    """Answer at once."""
    return Response(b"{}", media_type="application/json")
