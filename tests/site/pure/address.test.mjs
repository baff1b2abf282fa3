import assert from "node:assert/strict";
import { test } from "node:test";

import { addressOf, readAddress, readCall, readKey } from "../../../site/address.js";

test("a moment is written and read to the millisecond", () => {
  for (const [seconds, address] of [
    [83.25, "/?call=77#t=83.25"],
    [6.1, "/?call=77#t=6.1"],
    [0.867, "/?call=77#t=0.867"],
    [83.2504999, "/?call=77#t=83.25"],
    [0, "/?call=77"],
  ]) {
    assert.equal(addressOf("77", seconds), address);
    const { id, seconds: again } = readAddress(new URL(address, "https://calls.example"));
    assert.equal(id, "77");
    assert.ok(Math.abs((again ?? 0) - seconds) < 0.001);
  }
});

test("an address without a call or a moment names none", () => {
  const of = (address) => Object.values(readAddress(new URL(address, "https://calls.example")));
  assert.deepEqual(of("/"), [null, null]);
  assert.deepEqual(of("/?call=077#t=5"), [null, 5]);
  for (const moment of ["-1", "x", "1e9", "1:30", "99999999"]) {
    assert.deepEqual(of(`/?call=77#t=${moment}`), ["77", null]);
  }
});

test("a call is taken as an ID, with a hash, or from a link", () => {
  for (const [typed, id, seconds] of [
    ["89", "89", null],
    [" #88 ", "88", null],
    ["9223372036854775807", "9223372036854775807", null],
    ["https://calls.example/?call=89", "89", null],
    ["https://calls.example/?call=89#t=83.25", "89", 83.25],
    ["https://calls.example/?x=1", null, null],
    ["077", null, null],
    ["0", null, null],
    ["7/7", null, null],
    ["../77", null, null],
    ["77?x=1", null, null],
    ["९९", null, null],
    ["javascript:77", null, null],
    ["Ha35OTifyBHbrYRae12HHDD5aCcNNJ9o", null, null], // a key
  ]) {
    assert.deepEqual(readCall(typed), { id, seconds }, typed);
  }
});

test("a key is taken with its scheme and without", () => {
  for (const [typed, key] of [
    ["k3y", "k3y"],
    ["  k3y\n", "k3y"],
    ["Bearer k3y", "k3y"],
    ["bearer  k3y", "k3y"],
    ["", null],
    ["two words", null],
    ["clé", null],
    ["x".repeat(513), null],
  ]) {
    assert.equal(readKey(typed), key, typed);
  }
});
