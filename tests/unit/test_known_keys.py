"""The set of keys that were good lately."""

from call_api.known_keys import KnownKeys


def test_a_key_is_known_from_the_time_that_it_was_good_until_it_is_refused() -> None:
    known = KnownKeys()
    assert "a" not in known
    known.add("a")
    assert "a" in known
    known.discard("a")
    assert "a" not in known


def test_a_key_that_was_never_known_can_be_discarded() -> None:
    KnownKeys().discard("a")


def test_the_key_used_longest_ago_is_forgotten_when_there_are_too_many() -> None:
    known = KnownKeys(capacity=2)
    for key in ("a", "b", "a", "c"):
        known.add(key)

    assert ["a" in known, "b" in known, "c" in known] == [True, False, True]
