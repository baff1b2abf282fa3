"""Admission: how many requests, and how many bytes of calls, are in flight."""

import asyncio

import pytest

from call_api.calls.publish import LARGE_BYTES as LARGE
from call_api.errors import CallsUnavailable
from call_api.web import admission as module
from call_api.web.admission import ALL_FETCHES, FETCHES, MAX_REMEMBERED, Admission, Place
from tests.support.event_loop import loop_passes


async def arrived(admission: Admission, document: object, size: int) -> None:
    """Let a document arrive and be published, so that its size is known."""
    place = admission.enter("caller", document)
    await place.before_publishing(size)
    place.leave()


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
    large = admission.enter("caller", "large")
    large.hold(LARGE)
    assert large.holds_bytes
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


async def takes_a_turn_first(admission: Admission, document: object) -> bool:
    """Tell whether a document is fetched only in its turn, by trying it while there is none."""
    for _ in range(module.TURNS):
        await admission.turns.acquire()
    place = admission.enter("caller", document)
    fetching = asyncio.create_task(place.before_fetch())
    await loop_passes(5)
    waits = not fetching.done()
    for _ in range(module.TURNS):
        admission.turns.release()
    await fetching
    place.leave()
    return waits


async def test_a_document_is_expected_to_be_as_large_as_the_last_time() -> None:
    admission = Admission()
    assert not await takes_a_turn_first(admission, "a")
    await arrived(admission, "a", LARGE)
    assert await takes_a_turn_first(admission, "a")
    assert not await takes_a_turn_first(admission, "another")
    await arrived(admission, "a", LARGE - 1)
    assert not await takes_a_turn_first(admission, "a")


async def test_what_was_made_of_a_document_does_not_change_the_size_that_is_expected() -> None:
    """Most of a document may be fields that are not published."""
    admission = Admission()
    place = admission.enter("caller", "a")
    await place.before_publishing(LARGE)
    place.end_turn()
    place.hold(1)
    place.leave()

    assert await takes_a_turn_first(admission, "a")


async def test_only_so_many_sizes_are_remembered() -> None:
    admission = Admission()
    for number in range(MAX_REMEMBERED + 1):
        await arrived(admission, number, LARGE)

    assert not await takes_a_turn_first(admission, 0)
    assert await takes_a_turn_first(admission, 1)


Fetches = tuple[list[Place], "list[asyncio.Task[None]]"]


async def started_fetches(admission: Admission, number: int = FETCHES) -> Fetches:
    """Start to fetch so many documents whose size is not known, for one caller."""
    places = [admission.enter("caller", f"unknown {n}") for n in range(number)]
    fetches = [asyncio.create_task(place.before_fetch()) for place in places]
    await loop_passes(5)
    return places, fetches


async def test_documents_of_unknown_size_are_fetched_only_so_many_at_a_time() -> None:
    admission = Admission()
    places, fetching = await started_fetches(admission, FETCHES + 2)
    assert [task.done() for task in fetching].count(True) == FETCHES
    await admission.enter("another caller", 0).before_fetch()
    await places[0].before_publishing(1)
    places[1].leave()
    await asyncio.gather(*fetching)


async def test_all_callers_together_fetch_only_so_many_documents_of_unknown_size() -> None:
    """One that is found to be large lets the next be fetched while it waits for its turn."""
    admission = Admission(turns=1)
    await admission.enter("caller", "large").before_publishing(LARGE)
    places = [admission.enter(f"caller {n}", 0) for n in range(ALL_FETCHES + 2)]
    fetching = [asyncio.create_task(place.before_fetch()) for place in places]
    await loop_passes(5)
    assert [task.done() for task in fetching].count(True) == ALL_FETCHES
    turn = asyncio.create_task(places[0].before_publishing(LARGE))
    await loop_passes(5)
    assert [task.done() for task in fetching].count(True) == ALL_FETCHES + 1
    places[1].leave()
    await asyncio.gather(*fetching)
    admission.turns.release()
    await turn


async def test_a_document_found_to_be_large_meanwhile_is_fetched_in_its_turn() -> None:
    admission = Admission(turns=1)
    places, _ = await started_fetches(admission)
    waiting = asyncio.create_task(admission.enter("caller", "unknown 0").before_fetch())
    await loop_passes(5)
    for place, size in zip(places, (LARGE, 1, 1, 1), strict=True):
        await place.before_publishing(size)  # the first has the turn from now on
    await loop_passes(5)
    assert not waiting.done()

    for n in range(ALL_FETCHES):  # it has no slot: all of them are free
        await admission.enter("caller" if n < FETCHES else "another caller", n).before_fetch()
    places[0].end_turn()
    await waiting


