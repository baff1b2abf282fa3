// Elements made of text. Nothing here, or anywhere on the page, parses a string as markup.

/** Makes an element; children that are strings become text. */
export function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [attribute, value] of Object.entries(attributes)) {
    made.setAttribute(attribute, value);
  }
  made.append(...children);
  return made;
}

/** Makes an element for text of a call, whose direction is its own. */
export function callText(name, text, attributes = {}) {
  return element(name, { dir: "auto", ...attributes }, visible(text));
}

/** Text that would leave no mark on the screen is described instead. */
function visible(text) {
  return /[^\p{C}\p{Z}\p{M}\u115f\u1160\u2800\u3164\uffa0]/u.test(text) ? text : "(no visible text)";
}

export const byId = (id) => document.getElementById(id);
