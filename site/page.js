// The call page: one call at a time, opened by its address or by the form.
//
// An answer is made into a model first, and shown whole or not at all. A call that is live is asked for
// again until it has ended, and for some minutes more. An outage or a lost network is waited for. Any other
// refusal ends the opening; once the call is shown, only one for good (4xx) ends the asking.
//
// docs/local.md has a line for each module.

import { addressOf, readAddress, readCall, readKey } from "./address.js";
import { getCall } from "./api.js";
import { byId, element } from "./dom.js";
import { clearFacts, factsOf } from "./facts.js";
import { plainText } from "./format.js";
import { listenToKeys } from "./keyboard.js";
import { currentProblem, notice, problem } from "./messages.js";
import { modelOf } from "./model.js";
import * as opener from "./opener.js";
import { Playback } from "./playback.js";
import { isLive, secondsToNext } from "./polling.js";
import { noKey, noSuchId, Problem, unreachable, unreadable } from "./problems.js";
import { Search } from "./search.js";

const playback = new Playback(renew);
const search = new Search(byId("turns"));

/**
 * The call that is open: `{id, key, abort, focusTitle, over}`, and once it is shown `{model, text, etag}`.
 * What waits or is asked for on its behalf keeps it, and ends by `abort` when another one is opened. It is
 * `over` once it has failed.
 */
let opened = null;

// Opening

async function open(id, key, seconds) {
  close();
  const focusTitle = opener.fold(); // the form had the focus
  const opening = { id, key, abort: new AbortController(), focusTitle, over: false };
  opened = opening;
  document.title = `Call ${id}`;
  notice("Opening the call …", { lasting: true });
  try {
    show(opening, await ask(opening));
    notice("");
    playback.seek(seconds ?? 0);
    await keepAsking(opening);
  } catch (error) {
    fail(opening, error);
  }
}

async function keepAsking(opening) {
  for (;;) {
    const seconds = secondsToNext(opening.model, Date.now());
    if (seconds === null) {
      return;
    }
    await wait(seconds, opening.abort.signal);
    try {
      const answer = await ask(opening, opening.etag);
      if (answer) {
        show(opening, answer);
      } else {
        problemOfApi(null);
      }
    } catch (error) {
      if (!(error instanceof Problem) || error.final) {
        throw error;
      }
      problemOfApi(error); // the next answer may be a call again
    }
  }
}

/** Asks until there is an answer; says what is in the way meanwhile. */
async function ask({ id, key, abort: { signal } }, etag = null) {
  for (let times = 1; ; times += 1) {
    try {
      return await getCall(id, key, { etag, times, signal });
    } catch (error) {
      if (!(error instanceof Problem) || error.retrySeconds === null) {
        throw error;
      }
      notice("");
      problemOfApi(error);
      await wait(error.retrySeconds, signal);
    }
  }
}

/**
 * Asks once, for a new link to the recording. Returns null, or else a sentence for the player that says why
 * there is no link. It is empty where the page says why, since waiting does not help.
 */
async function renew() {
  const opening = opened;
  try {
    show(opening, await getCall(opening.id, opening.key, { signal: opening.abort.signal }));
    return null;
  } catch (error) {
    if (error.retrySeconds) {
      return `${error.message}.`;
    }
    if (error instanceof Problem) {
      problem(error);
    }
    return "";
  }
}

/** Says what an opening has failed for. Without a call on the page, the form is there again. */
function fail(opening, error) {
  if (opening.abort.signal.aborted) {
    return;
  }
  const expected = error instanceof Problem;
  notice("");
  problem(expected ? error : unreadable(""));
  opening.over = true;
  byId("live").hidden = true; // nothing is asked any more
  if (!opening.model) {
    opener.unfold(opening.id, "Open a call");
  }
  if (!expected) {
    throw error;
  }
}

function close() {
  opened?.abort.abort();
  opened = null;
  problem(null);
  notice("");
  byId("call").hidden = true;
  clearFacts();
  playback.clear();
  search.clear();
  document.title = "Calls";
}

