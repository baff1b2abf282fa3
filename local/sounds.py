"""The recordings of the sample calls: tones where somebody speaks, higher for the agent.

A recording is made of the times of the call's turns, so that what is heard can be compared with the
transcript: a burst a syllable, from the start of each turn until its text is said.
"""

import math
import wave
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

RATE = 8_000  # samples a second, of 8 bits
SILENCE = b"\x80"
SYLLABLE_SECONDS = 0.16
CHARACTERS_A_SYLLABLE = 2.5
PITCHES = {"assistant": (330, 370, 311, 349), "user": (196, 220, 185, 208)}  # Hz, a syllable each


def write_recording(call: Mapping[str, Any], file: Path) -> None:
    """Write the recording of a stored call as a WAV file."""
    turns: Sequence[Mapping[str, Any]] = call["transcript"]
    length = round(call["recording_duration"] * RATE)
    starts = [round(float(turn["timestamp"]) * RATE) for turn in turns]
    melodies = {role: [_syllable(pitch) for pitch in PITCHES[role]] for role in PITCHES}
    with wave.open(str(file), "wb") as recording:
        recording.setnchannels(1)
        recording.setsampwidth(1)
        recording.setframerate(RATE)
        for turn, start, end in zip(turns, starts, [*starts[1:], length], strict=True):
            if turn is turns[0]:
                recording.writeframes(SILENCE * start)
            syllables = math.ceil(len(turn["content"]) / CHARACTERS_A_SYLLABLE)
            melody = melodies[turn["role"]]
            said = b"".join(melody[i % len(melody)] for i in range(syllables))
            recording.writeframes(said[: end - start].ljust(end - start, SILENCE))


def _syllable(pitch: int) -> bytes:
    """Return a burst of a tone that swells and fades."""
    length = round(SYLLABLE_SECONDS * RATE)
    return bytes(
        128 + round(70 * math.sin(math.pi * i / length) * math.sin(2 * math.pi * pitch * i / RATE))
        for i in range(length)
    )
