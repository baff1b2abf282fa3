"""`make smoke`: asks a running function what its clients ask; a table, and 1 where it fails.

The key comes through the environment, since everybody on a machine sees the arguments of its
processes. Neither it nor a signed link nor anything that a call says is ever printed.
"""

import os
import re
import secrets
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Any, NamedTuple, NoReturn

import httpx2

from call_api.calls.access import MAX_CALL_ID, parse_call_id
from call_api.calls.keys import PREFIX, is_well_formed, new_key
from ops.published import UnpublishedError, check_reply
from ops.terminal import printable, write

USAGE = "KEY=… make smoke URL=https://… CALL=77, with ORIGIN=https://… if browsers call from there"
SECONDS = 15.0  # the function itself takes 10 at the most
REQUESTS = 10
_URL = re.compile(r"https?://[^\s/?#@]+(/[^\s?#]*)?")
_ORIGIN = re.compile(r"[a-z]+://([a-z0-9.-]+|\[::1\])(:[0-9]+)?")
_KEY = re.compile(r"[\x21-\x7e]{1,512}")
_NO_PROXY = {f"all://{host}": None for host in ("localhost", "127.0.0.1", "[::1]")}


class _FailedError(Exception):
    """What is wrong with an answer, in a line."""


class _Function(NamedTuple):
    """A function that is asked, with the key and the call that it is asked with."""

    client: httpx2.Client
    url: str
    key: str
    call: int
    origin: str | None

    def answer(self, segments: object, key: str | None, status: int, code: str = "") -> "_Answer":
        """Ask for a path; fail unless it is answered so, and as openapi.yaml publishes it."""
        credentials = {} if key is None else {"Authorization": f"Bearer {key}"}
        start = time.perf_counter()
        response = self.client.get(f"{self.url}/v2/calls/{segments}", headers=credentials)
        milliseconds = (time.perf_counter() - start) * 1000
        if code == "route_not_found" and _is_the_gateways_404(response):
            return _Answer("404 of the gateway", milliseconds, {})
        said = f"{response.status_code} {_code(response)}".rstrip()
        if said != f"{status} {code}".rstrip():
            raise _FailedError(f"{said}, not {status} {code}".rstrip())
        try:
            check_reply("GET", response.status_code, response.headers, response.content)
        except UnpublishedError as error:
            raise _FailedError(f"{said}, but not as published: {error}") from None
        return _Answer(said, milliseconds, _object(response))


class _Answer(NamedTuple):
    said: str
    milliseconds: float
    document: Mapping[str, Any]

    def __str__(self) -> str:
        return f"{self.said}, {self.milliseconds:.0f} ms"


def main(environment: Mapping[str, str]) -> int:
    """Check the function that the environment names, and return the exit status."""
    url, key, call = _settings(environment)
    origin = environment.get("ORIGIN")
    if origin and not _ORIGIN.fullmatch(origin):
        _stop("ORIGIN is scheme://host[:port], as browsers send it")
    checks = dict(CHECKS)
    if origin:
        checks[f"pages of {origin} may call it"] = _preflight
    write(f"{url}, call {call}\n")
    failed = 0
    with httpx2.Client(timeout=SECONDS, mounts=_NO_PROXY) as client:
        function = _Function(client, url, key, call, origin)
        for what, check in checks.items():
            try:
                result, outcome = "ok", str(check(function))
            except _FailedError as error:
                result, outcome = "FAIL", str(error)
            except (httpx2.RequestError, httpx2.InvalidURL) as error:
                result, outcome = "FAIL", f"no answer: {type(error).__name__} {error}"
            failed += result == "FAIL"
            write(f"{result:<4}  {what:<42}  {printable(' '.join(outcome.split()))}\n")
            if outcome.startswith("no answer"):
                write("The rest is not checked.\n")
                return 1
    write(f"{len(checks) - failed} of {len(checks)} passed.\n")
    return 1 if failed else 0


def _settings(environment: Mapping[str, str]) -> tuple[str, str, int]:
    missing = [name for name in ("URL", "KEY", "CALL") if not environment.get(name)]
    if missing:
        listed = " and ".join([", ".join(missing[:-1]), missing[-1]] if missing[1:] else missing)
        _stop(f"{listed} {'are' if missing[1:] else 'is'} missing: {USAGE}")
    url, key, call = environment["URL"], environment["KEY"], parse_call_id(environment["CALL"])
    if not _URL.fullmatch(url):
        _stop("URL is where /v2/calls/… begins, such as https://get-call-abc.a.run.app")
    if not _KEY.fullmatch(key):
        _stop("KEY is 1 to 512 visible ASCII characters")
    if key.startswith(PREFIX) and not is_well_formed(key):
        _stop("KEY is mistyped: its checksum does not fit")
    if call is None:
        _stop("CALL is the ID of a call of the key's org, a number such as 77")
    return url.rstrip("/"), key, call