/** Waits; where the device comes online again, no longer. Throws an AbortError where the signal aborts. */
async function wait(seconds, signal) {
  const over = new AbortController();
  let timer = 0;
  try {
    await new Promise((resolve, reject) => {
      timer = setTimeout(resolve, 1000 * seconds);
      addEventListener("online", resolve, { signal: over.signal });
      signal.addEventListener("abort", () => reject(signal.reason), { signal: over.signal });
    });
  } finally {
    clearTimeout(timer);
    over.abort(); // takes the listeners away
  }
}

// Showing

/**
 * Shows an answer whole. Throws a Problem where that fails; where there is no call in the answer, what is
 * on the page stays.
 */
function show(opening, { body, text, etag, requestId }) {
  try {
    const model = modelOf(opening.id, body);
    const place = factsOf(model);
    document.title = `Call ${opening.id} · ${model.agent ?? "Unnamed agent"}`;
    place();
    byId("live").hidden = opening.over || !isLive(model);
    playback.show(model);
    search.refresh();
    Object.assign(opening, { model, text, etag });
  } catch (error) {
    console.error(error); // for whoever reads the report
    throw unreadable(requestId);
  }
  byId("call").hidden = false;
  problemOfApi(null);
  if (opening.focusTitle) {
    byId("title").focus({ preventScroll: true });
    opening.focusTitle = false;
  }
}

/** Says a problem of the API's, or by null that it is over; what is wrong in the form stays said. */
function problemOfApi(shown) {
  if (!currentProblem()?.typed) {
    problem(shown);
  }
}

// The address and the form

function openAddress() {
  const { id, seconds } = readAddress(location);
  const key = opener.storedKey();
  if (id && key) {
    open(id, key, seconds);
    return;
  }
  close();
  opener.unfold(id, id ? `Call ${id} needs your API key` : "Open a call");
  opener.focus();
  if (!id && new URLSearchParams(location.search).has("call")) {
    problem(noSuchId());
  }
}

addEventListener("popstate", () => {
  const { id, seconds } = readAddress(location);
  if (opened?.id !== id) {
    openAddress();
  } else if (seconds !== null) {
    playback.seek(seconds);
  }
});

// A page that was kept for "Back" may show the call of a key that is forgotten.
addEventListener("pageshow", ({ persisted }) => {
  if (persisted && opener.storedKey() !== (opened?.key ?? "")) {
    openAddress();
  }
});

document.forms[0].addEventListener("submit", (event) => {
  event.preventDefault();
  const { id, seconds } = readCall(byId("call-id").value);
  const key = readKey(byId("key").value);
  if (!id || !key) {
    problem(id ? noKey() : noSuchId());
    return;
  }
  opener.storeKey(key);
  const here = readAddress(location);
  if (id !== here.id || seconds !== null) {
    history.pushState(null, "", addressOf(id, seconds ?? 0));
  }
  open(id, key, readAddress(location).seconds);
});

byId("change").addEventListener("click", () => {
  if (byId("opener").hidden) {
    opener.unfold(opened?.id);
    opener.focus();
  } else {
    opener.fold();
    if (currentProblem()?.typed) {
      problem(null);
    }
  }
});

byId("forget").addEventListener("click", () => {
  opener.forgetKey();
  openAddress();
  notice("The key is forgotten.");
});

// The network

// Another problem stays: it may last longer than the network is lost, and nothing would say it again.
addEventListener("offline", () => opened && !currentProblem() && problem(unreachable({ offline: true })));
addEventListener("online", () => currentProblem()?.offline && problem(null));

// Taking away

byId("copy-link").addEventListener("click", () =>
  copy(location.origin + addressOf(opened.id, playback.position), "The link is copied."),
);

byId("copy-transcript").addEventListener("click", () => copy(plainText(opened.model), "The transcript is copied."));

byId("download").addEventListener("click", () => {
  const link = URL.createObjectURL(new Blob([opened.text], { type: "application/json" }));
  element("a", { href: link, download: `call-${opened.id}.json` }).click();
  URL.revokeObjectURL(link);
});

async function copy(text, done) {
  try {
    await navigator.clipboard.writeText(text);
    notice(done);
  } catch {
    notice("The browser does not let this page copy.");
  }
}

history.scrollRestoration = "manual"; // the page scrolls to the moment of the address
listenToKeys(playback);
openAddress();
