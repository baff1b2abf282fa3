"""The sample calls and an API key for each org, written into Firestore."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from google.cloud import firestore

from call_api.calls.keys import COLLECTION, key_hash, new_key

SAMPLES = Path(__file__).parent / "samples"
PROJECT = "demo-call-api"  # "demo-" tells Google's tools that no real project is meant
ORGS = ("org_acme", "org_globex")


def sample_calls() -> dict[int, dict[str, Any]]:
    """Return the stored documents by call ID, their timestamps as the text of the files."""
    files = SAMPLES.glob("*/*.json")
    return {
        int(file.stem): json.loads(file.read_text("utf-8"))
        for file in sorted(files, key=lambda file: file.stem)
    }


def seed(client: firestore.Client) -> dict[str, str]:
    """Write the sample calls and a new API key for each org; return the keys by org.

    The client decides where: in an emulator if `FIRESTORE_EMULATOR_HOST` was set when it was made, else in
    its project.
    """
    keys = {org_id: new_key() for org_id in ORGS}
    batch = client.batch()
    for call_id, fields in sample_calls().items():
        batch.set(client.document("calls", str(call_id)), _as_stored(fields))
    for org_id, key in keys.items():
        record = {"org_id": org_id, "created_at": datetime.now(UTC), "name": "sample calls"}
        batch.set(client.document(COLLECTION, key_hash(key)), record)
    batch.commit()
    return keys


def _as_stored(fields: dict[str, object]) -> dict[str, object]:
    return {
        name: datetime.fromisoformat(value)
        if name.endswith("_at") and isinstance(value, str)
        else value
        for name, value in fields.items()
    }
