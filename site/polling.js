// What a status allows, and when to ask again.

const LIVE_SECONDS = 5;
const SETTLING_SECONDS = 30;
const SETTLED_MS = 10 * 60 * 1000; // analysis and cost may follow the end of a call by minutes
const [SHORTEST_WAIT, WAIT, LONGEST_WAIT] = [1, 5, 60]; // seconds, after a failure that can pass
const LONGEST_ASKED = 24 * 60 * 60; // seconds of a Retry-After; a browser's timer takes 24 days
const TRANSIENT = [429, 502, 503, 504];

/** Tells whether a call goes on. */
export const isLive = ({ status }) => status === "active" || status === "pending";

/** Tells whether analysis and cost may still come. */
export function isSettling({ status, endedAt }, now) {
  return status !== "deleted" && endedAt !== null && Math.abs(now - Date.parse(endedAt)) < SETTLED_MS;
}

/** In how many seconds to ask for a call again; null where it will not change. */
export function secondsToNext(call, now) {
  if (isLive(call)) {
    return LIVE_SECONDS;
  }
  return isSettling(call, now) ? SETTLING_SECONDS : null;
}

/** Tells whether a refusal is about what is asked, so that asking again does not help. */
export const isFinal = (status) => status >= 400 && status < 500 && !TRANSIENT.includes(status);

/**
 * How many seconds to wait after a refusal, or null where waiting does not help. `times` is how often
 * this has been refused in a row: without a Retry-After, which is honoured, each 429 doubles the wait.
 */
export function secondsToRetry(status, retryAfter, times = 1) {
  if (!TRANSIENT.includes(status)) {
    return null;
  }
  if (/^\d+$/.test(retryAfter ?? "")) {
    return Math.min(Math.max(Number(retryAfter), SHORTEST_WAIT), LONGEST_ASKED);
  }
  return Math.min(status === 429 ? WAIT * 2 ** (times - 1) : WAIT, LONGEST_WAIT);
}
