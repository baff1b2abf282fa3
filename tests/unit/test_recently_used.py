"""The bounded mapping."""

from call_api.recently_used import RecentlyUsed


def test_a_value_is_kept_until_it_is_replaced_or_discarded() -> None:
    values: RecentlyUsed[str, int] = RecentlyUsed(2)
    assert values.get("a") is None
    values.put("a", 1)
    values.put("a", 2)
    assert values.get("a") == 2
    values.discard("a")
    values.discard("a")
    assert values.get("a") is None


def test_what_was_used_longest_ago_is_forgotten_when_there_is_too_much() -> None:
    values: RecentlyUsed[str, int] = RecentlyUsed(2)
    values.put("a", 1)
    values.put("b", 2)
    values.get("a")
    values.put("c", 3)

    assert [values.get(key) for key in "abc"] == [1, None, 3]
