// When each turn starts and ends, and which one is heard at a moment. A call stores starts alone.

const TOLERANCE = 0.01; // seconds: no two programs write the same moment alike
export const INEXACT_SEEK = 0.1; // seconds: some decoders start a little before what is asked for
const SLOWEST_SPEECH = 8; // characters a second
const SHORTEST_TURN = 1; // second
const SECONDS = /^0*\d{1,6}(\.\d+)?$/; // as the API takes them

/** The seconds of a turn's timestamp; null where it is not known, or no such number. */
export function startOf(timestamp) {
  return SECONDS.test(timestamp ?? "") ? Number(timestamp) : null;
}

/** Turns `{role, content, start}` in two orders: `all` as stored, `timed` by those starts that are known. */
export class Turns {
  constructor(turns) {
    this.all = turns.map((turn, index) => ({ ...turn, index }));
    this.timed = this.all
      .filter(({ start }) => start !== null)
      .sort((one, other) => one.start - other.start); // as stored where they start together
  }

  /** When the last turn starts. */
  get last() {
    return this.timed.at(-1)?.start ?? 0;
  }

  /**
   * The turn that is heard at a moment, or null before the first one. Of turns that start together it is
   * the first one, or `chosen`, which stays until another one starts. A recording of this `length` may end
   * before the chosen one: that is heard at its end.
   */
  at(seconds, chosen = null, length = Infinity) {
    const heard = this.#startingAt(seconds) ?? this.timed.findLast(({ start }) => start < seconds);
    const from = chosen && Math.min(chosen.start, length);
    const stays = chosen && from - seconds <= INEXACT_SEEK && !(heard?.start > chosen.start + TOLERANCE);
    return stays ? chosen : (this.timed.find(({ start }) => start === heard?.start) ?? null);
  }

  /** The turn that many places after a turn, in order of time; the first one after none. */
  after(turn, places) {
    const target = turn ? this.timed.indexOf(turn) + places : 0;
    return this.timed[Math.max(target, 0)] ?? null;
  }

  /** The turns with an `end`: where a later one starts, or before, where a text leaves a silence. */
  spans(length) {
    let next = Math.max(length, this.last);
    let later = next;
    const backwards = this.timed.toReversed().map((turn) => {
      if (turn.start < next) {
        [later, next] = [next, turn.start];
      }
      const longest = turn.start + SHORTEST_TURN + turn.content.length / SLOWEST_SPEECH;
      return { ...turn, end: Math.min(later, longest) };
    });
    return backwards.reverse();
  }

  #startingAt(seconds) {
    const distance = ({ start }) => Math.abs(start - seconds);
    return this.timed
      .filter((turn) => distance(turn) <= TOLERANCE)
      .sort((one, other) => distance(one) - distance(other))[0];
  }
}
