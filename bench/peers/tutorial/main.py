"""The tutorial's way in Python: as Google's samples read Firestore and sign links, put together."""

import hashlib
import json
import os
import re
from datetime import UTC, datetime, timedelta
from pathlib import PurePosixPath
from typing import Any

import flask
import functions_framework
import google.auth
from google.auth.transport.requests import Request
from google.cloud import firestore, storage

PROJECT = os.environ["GOOGLE_CLOUD_PROJECT"]
KEY_FILE = os.environ.get("RECORDING_SIGNER_KEY_FILE")
FIELDS: dict[str, list[str]] = json.loads(os.environ["REPLY_FIELDS"])  # of each object, in order

database = firestore.Client(project=PROJECT)
credentials: Any = None
if KEY_FILE:
    storage_client = storage.Client.from_service_account_json(KEY_FILE, project=PROJECT)
else:
    credentials, _ = google.auth.default(scopes=["https://www.googleapis.com/auth/cloud-platform"])
    storage_client = storage.Client(project=PROJECT, credentials=credentials)
bucket = storage_client.bucket(os.environ["RECORDINGS_BUCKET"])


@functions_framework.http
def get_call(request: flask.Request) -> flask.Response | tuple[dict[str, str], int]:
    """Answer with a call of the org that the API key speaks for."""
    route = re.fullmatch(r"/v2/calls/([0-9]+)", request.path)
    if route is None:
        return {"error": "No such route"}, 404
    scheme, _, key = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not key:
        return {"error": "Invalid or expired authentication token"}, 401
    digest = hashlib.sha256(key.encode()).hexdigest()
    record = database.collection("api_keys").document(digest).get().to_dict()
    if record is None or is_past(record, "expires_at") or is_past(record, "revoked_at"):
        return {"error": "Invalid or expired authentication token"}, 401
    call = database.collection("calls").document(route[1]).get().to_dict()
    if call is None:
        return {"error": "Call not found"}, 404
    if call.get("org_id") != record["org_id"]:
        return {"error": "Not authorized to access this call"}, 403
    body = json.dumps(published(call), ensure_ascii=False)
    return flask.Response(body, mimetype="application/json")


def is_past(record: dict[str, Any], field: str) -> bool:
    """Tell whether the record has such a time, and it is over."""
    time = record.get(field)
    return time is not None and time <= datetime.now(UTC)


def published(call: dict[str, Any]) -> dict[str, Any]:
    """Return the published fields, in their order."""
    reply = {name: call.get(name) for name in FIELDS["Call"]}
    reply["started_at"] = utc(call.get("started_at"))
    reply["ended_at"] = utc(call.get("ended_at"))
    reply["transcript"] = [pick(turn, FIELDS["Turn"]) for turn in call.get("transcript") or []]
    reply["recording_url"] = recording_url(call)
    reply["cost"] = cost(call.get("cost"))
    reply["model"] = pick(call.get("model"), FIELDS["Model"])
    reply["transcriber"] = pick(call.get("transcriber"), FIELDS["Transcriber"])
    reply["voice"] = pick(call.get("voice"), FIELDS["Voice"])
    reply["analysis"] = analysis(call.get("analysis"))
    reply["created_at"] = utc(call["created_at"])
    reply["updated_at"] = utc(call.get("updated_at"))
    return reply


def cost(stored: dict[str, Any] | None) -> dict[str, Any] | None:
    """Return what a call cost, if that is settled."""
    reply = pick(stored, FIELDS["Cost"])
    if reply is not None:
        reply["breakdown"] = pick(reply["breakdown"] or {}, FIELDS["CostBreakdown"])
    return reply


def analysis(stored: dict[str, Any] | None) -> dict[str, Any] | None:
    """Return the analysis, if there is one."""
    reply = pick(stored, FIELDS["Analysis"])
    if reply is not None:
        reply["summary"] = pick(reply["summary"], FIELDS["Summary"])
        reply["score"] = pick(reply["score"], FIELDS["QualityScore"])
        reply["tags"] = reply["tags"] or []
        reply["knowledge_gaps"] = reply["knowledge_gaps"] or []
    return reply


def pick(stored: dict[str, Any] | None, names: list[str]) -> dict[str, Any] | None:
    """Return these fields alone."""
    return None if stored is None else {name: stored.get(name) for name in names}


def utc(time: datetime | None) -> str | None:
    """Write a timestamp in UTC, in whole seconds."""
    return None if time is None else time.strftime("%Y-%m-%dT%H:%M:%SZ")


def recording_url(call: dict[str, Any]) -> str | None:
    """Return a link that plays the recording for an hour."""
    name = call.get("recording_object")
    if name is None or call["status"] == "deleted":
        return None
    extension = PurePosixPath(name).suffix
    keyless = {}
    if not KEY_FILE:  # then the library asks IAM for the signature
        if not credentials.valid:
            credentials.refresh(Request())
        keyless = {
            "service_account_email": credentials.service_account_email,
            "access_token": credentials.token,
        }
    url: str = bucket.blob(name).generate_signed_url(
        version="v4",
        expiration=timedelta(hours=1),
        method="GET",
        response_disposition=f'inline; filename="call-{call["id"]}{extension}"',
        **keyless,
    )
    return url
