// The call page: one call at a time, opened by its address or by the form.
//
// A call that is active or pending is asked for again until it ends. What can pass, an outage or a
// lost network, is waited for; every other refusal ends the opening.

import { getCall, Problem, unreadable } from "./api.js";
import { byId, element } from "./dom.js";
import { cost, details, isOpen, models, quality, summary } from "./facts.js";
import { duration, moment, words } from "./format.js";
import { Player } from "./player.js";
import { Timeline } from "./timeline.js";
import { markdown, Transcript } from "./transcript.js";
import { inTime, turnAt, turnsOf, withEnds } from "./turns.js";

const POLL_SECONDS = 5;
const SEEK_SECONDS = 5;
const KEY = "api-key"; // in sessionStorage, which ends with the tab

const player = new Player(byId("recording"), {
  changed: follow,
  renew: newLink,
  failed: () => notice("The recording cannot be played."),
});
const transcript = new Transcript(byId("turns"), (seconds) => player.play(seconds));
const timeline = new Timeline(byId("timeline"), (seconds) => player.seek(seconds));

/** The call that is open: `{id, key, abort}`, and once it is shown `{call, text, etag, turns, timed}`. */
let opened = null;

// Opening

async function open(id, key) {
  close();
  const opening = { id, key, abort: new AbortController() };
  opened = opening;
  byId("welcome").hidden = true;
  notice("Opening the call …");
  document.title = `Call ${id}`;
  try {
    show(opening, await ask(opening, null));
    notice("");
    player.seek(momentOfAddress());
    while (isOpen(opening.call?.status)) {
      await wait(POLL_SECONDS, opening.abort.signal);
      const answer = await ask(opening, opening.etag);
      if (answer) {
        show(opening, answer);
      }
    }
  } catch (error) {
    ended(error);
  }
}

/** Asks until there is an answer; says what is in the way meanwhile. */
async function ask({ id, key, abort: { signal } }, etag) {
  for (;;) {
    try {
      const answer = await getCall(id, key, { etag, signal });
      problem(null);
      return answer;
    } catch (error) {
      if (!(error instanceof Problem)) {
        throw error;
      }
      notice("");
      problem(error);
      if (error.retrySeconds === null) {
        throw error;
      }
      await wait(error.retrySeconds, signal);
    }
  }
}

function ended(error) {
  if (!(error instanceof Problem || error.name === "AbortError")) {
    throw error;
  }
}

function close() {
  opened?.abort.abort();
  opened = null;
  player.clear();
  problem(null);
  notice("");
  byId("call").hidden = true;
  for (const part of byId("call").querySelectorAll("#title, #subtitle, .body")) {
    part.replaceChildren();
  }
  transcript.show([], false);
  timeline.show([], 0, false);
  document.title = "Calls";
}

async function newLink() {
  const opening = opened;
  try {
    show(opening, await ask(opening, null));
    return opening.call.recording_url;
  } catch (error) {
    ended(error);
    return null;
  }
}

function wait(seconds, signal) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, 1000 * seconds);
    signal.addEventListener("abort", () => {
      clearTimeout(timer);
      reject(signal.reason);
    });
  });
}

// Showing

/** Shows an answer, or says that it cannot be shown: what is on the page stays. */
function show(opening, answer) {
  try {
    place(opening, answer);
  } catch (error) {
    console.error(error); // for whoever reads the report
    problem(unreadable(answer));
  }
}

function place(opening, { call, text, etag }) {
  // All that fails for what is no call comes first, so that none is shown by half.
  const { id } = opening;
  const turns = turnsOf(call.transcript ?? []);
  const timed = inTime(turns);
  const known = call.recording_duration ?? call.duration_seconds;
  const length = known ?? (timed.at(-1)?.start ?? 0) + POLL_SECONDS;
  const drawn = withEnds(timed, length);
  const name = call.agent_name ?? "Unnamed agent";
  const line = subtitle(call);
  const status = words(call.status);
  const sections = {
    summary: summary(call),
    cost: cost(call),
    models: models(call),
    quality: quality(call),
    details: details(id, call),
  };
  player.load(call.recording_url, known ?? Infinity);

  Object.assign(opening, { call, text, etag, turns, timed });
  document.title = `Call ${id} · ${name}`;
  byId("title").replaceChildren(`Call ${id} `, element("span", { class: "agent", dir: "auto" }, name));
  byId("subtitle").replaceChildren(line);
  byId("status").replaceChildren(status);
  byId("status").className = `chip ${call.status}`;
  byId("live").hidden = !isOpen(call.status);
  for (const [section, children] of Object.entries(sections)) {
    byId(section).querySelector(".body").replaceChildren(...children);
  }
  for (const id of ["recording", "playback", "keys"]) {
    byId(id).hidden = !player.playable;
  }
  byId("no-recording").replaceChildren(player.playable ? "" : noRecording(call));
  byId("timeline").hidden = byId("legend").hidden = timed.length === 0;
  byId("no-turns").replaceChildren(turns.length ? "" : noTurns(call));
  transcript.show(turns, player.playable);
  timeline.show(drawn, length, player.playable);
  byId("call").hidden = false;
  follow(player.position, false);
}

