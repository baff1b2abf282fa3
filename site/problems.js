// Why there is no call, and what can be done about it.

import { duration } from "./format.js";
import { isFinal, secondsToRetry } from "./polling.js";

const RETRY_SECONDS = 5; // where there is no answer at all

const NEXT = {
  unauthenticated: "Check the key: it may be mistyped, expired or revoked.",
  forbidden: "Use a key of the org that owns this call.",
  call_not_found: "Check the call’s ID.",
  stored_call_invalid: "Report it with the request ID: the stored call has to be corrected.",
  internal: "Report it with the request ID: the API’s log names the cause.",
};

// Of answers that are not the API's own.
const SAID = { 429: "Too many requests at once" };

const DEFAULTS = {
  code: "",
  requestId: "",
  next: "", // what to do
  retrySeconds: null, // where that is to wait
  offline: false,
  final: false, // asking again does not help
  typed: false, // it is of the form, whatever the API answers
};

export class Problem extends Error {
  constructor(detail, said) {
    super(detail);
    Object.assign(this, DEFAULTS, said);
  }
}

/** Of a status that is neither 200 nor 304; `times` is how often in a row the call was refused. */
export function refusal({ status, retryAfter, problem, requestId: header }, times) {
  const retrySeconds = secondsToRetry(status, retryAfter, times);
  const requestId = asText(problem?.request_id) ?? header;
  return new Problem(asText(problem?.detail) ?? SAID[status] ?? `The API answered ${status}`, {
    code: asText(problem?.code) ?? "",
    requestId,
    next: retrySeconds === null ? (NEXT[problem?.code] ?? reportOf(requestId)) : tryAgainIn(retrySeconds),
    retrySeconds,
    final: isFinal(status),
  });
}

export function unreachable({ late, offline }) {
  if (offline) {
    return new Problem("The API cannot be reached: this device is offline", {
      next: "The page goes on when the network is back.",
      retrySeconds: RETRY_SECONDS,
      offline,
    });
  }
  return new Problem(late ? "The API does not answer" : "The API cannot be reached", {
    next: tryAgainIn(RETRY_SECONDS),
    retrySeconds: RETRY_SECONDS,
  });
}

/** Of an answer of which the page can make no call. */
export function unreadable(requestId) {
  return new Problem("This call cannot be shown", { requestId, next: reportOf(requestId) });
}

export function noSuchId() {
  return new Problem("This is not the ID of a call", {
    next: "Enter a whole number without leading zeros, such as 77, or paste a link to a call.",
    typed: true,
  });
}

export function noKey() {
  return new Problem("This is not an API key", {
    next: "Paste the key again: it has no spaces and at most 512 characters.",
    typed: true,
  });
}

const tryAgainIn = (seconds) => `The page tries again in ${duration(seconds)}.`;
const reportOf = (requestId) => (requestId ? "Report it with the request ID." : "Report it.");
const asText = (value) => (typeof value === "string" ? value : null);
