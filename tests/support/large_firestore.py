"""A Firestore whose calls are as large as can be, in a process of its own.

`python -m tests.support.large_firestore` prints its port and serves until its input ends. It sends
ready-made bytes, so that it is no bottleneck, and knows field masks no better than to send the
owner alone where no transcript is asked for.
"""

import sys
from collections.abc import Callable, Iterator
from concurrent import futures
from typing import Any

import grpc
from google.cloud.firestore_v1 import _helpers
from google.cloud.firestore_v1.types import (
    BatchGetDocumentsRequest,
    BatchGetDocumentsResponse,
    Document,
)

from call_api.calls.keys import key_hash
from call_api.calls.schema import MAX_ITEMS
from local.seed import sample_calls
from tests.support.strategies import Value, wire_map

SMALL, HOUR, TURNS_15500, TURNS_27000, NULLS = 77, 1, 2, 3, 4
MANY_LARGE = range(1_000, 1_080)  # different calls
OWNER_KEY, OTHER_KEY = "key-of-acme", "key-of-globex"
MANY_OWNER_KEYS = [f"{OWNER_KEY}-{number}" for number in range(79)]
OTHER_SMALL = 87


def turns(number: int, text: str) -> Any:
    transcript = Value()
    turn = wire_map(
        {
            "role": Value(string_value="user"),
            "content": Value(string_value=text),
            "timestamp": Value(double_value=0.5),
        }
    )
    transcript.array_value.values.extend([turn] * number)
    return transcript


def nulls(number: int) -> Any:
    transcript = Value()
    transcript.array_value.values.extend([Value(null_value=0)] * number)
    return transcript


TRANSCRIPTS: dict[int, Callable[[], Any]] = {
    HOUR: lambda: turns(1_800, "मुझे मदद चाहिए, मेरा बिल गलत है। " * 5),
    TURNS_15500: lambda: turns(15_500, "hello there"),
    TURNS_27000: lambda: turns(27_000, ""),
    NULLS: lambda: nulls(1_000_000),
}


def answer(path: str, fields: dict[str, Any], transcript: Any = None) -> bytes:
    response = BatchGetDocumentsResponse(found=Document(fields=_helpers.encode_dict(fields)))
    raw = BatchGetDocumentsResponse.pb(response)
    raw.found.name = f"projects/demo-tests/databases/(default)/documents/{path}"
    raw.found.update_time.seconds = 1_774_434_158
    if transcript is not None:
        raw.found.fields["transcript"].CopyFrom(transcript)
    message: bytes = raw.SerializeToString()
    return message


def answers() -> dict[tuple[str, bool], bytes]:
    """Return what is sent for a document, by its path and whether the transcript is asked for."""
    sent = {}
    orgs = dict.fromkeys([OWNER_KEY, *MANY_OWNER_KEYS], "org_acme") | {OTHER_KEY: "org_globex"}
    for key, org_id in orgs.items():
        path = f"api_keys/{key_hash(key)}"
        sent[path, True] = sent[path, False] = answer(path, {"org_id": org_id})
    for call_id in (SMALL, OTHER_SMALL):
        path = f"calls/{call_id}"
        sent[path, True] = answer(path, sample_calls()[call_id])
    largest = turns(MAX_ITEMS, "hello there, this is it, and more")
    transcripts = {call_id: make() for call_id, make in TRANSCRIPTS.items()}
    for call_id, transcript in (transcripts | dict.fromkeys(MANY_LARGE, largest)).items():
        path, call = f"calls/{call_id}", sample_calls()[77] | {"id": call_id}
        sent[path, True] = answer(path, call, transcript)
        sent[path, False] = answer(path, {"org_id": call["org_id"]})
    return sent


def main() -> None:
    sent = answers()

    def batch_get(request: Any, _: grpc.ServicerContext) -> Iterator[bytes]:
        whole = "transcript" in request.mask.field_paths
        for name in request.documents:
            found = sent.get((name.partition("/documents/")[2], whole))
            missing = BatchGetDocumentsResponse(missing=name)
            yield found or BatchGetDocumentsResponse.serialize(missing)

    method: Any = grpc.unary_stream_rpc_method_handler(
        batch_get, request_deserializer=BatchGetDocumentsRequest.pb().FromString
    )
    server = grpc.server(futures.ThreadPoolExecutor(200))
    service = "google.firestore.v1.Firestore"
    server.add_generic_rpc_handlers(
        [grpc.method_handlers_generic_handler(service, {"BatchGetDocuments": method})]
    )
    print(server.add_insecure_port("127.0.0.1:0"), flush=True)  # noqa: T201  (for the parent)
    server.start()
    sys.stdin.read()
    server.stop(None)


if __name__ == "__main__":
    main()
