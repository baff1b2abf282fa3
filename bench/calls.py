"""The calls that the servers are asked for. An ID is the number of the call's turns where it can be."""

from collections.abc import Sequence
from pathlib import Path
from random import Random

from google.cloud import firestore

SMALL, OTHER_ORGS = 77, 87  # sample calls, of org_acme and org_globex
HOUR, LARGE = 1_800, 15_500  # stored by `store_calls`, for org_acme

_TEXT = Path(__file__).parent / "text"


def store_calls(client: firestore.Client) -> None:
    """Store the call of an hour, and one of many short turns, whose document has 750 kB."""
    sample = client.document("calls", str(SMALL)).get().to_dict() or {}
    transcripts = {
        HOUR: transcript(HOUR, ("english", "hindi"), words=(5, 15)),
        LARGE: transcript(LARGE, ("english",), words=(1, 3)),
    }
    for call_id, turns in transcripts.items():
        fields = sample | {"id": call_id, "transcript": turns}
        client.document("calls", str(call_id)).set(fields)


def transcript(
    turns: int, languages: Sequence[str], *, words: tuple[int, int]
) -> list[dict[str, str]]:
    """Return turns that alternate between the languages, the same ones each time.

    Each is cut at random from a natural conversation, one to three words at a time. So no turn is a
    template of another one, and gzip shrinks the text about as much as it does speech.
    """
    random = Random(turns)
    spoken = [(_TEXT / f"{language}.txt").read_text("utf-8").split() for language in languages]
    return [
        {
            "role": "user" if number % 2 else "assistant",
            "content": _speech(random, spoken[number % len(spoken)], random.randint(*words)),
            "timestamp": f"{number * 2.0:.1f}",
        }
        for number in range(turns)
    ]


def _speech(random: Random, spoken: Sequence[str], length: int) -> str:
    said: list[str] = []
    while len(said) < length:
        start = random.randrange(len(spoken))
        said += spoken[start : start + random.randint(1, 3)]
    return " ".join(said[:length])