function subtitle({ type, started_at, duration_seconds }) {
  return [
    `${words(type)} call`,
    started_at === null ? "not started" : moment(started_at),
    ...(duration_seconds === null ? [] : [duration(duration_seconds)]),
  ].join(" · ");
}

function noRecording({ status }) {
  if (isOpen(status)) {
    return "The recording follows when the call has ended.";
  }
  return status === "deleted"
    ? "This call is deleted: its recording is no longer available."
    : "This call was not recorded.";
}

function noTurns({ status }) {
  return isOpen(status) ? "Nothing has been said yet." : "Nothing was said in this call.";
}

/** Shows where in the call we are. */
function follow(seconds, scroll = byId("follow").checked) {
  if (opened?.turns) {
    timeline.move(seconds);
    const turn = player.playable ? opened.timed[turnAt(opened.timed, seconds)] : null;
    transcript.mark(turn?.index ?? -1, scroll);
  }
}

function problem(shown) {
  byId("problem").replaceChildren(
    ...(shown
      ? [
          element(byId("call").hidden ? "h1" : "p", { class: "detail" }, shown.message),
          element("p", { class: "next" }, shown.next),
          ...(shown.code || shown.requestId ? [origin(shown)] : []),
        ]
      : []),
  );
}

function origin({ code, requestId }) {
  return element("p", { class: "origin" }, "Code ", element("code", {}, code || "none"), " · Request ID ", element("code", {}, requestId || "none"));
}

function notice(sentence) {
  byId("notice").replaceChildren(sentence);
}

// The address: /?call=77#t=83

function idOfAddress() {
  return new URLSearchParams(location.search).get("call") ?? "";
}

function momentOfAddress() {
  const found = /^#t=(\d+(?:\.\d+)?)$/.exec(location.hash);
  return found ? Number(found[1]) : 0;
}

function openAddress() {
  const [id, key] = [idOfAddress(), sessionStorage.getItem(KEY) ?? ""];
  byId("call-id").value = id;
  byId("key").value = key;
  if (id && key) {
    open(id, key);
  } else {
    close();
    byId("welcome").hidden = false;
    (key ? byId("call-id") : byId("key")).focus();
  }
}

addEventListener("popstate", () => {
  if (opened?.id !== idOfAddress()) {
    openAddress();
  } else if (momentOfAddress()) {
    player.seek(momentOfAddress());
  }
});

document.forms[0].addEventListener("submit", (event) => {
  event.preventDefault();
  const [id, key] = [byId("call-id").value.trim(), byId("key").value.trim()];
  sessionStorage.setItem(KEY, key);
  if (id !== idOfAddress()) {
    history.pushState(null, "", `/?call=${encodeURIComponent(id)}`);
  }
  open(id, key);
});

byId("forget").addEventListener("click", () => {
  sessionStorage.removeItem(KEY);
  openAddress();
  notice("The key is forgotten.");
});

// Playing

byId("speed").addEventListener("change", ({ target }) => (player.speed = Number(target.value)));

byId("follow").addEventListener("change", ({ target }) => target.checked && transcript.scroll());

// Whoever scrolls wants to read elsewhere.
for (const scrolled of ["wheel", "touchmove"]) {
  addEventListener(scrolled, () => (byId("follow").checked = false), { passive: true });
}

const KEYS = {
  " ": () => player.toggle(),
  ArrowLeft: () => player.seek(player.position - SEEK_SECONDS),
  ArrowRight: () => player.seek(player.position + SEEK_SECONDS),
  "[": () => moveByTurns(-1),
  "]": () => moveByTurns(1),
};

/** Turns that start together are one step. */
function moveByTurns(step) {
  const { timed } = opened;
  const now = turnAt(timed, player.position);
  const target =
    step > 0 ? timed[now + 1] : (timed.findLast(({ start }) => start < timed[now]?.start) ?? timed[0]);
  if (target) {
    player.seek(target.start);
  }
}

// Before the audio element sees them: its own steps differ.
addEventListener(
  "keydown",
  (event) => {
    const { key, target, ctrlKey, altKey, metaKey } = event;
    const typing = target.matches("input:not([type=checkbox]), select, textarea");
    const pressing = key === " " && target.matches("button, a, input, summary");
    if (opened?.turns && key in KEYS && !(typing || pressing || ctrlKey || altKey || metaKey)) {
      event.preventDefault();
      KEYS[key]();
    }
  },
  { capture: true },
);

// Taking away

byId("copy-link").addEventListener("click", () => {
  const seconds = Math.floor(player.position);
  copy(`${location.origin}/?call=${opened.id}#t=${seconds}`, "The link is copied.");
});

byId("copy-transcript").addEventListener("click", () =>
  copy(markdown(opened.id, opened.turns), "The transcript is copied."),
);

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

openAddress();
