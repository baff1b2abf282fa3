"""A fake of one bucket of Cloud Storage, with versions: what `ops.erase_call` asks of the JSON API."""

import re
from dataclasses import dataclass, field
from itertools import zip_longest
from urllib.parse import parse_qs, unquote, urlsplit

from tests.support.google_cloud import Handler, Server

PAGE = 2  # versions; the real one has 1,000
DENIED = (
    "operator@example.com does not have storage.objects.delete access to the Google Cloud Storage"
    " object. Permission 'storage.objects.delete' denied on resource (or it may not exist)."
)
HELD = (
    "Object 'recordings/held.wav' is under active Temporary hold and cannot be deleted, overwritten"
    " or archived until hold is removed."
)
RETAINED = (
    "Object 'recordings/held.wav' is subject to bucket's retention policy or object retention and"
    " cannot be deleted or overwritten until 2027-03-25T10:22:38Z."
)


@dataclass(frozen=True, order=True)
class Version:
    """A generation of an object."""

    name: str
    generation: int

    def is_older(self, other: "Version | None") -> bool:
        return other is not None and other.name == self.name


@dataclass
class Bucket:
    """A bucket's versions, its soft delete, and what it refuses."""

    server: "BucketServer"
    name: str
    versions: list[Version] = field(default_factory=list)
    soft_delete_seconds: int = 604_800
    refusals: dict[object, tuple[str, str]] = field(default_factory=dict)

    def put(self, *names: str) -> None:
        """Store a version of each name."""
        for name in names:
            self.versions.append(Version(name, 1_700_000_000_000_000 + len(self.versions)))

    def names(self) -> list[str]:
        return sorted(version.name for version in self.versions)


class BucketServer(Server):
    """Serves one bucket."""

    def __init__(self, name: str) -> None:
        self.bucket = Bucket(self, name)
        super().__init__(_BucketHandler)


class _BucketHandler(Handler):
    server: BucketServer

    def do_GET(self) -> None:  # noqa: N802  (http.server names it)
        bucket, path, query = self._asked()
        if path == "":
            policy = {"retentionDurationSeconds": str(bucket.soft_delete_seconds)}
            self._answer("get", {"name": bucket.name, "softDeletePolicy": policy})
        elif path == "/o":
            found = sorted(v for v in bucket.versions if v.name.startswith(query["prefix"]))
            if query.get("versions", "").lower() != "true":
                found = [v for v, after in zip_longest(found, found[1:]) if not v.is_older(after)]
            start = int(query.get("pageToken", 0))
            page = [
                {"kind": "storage#object", "name": v.name, "generation": str(v.generation)}
                for v in found[start : start + PAGE]
            ]
            more = {"nextPageToken": str(start + PAGE)} if len(found) > start + PAGE else {}
            self._answer("list", {"items": page, **more})
        else:
            self._refuse(404, "notFound", "Not Found")

    def do_DELETE(self) -> None:  # noqa: N802  (as above)
        bucket, path, query = self._asked()
        version = Version(unquote(path.removeprefix("/o/")), int(query.get("generation", 0)))
        if refusal := bucket.refusals.get(version.generation, bucket.refusals.get("delete")):
            self._refuse(403, *refusal)
        elif version not in bucket.versions:
            self._refuse(404, "notFound", "No such object")
        else:
            bucket.versions.remove(version)
            self.send_response(204)
            self.end_headers()

    def _asked(self) -> tuple[Bucket, str, dict[str, str]]:
        """Return the bucket, what of it is asked for, and the query."""
        parts = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        match = re.fullmatch(r"/storage/v1/b/([^/]+)(.*)", parts.path)
        if match is None or match[1] != self.server.bucket.name:
            return self.server.bucket, "/none", query
        return self.server.bucket, match[2], query

    def _answer(self, method: str, body: object) -> None:
        if refusal := self.server.bucket.refusals.get(method):
            self._refuse(403, *refusal)
        else:
            self.answer(200, body)

    def _refuse(self, status: int, reason: str, message: str) -> None:
        fault = {"message": message, "domain": "global", "reason": reason}
        self.answer(status, {"error": {"code": status, "message": message, "errors": [fault]}})
