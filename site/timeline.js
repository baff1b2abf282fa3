// Who speaks when, in two lanes: a slider that seeks.

import { clock } from "./format.js";

const LANES = { assistant: 0, user: 1 };
const LANE_HEIGHT = 0.8; // of 1, which leaves a gap
const SEEKS = { ArrowLeft: -5, ArrowDown: -5, ArrowRight: 5, ArrowUp: 5, PageDown: -30, PageUp: 30 }; // seconds
const SAY_MS = 1_000; // a screen reader speaks each change

export class Timeline {
  #root;
  #length = 1;
  #now = 0;
  #said = -Infinity;
  #timer = 0;

  /** `seek` is called with the seconds that are chosen. */
  constructor(root, seek) {
    this.#root = root;
    const chosen = ({ clientX }) => {
      const { left, width } = root.getBoundingClientRect();
      seek(Math.min(Math.max((clientX - left) / width, 0), 1) * this.#length);
    };
    root.addEventListener("pointerdown", (event) => {
      if (event.button === 0) {
        root.setPointerCapture(event.pointerId);
        chosen(event);
      }
    });
    root.addEventListener("pointermove", (event) => {
      if (root.hasPointerCapture(event.pointerId)) {
        chosen(event);
      }
    });
    root.addEventListener("keydown", (event) => {
      if (event.defaultPrevented) {
        return; // the page's own keys have sought
      }
      const ends = { Home: 0, End: this.#length };
      const target = ends[event.key] ?? this.#now + SEEKS[event.key];
      if (!isNaN(target) && !(event.ctrlKey || event.altKey || event.metaKey || event.shiftKey)) {
        event.preventDefault();
        seek(Math.min(target, this.#length));
      }
    });
  }

  /** Draws the turns of a recording of this length. A path a speaker: thousands of turns cost no more. */
  show(turns, length) {
    this.#length = Math.max(length, 1);
    const spans = turns.spans(this.#length);
    for (const [role, lane] of Object.entries(LANES)) {
      const drawn = spans.filter((turn) => turn.role === role).map(({ start, end }) => this.#bar(start, end, lane));
      this.#root.querySelector(`path.${role}`).setAttribute("d", drawn.join(""));
    }
    this.#root.ariaValueMax = Math.floor(this.#length);
    this.move(this.#now);
  }

  move(seconds) {
    this.#now = Math.min(seconds, this.#length);
    this.#root.querySelector(".playhead").style.translate = `${(100 * this.#now) / this.#length}%`;
    if (!this.#timer) {
      this.#timer = setTimeout(() => this.#say(), Math.max(this.#said + SAY_MS - performance.now(), 0));
    }
  }

  #say() {
    this.#timer = 0;
    const now = Math.floor(this.#now);
    const text = `${clock(now)} of ${clock(this.#length)}`;
    if (this.#root.ariaValueText !== text) {
      this.#said = performance.now();
      this.#root.ariaValueNow = now;
      this.#root.ariaValueText = text;
    }
  }

  #bar(start, end, lane) {
    const x = start / this.#length;
    const width = (end - start) / this.#length;
    return `M${x.toFixed(5)} ${lane + (1 - LANE_HEIGHT) / 2}h${width.toFixed(5)}v${LANE_HEIGHT}h${(-width).toFixed(5)}z`;
  }
}
