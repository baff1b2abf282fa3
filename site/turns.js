// When each turn starts and ends. A call stores starts alone.

const SLOWEST_SPEECH = 8; // characters a second
const SHORTEST_TURN = 1; // second

/** Returns the transcript's turns as `{role, content, start, end}`, in seconds. */
export function timed(transcript, length) {
  let latest = 0;
  const starts = transcript.map(({ timestamp }) => {
    const start = Number(timestamp);
    return (latest = start >= 0 && start < Infinity ? start : latest);
  });
  // A turn ends where the next one starts, or before, where its text leaves a silence.
  return transcript.map(({ role, content }, i) => {
    const start = starts[i];
    const longest = start + SHORTEST_TURN + content.length / SLOWEST_SPEECH;
    const next = starts[i + 1] ?? Math.max(length, start);
    return { role, content, start, end: Math.max(start, Math.min(next, longest)) };
  });
}

/** Returns the index of the last turn that has started by then, or -1. */
export function turnAt(turns, seconds) {
  let [low, high] = [0, turns.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (turns[middle].start <= seconds) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return low - 1;
}

export const SPEAKERS = { assistant: "Agent", user: "Caller" };
