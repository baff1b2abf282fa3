"""The API asked in this process, over fakes or over a fake Firestore by gRPC; every answer is checked."""

import asyncio
import io
import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from http.client import HTTPMessage
from typing import Any, NamedTuple
from urllib.parse import quote

from google.cloud.firestore_v1.types import BatchGetDocumentsRequest, BatchGetDocumentsResponse
from starlette.responses import Response

from call_api.calls.access import CallAccess, CallStore
from call_api.calls.publish import LargeCallThread
from call_api.firestore.store import FirestoreCalls
from call_api.log import JsonLog
from call_api.web.admission import Admission
from call_api.web.api import CallsApi, RecordingUrls
from call_api.web.cors import Cors
from tests.support.fakes import Clock, FakeRecordingUrls, request_in
from tests.support.firestore_reads import store_at
from tests.support.google_cloud import fake_firestore
from tests.support.judge import REQUEST_ID, judge
from tests.support.serving import Reply
from tests.support.strategies import SECRET, Value, wire_list, wire_map

Headers = list[tuple[str, str]]
KEY, KEY_OF_THE_OTHERS = "key-of-acme", "key-of-globex"
KEYS = {KEY: {"org_id": "org_acme"}, KEY_OF_THE_OTHERS: {"org_id": "org_globex"}}
MINE = [("authorization", f"Bearer {KEY}")]


class Answered(NamedTuple):
    """A reply, and its line in the log."""

    reply: Reply
    entry: dict[str, Any]

    @property
    def what(self) -> str:
        """Say what it is: the status, and a problem's code."""
        status = str(self.reply.status)
        is_problem = status >= "400" and self.reply.body
        return f"{status} {self.reply.json()['code']}" if is_problem else status


def check(method: str, reply: Reply) -> None:
    """Check a reply against openapi.yaml."""
    assert REQUEST_ID.fullmatch(reply.headers["X-Request-Id"])
    judge(method, reply.status, reply.headers, reply.body)


def scope_of(
    path: str = "/v2/calls/77",
    headers: Headers = MINE,
    method: str = "GET",
    query: str = f"token={SECRET}",
) -> dict[str, Any]:
    """Return what a server hands on of a request."""
    return {
        "type": "http",
        "method": method,
        "path": path,
        "raw_path": quote(path).encode(),
        "query_string": query.encode(),
        "headers": [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers],
    }


class Function:
    """The function over fakes, put together as `call_api/app.py` does, with a clock that can be set."""

    def __init__(
        self,
        store: CallStore,
        *,
        signer: RecordingUrls | None = None,
        admission: Admission | None = None,
        level: str = "INFO",
        project: str | None = None,
    ) -> None:
        self.clock, self.urls, self.log = Clock(), FakeRecordingUrls(), io.StringIO()
        self.api = CallsApi(
            access=CallAccess(store, self.clock),
            admission=admission or Admission(),
            large_call_thread=LargeCallThread(),
            recording_urls=signer or self.urls,
            cors=Cors(frozenset()),
            log=JsonLog(self.log, level),
            key_header="Authorization",
            project=project,
            now=self.clock,
        )

    async def respond(self, *args: Any, **kwargs: Any) -> Response:
        """Answer a request of a client that waits; the arguments are those of `scope_of`."""
        return await self.api.respond(request_in(scope_of(*args, **kwargs)))

    def ask(self, *args: Any, **kwargs: Any) -> Response:
        return asyncio.run(self.respond(*args, **kwargs))

    def entries(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.log.getvalue().splitlines()]


async def ask(store: CallStore, method: str, path: str, headers: Headers) -> Answered:
    """Ask the API over these stored calls, as a server would; check what it answers and logs."""
    function = Function(store, level="DEBUG", project="demo-tests")
    sent: list[Any] = []

    async def send(message: Any) -> None:  # what ASGI awaits
        sent.append(message)

    request = request_in(scope_of(path, headers, method))
    response = await function.api.respond(request)
    await response(request.scope, None, send)  # type: ignore[arg-type]  # a response receives nothing
    fields = HTTPMessage()
    for name, value in sent[0]["headers"]:
        fields[name.decode()] = value.decode("latin-1")
    body = b"".join(message.get("body", b"") for message in sent[1:])
    reply = Reply(sent[0]["status"], fields, b"" if method == "HEAD" else body)
    check(method, reply)
    (entry,) = function.entries()
    assert SECRET not in json.dumps(entry | {"org_id": None})  # which a key's record may give it
    assert KEY not in function.log.getvalue()
    return Answered(reply, entry)


def asked(store: CallStore, path: str, headers: Headers, method: str = "GET") -> Answered:
    return asyncio.run(ask(store, method, path, headers))


class Wire(NamedTuple):
    """The code's own way to Firestore, and what a Firestore at its end answers."""

    runner: asyncio.Runner
    store: FirestoreCalls
    answers: dict[str, Any]


@contextmanager
def wire_to_firestore() -> Iterator[Wire]:
    """Connect to a fake Firestore by gRPC."""
    held: dict[str, Any] = {}

    def answers(
        request: BatchGetDocumentsRequest, _: object
    ) -> Iterator[BatchGetDocumentsResponse]:
        for name in request.documents:
            kind = "calls" if "/calls/" in name else "api_keys"
            response = BatchGetDocumentsResponse()
            found = BatchGetDocumentsResponse.pb(response).found
            found.name = name
            for field, value in held[kind].items():
                found.fields[field].CopyFrom(value)
            yield response

    with fake_firestore(answers) as (port, _), asyncio.Runner() as runner:
        yield Wire(runner, store_at(port), held)


def on_the_wire(value: object) -> Any:
    """Encode a value as Firestore sends it, by hand."""
    if isinstance(value, Value):
        return value
    if isinstance(value, dict):
        return wire_map({name: on_the_wire(part) for name, part in value.items()})
    if isinstance(value, list):
        return wire_list([on_the_wire(part) for part in value])
    if isinstance(value, datetime):
        encoded = Value()
        encoded.timestamp_value.FromDatetime(value)
        return encoded
    kinds = {
        bool: "boolean_value",
        int: "integer_value",
        float: "double_value",
        str: "string_value",
    }
    return Value(**({"null_value": 0} if value is None else {kinds[type(value)]: value}))


def over(wire: Wire, document: dict[str, Any], record: dict[str, Any]) -> Answered:
    wire.answers["calls"] = {name: on_the_wire(value) for name, value in document.items()}
    wire.answers["api_keys"] = {name: on_the_wire(value) for name, value in record.items()}
    return wire.runner.run(ask(wire.store, "GET", "/v2/calls/77", MINE))
