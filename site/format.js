// Values as people read them.

const MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

const two = (number) => String(number).padStart(2, "0");

/** 83 is "1:23", 3723 is "1:02:03". */
export function clock(seconds) {
  const whole = Math.floor(seconds);
  const [hours, minutes] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60];
  return `${hours ? `${hours}:${two(minutes)}` : minutes}:${two(whole % 60)}`;
}

/** 99.1 is "1 min 39 s". */
export function duration(seconds) {
  const whole = Math.floor(seconds);
  const parts = [
    [Math.floor(whole / 3600), "h"],
    [Math.floor(whole / 60) % 60, "min"],
    [whole % 60, "s"],
  ].filter(([number]) => number);
  return parts.map(([number, unit]) => `${number} ${unit}`).join(" ") || `${seconds} s`;
}

/** UTC, as the API and its log have it. */
export function moment(timestamp) {
  const date = new Date(timestamp);
  const day = `${date.getUTCDate()} ${MONTHS[date.getUTCMonth()]} ${date.getUTCFullYear()}`;
  return `${day}, ${timestamp.slice(11, 19)} UTC`;
}

/** An amount as stored: nothing is rounded to cents. */
export function money(amount, currency) {
  const locale = currency === "INR" ? "en-IN" : "en-US";
  return new Intl.NumberFormat(locale, {
    style: "currency",
    currency,
    minimumFractionDigits: 2,
    maximumFractionDigits: 10,
  }).format(amount);
}

/** "user_hangup" is "User hangup". */
export function words(name) {
  const text = name.replaceAll("_", " ");
  return text.charAt(0).toUpperCase() + text.slice(1);
}
