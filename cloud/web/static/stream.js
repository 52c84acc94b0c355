// One connection for what happens now. It comes back by itself, and says how it is.

import { toLogin } from "./api.js";

const SILENCE_MS = 8000; // the server speaks every two seconds
const HIDDEN_MS = 20000; // a page that nobody sees lets go of its connection
const LONGEST_WAIT_MS = 8000;

/**
 * Events: 'link' {state: connecting | open | lost | refused | paused, reason}, and the server's own:
 * 'state', 'cameras', 'seen', each with the message as `detail`.
 */
export class Stream extends EventTarget {
  #source = null;
  #failures = 0;
  #retry = 0;
  #watchdog = 0;
  #hiding = 0;

  start() {
    document.addEventListener("visibilitychange", () => this.#seen());
    addEventListener("online", () => this.#open());
    this.#open();
  }

  #open() {
    this.#close();
    this.#tell("link", { state: this.#failures ? "lost" : "connecting" });
    const source = new EventSource("/api/live");
    this.#source = source;
    for (const name of ["state", "cameras", "seen"]) {
      source.addEventListener(name, (event) => {
        this.#watch();
        if (name === "state") {
          this.#failures = 0;
          this.#tell("link", { state: "open" });
        }
        this.#tell(name, JSON.parse(event.data));
      });
    }
    source.addEventListener("error", () => this.#lost());
    this.#watch();
  }

  async #lost() {
    this.#close();
    this.#failures += 1;
    const wait = Math.min(LONGEST_WAIT_MS, 500 * 2 ** this.#failures) * (0.75 + Math.random() / 2);
    this.#retry = setTimeout(() => this.#open(), wait);
    if (this.#failures > 1) this.#tell("link", { state: "lost" });
    // The event source hides why: an ordinary request tells.
    const reply = await fetch("/api/session").catch(() => null);
    if (reply?.status === 401 || reply?.status === 403) toLogin();
    else if (reply?.ok && this.#failures > 2) this.#tell("link", { state: "refused" });
  }

  #watch() {
    clearTimeout(this.#watchdog);
    this.#watchdog = setTimeout(() => this.#lost(), SILENCE_MS);
  }

  #seen() {
    clearTimeout(this.#hiding);
    if (document.visibilityState === "hidden") {
      this.#hiding = setTimeout(() => {
        this.#close();
        this.#tell("link", { state: "paused" });
      }, HIDDEN_MS);
    } else if (!this.#source) {
      this.#open();
    }
  }

  #close() {
    clearTimeout(this.#retry);
    clearTimeout(this.#watchdog);
    this.#source?.close();
    this.#source = null;
  }

  #tell(name, detail) {
    this.dispatchEvent(new CustomEvent(name, { detail }));
  }
}
