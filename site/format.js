// Values as people read them.

const two = (number) => String(number).padStart(2, "0");
const SIGNIFICANT = 6; // digits of a small amount: 0.00018463000000000003 is 0.00018463
const CENTS = 2; // decimals that every amount has
const SMALL = 10 ** (SIGNIFICANT - CENTS); // below it, those digits include the cents

/** 83 is "1:23", 3723 is "1:02:03". */
export function clock(seconds) {
  const whole = Math.floor(seconds);
  const [hours, minutes] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60];
  return `${hours ? `${hours}:${two(minutes)}` : minutes}:${two(whole % 60)}`;
}

/** 99.1 is "1 min 39 s", 0.4 is "0.4 s". */
export function duration(seconds) {
  const size = Math.abs(seconds);
  if (size < 1) {
    return `${number(seconds, 3)} s`;
  }
  const whole = Math.floor(size);
  const parts = [
    [Math.floor(whole / 3600), "h"],
    [Math.floor(whole / 60) % 60, "min"],
    [whole % 60, "s"],
  ].filter(([count]) => count);
  return (seconds < 0 ? "−" : "") + parts.map(([count, unit]) => `${number(count)} ${unit}`).join(" ");
}

/** With at most so many decimals: 33.333333333333336 is "33.3". */
export function number(value, decimals = 1) {
  return value.toLocaleString("en", { maximumFractionDigits: decimals });
}

/** As the API and its log have it: "25 Mar 2026, 10:20:57 UTC". */
export function moment(timestamp, timeZone = "UTC") {
  return new Date(timestamp).toLocaleString("en-GB", {
    timeZone,
    day: "numeric",
    month: "short",
    year: "numeric",
    hour: "2-digit",
    minute: "2-digit",
    second: "2-digit",
    timeZoneName: "short",
  });
}

/** The moment in the person's zone, where that is not UTC; otherwise null. */
export function localMoment(timestamp, timeZone = new Intl.DateTimeFormat().resolvedOptions().timeZone) {
  const local = moment(timestamp, timeZone);
  return local === moment(timestamp) ? null : local;
}

/** An amount nearly as stored: a small one to six digits, a larger one to the cent. */
export function money(amount, currency) {
  const locale = currency === "INR" ? "en-IN" : "en-US";
  const isSmall = Math.abs(amount) < SMALL;
  return new Intl.NumberFormat(locale, {
    style: "currency",
    currency,
    minimumFractionDigits: CENTS,
    maximumFractionDigits: isSmall ? 20 : CENTS,
  }).format(isSmall ? Number(amount.toPrecision(SIGNIFICANT)) : amount);
}

/** "user_hangup" is "User hangup". */
export function words(name) {
  const text = name.replaceAll("_", " ");
  return text.charAt(0).toUpperCase() + text.slice(1);
}

/** A transcript as plain text, a line a turn: what is in it stays as it is, but for breaks of lines. */
export function plainText({ id, agent, turns, speakers }) {
  const lines = turns.all.map(({ role, content, start }) => {
    const time = start === null ? "" : ` (${clock(start)})`;
    return `${speakers[role]}${time}: ${content.trim().replace(/\s+/g, " ")}`;
  });
  return [`Call ${id}${agent ? ` · ${agent}` : ""}`, "", ...lines, ""].join("\n");
}
