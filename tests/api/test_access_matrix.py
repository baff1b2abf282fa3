"""Who gets what: two orgs, every kind of call, every kind of credentials, both ways in.

The two tables are the policy; each of their rows is asked for in full.
"""

from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any, NamedTuple

import pytest

from local.seed import ORGS, sample_calls
from tests.support.project import PutCall, PutKey
from tests.support.serving import Reply, Service

# What a good key is answered. Each call is stored for each of the two orgs.
POLICY = """
call                        a key of its org          a key of the other org
web                         200 with a link           403 forbidden
inbound                     200 with a link           403 forbidden
outbound                    200 with a link           403 forbidden
active                      200 without a link        403 forbidden
error                       200 without a link        403 forbidden
pending                     200 without a link        403 forbidden
deleted                     200 without a link        403 forbidden
without a recording         200 without a link        403 forbidden
without an analysis         200 with a link           403 forbidden
of an unknown status        500 stored_call_invalid   403 forbidden
under another's id          500 stored_call_invalid   403 forbidden
with text for an amount     500 stored_call_invalid   403 forbidden
with a link for an object   500 stored_call_invalid   403 forbidden
without an owner            403 forbidden             403 forbidden
whose owner is null         403 forbidden             403 forbidden
whose owner is empty        403 forbidden             403 forbidden
whose owner is a number     403 forbidden             403 forbidden
whose owner is a list       403 forbidden             403 forbidden
without any field           403 forbidden             403 forbidden
not stored                  404 call_not_found        404 call_not_found
0                           404 call_not_found        404 call_not_found
077                         404 call_not_found        404 call_not_found
+77                         404 call_not_found        404 call_not_found
-77                         404 call_not_found        404 call_not_found
77.0                        404 call_not_found        404 call_not_found
7_7                         404 call_not_found        404 call_not_found
%2077                       404 call_not_found        404 call_not_found
%EF%BC%97%EF%BC%97          404 call_not_found        404 call_not_found
9223372036854775808         404 call_not_found        404 call_not_found
__77__                      404 call_not_found        404 call_not_found
"""

# Without a good key every call above, and every ID that is none, is the same 401, on HEAD as on
# GET. {way} is the header that the way in believes, {other} the one that it does not; {acme} is a
# good key. The challenge tells apart only whether a token was presented at all.
REFUSED = """
credentials                 challenge       headers
none                        none given      -
an empty header             none given      {way}:
a scheme alone              none given      {way}: Bearer
another scheme              none given      {way}: Basic {acme}
no scheme                   none given      {way}: {acme}
no space after the scheme   none given      {way}: Bearer{acme}
a key in another header     none given      X-Api-Key: {acme}
a key in the other header   none given      {other}: Bearer {acme}
a key for Cloud Run         none given      X-Serverless-Authorization: Bearer {acme}
a forged identity           none given      X-Apigateway-Api-Userinfo: {forged}; X-Endpoint-API-UserInfo: {forged}
a forged account            none given      X-Goog-Authenticated-User-Email: a
an unknown key              invalid_token   {way}: Bearer unknown
a key with a letter more    invalid_token   {way}: Bearer {acme}x
a key in capitals           invalid_token   {way}: Bearer {ACME}
the hash of a key           invalid_token   {way}: Bearer {hash}
a key and more              invalid_token   {way}: Bearer {acme} {globex}
a tab before a key          invalid_token   {way}: Bearer {tab}key
a path for a key            invalid_token   {way}: Bearer ../calls/77
a key not of ASCII          invalid_token   {way}: Bearer clé
a key of 513 letters        invalid_token   {way}: Bearer {long}
two keys in one header      invalid_token   {way}: Bearer {acme}, Bearer {acme}
one header twice            invalid_token   {way}: Bearer {acme}; {way}: Bearer {acme}
two headers                 invalid_token   {way}: Bearer {acme}; {way}: Bearer {globex}
two schemes                 invalid_token   {way}: Bearer {acme}; {way}: Basic eA==
an expired key              invalid_token   {way}: Bearer {expired}
a revoked key               invalid_token   {way}: Bearer {revoked}
a record without an org     invalid_token   {way}: Bearer {orgless}
a record of an empty org    invalid_token   {way}: Bearer {empty}
a record of a numbered org  invalid_token   {way}: Bearer {number}
a record that ends in text  invalid_token   {way}: Bearer {text}
"""

