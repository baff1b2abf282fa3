"""What a request costs upstream, counted there: a caller can time no more than this."""

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any, NamedTuple

import pytest
from google.cloud.firestore_v1.types import BatchGetDocumentsRequest, BatchGetDocumentsResponse

from local.seed import sample_calls
from tests.support.firestore_reads import environment_for
from tests.support.google_cloud import Asked, GoogleCloud, fake_firestore, found
from tests.support.serving import Service, served

PAST = datetime(2026, 1, 1, tzinfo=UTC)
KEYS: dict[str, dict[str, Any]] = {
    "good": {"org_id": "org_acme"},
    "expired": {"org_id": "org_acme", "expires_at": PAST},
    "revoked": {"org_id": "org_acme", "revoked_at": PAST},
    "orgless": {},
}
CALLS = sample_calls() | {90: sample_calls()[77] | {"status": "lost"}}
STORED = {f"calls/{call_id}": call for call_id, call in CALLS.items()} | {
    f"api_keys/{sha256(key.encode()).hexdigest()}": record for key, record in KEYS.items()
}

# Documents read, in one round trip if any at all, and signatures; the good key is known already.
COSTS = """
method    keys         call                        answer                    documents   signatures
GET       good         77/                         404 route_not_found       0           0
GET       good         77%2F                       404 route_not_found       0           0
GET       good         77/recording                404 route_not_found       0           0
POST      good         77                          405 method_not_allowed    0           0
DELETE    -            99999                       405 method_not_allowed    0           0
OPTIONS   -            77                          204                       0           0
OPTIONS   good         99999                       204                       0           0
GET       -            77                          401 unauthenticated       0           0
GET       -            87                          401 unauthenticated       0           0
GET       -            99999                       401 unauthenticated       0           0
GET       -            077                         401 unauthenticated       0           0
GET       two words    77                          401 unauthenticated       0           0
GET       good,good    77                          401 unauthenticated       0           0
GET       unknown      77                          401 unauthenticated       1           0
GET       unknown      87                          401 unauthenticated       1           0
GET       unknown      90 (corrupt)                401 unauthenticated       1           0
GET       unknown      86 (an hour)                401 unauthenticated       1           0
GET       unknown      83 (deleted)                401 unauthenticated       1           0
GET       unknown      99999 (not stored)          401 unauthenticated       1           0
GET       unknown      077 (no ID)                 401 unauthenticated       1           0
GET       expired      77                          401 unauthenticated       1           0
GET       revoked      77                          401 unauthenticated       1           0
GET       orgless      77                          401 unauthenticated       1           0
GET       good         99999 (not stored)          404 call_not_found        2           0
GET       good         077 (no ID)                 404 call_not_found        1           0
GET       good         9223372036854775808 (2^63)  404 call_not_found        1           0
GET       good         87 (another org's)          403 forbidden             2           0
HEAD      good         87 (another org's)          403                       2           0
GET *     good         87 (another org's)          403 forbidden             2           0
GET       good         90 (corrupt)                500 stored_call_invalid   2           0
GET *     good         77 (which the client has)   304                       2           0
HEAD      good         77                          200                       2           0
GET       good         83 (deleted)                200                       2           0
GET       good         84 (without a recording)    200                       2           0
GET       good         77                          200                       2           1
"""
ROWS = [re.split(r"  +", line) for line in COSTS.strip().splitlines()[1:]]


class Upstream(NamedTuple):
    """A function, and what counts the requests that it makes."""

    service: Service
    asked: list[Asked]
    cloud: GoogleCloud


@pytest.fixture(scope="module")
def upstream(shared_cloud: GoogleCloud) -> Iterator[Upstream]:
    def answers(
        request: BatchGetDocumentsRequest, _: object
    ) -> Iterator[BatchGetDocumentsResponse]:
        for name in request.documents:
            document = STORED.get(name.partition("/documents/")[2])
            missing = BatchGetDocumentsResponse(missing=name, read_time=PAST)
            yield missing if document is None else found(name, document)

    with (
        fake_firestore(answers) as (port, asked),
        served(environment_for(port) | shared_cloud.environment) as service,
    ):
        assert service.request(target="/v2/calls/84", key="good").status == 200
        yield Upstream(service, asked, shared_cloud)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: ", ".join(row[:3]))
def test_unauthenticated_timing_does_not_depend_on_the_call(
    row: list[str], upstream: Upstream
) -> None:
    """Without a good key, one record is read, whatever the call is.

    With one, a foreign, a missing and a corrupt call are the same work until the answer is known.
    Nothing is signed, and no token is fetched, except for the owner.
    """
    written, keys, call, answer, documents, signatures = row
    service, asked, cloud = upstream
    method, _, condition = written.partition(" ")
    headers = [("Authorization", f"Bearer {key}") for key in keys.split(",") if key != "-"]
    headers += [("If-None-Match", condition)] if condition else []
    before = len(asked), cloud.iam.requests, cloud.metadata.connections
    reply = service.request(method, f"/v2/calls/{call.partition(' ')[0]}", headers)

    code = f" {reply.json()['code']}" if reply.status >= 400 and reply.body else ""
    assert f"{reply.status}{code}" == answer
    read = [len(each.request.documents) for each in asked[before[0] :]]
    assert read == ([int(documents)] if int(documents) else [])
    assert cloud.iam.requests - before[1] == int(signatures)
    assert cloud.metadata.connections == before[2] or int(signatures)