def _stop(sentence: str) -> NoReturn:
    sys.exit(sentence)


def _a_call(function: _Function) -> _Answer:
    return function.answer(function.call, function.key, 200)


def _no_key(function: _Function) -> _Answer:
    return function.answer(function.call, None, 401, "unauthenticated")


def _unknown_key(function: _Function) -> _Answer:
    return function.answer(function.call, new_key(), 401, "unauthenticated")


def _no_such_call(function: _Function) -> _Answer:
    nowhere = MAX_CALL_ID - secrets.randbelow(2**62)  # not always the same, which might come to be
    return function.answer(nowhere, function.key, 404, "call_not_found")


def _no_such_route(function: _Function) -> _Answer:
    return function.answer(f"{function.call}/smoke", function.key, 404, "route_not_found")


def _recording(function: _Function) -> str:
    """Ask for four bytes; with a link that is fresh, and without the key, which is not for it."""
    link = _a_call(function).document["recording_url"]
    if link is None:
        raise _FailedError("the call has no recording: choose one that has")
    headers = {"Range": "bytes=0-3", "Accept-Encoding": "identity"}
    start = time.perf_counter()
    try:
        with function.client.stream("GET", link, headers=headers) as response:
            part = response.headers.get("Content-Range", "")
            if response.status_code != HTTPStatus.PARTIAL_CONTENT or not part.startswith(
                "bytes 0-3/"
            ):
                reason = re.search(rb"<Code>(\w+)</Code>", b"".join(response.iter_raw(4096)))
                said = f"{response.status_code} {reason[1].decode() if reason else part}".rstrip()
                raise _FailedError(f"{said}, not 206 with bytes 0-3")
            response.read()
    except (httpx2.RequestError, httpx2.InvalidURL) as error:
        raise _FailedError(f"the link cannot be followed: {type(error).__name__}") from None
    return f"206, {part}, {(time.perf_counter() - start) * 1000:.0f} ms"


def _latency(function: _Function) -> str:
    times = [_a_call(function).milliseconds for _ in range(REQUESTS)]
    middle = statistics.median(times)
    return f"min {min(times):.0f} ms, median {middle:.0f} ms, max {max(times):.0f} ms"


def _preflight(function: _Function) -> str:
    """Ask what a browser asks before it sends a page's request with a key."""
    asked = {
        "Origin": str(function.origin),
        "Access-Control-Request-Method": "GET",
        "Access-Control-Request-Headers": "authorization",
    }
    start = time.perf_counter()
    response = function.client.options(f"{function.url}/v2/calls/{function.call}", headers=asked)
    milliseconds = (time.perf_counter() - start) * 1000
    origin = response.headers.get("Access-Control-Allow-Origin")
    names = response.headers.get("Access-Control-Allow-Headers", "").lower().split(", ")
    if response.status_code != HTTPStatus.NO_CONTENT or origin != function.origin:
        reason = "without Access-Control-Allow-Origin: add the origin to ALLOWED_ORIGINS"
        raise _FailedError(f"{response.status_code} {reason}")
    if "authorization" not in names:
        raise _FailedError("204 without authorization in Access-Control-Allow-Headers")
    return f"204, {milliseconds:.0f} ms"


CHECKS: Mapping[str, Callable[[_Function], object]] = {
    "the call, as openapi.yaml publishes it": _a_call,
    "no key is refused": _no_key,
    "an unknown key is refused": _unknown_key,
    "a call that does not exist is not found": _no_such_call,
    "another route is not found": _no_such_route,
    "the link gives the recording's first bytes": _recording,
    f"{REQUESTS} requests, one after another": _latency,
}


def _object(response: httpx2.Response) -> Mapping[str, Any]:
    try:
        document = response.json()
    except ValueError:
        return {}
    return document if isinstance(document, dict) else {}


def _code(response: httpx2.Response) -> str:
    """Return a refusal's code, if that is what it looks like: the text may be anybody's."""
    code = _object(response).get("code")
    return code if isinstance(code, str) and re.fullmatch("[a-z_]{1,40}", code) else ""


def _is_the_gateways_404(response: httpx2.Response) -> bool:
    """Tell API Gateway's own refusal, of what its spec does not name, by its shape."""
    document = _object(response)
    same = response.status_code == document.get("code") == HTTPStatus.NOT_FOUND
    return same and document.keys() == {"code", "message"}


if __name__ == "__main__":
    sys.exit(main(os.environ))
