// GET /v2/calls/{id}.

import { refusal, unreachable } from "./problems.js";

const TIMEOUT_MS = 20_000; // a call takes the API at most 10 s

/**
 * Asks for a call. Returns `{body, text, etag, requestId}`, or null where the one with this ETag still
 * stands. What a 200 has is not looked at: `body` is null where it is not even JSON.
 *
 * Throws a Problem, or an AbortError where the signal aborts. `times` counts the attempts in a row.
 */
export async function getCall(id, key, { etag = null, times = 1, signal }) {
  const headers = { Authorization: `Bearer ${key}` };
  if (etag !== null) {
    headers["If-None-Match"] = etag;
  }
  let response, text;
  try {
    response = await fetch(`/v2/calls/${id}`, {
      headers,
      cache: "no-store",
      credentials: "omit",
      redirect: "error",
      signal: AbortSignal.any([signal, AbortSignal.timeout(TIMEOUT_MS)]),
    });
    text = await response.text();
  } catch (error) {
    signal.throwIfAborted();
    throw unreachable({ late: error.name === "TimeoutError", offline: !navigator.onLine });
  }
  const requestId = response.headers.get("X-Request-Id") ?? "";
  switch (response.status) {
    case 304:
      return null;
    case 200:
      return { body: parsed(text), text, etag: response.headers.get("ETag"), requestId };
    default: {
      const retryAfter = response.headers.get("Retry-After");
      throw refusal({ status: response.status, retryAfter, problem: parsed(text), requestId }, times);
    }
  }
}

function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}
