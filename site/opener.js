// The form that opens a call. Once a call is open it folds into a button; the key is in its field only
// while the form is seen.

import { byId } from "./dom.js";

const KEY = "api-key"; // in sessionStorage, which ends with the tab

export const storedKey = () => sessionStorage.getItem(KEY) ?? "";
export const storeKey = (key) => sessionStorage.setItem(KEY, key);
export const forgetKey = () => sessionStorage.removeItem(KEY);

/** Shows the form, with what greets above it; beside an open call nothing does. */
export function unfold(id, greeting = null) {
  byId("greeting").replaceChildren(greeting ?? "");
  byId("greeting").hidden = greeting === null;
  byId("opener").classList.toggle("beside", greeting === null);
  byId("call-id").value = id ?? "";
  byId("key").value = storedKey();
  byId("opener").hidden = false;
  byId("change").hidden = greeting !== null;
  byId("change").ariaExpanded = "true";
}

/** Folds the form. Returns whether it had the focus, which is then nowhere. */
export function fold() {
  const focused = byId("opener").contains(document.activeElement);
  byId("opener").hidden = true;
  byId("key").value = "";
  byId("change").hidden = false;
  byId("change").ariaExpanded = "false";
  return focused;
}

/** Puts the focus where something is missing. */
export function focus() {
  (storedKey() ? byId("call-id") : byId("key")).focus();
}

// A page that the browser keeps for "Back" keeps its fields, too.
addEventListener("pagehide", () => (byId("key").value = ""));
addEventListener("pageshow", () => (byId("key").value = byId("opener").hidden ? "" : storedKey()));
