// Search in the transcript: every hit is highlighted, one of them is in view.

import { byId } from "./dom.js";
import { hitsIn } from "./find.js";

export class Search {
  #list;
  #ranges = [];
  #at = 0;

  constructor(list) {
    this.#list = list;
    byId("wanted").addEventListener("input", () => this.#find(0, { scroll: true }));
    byId("wanted").addEventListener("keydown", (event) => {
      if (event.key === "Enter" && !event.isComposing) {
        event.preventDefault();
        this.#go(event.shiftKey ? -1 : 1);
      }
    });
    byId("next").addEventListener("click", () => this.#go(1));
    byId("previous").addEventListener("click", () => this.#go(-1));
  }

  /** Searches what the transcript has now, and stays at the hit that is in view. */
  refresh() {
    this.#find(this.#at, { scroll: false });
  }

  clear() {
    byId("wanted").value = "";
    this.refresh();
  }

  /** Finds all hits, and shows the one at this place or the last one before. */
  #find(at, { scroll }) {
    const texts = [...this.#list.querySelectorAll("p")].map((text) => text.firstChild);
    const hits = hitsIn(texts.map(({ data }) => data), byId("wanted").value);
    this.#ranges = hits.map(({ index, from, to }) => {
      const range = document.createRange();
      range.setStart(texts[index], from);
      range.setEnd(texts[index], to);
      return range;
    });
    this.#show(Math.min(at, Math.max(hits.length - 1, 0)), { scroll });
  }

  #go(step) {
    const count = this.#ranges.length;
    if (count) {
      this.#show((this.#at + step + count) % count, { scroll: true });
    }
  }

  #show(at, { scroll }) {
    this.#at = at;
    const [count, hit] = [this.#ranges.length, this.#ranges[at]];
    const wanted = byId("wanted").value.trim();
    byId("hits").replaceChildren(count ? `${at + 1} of ${count}` : wanted ? "No hits" : "");
    byId("next").disabled = byId("previous").disabled = count === 0;
    if (globalThis.Highlight) { // without it, hits are counted and scrolled to, and not highlighted
      CSS.highlights.set("hits", new Highlight(...this.#ranges));
      CSS.highlights.set("hit", new Highlight(...(hit ? [hit] : [])));
    }
    if (hit && scroll) {
      hit.startContainer.parentElement.scrollIntoView({ block: "center" });
    }
  }
}
