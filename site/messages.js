// What the page says: notices, which leave by themselves, and the problem that is in the way.

import { byId, element } from "./dom.js";

const NOTICE_MS = 6_000;

let timer = 0;
let said = null;

/** Says that something was done, for a while; what is `lasting` stays until the next one. */
export function notice(sentence, { lasting = false } = {}) {
  clearTimeout(timer);
  byId("notice").replaceChildren(sentence);
  if (!lasting) {
    timer = setTimeout(() => byId("notice").replaceChildren(), NOTICE_MS);
  }
}

/**
 * Says a problem, once as long as it lasts; null says that it is over. What can be done may be another thing
 * each time: that alone is said anew then.
 */
export function problem(shown) {
  if (!shown || said?.message !== shown.message || said.code !== shown.code) {
    byId("problem").replaceChildren(...(shown ? parts(shown) : []));
  } else if (said.next !== shown.next) {
    byId("problem").querySelector(".next").replaceChildren(shown.next);
  }
  said = shown;
}

/** The problem that is said, or null. */
export const currentProblem = () => said;

function parts({ message, code, requestId, next }) {
  const origin = [
    ...(code ? ["Code ", element("code", {}, code)] : []),
    ...(code && requestId ? [" · "] : []),
    ...(requestId ? ["Request ID ", element("code", {}, requestId)] : []),
  ];
  return [
    element("p", { class: "detail" }, message),
    element("p", { class: "next" }, next),
    ...(origin.length ? [element("p", { class: "small muted" }, ...origin)] : []),
  ];
}
