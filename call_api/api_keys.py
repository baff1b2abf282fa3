"""API keys as they are stored: the collection, and the hash that is a record's ID."""

import hashlib

COLLECTION = "api_keys"


def key_hash(key: str) -> str:
    """Return the ID of a key's record: its SHA-256 in hex, so the key itself is stored nowhere."""
    return hashlib.sha256(key.encode()).hexdigest()
