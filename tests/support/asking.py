"""How tests ask for a call, and what they take for an answer."""

from tests.support.serving import Reply, Service

HONEST = {(503, "calls_unavailable"), (503, "signing_unavailable"), (504, "upstream_timeout")}


def check_honest(reply: Reply) -> None:
    """Take the failure of an upstream for an answer, if it asks the client to come back."""
    assert (reply.status, reply.json()["code"]) in HONEST
    assert reply.headers["Retry-After"] == "1"


def problem_of(service: Service, key: str) -> tuple[int, str, str]:
    """Ask for a call that cannot be signed; return the status, the code and the log's message."""
    reply = service.request(key=key)
    entry = service.entries()[-1]
    assert "stack_trace" not in entry
    assert entry["severity"] == "ERROR"
    assert reply.headers["Retry-After"] == (None if reply.status == 500 else "1")
    return reply.status, reply.json()["code"], entry["message"]
