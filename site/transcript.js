// The list of turns: plain elements, so that search, selection and print work on all of them.

import { element, said } from "./dom.js";
import { clock } from "./format.js";
import { SPEAKERS } from "./turns.js";

export class Transcript {
  #list;
  #turns = [];
  #current = -1;

  /** `play` is called with the start of the turn whose button is pressed. */
  constructor(list, play) {
    this.#list = list;
    list.addEventListener("click", (event) => {
      const button = event.target.closest("button");
      if (button) {
        play(Number(button.value));
      }
    });
  }

  /** Shows the turns. Those that are shown already stay as they are: a selection survives an update. */
  show(turns, playable) {
    let kept = 0;
    while (kept < turns.length && sameTurn(this.#turns[kept], turns[kept])) {
      kept += 1;
    }
    while (this.#list.children.length > kept) {
      this.#list.lastChild.remove();
    }
    this.#list.append(...turns.slice(kept).map(item));
    this.#turns = turns;
    for (const button of this.#list.querySelectorAll("button")) {
      button.disabled = !playable;
    }
    this.mark(Math.min(this.#current, turns.length - 1), false);
  }

  /** Marks the turn that is being played; scrolls to it where it is another than before. */
  mark(index, scroll) {
    const item = this.#list.children[index];
    if (index === this.#current && (!item || item.hasAttribute("aria-current"))) {
      return;
    }
    this.#list.querySelector("[aria-current]")?.removeAttribute("aria-current");
    this.#current = index;
    item?.setAttribute("aria-current", "true");
    if (scroll) {
      this.scroll();
    }
  }

  /** Scrolls to the turn that is being played: smoothly, unless it is far or motion is not wanted. */
  scroll() {
    const turn = this.#list.children[this.#current];
    if (!turn) {
      return;
    }
    const far = Math.abs(turn.getBoundingClientRect().top) > 2 * innerHeight;
    const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
    const center = (behavior) => turn.scrollIntoView({ block: "center", behavior });
    center(far || calm ? "instant" : "smooth");
    if (far) {
      // The turns around it have been laid out by then; until now their heights were estimates.
      requestAnimationFrame(() => requestAnimationFrame(() => center("instant")));
    }
  }
}

function item({ role, content, start }) {
  return element(
    "li",
    { class: role },
    ...(start === null ? [] : [playButton(start)]),
    element("span", { class: "speaker" }, SPEAKERS[role]),
    said("p", content),
  );
}

function playButton(start) {
  const time = clock(start);
  return element("button", { type: "button", value: start, "aria-label": `Play from ${time}` }, time);
}

function sameTurn(one, other) {
  return one?.role === other.role && one.content === other.content && one.start === other.start;
}

/** Returns a transcript as Markdown, in which the call's text is text, too. */
export function markdown(id, turns) {
  const lines = turns.map(
    ({ role, content, start }) =>
      `**${SPEAKERS[role]}**${start === null ? "" : ` (${clock(start)})`}: ${escaped(content)}`,
  );
  return [`# Call ${id}`, ...lines].join("\n\n") + "\n";
}

function escaped(text) {
  return text.replace(/[\\`*_{}[\]<>()#+\-.!|~&]/g, "\\$&").replace(/\s+/g, " ");
}
