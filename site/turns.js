// When each turn starts and ends. A call stores starts alone.

const SLOWEST_SPEECH = 8; // characters a second
const SHORTEST_TURN = 1; // second

/** Returns a transcript's turns as `{index, role, content, start}`; a start that is not known is null. */
export function turnsOf(transcript) {
  return transcript.map(({ role, content, timestamp }, index) => {
    const start = Number.parseFloat(timestamp);
    return { index, role, content, start: start >= 0 && start < Infinity ? start : null };
  });
}

/** Returns the turns whose start is known: the earliest first, as stored where they start together. */
export function inTime(turns) {
  return turns.filter(({ start }) => start !== null).sort((one, other) => one.start - other.start);
}

/** Adds the `end` of each turn: where a later one starts, or before, where its text leaves a silence. */
export function withEnds(timed, length) {
  return timed.map((turn) => {
    const { content, start } = turn;
    const longest = start + SHORTEST_TURN + content.length / SLOWEST_SPEECH;
    const next = timed[turnAt(timed, start) + 1]?.start ?? Math.max(length, start);
    return { ...turn, end: Math.min(next, longest) };
  });
}

/** Returns where among turns in order of time the last one is that has started by then, or -1. */
export function turnAt(timed, seconds) {
  let [low, high] = [0, timed.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (timed[middle].start <= seconds) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return low - 1;
}

export const SPEAKERS = { assistant: "Agent", user: "Caller" };
