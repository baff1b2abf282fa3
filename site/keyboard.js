// Keys that play: by their position and not by their letter, without modifiers, never in a field. They
// can be switched off where they are listed (WCAG 2.1.4).

import { byId } from "./dom.js";

const SETTING = "shortcuts"; // in localStorage: "off"
const SEEK_SECONDS = 5;
const FIELDS = "input:not([type=checkbox]), select, textarea";
const PRESSED_BY_SPACE = "button, input, summary";

export function listenToKeys(playback) {
  const keys = {
    Space: (repeated) => repeated || playback.toggle(),
    ArrowLeft: () => playback.seek(playback.position - SEEK_SECONDS),
    ArrowRight: () => playback.seek(playback.position + SEEK_SECONDS),
    BracketLeft: () => playback.step(-1),
    BracketRight: () => playback.step(1),
  };
  const [list, on] = [byId("shortcuts"), byId("shortcuts-on")];
  on.checked = localStorage.getItem(SETTING) !== "off";
  on.addEventListener("change", () => localStorage.setItem(SETTING, on.checked ? "on" : "off"));
  byId("keys").addEventListener("click", () => list.showModal());

  // Before the others hear it, so that they know which keys were meant for the recording.
  addEventListener(
    "keydown",
    (event) => {
      const { code, key, target } = event;
      const pressed = code === "Space" && target.matches(PRESSED_BY_SPACE);
      const listed = key === "?" || (code in keys && !event.shiftKey && !pressed);
      const modified = event.ctrlKey || event.altKey || event.metaKey || event.isComposing;
      if (!listed || modified || !on.checked || list.open || !playback.playable || target.matches(FIELDS)) {
        return;
      }
      event.preventDefault();
      if (key === "?") {
        list.showModal();
      } else {
        keys[code](event.repeat);
      }
    },
    { capture: true },
  );
}
