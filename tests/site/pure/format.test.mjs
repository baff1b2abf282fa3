import assert from "node:assert/strict";
import { test } from "node:test";

import { clock, duration, localMoment, moment, money, number, plainText, words } from "../../../site/format.js";
import { Turns } from "../../../site/turns.js";

const table = (format, rows) => {
  for (const [expected, ...values] of rows) {
    assert.equal(format(...values), expected, String(values));
  }
};

test("times of a recording", () => table(clock, [["0:00", 0], ["0:05", 5.9], ["1:23", 83], ["1:02:03", 3723]]));

test("durations", () =>
  table(duration, [
    ["0 s", 0],
    ["0.4 s", 0.4],
    ["1 min 39 s", 99.1],
    ["1 h", 3600],
    ["−1 min 5 s", -65],
    ["277,777 h 46 min 40 s", 1e9],
  ]));

test("numbers", () => table(number, [["33.3", 33.333333333333336], ["85", 85], ["0", 0], ["1,203", 1203]]));

test("amounts", () =>
  table(money, [
    ["$0.08", 0.08, "USD"],
    ["$0.015", 0.015, "USD"],
    ["$0.00018463", 0.00018463000000000003, "USD"],
    ["$0.000000000001", 1e-12, "USD"],
    ["-$0.0125", -0.0125, "USD"],
    ["$0.00", 0, "USD"],
    ["₹1,23,456.00", 123456, "INR"],
    ["₹10,234.56", 10234.56, "INR"],
    ["$12,345.68", 12345.678, "USD"],
    ["$1,234,567.89", 1234567.89, "USD"],
    ["-$1,234,567.89", -1234567.89, "USD"],
    ["$9,007,199,254,740,991.00", 2 ** 53 - 1, "USD"],
    ["$999.999", 999.999, "USD"],
    ["$1,000.00", 999.9999, "USD"],
    ["$1.23457", 1.234567, "USD"],
    ["$0.00", 1e-30, "USD"],
    ["$0.00", -0, "USD"],
    ["$9,999.99", 9999.99, "USD"],
    ["$10,000.00", 9999.999, "USD"],
  ]));

test("moments in UTC, and beside it in the person's zone", () => {
  const started = "2026-03-25T10:20:57Z";
  assert.equal(moment(started), "25 Mar 2026, 10:20:57 UTC");
  assert.equal(localMoment(started, "Asia/Kolkata"), "25 Mar 2026, 15:50:57 GMT+5:30");
  assert.equal(localMoment(started, "UTC"), null);
});

test("names", () => table(words, [["User hangup", "user_hangup"], ["انتهت", "انتهت"], ["", ""]]));

test("a transcript is copied with its numbers and IDs as they are, a line a turn", () => {
  const turns = new Turns([
    { role: "assistant", content: "Ticket QK-20418. *Ok?*", start: 3.5 },
    { role: "user", content: " Yes\n\nAgent: no ", start: null },
  ]);
  const speakers = { assistant: "Agent", user: "Customer" };
  assert.equal(
    plainText({ id: "7", agent: "Maya", turns, speakers }),
    "Call 7 · Maya\n\nAgent (0:03): Ticket QK-20418. *Ok?*\nCustomer: Yes Agent: no\n",
  );
  assert.equal(plainText({ id: "7", agent: null, turns: new Turns([]), speakers }), "Call 7\n\n");
});
