"""The limit: both documents in one raw gRPC read, one RSA signature, a constant answer.

What any function of this kind has to do under this server, and nothing else.
"""

import functools
import gc
import hashlib
import os
from typing import Any

import functions_framework.aio
import grpc.aio
from google.auth.crypt import RSASigner
from google.cloud.firestore_v1 import types
from starlette.requests import Request
from starlette.responses import Response
from uvicorn_worker import UvicornWorker  # type: ignore[import-untyped]  # it has no types

UvicornWorker.CONFIG_KWARGS = {"loop": "asyncio", "http": "h11"}  # as the function
Read, Answer = types.BatchGetDocumentsRequest.pb(), types.BatchGetDocumentsResponse.pb()
DATABASE = f"projects/{os.environ['GOOGLE_CLOUD_PROJECT']}/databases/(default)"
OPTIONS = [("grpc.max_receive_message_length", -1)]
METADATA = [("authorization", "Bearer owner")]
MESSAGE = b"x" * 128  # about as long as what a V4 link has signed
BODY = b'{"filler": "%s"}' % (b"x" * 2300)  # as long as the published call
signer = RSASigner.from_service_account_file(os.environ["RECORDING_SIGNER_KEY_FILE"])
gc.freeze()  # as the function: a full collection would visit all that was imported


@functools.cache
def batch_get() -> Any:
    """Connect at the first request: a channel survives no fork."""
    channel = grpc.aio.insecure_channel(os.environ["FIRESTORE_EMULATOR_HOST"], OPTIONS)
    return channel.unary_stream(
        "/google.firestore.v1.Firestore/BatchGetDocuments",
        request_serializer=Read.SerializeToString,
        response_deserializer=Answer.FromString,
    )


@functions_framework.aio.http
async def get_call(request: Request) -> Response:
    """Read, sign, answer."""
    key = hashlib.sha256(request.headers["Authorization"][len("Bearer ") :].encode()).hexdigest()
    call_id = request.url.path.rpartition("/")[2]
    names = [f"{DATABASE}/documents/{name}" for name in (f"api_keys/{key}", f"calls/{call_id}")]
    read = Read(database=DATABASE, documents=names)
    found = 0
    async for answer in batch_get()(read, metadata=METADATA):
        found += answer.HasField("found")
    signer.sign(MESSAGE)
    return Response(BODY, status_code=200 if found == len(names) else 404)
