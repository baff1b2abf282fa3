// The list of turns: plain elements, so that search, selection and print work on all of them.

import { callText, element } from "./dom.js";
import { clock } from "./format.js";

export class Transcript {
  #list;
  #turns = [];
  #speakers = {};
  #marked = null;
  #playable = false;

  /** `choose` is called with the turn whose button is pressed. */
  constructor(list, choose) {
    this.#list = list;
    list.addEventListener("click", ({ target }) => {
      const button = target.closest("button");
      if (button) {
        choose(this.#turns[[...list.children].indexOf(button.parentElement)]);
      }
    });
  }

  /** Shows the turns. Those that are shown already stay as they are: a selection survives an update. */
  show(turns, speakers) {
    const same = speakers.user === this.#speakers.user;
    let kept = 0;
    while (same && kept < turns.length && sameTurn(this.#turns[kept], turns[kept])) {
      kept += 1;
    }
    const added = turns.slice(kept).map((turn) => item(turn, speakers, this.#playable));
    while (this.#list.children.length > kept) {
      this.#list.lastChild.remove();
    }
    this.#marked = this.#marked?.isConnected ? this.#marked : null;
    this.#list.append(...added);
    [this.#turns, this.#speakers] = [turns, speakers];
  }

  /** Says whether the turns can be played. */
  set playable(can) {
    if (can === this.#playable) {
      return;
    }
    this.#playable = can;
    for (const button of this.#list.querySelectorAll("button")) {
      button.disabled = !can;
    }
  }

  /** Marks the turn that is heard, or none. Returns its element where it is another one than before. */
  mark(turn) {
    const item = this.#list.children[turn?.index] ?? null;
    if (item === this.#marked) {
      return null;
    }
    this.#marked?.removeAttribute("aria-current");
    item?.setAttribute("aria-current", "true");
    this.#marked = item;
    return item;
  }

  /** The element of the turn that is marked, or null. */
  get marked() {
    return this.#marked;
  }
}

function item({ role, content, start }, speakers, playable) {
  return element(
    "li",
    { class: role },
    element("span", { class: "speaker" }, speakers[role]),
    ...(start === null ? [] : [playButton(start, playable)]),
    callText("p", content),
  );
}

function playButton(start, playable) {
  const time = clock(start);
  const button = element("button", { type: "button", "aria-label": `Play from ${time}` }, time);
  button.disabled = !playable;
  return button;
}

function sameTurn(one, other) {
  return one?.role === other.role && one.content === other.content && one.start === other.start;
}
