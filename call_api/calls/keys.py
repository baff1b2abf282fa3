"""API keys: their format, and where their records are stored.

One definition for the function, which needs the hash, and for the tools that issue keys.
"""

import hashlib
import re
import secrets
import zlib

COLLECTION = "api_keys"
PREFIX = "callkey_"  # by which secret scanners recognize a key that has leaked


def key_hash(key: str) -> str:
    """Return the ID of a key's record: its SHA-256 in hex, so the key itself is stored nowhere."""
    return hashlib.sha256(key.encode()).hexdigest()


def key_id(hashed_key: str) -> str:
    """Return the digits of a key's hash that it is called by, in `ops.keys` and in the log."""
    return hashed_key[:12]


def new_key() -> str:
    """Return 256 random bits as a key, with a checksum by which a mistyped key is recognized."""
    secret = secrets.token_hex(32)
    return f"{PREFIX}{secret}{zlib.crc32(secret.encode()):08x}"


def is_well_formed(key: str) -> bool:
    """Tell, without a read, whether a key may be one of `new_key`'s, or is mistyped."""
    match = re.fullmatch(f"{PREFIX}([0-9a-f]{{64}})([0-9a-f]{{8}})", key)
    return match is not None and zlib.crc32(match[1].encode()) == int(match[2], 16)