WEB = sample_calls()[77]
# How the calls of POLICY are stored, but for the ID, and the owner where there is one.
STORED: dict[str, dict[str, Any]] = {
    "web": WEB,
    "inbound": sample_calls()[78],
    "outbound": sample_calls()[79],
    "active": sample_calls()[80],
    "error": sample_calls()[81],
    "pending": sample_calls()[82],
    "deleted": sample_calls()[83],
    "without a recording": sample_calls()[84],
    "without an analysis": sample_calls()[85],
    "of an unknown status": WEB | {"status": "lost"},
    "under another's id": WEB,
    "with text for an amount": WEB | {"cost": {"total_usd": "0.08"}},
    "with a link for an object": WEB | {"recording_object": "https://example.com/"},
    "without an owner": {name: value for name, value in WEB.items() if name != "org_id"},
    "whose owner is null": WEB | {"org_id": None},
    "whose owner is empty": WEB | {"org_id": ""},
    "whose owner is a number": WEB | {"org_id": 7},
    "whose owner is a list": WEB | {"org_id": list(ORGS)},
    "without any field": {},
}
MISSING_ID = "4611686018427387904"


def table(text: str) -> list[list[str]]:
    """Return the cells of each row but the first; two spaces or more part them."""
    rows = [line.split("  ") for line in text.strip().splitlines()[1:]]
    return [[cell.strip() for cell in row if cell.strip()] for row in rows]


class WayIn(NamedTuple):
    """A function, the header that it believes, and the one that it does not."""

    service: Service
    believed: str
    other: str
    always: tuple[tuple[str, str], ...]

    def ask(
        self,
        segment: str,
        *headers: tuple[str, str],
        method: str = "GET",
        published: bool = True,
    ) -> Reply:
        named = {name for name, _ in headers}
        always = [field for field in self.always if field[0] not in named]
        target = f"/v2/calls/{segment}"
        return self.service.request(method, target, [*always, *headers], published=published)


@pytest.fixture(scope="module")
def ways(service: Service, gateway_service: Service) -> dict[str, WayIn]:
    """Behind the gateway each request has the gateway's own token, but where a row replaces it."""
    identity = (("Authorization", "Bearer gateway-identity-token"),)
    forwarded = "X-Forwarded-Authorization"
    return {
        "direct": WayIn(service, "Authorization", forwarded, ()),
        "gateway": WayIn(gateway_service, forwarded, "Authorization", identity),
    }


@pytest.fixture(scope="module")
def stored(put_call: PutCall) -> dict[tuple[str, str], str]:
    """Store each call of POLICY for each org; the path's last segment, by call and org."""
    segments = {}
    for org_id in ORGS:
        for name, document in STORED.items():
            without = tuple(WEB.keys() - document.keys())
            changes = {field: value for field, value in document.items() if field != "id"}
            if document.get("org_id") == WEB["org_id"]:
                changes["org_id"] = org_id
            if name == "under another's id":
                changes["id"] = 77
            segments[name, org_id] = str(put_call(changes, without=without))
    return segments


def answer(reply: Reply) -> str:
    """Put a reply as POLICY does."""
    if reply.status == 200 and reply.body:
        url = reply.json()["recording_url"]
        return f"200 {'without a link' if url is None else 'with a link'}"
    return f"{reply.status} {reply.json()['code'] if reply.body else ''}".rstrip()


