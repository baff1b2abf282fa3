// Summary, cost, models, quality and details of a call. What is not known is said, never left blank.

import { element, said } from "./dom.js";
import { duration, moment, money, words } from "./format.js";

const PARTS = {
  platform_fee: "Platform fee",
  stt: "Speech to text",
  tts: "Text to speech",
  llm: "Language model",
  telephony: "Telephony",
};

export function summary({ analysis, status }) {
  if (!analysis) {
    return [absent(isOpen(status) ? "The analysis follows when the call has ended." : "This call was not analysed.")];
  }
  const { summary: made, tags } = analysis;
  const parts = made
    ? [
        made.overview === null ? absent("No overview was made.") : said("p", made.overview, { class: "overview" }),
        facts(status, [
          ["Outcome", made.outcome === null ? null : said("span", words(made.outcome))],
          ["Key topics", list(made.key_topics)],
          ["Action items", list(made.action_items)],
        ]),
      ]
    : [absent("No summary was made.")];
  return tags?.length ? [...parts, chips(tags)] : parts;
}

export function cost({ cost: amounts, status }) {
  if (!amounts) {
    return [absent(isOpen(status) ? "The cost is settled when the call has ended." : "No cost is settled for this call.")];
  }
  const breakdown = amounts.breakdown ?? {};
  const largest = Math.max(...Object.values(breakdown), 0);
  const rows = Object.entries(PARTS).map(([part, name]) => {
    const amount = breakdown[part] ?? null;
    return element(
      "tr",
      {},
      element("th", { scope: "row" }, name),
      element("td", { class: "bar-cell" }, bar(largest > 0 ? Math.max(amount ?? 0, 0) / largest : 0)),
      element("td", {}, amount === null ? unknown() : money(amount, "USD")),
    );
  });
  const totals = [
    ["Total", amounts.total_usd, "USD"],
    ["In rupees", amounts.total_inr, "INR"],
  ].map(([name, amount, currency]) =>
    element(
      "tr",
      {},
      element("th", { scope: "row", colspan: 2 }, name),
      element("td", {}, amount === null ? unknown() : money(amount, currency)),
    ),
  );
  return [
    element("table", { "aria-labelledby": "cost-title" }, element("tbody", {}, ...rows), element("tfoot", {}, ...totals)),
  ];
}

export function models({ model, transcriber, voice, status }) {
  return [
    facts(status, [
      ["Language model", pair(model?.provider, model?.model_id)],
      ["Transcriber", pair(transcriber?.provider, transcriber?.model)],
      ["Voice", pair(voice?.provider, voice?.model)],
      ["Voice ID", text(voice?.voice_id)],
    ]),
  ];
}

export function quality({ latency_ms, interruptions, analysis, status }) {
  const score = analysis?.score ?? null;
  const rating = score?.score ?? null;
  const shown =
    rating === null
      ? []
      : [
          element(
            "p",
            { class: "score" },
            element("strong", {}, String(rating)),
            element("span", { class: "muted" }, " of 100"),
          ),
          bar(rating / 100),
        ];
  const reason = score?.reasoning ? [said("p", score.reasoning, { class: "muted reason" })] : [];
  return [
    ...shown,
    ...reason,
    facts(status, [
      ...(rating === null ? [["Score", null]] : []),
      ["Sentiment", analysis?.sentiment ? words(analysis.sentiment) : null],
      ["Latency", latency_ms === null ? null : `${latency_ms} ms`],
      ["Interruptions", interruptions === null ? null : String(interruptions)],
      ["Knowledge gaps", list(analysis?.knowledge_gaps)],
    ]),
  ];
}

export function details(id, call) {
  const phone = call.type === "web" ? [] : [
    ["Number", text(call.phone_number)],
    ["Caller", text(call.caller_phone)],
  ];
  return [
    facts(call.status, [
      ["Call ID", id],
      ["Type", words(call.type)],
      ["Direction", call.call_direction === null ? null : said("span", words(call.call_direction))],
      ...phone,
      ["Agent", text(call.agent_name)],
      ["Agent ID", text(call.agent_id)],
      ["Started", time(call.started_at)],
      ["Ended", time(call.ended_at)],
      ["Duration", call.duration_seconds === null ? null : duration(call.duration_seconds)],
      ["Ended by", call.ended_reason === null ? null : said("span", words(call.ended_reason))],
      ["Created", time(call.created_at)],
      ["Updated", time(call.updated_at)],
    ]),
  ];
}

/** Tells whether more of the call is to come. */
export const isOpen = (status) => status === "active" || status === "pending";

const absent = (sentence) => element("p", { class: "absent" }, sentence);
const unknown = (missing = "not known") => element("span", { class: "muted" }, missing);
const text = (value) => (value == null ? null : said("span", value));
const time = (value) => (value === null ? null : element("time", { datetime: value }, moment(value)));

function pair(provider, model) {
  const known = [provider, model].filter((name) => name != null);
  return known.length ? said("span", known.join(" · ")) : null;
}

function list(items) {
  if (items == null) {
    return null;
  }
  return items.length ? element("ul", {}, ...items.map((item) => said("li", item))) : "None";
}

function chips(names) {
  return element("ul", { class: "chips", role: "list", "aria-label": "Tags" }, ...names.map((name) => said("li", name, { class: "chip" })));
}

function facts(status, rows) {
  const missing = isOpen(status) ? "not yet" : "not known";
  const shown = rows.map(([name, value]) =>
    element("div", {}, element("dt", {}, name), element("dd", {}, value ?? unknown(missing))),
  );
  return element("dl", {}, ...shown);
}

function bar(share) {
  const filled = element("i");
  filled.style.inlineSize = `${100 * Math.min(share, 1)}%`;
  return element("span", { class: "bar-track", "aria-hidden": "true" }, filled);
}
