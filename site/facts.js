// Title, strip, and the facts of a call, made of its model. What is not known is not listed.

import { byId, callText, element } from "./dom.js";
import { duration, localMoment, moment, money, number, words } from "./format.js";
import { isLive, isSettling } from "./polling.js";

const PARTS = {
  platform_fee: "Platform fee",
  stt: "Speech to text",
  tts: "Text to speech",
  llm: "Language model",
  telephony: "Telephony",
};

/** Makes all facts before any of them is shown. */
export function factsOf(call) {
  const sections = {
    summary: summary(call),
    cost: cost(call),
    quality: quality(call),
    models: models(call),
    details: details(call),
  };
  const title = [`Call ${call.id} `, callText("span", call.agent ?? "Unnamed agent", { class: "agent" })];
  const subtitle = [`${words(call.type)} call`, when(call.startedAt) ?? "not started"].join(" · ");
  const strip = stripOf(call);
  return function place() {
    byId("title").replaceChildren(...title);
    byId("subtitle").replaceChildren(subtitle);
    byId("status").replaceChildren(words(call.status));
    byId("status").className = `chip ${call.status}`;
    byId("strip").replaceChildren(...strip);
    for (const [section, children] of Object.entries(sections)) {
      byId(section).querySelector(".body").replaceChildren(...children);
    }
  };
}

/** Takes all facts off the page. */
export function clearFacts() {
  for (const part of byId("call").querySelectorAll("#title, #subtitle, #status, #strip, .body")) {
    part.replaceChildren();
  }
}

function stripOf({ summary: { outcome }, sentiment, score, duration: length, cost: amounts }) {
  return rows([
    ["Outcome", outcome && callText("strong", words(outcome))],
    ["Sentiment", sentiment && element("span", { class: `sentiment ${sentiment}` }, words(sentiment))],
    ["Score", score !== null && [number(score), element("span", { class: "muted small" }, " of 100")]],
    ["Duration", length !== null && duration(length)],
    ["Cost", amounts?.usd != null && money(amounts.usd, "USD")],
  ]);
}

function summary(call) {
  if (!call.isAnalysed) {
    return [absent(call, "The analysis follows", "This call was not analysed.")];
  }
  const { overview, topics, actions, outcome } = call.summary;
  const known = rows([
    ["Outcome", outcome && callText("span", words(outcome))],
    ["Key topics", topics.length && list(topics)],
    ["Action items", actions.length && list(actions)],
  ]);
  const shown = [];
  if (overview) {
    shown.push(callText("p", overview));
  }
  if (known.length) {
    shown.push(element("dl", {}, ...known));
  }
  if (!shown.length) {
    shown.push(sentence("No summary was made."));
  }
  if (call.tags.length) {
    shown.push(chips(call.tags));
  }
  return shown;
}

function cost(call) {
  if (!call.cost) {
    return [absent(call, "The cost is settled", "No cost is settled for this call.")];
  }
  const { parts, usd, inr } = call.cost;
  const largest = Math.max(...parts.map(({ amount }) => amount), 0);
  const body = parts.map(({ name, amount }) =>
    element(
      "tr",
      {},
      element("th", { scope: "row" }, PARTS[name]),
      element("td", { class: "bar-cell" }, bar(amount, largest)),
      element("td", {}, money(amount, "USD")),
    ),
  );
  const totals = [
    ["Total", usd, "USD"],
    ["In rupees", inr, "INR"],
  ].filter(([, amount]) => amount !== null);
  const foot = totals.map(([name, amount, currency]) =>
    element("tr", {}, element("th", { scope: "row", colspan: 2 }, name), element("td", {}, money(amount, currency))),
  );
  return [
    element("table", { "aria-labelledby": "cost-title" }, element("tbody", {}, ...body), element("tfoot", {}, ...foot)),
  ];
}

function quality(call) {
  const { score, reasoning, sentiment, latency, interruptions, gaps } = call;
  const shown = rows([
    ["Score", score !== null && [`${number(score)} of 100`, bar(score, 100)]],
    ["Reasoning", fact(reasoning)],
    ["Sentiment", sentiment && words(sentiment)],
    ["Latency", latency !== null && `${number(latency)} ms`],
    ["Interruptions", interruptions !== null && number(interruptions)],
    ["Knowledge gaps", gaps.length && list(gaps)],
  ]);
  return [shown.length ? element("dl", {}, ...shown) : absent(call, "It is measured", "Nothing was measured.")];
}

function models({ models: { llm, transcriber, voice, voiceId } }) {
  const shown = rows([
    ["Language model", pair(llm)],
    ["Transcriber", pair(transcriber)],
    ["Voice", pair(voice)],
    ["Voice ID", fact(voiceId)],
  ]);
  return [shown.length ? element("dl", {}, ...shown) : sentence("No models are noted.")];
}

function details(call) {
  const shown = rows([
    ["Call ID", call.id],
    ["Type", words(call.type)],
    ["Direction", call.direction && callText("span", words(call.direction))],
    ["Agent’s number", fact(call.agentPhone)],
    [`${call.speakers.user}’s number`, fact(call.otherPhone)],
    ["Agent", fact(call.agent)],
    ["Agent ID", fact(call.agentId)],
    ["Started", time(call.startedAt)],
    ["Ended", time(call.endedAt)],
    ["Duration", call.duration !== null && duration(call.duration)],
    ["Ended by", call.endedReason && callText("span", words(call.endedReason))],
    ["Created", time(call.createdAt)],
    ["Updated", time(call.updatedAt)],
  ]);
  return [element("dl", {}, ...shown)];
}

const sentence = (text) => element("p", { class: "absent" }, text);

/** Says why something is not there: it is still to come, or it will not. */
function absent(call, follows, never) {
  if (isLive(call)) {
    return sentence(`${follows} when the call has ended.`);
  }
  return sentence(isSettling(call, Date.now()) ? `${follows} within minutes.` : never);
}

/** The rows `[name, value]` of a list of facts; one whose value is not known has none. */
function rows(facts) {
  return facts
    .filter(([, value]) => value)
    .map(([name, value]) => element("div", {}, element("dt", {}, name), element("dd", {}, ...[value].flat())));
}

function when(timestamp) {
  return timestamp && (localMoment(timestamp) ?? moment(timestamp));
}

function time(timestamp) {
  if (!timestamp) {
    return null;
  }
  const local = localMoment(timestamp);
  const utc = element("time", { datetime: timestamp }, moment(timestamp));
  return local ? [`${local} `, element("span", { class: "muted" }, utc)] : [utc];
}

/** A text of the call as a row's value; one that is not known has no row. */
const fact = (text) => text && callText("span", text);

const pair = (names) => fact(names.filter((name) => name !== null).join(" · "));

const list = (items) => element("ul", {}, ...items.map((item) => callText("li", item)));

function chips(names) {
  const items = names.map((name) => callText("li", name, { class: "chip" }));
  return element("ul", { class: "chips", role: "list", "aria-label": "Tags" }, ...items);
}

function bar(amount, largest) {
  const filled = element("i");
  filled.style.inlineSize = `${largest > 0 ? (100 * Math.max(amount, 0)) / largest : 0}%`;
  return element("span", { class: "bar-track", "aria-hidden": "true" }, filled);
}
