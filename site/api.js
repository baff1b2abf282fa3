// GET /v2/calls/{id}, and what can be done about each refusal.

const TIMEOUT_MS = 20_000; // a call takes the API at most 10 s
const RETRY_SECONDS = 5;
const CALL_ID = /^[1-9][0-9]{0,18}$/;
const KEY = /^[\x21-\x7e]{1,512}$/;

const REPORT = "Report it with the request ID.";

const NEXT = {
  unauthenticated: "Check the key: it may be mistyped, expired or revoked.",
  forbidden: "Use a key of the org that owns this call.",
  call_not_found: "Check the call’s ID.",
  stored_call_invalid: "Report it with the request ID: the stored call has to be corrected.",
  internal: "Report it with the request ID: the API’s log names the cause.",
};

// Of answers that are not the API's own.
const SAID = { 429: "Too many requests at once" };

/** Why there is no answer: `next` says what to do, `retrySeconds` is set where that is to wait. */
export class Problem extends Error {
  constructor(detail, { code = "", requestId = "", next = "", retrySeconds = null } = {}) {
    super(detail);
    Object.assign(this, { code, requestId, next, retrySeconds });
  }
}

/**
 * Asks for a call. Returns `{call, text, etag, requestId}`, or null where the one with this ETag still
 * stands. What a 200 has is not looked at: `call` is null where it is not even JSON.
 *
 * Throws a Problem, or an AbortError where the signal aborts.
 */
export async function getCall(id, key, { etag = null, signal }) {
  check(id, key);
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
    throw unreachable(error);
  }
  if (response.status === 304) {
    return null;
  }
  const body = parsed(text);
  const requestId = response.headers.get("X-Request-Id") ?? "";
  if (response.status === 200) {
    return { call: body, text, etag: response.headers.get("ETag"), requestId };
  }
  throw refusal(response, body ?? {}, requestId);
}

/** The Problem of an answer of which the page can make no call. */
export function unreadable({ requestId }) {
  return new Problem("This call cannot be shown", { requestId, next: REPORT });
}

function check(id, key) {
  if (!CALL_ID.test(id)) {
    throw new Problem("This is not the ID of a call", {
      next: "Enter a whole number without leading zeros, such as 77.",
    });
  }
  if (!KEY.test(key)) {
    throw new Problem("This is not an API key", {
      next: "Paste the key again: it has no spaces and at most 512 characters.",
    });
  }
}

function unreachable(error) {
  const late = error.name === "TimeoutError";
  return new Problem(late ? "The API does not answer" : "The API cannot be reached", {
    next: `The page tries again in ${RETRY_SECONDS} s.`,
    retrySeconds: RETRY_SECONDS,
  });
}

function refusal(response, problem, requestId) {
  const passes = [429, 502, 503, 504].includes(response.status);
  const retryAfter = Number(response.headers.get("Retry-After"));
  const retrySeconds = passes ? (retryAfter > 0 ? retryAfter : RETRY_SECONDS) : null;
  return new Problem(problem.detail ?? SAID[response.status] ?? `The API answered ${response.status}`, {
    code: problem.code,
    requestId: problem.request_id ?? requestId,
    next: passes
      ? `The page tries again in ${retrySeconds} s.`
      : (NEXT[problem.code] ?? REPORT),
    retrySeconds,
  });
}

function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}
