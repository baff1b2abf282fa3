"""Request headers: what each may look like, and what it says. Pure parsing, no I/O."""

import re
import secrets
from collections.abc import Mapping, Sequence

from call_api.errors import CredentialsMissing, Unauthenticated

_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")
_BEARER = re.compile(r"(?i:bearer) +(.+)")
_KEY = re.compile(r"[\x21-\x7e]{1,512}")
_WEIGHT = re.compile(r"(?i:q)=(0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?)")
_TRACEPARENT = re.compile(
    r"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})"
)
_CLOUD_TRACE_CONTEXT = re.compile(r"(?!0{32})([0-9a-f]{32})(?:/([0-9]{1,20}))?(?:;o=([0-9]))?")
_MAX_SPAN_ID = 2**64 - 1
_MAX_CODINGS = 50
_OPAQUE_TAG = re.compile(r'"[^"]*"')


def request_id(fields: Sequence[str]) -> str:
    """Return the client's `X-Request-Id` if it is one plain ID, else a new one."""
    if len(fields) == 1 and _REQUEST_ID.fullmatch(fields[0]):
        return fields[0]
    return secrets.token_hex(16)


def bearer_key(fields: Sequence[str]) -> str:
    """Return the API key.

    Raises:
        CredentialsMissing: there is no `Bearer` scheme.
        Unauthenticated: the header is there twice, or the key is malformed.
    """
    if len(fields) > 1:  # which of them a proxy before this function has checked is not known
        raise Unauthenticated("more than one credentials header")
    bearer = _BEARER.fullmatch(fields[0]) if fields else None
    if bearer is None:
        raise CredentialsMissing("no bearer key")
    if not _KEY.fullmatch(bearer[1]):
        raise Unauthenticated("malformed key")
    return bearer[1]


def if_none_match_matches(fields: Sequence[str], etag: str) -> bool:
    """Tell whether the client holds this version, by weak comparison (RFC 9110, 13.1.2)."""
    listed = ",".join(fields)
    return listed.strip() == "*" or etag.removeprefix("W/") in _OPAQUE_TAG.findall(listed)


def accepts_gzip(fields: Sequence[str]) -> bool:
    """Tell whether `Accept-Encoding` accepts gzip (RFC 9110, 12.5.3).

    A coding with a malformed weight is not accepted, nor is one behind the first _MAX_CODINGS.
    """
    weights: dict[str, float] = {}
    for part in ",".join(fields).split(",", _MAX_CODINGS)[:_MAX_CODINGS]:
        coding, has_weight, text = (piece.strip(" \t") for piece in part.partition(";"))
        weight = _WEIGHT.fullmatch(text)
        value = float(weight[1]) if weight else 0.0 if has_weight else 1.0
        weights[coding.lower()] = min(value, weights.get(coding.lower(), value))
    for name in ("gzip", "x-gzip", "*"):  # the last speaks for what is not listed
        if name in weights:
            return weights[name] > 0
    return False


def trace_fields(headers: Mapping[str, str], project: str | None) -> dict[str, object]:
    """Return the fields that join a log entry to the request's trace, or none without a valid header.

    `traceparent` takes precedence over `X-Cloud-Trace-Context`.
    https://cloud.google.com/logging/docs/structured-logging#special-payload-fields
    """
    if found := _TRACEPARENT.fullmatch(headers.get("traceparent", "")):
        span_id, is_sampled = int(found[2], 16), bool(int(found[3], 16) & 1)
    elif found := _CLOUD_TRACE_CONTEXT.fullmatch(headers.get("x-cloud-trace-context", "")):
        span_id, is_sampled = int(found[2] or 0), found[3] == "1"
    else:
        return {}
    if span_id > _MAX_SPAN_ID:
        return {}
    return {
        "logging.googleapis.com/trace": f"projects/{project}/traces/{found[1]}"
        if project
        else found[1],
        "logging.googleapis.com/spanId": f"{span_id:016x}",
        "logging.googleapis.com/trace_sampled": is_sampled,
    }
