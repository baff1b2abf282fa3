"""Replies against openapi.yaml, each once: the check takes longer than most answers.

Clients must ignore headers that they do not know. The function itself sends none that is not published.
"""

import re
from collections.abc import Mapping
from email.message import Message

from ops.published import check_reply
from tests.support.contract import headers_of

SECONDS = re.compile(r"dur=\d+\.\d+\b")
REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")
# What HTTP and the server under the function add.
OF_EVERY_SERVER = {
    *("connection", "content-length", "content-type", "date", "server", "transfer-encoding"),
}
judged: set[str] = set()


def judge(method: str, status: int, headers: Message | Mapping[str, str], body: bytes) -> None:
    """Check a reply, unless one was right that differs in the date, the times and the request ID alone."""
    fields = [(n, SECONDS.sub("dur=0.0", v)) for n, v in headers.items() if n.lower() != "date"]
    written = repr((method, status, fields, body))
    request_id = headers.get("X-Request-Id", "")
    if REQUEST_ID.fullmatch(request_id):
        written = written.replace(request_id, "ID")
    if written not in judged:
        check_reply(method, status, headers, body)
        published = {name.lower() for name in headers_of(method, status)}
        unknown = {name.lower() for name in headers} - published - OF_EVERY_SERVER
        assert not unknown, (
            f"openapi.yaml publishes no such header with {method} {status}: {unknown}"
        )
        judged.add(written)
