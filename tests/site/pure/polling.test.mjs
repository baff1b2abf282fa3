import assert from "node:assert/strict";
import { test } from "node:test";

import { isFinal, secondsToNext, secondsToRetry } from "../../../site/polling.js";

const NOW = Date.parse("2026-03-25T12:00:00Z");

test("a call is asked for again while it is live, and for ten minutes after its end", () => {
  for (const [status, endedAt, seconds] of [
    ["active", null, 5],
    ["pending", null, 5],
    ["ended", "2026-03-25T11:59:59Z", 30],
    ["ended", "2026-03-25T11:50:01Z", 30],
    ["ended", "2026-03-25T11:50:00Z", null],
    ["ended", "2026-03-26T12:00:00Z", null], // by a clock that is a day late
    ["ended", null, null],
    ["error", "2026-03-25T11:59:00Z", 30],
    ["error", "2026-03-25T11:50:00Z", null],
    ["deleted", "2026-03-25T11:59:00Z", null],
  ]) {
    assert.equal(secondsToNext({ status, endedAt }, NOW), seconds, `${status} ${endedAt}`);
  }
});

test("a refusal that can pass is waited for: as long as it asks, or up to 60 s", () => {
  for (const [status, retryAfter, times, seconds] of [
    [503, "2", 1, 2],
    [503, null, 9, 5],
    [504, "0", 1, 1],
    [503, "1e-9", 1, 5],
    [503, "-3", 1, 5],
    [503, "120", 1, 120],
    [503, "3000000", 1, 86_400],
    [503, "9".repeat(400), 1, 86_400],
    [503, "Wed, 21 Oct 2026 07:28:00 GMT", 1, 5],
    [502, null, 1, 5],
    [429, null, 1, 5],
    [429, null, 3, 20],
    [429, null, 2_000, 60],
    [429, "7", 3, 7],
    [401, "7", 1, null],
    [500, null, 1, null],
  ]) {
    assert.equal(secondsToRetry(status, retryAfter, times), seconds, `${status} ${retryAfter} ${times}`);
  }
});

test("a refusal of what is asked is final, an error of the API is not", () => {
  const [final, passing] = [[400, 401, 403, 404, 405], [429, 500, 501, 502, 503, 504]];
  assert.deepEqual([...passing, ...final].filter(isFinal), final);
});
