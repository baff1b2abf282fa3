"""Read calls with the client that openapi-python-client generates, and write what was read.

`python read_calls.py URL KEY FOREIGN_CALL CALL…`. The assertions on types are mypy's to check.
"""

import json
import sys
from datetime import datetime
from typing import assert_type

from calls_api import AuthenticatedClient, Client
from calls_api.api.calls import get_call, head_call, list_call_methods
from calls_api.models import (
    Analysis,
    Call,
    CallStatus,
    Cost,
    Problem,
    ProblemCode,
    QualityScore,
    Sentiment,
    Turn,
)

NOBODYS_CALL = "9223372036854775807"


def checked(call: Call) -> Call:
    """Return the call; its types must be the published ones."""
    assert_type(call.status, CallStatus)
    assert_type(call.started_at, datetime | None)
    assert_type(call.recording_url, str | None)
    assert_type(call.transcript, list[Turn])
    for turn in call.transcript:
        assert_type(turn.timestamp, str | None)
    assert_type(call.cost, Cost | None)
    assert_type(call.analysis, Analysis | None)
    if call.analysis is not None:
        assert_type(call.analysis.sentiment, Sentiment | None)
        assert_type(call.analysis.score, QualityScore | None)
    return call


def refusal(answer: object) -> ProblemCode:
    """Return the code of a refusal."""
    assert isinstance(answer, Problem), answer
    return assert_type(answer.code, ProblemCode)


def main(url: str, key: str, foreign_call: str, *calls: str) -> None:
    """Ask for everything that the API answers, and write it as JSON."""
    read = {}
    unchanged = {}  # of calls with a link, the ETag changes with time
    with (
        AuthenticatedClient(url, key) as client,
        AuthenticatedClient(url, "wrong") as wrong_key,
        Client(url) as nobody,
    ):
        for call_id in calls:
            answer = get_call.sync_detailed(call_id, client=client)
            assert isinstance(answer.parsed, Call), answer
            read[call_id] = checked(answer.parsed).to_dict()
            if answer.parsed.recording_url is None:
                again = get_call.sync_detailed(
                    call_id, client=client, if_none_match=answer.headers["ETag"]
                )
                unchanged[call_id] = again.status_code
        exists = head_call.sync_detailed(calls[0], client=client)
        methods = list_call_methods.sync_detailed(calls[0], client=nobody)
        written = {
            "calls": read,
            "unchanged": unchanged,
            "exists": exists.status_code,
            "methods": methods.headers["Allow"],
            "forbidden": refusal(get_call.sync(foreign_call, client=client)),
            "missing": refusal(get_call.sync(NOBODYS_CALL, client=client)),
            "unauthenticated": refusal(get_call.sync(calls[0], client=wrong_key)),
        }
    json.dump(written, sys.stdout)


if __name__ == "__main__":
    main(*sys.argv[1:])