async def test_it_does_not_wait_for_a_slot_that_all_share() -> None:
    admission = Admission()
    places, _ = await started_fetches(admission)
    waiting = asyncio.create_task(admission.enter("caller", "unknown 0").before_fetch())
    await loop_passes(5)
    await places[0].before_publishing(LARGE)
    for n in range(ALL_FETCHES - FETCHES + 1):
        await admission.enter(f"caller {n}", 0).before_fetch()
    await waiting


async def test_it_gives_back_the_slot_that_all_share() -> None:
    admission = Admission(turns=1)
    others = [admission.enter(f"caller {n}", 0) for n in range(ALL_FETCHES)]
    for other in others:
        await other.before_fetch()
    waiting = asyncio.create_task(admission.enter("caller", "large").before_fetch())
    await loop_passes(5)
    large = admission.enter("caller", "large")
    await large.before_publishing(LARGE)
    others[0].leave()
    await loop_passes(5)
    assert not waiting.done()

    await admission.enter("another caller", 0).before_fetch()
    large.end_turn()
    await waiting


async def test_documents_known_to_be_small_are_fetched_at_once() -> None:
    admission = Admission()
    await arrived(admission, "small", LARGE - 1)
    places, _ = await started_fetches(admission)
    for _ in places:
        await admission.enter("caller", "small").before_fetch()


async def test_a_place_gives_back_no_slot_twice_and_none_that_it_does_not_have() -> None:
    admission = Admission()
    idle, fetched, first = (admission.enter("caller", name) for name in ("a", "b", "c"))
    idle.leave()
    await fetched.before_fetch()
    await fetched.before_publishing(1)
    fetched.leave()
    await first.before_fetch()
    _, fetching = await started_fetches(admission)
    assert [task.done() for task in fetching].count(True) == FETCHES - 1
    first.leave()
    await asyncio.gather(*fetching)


async def test_others_wait_behind_a_document_found_to_be_large() -> None:
    admission = Admission(turns=1)
    large = admission.enter("caller", "large")
    await large.before_publishing(LARGE)
    place = admission.enter("caller", "found to be large")
    await place.before_fetch()
    _, fetching = await started_fetches(admission)
    turn = asyncio.create_task(place.before_publishing(LARGE))
    await loop_passes(5)
    assert not fetching[-1].done()
    large.leave()
    await asyncio.gather(turn, *fetching)


async def test_large_documents_take_turns_and_small_ones_do_not_wait() -> None:
    admission = Admission(turns=1)
    order: list[str] = []

    async def publish(name: str, size: int) -> None:
        place = admission.enter("caller", name)
        await place.before_publishing(size)
        await place.before_publishing(size)  # it has its turn
        order.append(f"{name} begins")
        await loop_passes(5)
        order.append(f"{name} ends")
        place.end_turn()
        place.end_turn()  # it has none any more

    large = [publish(name, LARGE) for name in ("one", "two", "three")]
    await asyncio.gather(*large, publish("small", 1))

    without_small = [step for step in order if "small" not in step]
    assert without_small == [
        *("one begins", "one ends"),
        *("two begins", "two ends"),
        *("three begins", "three ends"),
    ]
    assert order.index("small ends") < order.index("two begins")


async def test_all_waits_of_a_request_share_one_budget() -> None:
    admission = Admission(turns=1)
    await admission.enter("caller", "large").before_publishing(LARGE)
    places, (*_, last) = await started_fetches(admission, FETCHES + 1)
    asyncio.get_running_loop().call_later(0.01, places[0].leave)
    await last
    assert places[-1].waited_seconds > 0.005
    places[-1].waited_seconds = module.WAIT_SECONDS  # as if all of it were used
    turn = asyncio.create_task(places[-1].before_publishing(LARGE))
    await loop_passes(5)
    assert turn.done()  # at once, not after as long again
    with pytest.raises(CallsUnavailable, match="too many large calls"):
        await turn


async def test_a_refusal_says_what_was_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "WAIT_SECONDS", 0.0)
    admission = Admission(turns=1)

    async def refused(caller: str, call: str, what: str) -> None:
        with pytest.raises(CallsUnavailable, match=f"over capacity: too many {what}$"):
            await admission.enter(caller, call).before_fetch()

    await arrived(admission, "large", LARGE)
    await admission.enter("caller", "another").before_publishing(LARGE)
    await refused("caller", "large", "large calls")
    places, _ = await started_fetches(admission)
    await refused("caller", "one more", "calls of unknown size for this key")
    for number in range(ALL_FETCHES - len(places)):
        await admission.enter(f"caller {number}", "unknown").before_fetch()
    await refused("one more caller", "unknown", "calls of unknown size")
