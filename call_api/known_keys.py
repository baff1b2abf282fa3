"""The API keys that were good here lately: a call is read only for one of these."""

from collections import OrderedDict

CAPACITY = 4096  # of 64 hex digits each: 1 MiB at most


class KnownKeys:
    """A bounded set of key hashes; the one used longest ago leaves first.

    Membership grants nothing. Each request still reads the key's record, so a revocation counts
    from the next request on. It decides only whether the call may be read in the same round trip.
    """

    def __init__(self, capacity: int = CAPACITY) -> None:
        self._capacity = capacity
        self._hashes: OrderedDict[str, None] = OrderedDict()

    def __contains__(self, key_hash: str) -> bool:
        """Tell whether a key was good lately."""
        return key_hash in self._hashes

    def add(self, key_hash: str) -> None:
        """Remember a key that was just found to be good."""
        self._hashes[key_hash] = None
        self._hashes.move_to_end(key_hash)
        if len(self._hashes) > self._capacity:
            self._hashes.popitem(last=False)

    def discard(self, key_hash: str) -> None:
        """Forget a key that was just refused."""
        self._hashes.pop(key_hash, None)
