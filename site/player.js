// The recording: position, speed, and a link that is replaced when it has expired.
//
// The position is kept here, not in the audio element: it holds before the recording has loaded, and
// while its link is replaced.
//
// A link is replaced when it is old and data may be needed: at a start, at a seek, and where the browser
// waits for it. It is also replaced when the recording fails, but that alone would come late: browsers ask
// again for half a minute before they report a failure.

const OLD_MS = 55 * 60 * 1000; // a link lasts an hour

export class Player {
  #audio;
  #changed;
  #renew;
  #failed;
  #position = 0;
  #length = 0;
  #linked = 0; // when the link came, by the clock, which goes on while the machine sleeps
  #renewed = false; // and not heard since, so that a recording that is broken is not asked for again
  #placed = false; // the audio element is at the position: a new link starts at 0
  #frame = 0;

  /**
   * `changed` is called when the position changes; `renew` returns a promise of a new link; `failed`
   * is called when a new link does not play either.
   */
  constructor(audio, { changed, renew, failed }) {
    this.#audio = audio;
    this.#changed = changed;
    this.#renew = renew;
    this.#failed = failed;
    audio.addEventListener("loadedmetadata", () => this.#restore());
    audio.addEventListener("canplay", () => (this.#renewed = false));
    audio.addEventListener("seeking", () => this.#moved());
    audio.addEventListener("timeupdate", () => this.#moved());
    audio.addEventListener("play", () => this.#track());
    for (const event of ["play", "seeking", "waiting"]) {
      audio.addEventListener(event, () => this.#refresh());
    }
    audio.addEventListener("error", () => this.#broken());
  }

  get position() {
    return this.#position;
  }

  get playable() {
    return this.#audio.hasAttribute("src");
  }

  /** Takes a call's recording, or null. A new link to the recording that plays changes nothing. */
  load(link, length) {
    this.#length = length;
    if (link === null) {
      this.#placed = false;
      this.#audio.removeAttribute("src");
      this.#audio.load();
    } else if (!this.playable || object(link) !== object(this.#audio.src)) {
      this.#renewed = false;
      this.#use(link);
    }
  }

  /** Forgets the position along with the recording. */
  clear() {
    this.#position = 0;
    this.#audio.pause();
    this.load(null, 0);
  }

  seek(seconds) {
    if (!this.playable) {
      return;
    }
    this.#position = Math.min(Math.max(seconds, 0), this.#length);
    if (this.#placed) {
      this.#audio.currentTime = this.#position;
    }
    this.#changed(this.#position);
  }

  play(seconds) {
    this.seek(seconds);
    this.#start();
  }

  toggle() {
    if (!this.playable) {
      return;
    }
    if (this.#audio.paused) {
      this.#start();
    } else {
      this.#audio.pause();
    }
  }

  set speed(rate) {
    this.#audio.defaultPlaybackRate = rate; // what a new link starts with
    this.#audio.playbackRate = rate;
  }

  #start() {
    this.#audio.play().catch(() => {}); // a failure comes as an error event
  }

  #restore() {
    this.#placed = true;
    this.#audio.currentTime = this.#position;
  }

  #moved() {
    if (this.#placed) {
      this.#position = this.#audio.currentTime;
      this.#changed(this.#position);
    }
  }

  /** Follows the position smoothly: timeupdate comes four times a second. */
  #track() {
    cancelAnimationFrame(this.#frame);
    if (!this.#audio.paused) {
      this.#moved();
      this.#frame = requestAnimationFrame(() => this.#track());
    }
  }

  #use(link) {
    this.#linked = Date.now();
    this.#placed = false;
    this.#audio.src = link;
  }

  #refresh() {
    if (this.#placed && !this.#renewed && Date.now() - this.#linked > OLD_MS) {
      this.#replace();
    }
  }

  #broken() {
    if (this.playable) {
      this.#renewed ? this.#failed() : this.#replace();
    }
  }

  async #replace() {
    this.#renewed = true;
    const playing = !this.#audio.paused;
    const link = await this.#renew();
    if (link !== null) {
      this.#use(link);
      if (playing) {
        this.#start();
      }
    }
  }
}

/** What a link opens, without its signature. */
function object(link) {
  const { origin, pathname } = new URL(link);
  return origin + pathname;
}
