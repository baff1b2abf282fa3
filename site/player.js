// The recording: position, speed, and a link that is renewed when it may have expired.
//
// The position is kept here, not in the audio element: it holds before the recording has loaded, and while
// its link is replaced.
//
// A link is renewed at most once in its life, and only when it is old: at a start, at a seek, where the
// browser waits for data, and where the recording fails. A recording that fails with a young link is broken:
// that is said, and costs no request.

import { INEXACT_SEEK } from "./turns.js";

const OLD_MS = 55 * 60 * 1000; // a link lasts an hour

export class Player {
  #audio;
  #changed;
  #renew;
  #failed;
  #link = null; // that the audio element has: `{url, since, renewed, waits}`
  #newest = null; // the last one that came; it stands for the next time that one is needed
  #position = 0;
  #placed = false; // the audio element is at the position: a new link starts at 0
  #broken = false;
  #frame = 0;

  /**
   * `changed` is called when anything that is shown changes; `renew` asks for the call, whose new link comes
   * by `load`, and returns a promise of null, or of a sentence why none comes; `failed` is called with what
   * is to be said.
   */
  constructor(audio, { changed, renew, failed }) {
    this.#audio = audio;
    this.#changed = changed;
    this.#renew = renew;
    this.#failed = failed;
    audio.addEventListener("loadedmetadata", () => this.#restore());
    audio.addEventListener("timeupdate", () => this.#moved());
    audio.addEventListener("play", () => this.#track());
    for (const event of ["play", "pause", "ended", "durationchange"]) {
      audio.addEventListener(event, () => this.#changed());
    }
    for (const event of ["play", "seeking", "waiting"]) {
      audio.addEventListener(event, () => this.#placed && this.refresh());
    }
    audio.addEventListener("error", () => this.#link && this.#fails());
  }

  get position() {
    return this.#position;
  }

  get playable() {
    return this.#link !== null && !this.#broken;
  }

  get playing() {
    return !this.#audio.paused;
  }

  /** What the audio says; null until then. */
  get length() {
    return Number.isFinite(this.#audio.duration) ? this.#audio.duration : null;
  }

  get ended() {
    return this.#position === this.length;
  }

  /** The newest link, for whoever wants the recording elsewhere; null where there is none. */
  get url() {
    return this.#newest?.url ?? null;
  }

  /** Takes a call's link, or null. A new link to the recording that plays is kept until it is needed. */
  load(url) {
    if (url === null) {
      this.#unload();
    } else {
      this.#newest = { url, since: Date.now(), renewed: false, waits: false };
      if (!this.#link || objectOf(url) !== objectOf(this.#link.url)) {
        this.#use(this.#newest);
      }
    }
  }

  /** Forgets the position along with the recording. */
  clear() {
    this.#position = 0;
    this.#unload();
  }

  seek(seconds) {
    if (this.playable) {
      this.#position = Math.min(Math.max(seconds, 0), this.length ?? Infinity);
      if (this.#placed) {
        this.#audio.currentTime = this.#position;
      }
      this.#changed();
    }
  }

  start() {
    this.#audio.play().catch(() => {}); // a failure comes as an error event
  }

  toggle() {
    if (this.#audio.paused) {
      this.start();
    } else {
      this.#audio.pause();
    }
  }

  set speed(rate) {
    this.#audio.defaultPlaybackRate = rate; // what a new link starts with
    this.#audio.playbackRate = rate;
  }

  /** Replaces a link that may have expired. */
  async refresh() {
    const link = this.#link;
    if (!link || !isOld(link)) {
      return;
    }
    if (isOld(this.#newest)) {
      if (link.renewed) {
        return;
      }
      link.renewed = link.waits = true;
      const why = await this.#renew();
      link.waits = false;
      if (link !== this.#link) {
        return; // another recording, or none, by now
      }
      if (why !== null || isOld(this.#newest)) {
        this.#break(`The recording’s link has expired, and there is no new one. ${why ?? ""}`);
        return;
      }
    }
    this.#use(this.#newest);
  }

  /** Tries a recording that failed, with a new link where the one before is old. */
  retry() {
    this.#broken = false;
    this.#link.renewed = false;
    if (isOld(this.#link)) {
      this.refresh();
    } else {
      this.#use(this.#newest);
    }
    this.#changed();
  }

  #use(link) {
    const playing = this.playing && this.#link !== null;
    this.#link = link;
    this.#placed = this.#broken = false;
    this.#audio.src = link.url;
    if (playing) {
      this.start();
    }
  }

  #unload() {
    this.#link = this.#newest = null;
    this.#placed = this.#broken = false;
    this.#audio.pause();
    this.#audio.removeAttribute("src");
    this.#audio.load();
  }

  #fails() {
    if (this.#link.waits) {
      return; // for its successor
    }
    if (isOld(this.#link) && !this.#link.renewed) {
      this.refresh();
    } else {
      this.#break("The recording cannot be played.");
    }
  }

  #break(sentence) {
    this.#broken = true;
    this.#audio.pause();
    this.#failed(sentence);
    this.#changed();
  }

  #restore() {
    this.#placed = true;
    this.seek(this.#position);
  }

  #moved() {
    const heard = this.#audio.currentTime;
    const sought = !this.playing && Math.abs(heard - this.#position) < INEXACT_SEEK;
    if (this.#placed && !sought) {
      this.#position = heard;
      this.#changed();
    }
  }

  /** Follows the position smoothly: timeupdate comes four times a second. */
  #track() {
    cancelAnimationFrame(this.#frame);
    if (this.playing) {
      this.#moved();
      this.#frame = requestAnimationFrame(() => this.#track());
    }
  }
}

const isOld = ({ since }) => Date.now() - since > OLD_MS;

/** What a link opens, without its signature. */
function objectOf(url) {
  const { origin, pathname } = new URL(url);
  return origin + pathname;
}
