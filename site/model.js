// The call as the page shows it, made once of an answer. Throws where the answer is no call, so that
// nothing of it is shown; null is what is not known.

import { startOf, Turns } from "./turns.js";

const STATUSES = ["active", "pending", "ended", "error", "deleted"];
const PARTS = ["platform_fee", "stt", "tts", "llm", "telephony"];
const LINK = /^https?:\/\//;

/** What the other speaker is called: not everybody who is on the phone has called. */
const speakersOf = (type) => ({ assistant: "Agent", user: type === "outbound" ? "Customer" : "Caller" });

export function modelOf(id, answer) {
  const call = known(object, answer, "call");
  const type = known(text, call.type, "type");
  const speakers = speakersOf(type);
  const analysis = object(call.analysis, "analysis") ?? {};
  const turns = new Turns(list(call.transcript, "transcript").map((turn) => turnOf(turn, speakers)));
  const duration = number(call.duration_seconds, "duration_seconds");
  const recorded = number(call.recording_duration, "recording_duration");
  return {
    id,
    type,
    speakers,
    status: oneOf(STATUSES, call.status, "status"),
    agent: text(call.agent_name, "agent_name"),
    agentId: text(call.agent_id, "agent_id"),
    startedAt: time(call.started_at, "started_at"),
    endedAt: time(call.ended_at, "ended_at"),
    endedReason: text(call.ended_reason, "ended_reason"),
    createdAt: time(call.created_at, "created_at"),
    updatedAt: time(call.updated_at, "updated_at"),
    duration,
    direction: text(call.call_direction, "call_direction"),
    agentPhone: text(call.phone_number, "phone_number"),
    otherPhone: text(call.caller_phone, "caller_phone"),
    turns,
    recording: link(call.recording_url, "recording_url"),
    /** How long the recording may be, until the audio says it. */
    lengthHint: Math.max(recorded ?? duration ?? 0, turns.last),
    cost: costOf(object(call.cost, "cost")),
    models: aiModelsOf(call),
    latency: number(call.latency_ms, "latency_ms"),
    interruptions: number(call.interruptions, "interruptions"),
    summary: summaryOf(object(analysis.summary, "analysis.summary")),
    sentiment: text(analysis.sentiment, "analysis.sentiment"),
    ...scoreOf(object(analysis.score, "analysis.score")),
    tags: texts(analysis.tags, "analysis.tags"),
    gaps: texts(analysis.knowledge_gaps, "analysis.knowledge_gaps"),
    isAnalysed: call.analysis != null,
  };
}

function turnOf(turn, speakers) {
  const { role, content, timestamp } = known(object, turn, "transcript[]");
  return {
    role: oneOf(Object.keys(speakers), role, "transcript[].role"),
    content: known(text, content, "transcript[].content"),
    start: startOf(timestamp),
  };
}

function costOf(cost) {
  if (!cost) {
    return null;
  }
  const breakdown = object(cost.breakdown, "cost.breakdown") ?? {};
  const parts = PARTS.map((name) => ({ name, amount: number(breakdown[name], `cost.breakdown.${name}`) }));
  return {
    usd: number(cost.total_usd, "cost.total_usd"),
    inr: number(cost.total_inr, "cost.total_inr"),
    parts: parts.filter(({ amount }) => amount !== null),
  };
}

/** Of each model the names of its provider and of itself. */
function aiModelsOf(call) {
  const names = (field, ...keys) => {
    const found = object(call[field], field) ?? {};
    return keys.map((key) => text(found[key], `${field}.${key}`));
  };
  const [voiceId] = names("voice", "voice_id");
  return {
    llm: names("model", "provider", "model_id"),
    transcriber: names("transcriber", "provider", "model"),
    voice: names("voice", "provider", "model"),
    voiceId,
  };
}

function summaryOf(summary) {
  return {
    overview: text(summary?.overview, "analysis.summary.overview"),
    topics: texts(summary?.key_topics, "analysis.summary.key_topics"),
    actions: texts(summary?.action_items, "analysis.summary.action_items"),
    outcome: text(summary?.outcome, "analysis.summary.outcome"),
  };
}

function scoreOf(score) {
  return {
    score: number(score?.score, "analysis.score.score"),
    reasoning: text(score?.reasoning, "analysis.score.reasoning"),
  };
}

// What a value must be, unless it is null.

function checked(is, what) {
  return (value, name) => {
    if (value == null) {
      return null;
    }
    if (!is(value)) {
      throw new TypeError(`${name} is not ${what}`);
    }
    return value;
  };
}

const object = checked((value) => typeof value === "object" && !Array.isArray(value), "an object");
const text = checked((value) => typeof value === "string", "text");
const number = checked(Number.isFinite, "a number");
const time = checked((value) => typeof value === "string" && !isNaN(new Date(value)), "a time");
const link = checked((value) => LINK.test(value), "a link");
const array = checked(Array.isArray, "a list");

const list = (value, name) => array(value, name) ?? [];
const texts = (value, name) => list(value, name).map((item) => known(text, item, `${name}[]`));

function known(check, value, name) {
  const found = check(value, name);
  if (found === null) {
    throw new TypeError(`${name} is missing`);
  }
  return found;
}

function oneOf(values, value, name) {
  if (!values.includes(value)) {
    throw new TypeError(`${name} is not one of ${values.join(", ")}`);
  }
  return value;
}