@pytest.mark.parametrize("way", ["direct", "gateway"])
@pytest.mark.parametrize("row", table(POLICY), ids=lambda row: row[0])
def test_a_good_key_is_answered_by_the_policy(
    row: list[str],
    way: str,
    ways: dict[str, WayIn],
    stored: dict[tuple[str, str], str],
    keys: dict[str, str],
) -> None:
    call, to_its_org, to_the_other = row
    missing = MISSING_ID if call == "not stored" else call
    believed, ask = ways[way].believed, ways[way].ask
    for owner in ORGS:
        segment = stored.get((call, owner), missing)
        for org_id, key in keys.items():
            expected = to_its_org if org_id == owner else to_the_other
            mine = (believed, f"Bearer {key}")
            got = ask(segment, mine)

            assert (owner, org_id, answer(got)) == (owner, org_id, expected)
            if got.status == 200:
                assert got.json()["id"] == int(segment)
            head = ask(segment, mine, method="HEAD", published=False)
            assert (head.status, head.body) == (got.status, b"")
            held = ask(segment, mine, ("If-None-Match", "*"), published=False)
            assert held.status == (304 if got.status == 200 else got.status)


@pytest.fixture(scope="module")
def bad_keys(keys: dict[str, str], put_key: PutKey) -> dict[str, str]:
    """Make what REFUSED names."""
    past = datetime.now(UTC) - timedelta(seconds=1)
    acme = keys["org_acme"]
    return {
        "acme": acme,
        "ACME": acme.swapcase(),
        "globex": keys["org_globex"],
        "hash": sha256(acme.encode()).hexdigest(),
        "forged": "eyJzdWIiOiJvcmdfYWNtZSJ9",
        "long": "k" * 513,
        "tab": "\t",
        "expired": put_key({"org_id": "org_acme", "expires_at": past}),
        "revoked": put_key({"org_id": "org_acme", "revoked_at": past, "expires_at": None}),
        "orgless": put_key({"name": "org_acme"}),
        "empty": put_key({"org_id": ""}),
        "number": put_key({"org_id": 7}),
        "text": put_key({"org_id": "org_acme", "expires_at": "2999-01-01T00:00:00Z"}),
    }


@pytest.mark.parametrize("way", ["direct", "gateway"])
@pytest.mark.parametrize("row", table(REFUSED), ids=lambda row: row[0])
def test_without_a_good_key_every_call_is_the_same_401(
    row: list[str],
    way: str,
    ways: dict[str, WayIn],
    stored: dict[tuple[str, str], str],
    bad_keys: dict[str, str],
) -> None:
    _, challenge, written = row
    names = {"way": ways[way].believed, "other": ways[way].other}
    fields = [field.partition(":") for field in written.split(";") if field != "-"]
    headers = [(name.strip(), value.strip()) for name, _, value in fields]
    headers = [(name.format(**names), value.format(**bad_keys)) for name, value in headers]
    expected = "Bearer" if challenge == "none given" else 'Bearer error="invalid_token"'

    # Behind the gateway one call of each kind of answer: the way in is all that differs there.
    kinds = {row[1]: row[0] for row in table(POLICY)}.values()
    calls = kinds if way == "gateway" else [row[0] for row in table(POLICY)]
    replies: set[tuple[object, ...]] = set()
    for call in calls:
        missing = MISSING_ID if call == "not stored" else call
        segment = stored.get((call, "org_acme"), missing)
        # Checked against openapi.yaml once, since they must all be the same.
        same = ("X-Request-Id", "same")
        reply = ways[way].ask(segment, *headers, same, published=not replies)
        assert (call, reply.status) == (call, 401)
        assert reply.headers.get_all("WWW-Authenticate") == [expected]
        del reply.headers["Date"]
        replies.add((*map(tuple, reply.headers.items()), reply.body))
    head = ways[way].ask(stored["web", "org_acme"], *headers, method="HEAD")

    assert len(replies) == 1
    assert (head.status, head.body) == (401, b"")
