"""Admission: how many requests, and how many bytes of calls, are in flight."""

import asyncio

import pytest

from call_api import admission as module
from call_api.admission import LARGE_BYTES, MAX_REMEMBERED, Admission, Place
from call_api.errors import CallsUnavailable

LARGE = LARGE_BYTES


def test_as_many_requests_enter_as_there_are_places() -> None:
    admission = Admission(max_requests=2)
    first, _ = admission.enter("a"), admission.enter("b")
    with pytest.raises(CallsUnavailable, match="too many requests"):
        admission.enter("c")

    admission.leave(first)
    admission.enter("c")


def test_small_documents_are_never_refused_for_their_bytes() -> None:
    admission = Admission(max_bytes=LARGE)
    admission.resize(admission.enter("large"), LARGE)
    for number in range(50):
        place = admission.enter(number)
        admission.resize(place, LARGE - 1)
        assert not place.is_large


def test_large_documents_are_refused_when_their_bytes_are_too_many() -> None:
    admission = Admission(max_bytes=3 * LARGE)
    first, second = admission.enter("a"), admission.enter("b")
    admission.resize(first, 2 * LARGE)
    with pytest.raises(CallsUnavailable, match="too many bytes"):
        admission.resize(second, 2 * LARGE)

    admission.leave(first)
    admission.resize(second, 2 * LARGE)
    assert second.is_large


def test_a_place_holds_the_size_that_it_was_given_last() -> None:
    admission = Admission(max_bytes=3 * LARGE)
    place = admission.enter("a")
    for size in (3 * LARGE, LARGE, 3 * LARGE, 0):
        admission.resize(place, size)

    admission.resize(admission.enter("b"), 3 * LARGE)


def expects_large(admission: Admission, subject: str) -> bool:
    """Tell whether a request would take a turn before its document is fetched."""

    async def fetch() -> bool:
        place = admission.enter(subject)
        await admission.before_fetch(place)
        had_turn = place.has_turn
        admission.leave(place)
        return had_turn

    return asyncio.run(fetch())


def test_a_document_is_expected_to_be_as_large_as_the_last_time() -> None:
    admission = Admission()
    assert not expects_large(admission, "a")
    large_place(admission, "a")

    assert expects_large(admission, "a")
    assert not expects_large(admission, "another")


def test_a_document_that_has_become_small_is_expected_to_be_small() -> None:
    admission = Admission()
    place = large_place(admission, "a")
    admission.resize(place, 1)

    assert not expects_large(admission, "a")


def test_only_so_many_sizes_are_remembered() -> None:
    admission = Admission()
    for number in range(MAX_REMEMBERED + 1):
        admission.leave(large_place(admission, str(number)))

    assert not expects_large(admission, "0")
    assert expects_large(admission, "1")


async def turns_of(loop_passes: int = 5) -> None:
    for _ in range(loop_passes):
        await asyncio.sleep(0)


def test_a_crowd_waits_for_the_size_that_the_first_of_it_finds() -> None:
    async def crowd() -> None:
        admission = Admission(turns=1)
        first, *others = (admission.enter("a") for _ in range(4))
        other_subject = admission.enter("b")
        await admission.before_fetch(first)
        waiting = [asyncio.create_task(admission.before_fetch(place)) for place in others]
        await admission.before_fetch(other_subject)
        await turns_of()
        assert not any(task.done() for task in waiting)

        admission.resize(first, LARGE)
        await turns_of()
        assert [place.has_turn for place in others] == [True, False, False]
        for place, task in zip(others, waiting, strict=True):
            await task
            admission.leave(place)

    asyncio.run(crowd())


@pytest.mark.parametrize("size", [1, None])
def test_a_crowd_for_a_small_or_missing_document_goes_on(size: int | None) -> None:
    async def crowd() -> None:
        admission = Admission(turns=1)
        first, *others = (admission.enter("a") for _ in range(4))
        await admission.before_fetch(first)
        waiting = [asyncio.create_task(admission.before_fetch(place)) for place in others]
        await turns_of()
        if size is not None:
            admission.resize(first, size)
        admission.leave(first)
        await asyncio.gather(*waiting)
        assert not any(place.has_turn for place in others)

    asyncio.run(crowd())


def large_place(admission: Admission, subject: str) -> Place:
    place = admission.enter(subject)
    admission.resize(place, LARGE)
    return place


def test_large_documents_take_turns_and_small_ones_do_not_wait() -> None:
    async def take_turns() -> list[str]:
        admission, order = Admission(turns=1), list[str]()

        async def turn(place: Place, name: str) -> None:
            await admission.take_turn(place)
            await admission.take_turn(place)  # which it has
            order.append(f"{name} begins")
            for _ in range(3):
                await asyncio.sleep(0)
            order.append(f"{name} ends")
            admission.end_turn(place)
            admission.end_turn(place)  # which it has not any more

        large = [turn(large_place(admission, name), name) for name in ("one", "two")]
        await asyncio.gather(*large, turn(admission.enter("small"), "small"))
        return order

    order = asyncio.run(take_turns())

    without_small = [step for step in order if "small" not in step]
    assert without_small == ["one begins", "one ends", "two begins", "two ends"]
    assert order.index("small ends") < order.index("two begins")


def test_a_turn_that_does_not_come_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "WAIT_SECONDS", 0.0)

    async def wait_for_a_turn() -> None:
        admission = Admission(turns=1)
        first, second = large_place(admission, "one"), large_place(admission, "two")
        await admission.take_turn(first)
        with pytest.raises(CallsUnavailable, match="too many large calls"):
            await admission.take_turn(second)
        admission.leave(first)
        await admission.take_turn(second)
        assert second.has_turn

    asyncio.run(wait_for_a_turn())
