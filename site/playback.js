// The player's row, and all that follows the recording: timeline, times, the turn that is heard.

import { byId } from "./dom.js";
import { Following } from "./following.js";
import { clock } from "./format.js";
import { isLive } from "./polling.js";
import { Player } from "./player.js";
import { Timeline } from "./timeline.js";
import { Transcript } from "./transcript.js";
import { Turns } from "./turns.js";

export class Playback {
  #player;
  #timeline = new Timeline(byId("timeline"), (seconds) => this.seek(seconds));
  #transcript = new Transcript(byId("turns"), (turn) => this.#play(turn));
  #following = new Following(byId("follow"), byId("player"), () => this.#scroll());
  #turns = new Turns([]);
  #hint = 0;
  #length = null; // that is drawn
  #chosen = null; // the turn that was asked for last, unless another moment was

  /** `renew` asks for the call, which is shown, and returns a promise of null, or of why it is not. */
  constructor(renew) {
    this.#player = new Player(byId("recording"), {
      renew,
      changed: () => this.#update(),
      failed: (sentence) => byId("broken-why").replaceChildren(sentence),
    });
    byId("play").addEventListener("click", () => this.toggle());
    byId("again").addEventListener("click", () => this.#player.retry());
    byId("speed").addEventListener("change", ({ target }) => (this.#player.speed = Number(target.value)));
    for (const event of ["pointerenter", "focus"]) {
      byId("open-recording").addEventListener(event, () => this.#player.refresh());
    }
  }

  get playable() {
    return this.#player.playable;
  }

  get position() {
    return this.#player.position;
  }

  show(call) {
    [this.#turns, this.#hint, this.#length] = [call.turns, call.lengthHint, null];
    this.#chosen = call.turns.all[this.#chosen?.index] ?? null;
    this.#transcript.show(call.turns.all, call.speakers);
    this.#player.load(call.recording);
    byId("player").hidden = call.recording === null;
    byId("no-recording").replaceChildren(call.recording === null ? whyNoRecording(call) : "");
    byId("no-turns").replaceChildren(aboutTurns(call));
    this.#transcript.mark(this.#heard()); // what is opened is not scrolled away
    this.#update();
  }

  clear() {
    [this.#turns, this.#hint, this.#length, this.#chosen] = [new Turns([]), 0, null, null];
    this.#player.clear();
    this.#transcript.show([], {});
    this.#following.begin();
    this.#update();
  }

  seek(seconds) {
    this.#chosen = null;
    this.#player.seek(seconds);
  }

  toggle() {
    if (this.#player.ended) {
      this.#chosen = null; // it starts anew
    }
    this.#player.toggle();
  }

  /** Goes on or back by turns. */
  step(places) {
    const turn = this.#turns.after(this.#heard(), places);
    if (turn) {
      this.#choose(turn);
    }
  }

  #play(turn) {
    this.#following.begin();
    this.#choose(turn);
    if (!this.#player.ended) {
      this.#player.start(); // at its end it would start anew
    }
  }

  #choose(turn) {
    this.#chosen = turn;
    this.#player.seek(turn.start);
  }

  #heard() {
    return this.playable ? this.#turns.at(this.position, this.#chosen, this.#player.length ?? Infinity) : null;
  }

  #update() {
    const { position, playing, playable } = this.#player;
    const length = this.#player.length ?? Math.max(this.#hint, position);
    if (length !== this.#length) {
      this.#length = length;
      this.#timeline.show(this.#turns, length);
      set("length", "textContent", clock(length));
    }
    this.#timeline.move(position);
    set("position", "textContent", clock(position));
    set("play", "ariaLabel", playing ? "Pause" : "Play");
    set("controls", "hidden", !playable);
    set("broken", "hidden", playable);
    set("open-recording", "href", this.#player.url ?? location.href); // no link stays of a call that is closed
    this.#transcript.playable = playable;
    if (this.#transcript.mark(this.#heard()) && this.#following.on) {
      this.#scroll();
    }
  }

  #scroll() {
    if (this.#transcript.marked) {
      this.#following.bringIntoView(this.#transcript.marked);
    }
  }
}

/** Sets what has changed: this runs each frame while the recording plays. */
function set(id, property, value) {
  if (byId(id)[property] !== value) {
    byId(id)[property] = value;
  }
}

function whyNoRecording(call) {
  if (isLive(call)) {
    return "The recording follows when the call has ended.";
  }
  return call.status === "deleted"
    ? "This call is deleted: its recording is no longer available."
    : "This call was not recorded.";
}

function aboutTurns(call) {
  if (call.turns.all.length === 0) {
    return isLive(call) ? "Nothing has been said yet." : "There is no transcript of this call.";
  }
  return call.turns.timed.length === 0 ? "When each turn was said is not known." : "";
}
