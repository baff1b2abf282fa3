import assert from "node:assert/strict";
import { test } from "node:test";

import { startOf, Turns } from "../../../site/turns.js";

const turnsAt = (...starts) =>
  new Turns(starts.map((start, i) => ({ role: i % 2 ? "user" : "assistant", content: `Turn ${i}`, start })));
const heard = (turns, seconds, chosen) => turns.at(seconds, chosen)?.index ?? null;

test("a timestamp is seconds as decimal text, or not known", () => {
  for (const [timestamp, start] of [
    ["0.0", 0],
    ["83.25", 83.25],
    ["999999.9", 999999.9],
    ["0000012.5", 12.5],
    ["0".repeat(4_000), 0],
    ["0001000000", null],
    [null, null],
    [undefined, null],
    ["", null],
    ["00:01:05", null],
    ["3.2s", null],
    ["-1", null],
    ["1e3", null],
    ["2026-03-03T10:00:01Z", null],
    ["1772532001", null], // an epoch
    ["NaN", null],
  ]) {
    assert.equal(startOf(timestamp), start, timestamp);
  }
});

test("turns stand in stored order and in order of time", () => {
  const turns = turnsAt(0, null, 20, 10, 10, null);
  assert.deepEqual(turns.all.map(({ index }) => index), [0, 1, 2, 3, 4, 5]);
  assert.deepEqual(turns.timed.map(({ index }) => index), [0, 3, 4, 2]);
  assert.equal(turns.last, 20);
});

test("the turn that is heard has started, and no later one", () => {
  const turns = turnsAt(1, 20, 10, null);
  for (const [seconds, index] of [
    [0, null],
    [0.98, null],
    [0.991, 0], // by the tolerance
    [9.98, 0],
    [10, 2],
    [19.995, 1],
    [99, 1],
  ]) {
    assert.equal(heard(turns, seconds), index, `at ${seconds}`);
  }
  assert.equal(heard(turnsAt(null), 5), null);
});

test("each start is heard as its own turn, though others start within the tolerance", () => {
  const turns = turnsAt(5, 5.005, 5.009, 9);
  assert.deepEqual([5, 5.005, 5.009, 5.5, 9].map((seconds) => heard(turns, seconds)), [0, 1, 2, 2, 3]);
});

test("the chosen one of turns that start together stays until a later one starts", () => {
  const turns = turnsAt(3, 10, 10, 10, 20);
  assert.equal(heard(turns, 10), 1);
  const chosen = turns.all[2];
  for (const [seconds, index] of [
    [9.95, 2], // the audio starts a little early
    [10, 2],
    [15, 2],
    [20, 4],
    [5, 0],
  ]) {
    assert.equal(heard(turns, seconds, chosen), index, `at ${seconds}`);
  }
});

test("a chosen turn is heard at the end of a recording that ends before it", () => {
  const turns = turnsAt(0, 20, 500, 600);
  const chosen = turns.all[2];
  for (const [seconds, index] of [
    [99, 2],
    [98.95, 2], // the audio ends a little early
    [98, 1],
    [0, 0],
  ]) {
    assert.equal(turns.at(seconds, chosen, 99)?.index, index, `at ${seconds}`);
  }
  assert.equal(turns.at(99, null, 99).index, 1);
});

test("each turn is one step, also of those that start together", () => {
  const turns = turnsAt(0, null, 20, 10, 10);
  const walk = (from, places) => turns.after(from === null ? null : turns.all[from], places)?.index ?? null;
  assert.deepEqual([walk(null, 1), walk(0, 1), walk(3, 1), walk(4, 1), walk(2, 1)], [0, 3, 4, 2, null]);
  assert.deepEqual([walk(2, -1), walk(4, -1), walk(3, -1), walk(0, -1)], [4, 3, 0, 0]);
});

test("a turn ends where a later one starts, or when its text must be said", () => {
  const spans = (turns, length) => Object.fromEntries(turns.spans(length).map(({ index, end }) => [index, end]));
  assert.deepEqual(spans(turnsAt(0, 1, 1, 1.5), 1.75), { 0: 1, 1: 1.5, 2: 1.5, 3: 1.75 });
  assert.deepEqual(spans(turnsAt(0, 100), 0), { 0: 1.75, 1: 100 });
  assert.deepEqual(spans(turnsAt(), 5), {});
});

test("thousands of turns that start together cost no more", () => {
  const turns = turnsAt(...Array(20_000).fill(7));
  assert.equal(turns.spans(9).length, 20_000);
  assert.equal(heard(turns, 7), 0);
});
