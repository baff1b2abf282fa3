// Follow playback: the turn that is heard is kept in view until the person reads elsewhere.
//
// Whatever the person does ends it: a scroll, a key, a focus, a selection. Each is a listener in the
// constructor. To operate the player, or the list of its keys, is not to read elsewhere.
//
// A scroll event does not say whose it is. The page's own scrolling only ever comes nearer to where it goes;
// every other movement is the person's.

const MODIFIERS = ["Alt", "AltGraph", "CapsLock", "Control", "Fn", "Meta", "NumLock", "Shift"];
const OVERSHOT = 40; // pixels: what an animation that is broken off may still add

export class Following {
  #checkbox;
  #player;
  #target = null; // where the page scrolls to, or has scrolled
  #distance = 0; // from there: the least so far
  #focused = null;

  /** `resume` is called when the person checks the box. */
  constructor(checkbox, player, resume) {
    this.#checkbox = checkbox;
    this.#player = player;
    checkbox.addEventListener("change", () => checkbox.checked && resume());
    const end = () => this.end();
    addEventListener("wheel", end, { passive: true });
    addEventListener("touchmove", ({ target }) => this.#belongsToPlayer(target) || end(), { passive: true });
    addEventListener("scroll", () => this.#scrolled());
    addEventListener("keydown", (event) => this.#readsElsewhere(event) && end());
    addEventListener("focusin", ({ target }) => {
      // The list of keys, when it closes, and a window that comes to the front give the focus back to where it was.
      if (target === this.#focused || target.closest("dialog")) {
        return;
      }
      this.#focused = target;
      if (target.tabIndex >= 0 && !this.#belongsToPlayer(target)) {
        end();
      }
    });
    document.addEventListener("selectionchange", () => getSelection().isCollapsed || end());
  }

  get on() {
    return this.#checkbox.checked;
  }

  begin() {
    this.#checkbox.checked = true;
  }

  end() {
    this.#checkbox.checked = false;
  }

  /** Scrolls to an element: smoothly, unless it is far or motion is not wanted. */
  bringIntoView(element) {
    const { top, height } = element.getBoundingClientRect();
    const room = document.documentElement.scrollHeight - innerHeight;
    const target = Math.min(Math.max(scrollY + top - (innerHeight - height) / 2, 0), Math.max(room, 0));
    [this.#target, this.#distance] = [target, Math.abs(target - scrollY)];
    const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
    const far = this.#distance > 2 * innerHeight;
    scrollTo({ top: target, behavior: far || calm ? "instant" : "smooth" });
  }

  #scrolled() {
    const distance = this.#target === null ? Infinity : Math.abs(scrollY - this.#target);
    if (distance > this.#distance + OVERSHOT) {
      this.end();
    }
    this.#distance = Math.min(distance, this.#distance);
  }

  #readsElsewhere({ key, target, defaultPrevented }) {
    if (defaultPrevented || MODIFIERS.includes(key)) {
      return false; // keyboard.js and timeline.js prevent the keys that they take
    }
    // These operate what has the focus. Any other key may scroll the page, also from the player.
    const operates =
      ["Enter", "Escape"].includes(key) ||
      (key === " " && target.matches("button, input")) ||
      (key !== "Tab" && target.matches("select"));
    return !(operates && this.#belongsToPlayer(target));
  }

  /** Tells whether an element belongs to the player, or to the list of its keys. */
  #belongsToPlayer(element) {
    return this.#player.contains(element) || Boolean(element.closest?.("dialog"));
  }
}
