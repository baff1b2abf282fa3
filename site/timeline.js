// Who speaks when, in two lanes: a slider that seeks, or an image where there is no recording.

import { clock } from "./format.js";

const LANES = { assistant: 0, user: 1 };
const LANE_HEIGHT = 0.8; // of 1, which leaves a gap

export class Timeline {
  #root;
  #length = 1;

  /** `seek` is called with the seconds that are chosen. */
  constructor(root, seek) {
    this.#root = root;
    const chosen = ({ clientX }) => {
      const { left, width } = root.getBoundingClientRect();
      seek(Math.min(Math.max((clientX - left) / width, 0), 1) * this.#length);
    };
    root.addEventListener("pointerdown", (event) => {
      if (event.button === 0 && root.role === "slider") {
        root.setPointerCapture(event.pointerId);
        chosen(event);
      }
    });
    root.addEventListener("pointermove", (event) => {
      if (root.hasPointerCapture(event.pointerId)) {
        chosen(event);
      }
    });
  }

  /** Draws the turns of a call of this length. A path a speaker: thousands of turns cost no more. */
  show(turns, length, seekable) {
    this.#root.role = seekable ? "slider" : "img";
    this.#root.tabIndex = seekable ? 0 : -1;
    this.#length = Math.max(length, 1);
    for (const [role, lane] of Object.entries(LANES)) {
      const drawn = turns
        .filter((turn) => turn.role === role)
        .map(({ start, end }) => this.#bar(start, end, lane));
      this.#root.querySelector(`path.${role}`).setAttribute("d", drawn.join(""));
    }
    this.#root.ariaValueMax = seekable ? Math.floor(this.#length) : null;
  }

  /** Moves the playhead, where there is a recording. */
  move(seconds) {
    if (this.#root.role !== "slider") {
      this.#root.ariaValueNow = this.#root.ariaValueText = null;
      return;
    }
    const now = Math.min(seconds, this.#length);
    const line = this.#root.querySelector("line");
    line.setAttribute("x1", now / this.#length);
    line.setAttribute("x2", now / this.#length);
    this.#root.ariaValueNow = Math.floor(now);
    this.#root.ariaValueText = `${clock(now)} of ${clock(this.#length)}`;
  }

  #bar(start, end, lane) {
    const x = start / this.#length;
    const width = (end - start) / this.#length;
    return `M${x.toFixed(5)} ${lane + (1 - LANE_HEIGHT) / 2}h${width.toFixed(5)}v${LANE_HEIGHT}h${(-width).toFixed(5)}z`;
  }
}
