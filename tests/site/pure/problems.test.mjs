import assert from "node:assert/strict";
import { test } from "node:test";

import { refusal, unreachable, unreadable } from "../../../site/problems.js";

const refused = (status, { problem = null, retryAfter = null, requestId = "from-the-header" } = {}) =>
  refusal({ status, retryAfter, problem, requestId }, 1);

test("a refusal of the API is said in its words, with what can be done", () => {
  const problem = { detail: "Call not found", code: "call_not_found", request_id: "r-1" };
  const { message, code, requestId, next, retrySeconds } = refused(404, { problem });
  assert.deepEqual([message, code, requestId], ["Call not found", "call_not_found", "r-1"]);
  assert.deepEqual([next, retrySeconds], ["Check the call’s ID.", null]);
});

test("an error of the API may be over at the next answer, a refusal of what is asked is not", () => {
  assert.deepEqual([401, 403, 404, 500, 503].map((status) => refused(status).final), [true, true, true, false, false]);
  assert.equal(unreachable({ late: false, offline: false }).final, false);
  assert.equal(unreadable("").final, false);
});

test("what can pass is waited for, as long as the answer says", () => {
  const problem = { detail: "Calls cannot be read right now", code: "calls_unavailable" };
  const { next, retrySeconds, requestId } = refused(503, { problem, retryAfter: "2" });
  assert.deepEqual([next, retrySeconds, requestId], ["The page tries again in 2 s.", 2, "from-the-header"]);
  assert.equal(refused(503, { retryAfter: "120" }).next, "The page tries again in 2 min.");
});

test("an answer that is not the API's is said by its status", () => {
  for (const [status, problem, message] of [
    [404, null, "The API answered 404"],
    [400, [], "The API answered 400"],
    [500, { detail: { a: 1 }, code: 5, request_id: 7 }, "The API answered 500"],
    [429, null, "Too many requests at once"],
  ]) {
    const said = refused(status, { problem });
    assert.deepEqual([said.message, said.code, said.requestId], [message, "", "from-the-header"]);
  }
});

test("a report names the request ID where there is one", () => {
  assert.equal(refused(404).next, "Report it with the request ID.");
  assert.equal(refused(404, { requestId: "" }).next, "Report it.");
  assert.equal(unreadable("r-1").next, "Report it with the request ID.");
  assert.equal(unreadable("").next, "Report it.");
});

test("no answer is waited for, whatever the reason", () => {
  for (const [reason, message] of [
    [{ late: false, offline: false }, "The API cannot be reached"],
    [{ late: true, offline: false }, "The API does not answer"],
    [{ late: false, offline: true }, "The API cannot be reached: this device is offline"],
  ]) {
    const problem = unreachable(reason);
    assert.equal(problem.message, message);
    assert.equal(problem.retrySeconds, 5);
    assert.equal(problem.offline, reason.offline);
  }
});
