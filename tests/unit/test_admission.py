"""Admission: how many requests, and how many bytes of calls, are in flight."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from call_api.errors import CallsUnavailable
from call_api.web import admission as module
from call_api.web.admission import LARGE_BYTES, MAX_REMEMBERED, UNSIZED_FETCHES, Admission, Place

LARGE = LARGE_BYTES


def run(test: Callable[[], Awaitable[None]]) -> None:
    async def awaited() -> None:
        await test()

    asyncio.run(awaited())


async def loop_passes(number: int = 5) -> None:
    for _ in range(number):
        await asyncio.sleep(0)


def test_as_many_requests_enter_as_there_are_places() -> None:
    admission = Admission(max_requests=2)
    first, _ = admission.enter("caller", "a"), admission.enter("caller", "b")
    over_capacity = "^calls_unavailable: over capacity: too many requests in flight$"
    with pytest.raises(CallsUnavailable, match=over_capacity):
        admission.enter("caller", "c")

    first.leave()
    admission.enter("caller", "c")
    with pytest.raises(CallsUnavailable):
        admission.enter("caller", "d")


def test_small_documents_are_never_refused_for_their_bytes() -> None:
    admission = Admission(max_bytes=LARGE)
    admission.enter("caller", "large").hold(LARGE)
    for number in range(50):
        place = admission.enter("caller", number)
        assert not place.holds_bytes
        place.hold(LARGE - 1)
        assert not place.holds_bytes


def test_large_documents_are_refused_when_their_bytes_are_too_many() -> None:
    admission = Admission(max_bytes=3 * LARGE)
    first, second = admission.enter("caller", "a"), admission.enter("caller", "b")
    first.hold(2 * LARGE)
    over_capacity = "^calls_unavailable: over capacity: too many bytes of calls in flight$"
    with pytest.raises(CallsUnavailable, match=over_capacity):
        second.hold(2 * LARGE)

    first.leave()
    second.hold(2 * LARGE)
    assert second.holds_bytes


def test_a_place_holds_the_bytes_that_it_was_given_last() -> None:
    admission = Admission(max_bytes=3 * LARGE)
    place = admission.enter("caller", "a")
    for size in (3 * LARGE, LARGE, 3 * LARGE, 0):
        place.hold(size)

    admission.enter("caller", "b").hold(3 * LARGE)


def takes_a_turn_first(admission: Admission, subject: str) -> bool:
    """Tell whether a document is fetched only in its turn, by trying it while there is none."""

    async def fetch() -> bool:
        for _ in range(module.TURNS):
            await admission.free_turns.acquire()
        place = admission.enter("caller", subject)
        fetching = asyncio.create_task(place.before_fetch())
        await loop_passes()
        waits = not fetching.done()
        for _ in range(module.TURNS):
            admission.free_turns.release()
        await fetching
        place.leave()
        return waits

    return asyncio.run(fetch())


def arrived(admission: Admission, subject: str, size: int) -> None:
    place = admission.enter("caller", subject)
    place.arrived(size)
    place.leave()


def test_a_document_is_expected_to_be_as_large_as_the_last_time() -> None:
    admission = Admission()
    assert not takes_a_turn_first(admission, "a")
    arrived(admission, "a", LARGE)
    assert takes_a_turn_first(admission, "a")
    assert not takes_a_turn_first(admission, "another")
    arrived(admission, "a", LARGE - 1)
    assert not takes_a_turn_first(admission, "a")


def test_what_was_made_of_a_document_does_not_change_the_size_that_is_expected() -> None:
    """Most of a document may be fields that are not published."""
    admission = Admission()
    place = admission.enter("caller", "a")
    place.arrived(LARGE)
    place.hold(LARGE)
    place.hold(1)
    place.leave()

    assert takes_a_turn_first(admission, "a")


def test_only_so_many_sizes_are_remembered() -> None:
    admission = Admission()
    for number in range(MAX_REMEMBERED + 1):
        arrived(admission, str(number), LARGE)

    assert not takes_a_turn_first(admission, "0")
    assert takes_a_turn_first(admission, "1")


def test_a_crowd_waits_for_the_size_that_the_first_of_it_finds() -> None:
    async def crowd() -> None:
        admission = Admission(turns=1)
        first, *others = (admission.enter("caller", "a") for _ in range(4))
        await first.before_fetch()
        waiting = [asyncio.create_task(place.before_fetch()) for place in others]
        await admission.enter("caller", "b").before_fetch()
        await loop_passes()
        assert not any(task.done() for task in waiting)

        first.arrived(LARGE)
        await loop_passes()
        assert [task.done() for task in waiting] == [True, False, False]
        for place, task in zip(others, waiting, strict=True):
            await task
            place.leave()

    run(crowd)


@pytest.mark.parametrize("size", [1, 0])
def test_a_crowd_for_a_small_or_missing_document_goes_on_when_that_is_known(size: int) -> None:
    async def crowd() -> None:
        admission = Admission(turns=1)
        first, *others = (admission.enter("caller", "a") for _ in range(4))
        await first.before_fetch()
        waiting = [asyncio.create_task(place.before_fetch()) for place in others]
        await loop_passes()
        first.arrived(size)
        await asyncio.gather(*waiting)

    run(crowd)


def test_a_crowd_for_a_document_known_to_be_small_does_not_wait() -> None:
    async def crowd() -> None:
        admission = Admission()
        for number in range(4):
            place = admission.enter("caller", "a")
            await place.before_fetch()
            if number == 0:
                place.arrived(1)
            assert admission.first_fetches == {}

    run(crowd)


def test_if_the_first_of_a_crowd_fails_the_next_one_finds_the_size() -> None:
    async def crowd() -> None:
        admission = Admission()
        places = [admission.enter("caller", "a") for _ in range(4)]
        waiting = [asyncio.create_task(place.before_fetch()) for place in places]
        await loop_passes()
        for number, place in enumerate(places):
            assert [task.done() for task in waiting].count(True) == number + 1
            place.leave()
            await loop_passes()
        await asyncio.gather(*waiting)
        assert admission.first_fetches == {}

    run(crowd)


def test_a_size_that_is_not_found_in_time_is_not_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The first fetch may take as long as a read may; that is no reason to refuse the others."""
    monkeypatch.setattr(module, "WAIT_SECONDS", 0.0)

    async def crowd() -> None:
        admission = Admission()
        first, second = admission.enter("caller", "a"), admission.enter("caller", "a")
        await first.before_fetch()
        await second.before_fetch()
        second.arrived(1)
        first.arrived(1)

    run(crowd)


