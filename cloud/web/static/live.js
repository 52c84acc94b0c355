// The wall: a card for each camera, with its boxes as they come and how it is.

import { $, el, say } from "./dom.js";
import { bytes, clock, inView, plural, shortDay, span } from "./format.js";
import { colour, draw, fit } from "./stage.js";
import { Tracks } from "./tracks.js";

const AHEAD_S = -5;
const calm = matchMedia("(prefers-reduced-motion: reduce)");

const NAMES = { live: "Live", behind: "Behind", silent: "Silent", waiting: "Never seen" };

export class LiveView {
  #cards = new Map();
  #hidden = new Set(); // classes that are not drawn
  #offset = 0; // the server's clock less ours, in seconds
  #shown = false;
  #known = false;
  #visible = new IntersectionObserver((entries) => {
    for (const { target, isIntersecting } of entries) this.#cards.get(target.dataset.camera)?.onScreen(isIntersecting);
  });

  constructor(stream) {
    stream.addEventListener("state", ({ detail }) => this.#state(detail, true));
    stream.addEventListener("cameras", ({ detail }) => this.#state(detail, false));
    stream.addEventListener("seen", ({ detail }) => this.#seen(detail));
    setInterval(() => this.#shown && this.#words(), 1000);
    addEventListener("resize", () => this.#redraw());
  }

  /** Names of all cameras, in order. */
  get cameras() {
    return [...this.#cards.keys()].sort();
  }

  /** What the store has of a camera, or of all: {frames, bytes}. */
  stored(camera) {
    const some = [...this.#cards.values()].filter((card) => !camera || card.name === camera);
    const add = (key) => some.reduce((sum, card) => sum + (card.about?.stored?.[key] ?? 0), 0);
    return { frames: add("frames"), bytes: add("bytes") };
  }

  /** The server's clock. */
  now() {
    return Date.now() / 1000 + this.#offset;
  }

  show(shown) {
    this.#shown = shown;
    $("live").hidden = !shown;
    if (!shown) return;
    document.title = "Live · glimpse";
    this.#words();
    this.#redraw();
    requestAnimationFrame(() => this.#animate());
  }

  legend(labels) {
    $("legend").replaceChildren(...labels.map((label) => this.#legendButton(label)));
  }

  #legendButton(label) {
    const swatch = el("span", { class: "swatch", "aria-hidden": "true" });
    swatch.style.background = colour(label);
    const button = el("button", {
      type: "button", class: "chip", "aria-pressed": "true",
      click: () => {
        const shown = this.#hidden.delete(label);
        if (!shown) this.#hidden.add(label);
        button.setAttribute("aria-pressed", String(shown));
        this.#redraw();
      },
    }, swatch, label);
    return button;
  }

  #state({ now, cameras }, complete) {
    this.#known = true;
    this.#offset = now - Date.now() / 1000;
    for (const about of cameras) {
      const card = this.#card(about.name);
      if (card.about && card.about.state !== about.state) this.#news(about);
      card.about = about;
      if (complete && about.last) card.see(about.last, performance.now());
    }
    if (complete) {
      const names = new Set(cameras.map((about) => about.name));
      for (const name of this.#cards.keys()) if (!names.has(name)) this.#remove(name);
    }
    this.#words();
  }

  #seen({ now, seen }) {
    this.#offset = now - Date.now() / 1000;
    for (const frame of seen) this.#card(frame.camera).see(frame, performance.now());
  }

  #card(name) {
    if (!this.#cards.has(name)) {
      const card = new Card(name);
      this.#cards.set(name, card);
      const after = this.cameras[this.cameras.indexOf(name) + 1];
      $("wall").insertBefore(card.root, after ? this.#cards.get(after).root : null);
      this.#visible.observe(card.root);
    }
    return this.#cards.get(name);
  }

  #remove(name) {
    this.#visible.unobserve(this.#cards.get(name).root);
    this.#cards.get(name).root.remove();
    this.#cards.delete(name);
  }

  #news({ name, state }) {
    const words = { live: "is live", behind: "is behind", silent: "is silent", waiting: "is waiting" };
    say($("live-news"), `${name} ${words[state]}`);
  }

  #words() {
    const now = this.now();
    for (const card of this.#cards.values()) card.words(now);
    if (!this.#known) return;
    $("wall").dataset.count = Math.min(this.#cards.size, 5);
    say($("live-sub"), this.#summary());
    const empty = $("wall").querySelector(".empty");
    if (!this.#cards.size && !empty) $("wall").append(noCameras());
    if (this.#cards.size) empty?.remove();
  }

  #summary() {
    if (!this.#cards.size) return "No camera yet.";
    const some = (state) => [...this.#cards.values()].filter((card) => card.about?.state === state).length;
    const parts = ["live", "behind", "silent", "waiting"].filter(some);
    const names = { waiting: "never seen" };
    return `${plural(this.#cards.size, "camera")}: ${parts.map((state) => `${some(state)} ${names[state] ?? state}`).join(", ")}`;
  }

  #redraw() {
    for (const card of this.#cards.values()) card.dirty = true;
  }

  #animate() {
    if (!this.#shown) return;
    const now = performance.now();
    for (const card of this.#cards.values()) card.paint(now, this.#hidden);
    requestAnimationFrame(() => this.#animate());
  }
}

class Card {
  about = null;
  dirty = true;
  #tracks = new Tracks();
  #last = null;
  #onScreen = true;
  #canvas = el("canvas", { "aria-hidden": "true" });
  #badge = el("span", { class: "badge" });
  #view = el("p", { class: "view" });
  #age = el("p", { class: "age" });
  #hint = el("p", { class: "hint" });
  #figures = el("dl", { class: "figures" });
  #values = {};

  constructor(name) {
    this.name = name;
    for (const [key, label, title] of [
      ["rate", "Frames", "Frames a second in the last half minute"],
      ["size", "Newest layer", "Bytes of the newest layer, header and checksum included"],
      ["hour", "Layers", "Bytes of layers in an hour, by the last hour or as much of it as was seen"],
    ]) {
      this.#values[key] = el("dd", {}, "–");
      this.#figures.append(el("div", { title }, el("dt", {}, label), this.#values[key]));
    }
    this.stage = el("button", {
      type: "button", class: "stage", "aria-pressed": "false", click: () => this.#enlarge(),
    }, this.#canvas);
    this.root = el("li", { class: "camera", "data-camera": name },
      this.stage,
      el("div", { class: "about" },
        el("div", { class: "row" }, el("h2", {}, name), this.#badge),
        el("div", { class: "row" }, this.#view, this.#age),
        this.#hint,
        el("div", { class: "row low" }, this.#figures,
          el("a", { href: `/frames?camera=${name}`, "aria-label": `Stored frames of ${name}` }, "Stored frames"))));
  }

  onScreen(yes) {
    this.#onScreen = yes;
    this.dirty ||= yes;
  }

  see(frame, now) {
    if (this.#last && (this.#last.width !== frame.width || this.#last.height !== frame.height)) this.#tracks.clear();
    this.#last = frame;
    this.#tracks.update(frame.boxes, now);
    this.dirty = true;
  }

  paint(now, hidden) {
    if (!this.#onScreen || !this.#last) return;
    const smooth = !calm.matches;
    if (fit(this.#canvas)) this.dirty = true;
    if (!this.dirty && !(smooth && this.#tracks.moving(now))) return;
    this.dirty = false;
    const things = this.#tracks.at(now, smooth).filter((thing) => !hidden.has(thing.label));
    const presences = this.#last.presences.filter(([label]) => !hidden.has(label));
    draw(this.#canvas, this.#last.width, this.#last.height, things, presences);
  }

  words(now) {
    const { about } = this;
    this.root.dataset.state = about?.state ?? "waiting";
    this.root.dataset.seen = String(Boolean(this.#last));
    this.stage.disabled = !this.#last;
    const badge = about ? this.#badgeText(about, now) : "";
    const seen = this.#last ? inView(this.#last) : "";
    say(this.#badge, badge);
    say(this.#view, seen);
    say(this.#age, this.#last ? `${span(now - this.#last.at)} ago` : "");
    say(this.#hint, about ? hint(about) : "");
    say(this.#values.rate, about?.fps ? `${about.fps.toFixed(1)}/s` : "–");
    say(this.#values.size, this.#last ? bytes(this.#last.bytes) : "–");
    say(this.#values.hour, about?.bytes_per_hour ? `${bytes(about.bytes_per_hour)}/h` : "–");
    const label = `${[this.name, badge, seen].filter(Boolean).join(", ")}. ${this.#enlarged ? "Show smaller" : "Show larger"}`;
    if (this.stage.getAttribute("aria-label") !== label) this.stage.setAttribute("aria-label", label);
  }

  #badgeText({ state, since, delay }, now) {
    if (state === "silent") return `Silent since ${now - since < 43200 ? clock(since) : `${shortDay(since)}, ${clock(since)}`}`;
    if (state === "behind" && delay !== null) return `Behind by ${span(delay)}`;
    return NAMES[state];
  }

  get #enlarged() {
    return this.root.classList.contains("large");
  }

  #enlarge() {
    this.root.classList.toggle("large");
    this.stage.setAttribute("aria-pressed", String(this.#enlarged));
    this.root.scrollIntoView({ block: "nearest", behavior: calm.matches ? "auto" : "smooth" });
    this.dirty = true;
  }
}

/** What to know or to do about a camera; nothing for one that is well. */
function hint({ state, connected, delay, undetected }) {
  if (state === "waiting") return connected ? "Connected. Its first frame is on the way." : "It has a token and has not sent a frame.";
  if (state === "silent") {
    return connected
      ? "Connected, and sends no frames: look at its source."
      : "Not connected: look at its power and uplink. What it keeps on disk is sent when it is back.";
  }
  if (state === "behind") {
    return undetected
      ? "Its frames are stored. The server's detector is behind: too many frames, or too little machine."
      : "It sends what it kept while it was away, or its clock is late.";
  }
  return delay < AHEAD_S ? `Its clock is ${span(delay)} ahead of the server's.` : "";
}

function noCameras() {
  return el("li", { class: "empty" },
    el("h2", {}, "No camera yet"),
    el("p", {}, "Give one a token, and start it with that:"),
    el("pre", { tabindex: "0", "aria-label": "Commands" }, "glimpse-cloud token camera gate > gate.token\nglimpse-edge run --camera gate --source rtsp://192.0.2.7/stream \\\n    --server SERVER:50051 --ca ca.pem --token-file gate.token"),
    el("p", {}, "It appears here by itself."));
}
