// The tutorial's way in Node.js: as Google's samples read Firestore and sign links, put together.
"use strict";

const crypto = require("node:crypto");
const path = require("node:path");
const functions = require("@google-cloud/functions-framework");
const { Firestore } = require("@google-cloud/firestore");
const { Storage } = require("@google-cloud/storage");

const HOUR_MS = 3600 * 1000;
const FIELDS = JSON.parse(process.env.REPLY_FIELDS); // of each object, in order
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
  const reply = pick(call, FIELDS.Call);
  reply.started_at = utc(call.started_at);
  reply.ended_at = utc(call.ended_at);
  reply.transcript = (call.transcript ?? []).map((turn) => pick(turn, FIELDS.Turn));
  reply.recording_url = await recordingUrl(call);
  reply.cost = cost(call.cost);
  reply.model = pick(call.model, FIELDS.Model);
  reply.transcriber = pick(call.transcriber, FIELDS.Transcriber);
  reply.voice = pick(call.voice, FIELDS.Voice);
  reply.analysis = analysis(call.analysis);
  reply.created_at = utc(call.created_at);
  reply.updated_at = utc(call.updated_at);
  return reply;
}

function cost(stored) {
  const reply = pick(stored, FIELDS.Cost);
  if (reply) reply.breakdown = pick(reply.breakdown ?? {}, FIELDS.CostBreakdown);
  return reply;
}

function analysis(stored) {
  const reply = pick(stored, FIELDS.Analysis);
  if (reply) {
    reply.summary = pick(reply.summary, FIELDS.Summary);
    reply.score = pick(reply.score, FIELDS.QualityScore);
    reply.tags ??= [];
    reply.knowledge_gaps ??= [];
  }
  return reply;
}

function pick(stored, names) {
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
