"""The project that the tests run in, and the types of the fixtures that store in it."""

from collections.abc import Callable
from typing import NamedTuple

from google.cloud import firestore

PROJECT = "demo-tests"
BUCKET = "thinnestai-recordings"
SIGNER = "signer@demo-tests.iam.gserviceaccount.com"

PutCall = Callable[..., int]
PutKey = Callable[..., str]


class Emulator(NamedTuple):
    """A Firestore emulator with the sample calls, and an API key of each org."""

    host: str
    database: firestore.Client
    keys: dict[str, str]

    @property
    def port(self) -> int:
        return int(self.host.rpartition(":")[2])

    @property
    def settings(self) -> dict[str, str]:
        """Return what a function on this machine needs, but for what signs."""
        return {
            "RECORDINGS_BUCKET": BUCKET,
            "GOOGLE_CLOUD_PROJECT": PROJECT,
            "FIRESTORE_EMULATOR_HOST": self.host,
        }
