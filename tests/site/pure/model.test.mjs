import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";

import { modelOf } from "../../../site/model.js";

const read = (path) => JSON.parse(readFileSync(new URL(path, import.meta.url), "utf-8"));
const SAMPLE = read("../../../local/samples/calls/77.json");
const CASES = read("../../cases/expected.json");
const with_ = (changes) => modelOf("77", { ...SAMPLE, ...changes });

test("the cases are calls", () => {
  for (const [name, kinds] of Object.entries(CASES)) {
    const { call } = kinds.honest;
    const model = modelOf("7", call);
    assert.equal(model.turns.all.length, call.transcript.length, name);
  }
});

test("what is not a call is none", () => {
  for (const [what, answer] of Object.entries({
    nothing: null,
    "an empty object": {},
    "a list": [],
    "an unknown status": { ...SAMPLE, status: "x" },
    "no type": { ...SAMPLE, type: null },
    "a number for a time": { ...SAMPLE, updated_at: 5 },
    "no such time": { ...SAMPLE, started_at: "2026-99-99T00:00:00Z" },
    "text for a number": { ...SAMPLE, latency_ms: "5" },
    "a text for turns": { ...SAMPLE, transcript: "x" },
    "a turn without text": { ...SAMPLE, transcript: [{ role: "user", content: null, timestamp: null }] },
    "an unknown speaker": { ...SAMPLE, transcript: [{ role: "tool", content: "x", timestamp: null }] },
    "a link that is code": { ...SAMPLE, recording_url: "javascript:1" },
    "a number for a topic": { ...SAMPLE, analysis: { summary: { key_topics: [5] } } },
  })) {
    assert.throws(() => modelOf("77", answer), TypeError, what);
  }
});

test("a list that is null is empty", () => {
  const { turns, summary, tags, gaps } = with_({ transcript: null, analysis: { summary: { overview: "x" } } });
  assert.deepEqual([turns.all, summary.topics, summary.actions, tags, gaps], [[], [], [], [], []]);
  assert.equal(summary.overview, "x");
});

test("the length is a hint that reaches the last turn", () => {
  const turn = { role: "user", content: "x", timestamp: "40.0" };
  const hint = (recording_duration, duration_seconds, transcript) =>
    with_({ recording_duration, duration_seconds, transcript }).lengthHint;
  assert.equal(hint(99, 98, []), 99);
  assert.equal(hint(null, 98, []), 98);
  assert.equal(hint(0, 98, [turn]), 40);
  assert.equal(hint(null, null, []), 0);
});

test("a time that is not seconds is not known", () => {
  const turn = { role: "user", content: "x", timestamp: "3.2s" };
  assert.equal(with_({ transcript: [turn] }).turns.all[0].start, null);
});

test("whoever was called is no caller", () => {
  const name = (type) => with_({ type }).speakers.user;
  assert.deepEqual(["web", "inbound", "outbound"].map(name), ["Caller", "Caller", "Customer"]);
});

test("models are known by their provider and their name", () => {
  assert.deepEqual(with_({}).models, {
    llm: ["groq", "llama-3.3-70b-versatile"],
    transcriber: ["deepgram", "nova-3"],
    voice: ["cartesia", "sonic-3"],
    voiceId: "be79f378-47fe-...",
  });
  const { llm, voice, voiceId } = with_({ model: { provider: "groq" }, voice: null }).models;
  assert.deepEqual([llm, voice, voiceId], [["groq", null], [null, null], null]);
});

test("parts of the cost that are not known are left out, those that are zero are not", () => {
  const breakdown = { stt: 0, llm: null, tts: -0.1 };
  const { cost } = with_({ cost: { total_usd: 0.1, breakdown } });
  assert.deepEqual(cost.parts.map(({ name }) => name), ["stt", "tts"]);
  assert.equal(cost.inr, null);
});
