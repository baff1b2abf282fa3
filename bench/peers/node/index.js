// The tutorial's way in Node.js: as Google's samples read Firestore and sign links, put together.
"use strict";

const crypto = require("node:crypto");
const path = require("node:path");
const functions = require("@google-cloud/functions-framework");
const { Firestore } = require("@google-cloud/firestore");
const { Storage } = require("@google-cloud/storage");

const HOUR_MS = 3600 * 1000;
const projectId = process.env.GOOGLE_CLOUD_PROJECT;

const database = new Firestore({ projectId });
// Without a key file the library asks IAM for the signature.
const storage = new Storage({ projectId, keyFilename: process.env.RECORDING_SIGNER_KEY_FILE });
const bucket = storage.bucket(process.env.RECORDINGS_BUCKET);

functions.http("get_call", async (request, response) => {
  const route = /^\/v2\/calls\/([0-9]+)$/.exec(request.path);
  if (!route) return response.status(404).json({ error: "No such route" });
  const [, key] = /^bearer (.+)$/i.exec(request.get("Authorization") ?? "") ?? [];
  if (!key) return response.status(401).json({ error: "Invalid or expired authentication token" });
  const digest = crypto.createHash("sha256").update(key).digest("hex");
  const record = (await database.collection("api_keys").doc(digest).get()).data();
  if (!record || isPast(record.expires_at) || isPast(record.revoked_at)) {
    return response.status(401).json({ error: "Invalid or expired authentication token" });
  }
  const call = (await database.collection("calls").doc(route[1]).get()).data();
  if (!call) return response.status(404).json({ error: "Call not found" });
  if (call.org_id !== record.org_id) {
    return response.status(403).json({ error: "Not authorized to access this call" });
  }
  return response.json(await published(call));
});

function isPast(time) {
  return time != null && time.toMillis() <= Date.now();
}

async function published(call) {
  return {
    id: call.id,
    type: call.type,
    status: call.status,
    agent_id: call.agent_id,
    agent_name: call.agent_name ?? null,
    started_at: utc(call.started_at),
    ended_at: utc(call.ended_at),
    duration_seconds: call.duration_seconds ?? null,
    ended_reason: call.ended_reason ?? null,
    transcript: (call.transcript ?? []).map((turn) => pick(turn, "role", "content", "timestamp")),
    recording_url: await recordingUrl(call),
    recording_duration: call.recording_duration ?? null,
    cost: call.cost ? {
      total_usd: call.cost.total_usd,
      total_inr: call.cost.total_inr ?? null,
      breakdown: pick(call.cost.breakdown ?? {}, "platform_fee", "stt", "tts", "llm", "telephony"),
    } : null,
    model: pick(call.model, "provider", "model_id"),
    transcriber: pick(call.transcriber, "provider", "model"),
    voice: pick(call.voice, "provider", "model", "voice_id"),
    latency_ms: call.latency_ms ?? null,
    interruptions: call.interruptions ?? null,
    analysis: call.analysis ? {
      summary: pick(call.analysis.summary, "overview", "key_topics", "action_items", "outcome"),
      sentiment: call.analysis.sentiment ?? null,
      score: pick(call.analysis.score, "score", "reasoning"),
      tags: call.analysis.tags ?? [],
      knowledge_gaps: call.analysis.knowledge_gaps ?? [],
    } : null,
    phone_number: call.phone_number ?? null,
    caller_phone: call.caller_phone ?? null,
    call_direction: call.call_direction ?? null,
    created_at: utc(call.created_at),
    updated_at: utc(call.updated_at),
  };
}

function pick(stored, ...names) {
  return stored ? Object.fromEntries(names.map((name) => [name, stored[name] ?? null])) : null;
}

function utc(time) {
  return time ? `${time.toDate().toISOString().slice(0, 19)}Z` : null;
}

async function recordingUrl(call) {
  if (!call.recording_object || call.status === "deleted") return null;
  const [url] = await bucket.file(call.recording_object).getSignedUrl({
    version: "v4",
    action: "read",
    expires: Date.now() + HOUR_MS,
    responseDisposition: `inline; filename="call-${call.id}${path.extname(call.recording_object)}"`,
  });
  return url;
}
