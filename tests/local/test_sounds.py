"""The sample recordings: something is heard when somebody speaks, and who it is can be heard."""

import itertools
import wave
from pathlib import Path

import pytest

from local.seed import sample_calls
from local.sounds import RATE, write_recording

RECORDED = {
    call_id: call
    for call_id, call in sample_calls().items()
    if call.get("recording_object") and call["recording_duration"]
}


def samples(call_id: int, folder: Path) -> bytes:
    file = folder / "call.wav"
    write_recording(RECORDED[call_id], file)
    with wave.open(str(file)) as recording:
        assert (recording.getframerate(), recording.getnchannels()) == (RATE, 1)
        sound: bytes = recording.readframes(recording.getnframes())
    return sound


def pitch(sound: bytes) -> float:
    """Return the frequency of a tone, by how often it rises through silence."""
    rises = sum(before < 128 <= after for before, after in itertools.pairwise(sound))
    return rises * RATE / len(sound)


@pytest.mark.parametrize("call_id", RECORDED)
def test_a_recording_is_as_long_as_its_call_says(call_id: int, tmp_path: Path) -> None:
    assert len(samples(call_id, tmp_path)) == RATE * RECORDED[call_id]["recording_duration"]


@pytest.mark.parametrize("call_id", RECORDED)
def test_every_turn_is_heard_and_the_agent_is_higher(call_id: int, tmp_path: Path) -> None:
    sound = samples(call_id, tmp_path)
    for turn in RECORDED[call_id]["transcript"]:
        start = round(float(turn["timestamp"]) * RATE)
        heard = pitch(sound[start : start + RATE // 8])
        low, high = {"assistant": (290, 400), "user": (160, 240)}[turn["role"]]
        assert low < heard < high


def test_between_turns_there_is_silence(tmp_path: Path) -> None:
    sound = samples(77, tmp_path)
    assert set(sound[20 * RATE :]) == {128}
