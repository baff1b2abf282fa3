"""The recordings bucket: serves an object as Cloud Storage does, to right V4 signatures only.

The request that was signed is derived here anew, from Cloud Storage's description of V4 signatures
and the raw request, so a defect in how the function signs or encodes shows as a refused link.
"""

import hashlib
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from pathlib import Path
from urllib.parse import parse_qsl, quote, unquote_to_bytes
from xml.sax.saxutils import escape

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import Route

ALGORITHM = "GOOG4-RSA-SHA256"
PARAMETERS = ("Algorithm", "Credential", "Date", "Expires", "SignedHeaders", "Signature")
MALFORMED = ("MalformedSecurityHeader", "Your request has a malformed header.")
MAX_EXPIRES = 7 * 24 * 3600
CLOCK_SKEW = timedelta(minutes=15)


class _RefusedError(Exception):
    """What Cloud Storage puts into the XML of its answer, the code first."""

    def __init__(self, code: str, message: str, **details: str) -> None:
        self.elements = {"Code": code, "Message": message, **details}


def recordings_server(
    objects: Mapping[str, Path],
    signers: Mapping[str, RSAPublicKey],
    now: Callable[[], datetime],
) -> Starlette:
    """Return the server of these objects, by /bucket/name, for these signers, by e-mail."""

    async def serve(request: Request) -> Response:
        try:
            _check_signature(request, signers, now())
        except _RefusedError as refused:
            # Cloud Storage answers some of these, an expired link say, with 400; to a reader of
            # the status alone they are one thing here: the link is not good.
            return _xml(HTTPStatus.FORBIDDEN, refused.elements)
        file = objects.get(_path(request).decode(errors="replace"))
        if file is None:
            missing = {"Code": "NoSuchKey", "Message": "The specified key does not exist."}
            return _xml(HTTPStatus.NOT_FOUND, missing)
        disposition = request.query_params.get("response-content-disposition")
        headers = None if disposition is None else {"Content-Disposition": disposition}
        return FileResponse(file, media_type="audio/wav", headers=headers)

    return Starlette(routes=[Route("/{object:path}", serve)])


def _check_signature(request: Request, signers: Mapping[str, RSAPublicKey], now: datetime) -> None:
    """Refuse the request unless its URL is signed for it, by a known signer, for this time."""
    query = parse_qsl(request.url.query, keep_blank_values=True)
    found = [[value for name, value in query if name == f"X-Goog-{p}"] for p in PARAMETERS]
    if any(len(values) != 1 for values in found):
        raise _RefusedError("AccessDenied", "A V4 signature has each of its parameters once.")
    algorithm, credential, date, expires, signed_headers, signature = (v for [v] in found)
    email, _, scope = credential.partition("/")
    headers = signed_headers.split(";")
    if (
        algorithm != ALGORITHM
        or scope != f"{date[:8]}/auto/storage/goog4_request"
        or "host" not in headers
    ):
        raise _RefusedError(*MALFORMED)
    _check_time(date, expires, now)
    canonical_request = "\n".join(
        [
            request.method,
            quote(_path(request), safe="/"),
            "&".join(
                f"{name}={value}"
                for name, value in sorted((quote(n, ""), quote(v, "")) for n, v in query)
                if name != "X-Goog-Signature"
            ),
            *(f"{h}:{','.join(map(_trimmed, request.headers.getlist(h)))}" for h in headers),
            "",
            signed_headers,
            "UNSIGNED-PAYLOAD",
        ]
    )
    digest = hashlib.sha256(canonical_request.encode()).hexdigest()
    string_to_sign = f"{ALGORITHM}\n{date}\n{scope}\n{digest}"
    try:
        signers[email].verify(
            bytes.fromhex(signature), string_to_sign.encode(), PKCS1v15(), SHA256()
        )
    except (KeyError, ValueError, InvalidSignature):
        raise _RefusedError(
            "SignatureDoesNotMatch",
            "Access denied. The request signature we calculated does not match the signature"
            " you provided. Check your Google secret key and signing method.",
            StringToSign=string_to_sign,
            CanonicalRequest=canonical_request,
        ) from None


def _check_time(date: str, expires: str, now: datetime) -> None:
    """Refuse a link whose time is malformed, has not come or is over."""
    try:
        start = datetime.strptime(date, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    except ValueError:
        raise _RefusedError(*MALFORMED) from None
    if re.fullmatch("[0-9]{1,6}", expires) is None or not 1 <= int(expires) <= MAX_EXPIRES:
        raise _RefusedError(*MALFORMED)
    if start > now + CLOCK_SKEW:
        raise _RefusedError("AccessDenied", f"The signature is not valid before {date}.")
    if now >= start + timedelta(seconds=int(expires)):
        raise _RefusedError("ExpiredToken", "The provided token has expired.")


def _path(request: Request) -> bytes:
    """Return the path as it was sent, decoded once: not what a server has made of it."""
    raw_path: bytes = request.scope["raw_path"]
    return unquote_to_bytes(raw_path)


def _trimmed(header: str) -> str:
    return " ".join(header.split())


def _xml(status: HTTPStatus, elements: Mapping[str, str]) -> Response:
    body = "".join(f"<{name}>{escape(text)}</{name}>" for name, text in elements.items())
    document = f"<?xml version='1.0' encoding='UTF-8'?><Error>{body}</Error>"
    return Response(document, status, media_type="application/xml; charset=UTF-8")