def test_documents_of_unknown_size_are_fetched_only_so_many_at_a_time() -> None:
    async def crowd() -> None:
        admission = Admission()
        places = [admission.enter("caller", number) for number in range(UNSIZED_FETCHES + 2)]
        fetching = [asyncio.create_task(place.before_fetch()) for place in places]
        await loop_passes()
        assert [task.done() for task in fetching].count(True) == UNSIZED_FETCHES
        await admission.enter("another caller", 0).before_fetch()
        places[0].arrived(1)
        places[1].leave()
        await asyncio.gather(*fetching)

    run(crowd)


def test_a_place_gives_back_no_slot_twice_and_none_that_it_does_not_have() -> None:
    async def crowd() -> None:
        admission = Admission()
        idle, fetched, first = (admission.enter("caller", name) for name in ("a", "b", "c"))
        idle.leave()
        await fetched.before_fetch()
        fetched.arrived(1)
        fetched.leave()
        await first.before_fetch()
        places = [admission.enter("caller", number) for number in range(UNSIZED_FETCHES)]
        fetching = [asyncio.create_task(place.before_fetch()) for place in places]
        await loop_passes()
        assert [task.done() for task in fetching].count(True) == UNSIZED_FETCHES - 1
        first.leave()
        await asyncio.gather(*fetching)

    run(crowd)


def test_others_wait_behind_a_document_found_to_be_large() -> None:
    async def crowd() -> None:
        admission = Admission(turns=1)
        await admission.enter("caller", "large").before_decoding(LARGE)
        places = [admission.enter("caller", number) for number in range(UNSIZED_FETCHES + 1)]
        *_, last = fetching = [asyncio.create_task(place.before_fetch()) for place in places]
        await loop_passes()
        places[0].arrived(LARGE)
        turn = asyncio.create_task(places[0].before_decoding(LARGE))
        await loop_passes()
        assert not last.done()
        admission.free_turns.release()
        await asyncio.gather(turn, *fetching)

    run(crowd)


def test_a_document_of_unknown_size_is_refused_after_the_wait(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "WAIT_SECONDS", 0.0)

    async def crowd() -> None:
        admission = Admission()
        places = [admission.enter("caller", number) for number in range(UNSIZED_FETCHES)]
        for place in places:
            await place.before_fetch()
        with pytest.raises(CallsUnavailable, match="too many calls of unknown size for this key"):
            await admission.enter("caller", "one more").before_fetch()

    run(crowd)


def test_large_documents_take_turns_and_small_ones_do_not_wait() -> None:
    order: list[str] = []

    async def decode(place: Place, name: str, size: int) -> None:
        await place.before_decoding(size)
        await place.before_decoding(size)  # it has its turn
        order.append(f"{name} begins")
        await loop_passes()
        order.append(f"{name} ends")
        place.end_turn()
        place.end_turn()  # it has none any more

    async def take_turns() -> None:
        admission = Admission(turns=1)
        names = ("one", "two", "three")
        large = [decode(admission.enter("caller", name), name, LARGE) for name in names]
        await asyncio.gather(*large, decode(admission.enter("caller", "small"), "small", 1))

    run(take_turns)

    without_small = [step for step in order if "small" not in step]
    assert without_small == [
        *("one begins", "one ends"),
        *("two begins", "two ends"),
        *("three begins", "three ends"),
    ]
    assert order.index("small ends") < order.index("two begins")


def test_a_turn_that_does_not_come_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "WAIT_SECONDS", 0.0)

    async def wait_for_a_turn() -> None:
        admission = Admission(turns=1)
        first, second = admission.enter("caller", "one"), admission.enter("caller", "two")
        await first.before_decoding(LARGE)
        with pytest.raises(CallsUnavailable, match="too many large calls"):
            await second.before_decoding(LARGE)
        first.leave()
        await second.before_decoding(LARGE)

    run(wait_for_a_turn)


def test_all_waits_of_a_request_share_one_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "WAIT_SECONDS", 0.2)

    async def wait_twice() -> None:
        admission = Admission(turns=1)
        first, second = admission.enter("caller", "a"), admission.enter("caller", "a")
        await first.before_decoding(LARGE)
        await first.before_fetch()
        began_at = asyncio.get_running_loop().time()
        await second.before_fetch()  # waits for the size all of its time
        with pytest.raises(CallsUnavailable, match="too many large calls"):
            await second.before_decoding(LARGE)
        assert 0.15 < asyncio.get_running_loop().time() - began_at < 0.35

    run(wait_twice)
