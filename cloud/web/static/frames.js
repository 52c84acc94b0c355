// Stored frames: filters, the time line, and a list that is paged by key as one scrolls.

import { framePath, get } from "./api.js";
import { $, el, say, svg } from "./dom.js";
import { bytes, clock, counts, exact, minute, number, plural, when } from "./format.js";
import { colour } from "./stage.js";
import { Strip } from "./strip.js";

const PAGE = 60;

export class FramesView {
  #live;
  #strip;
  #filters = { camera: "", label: "", since: null, until: null };
  #frames = []; // what is listed, newest first
  #next = null; // where the rest begins; null: there is none
  #loading = null;
  #shown = false;
  #loaded = false;
  #fresh = 0;
  #windowEnd = null;
  #pending = new Map(); // tiles of frames that the detector has not looked at, by name
  #end = new IntersectionObserver((entries) => entries.some((entry) => entry.isIntersecting) && this.more(), { rootMargin: "600px" });

  constructor(live, stream) {
    this.#live = live;
    this.#strip = new Strip($("strip"));
    this.#strip.addEventListener("window", ({ detail }) => this.#marks(detail.until));
    this.#strip.addEventListener("pick", ({ detail }) => this.#change({ until: detail.until }));
    stream.addEventListener("seen", ({ detail }) => this.#arrived(detail.seen));
    stream.addEventListener("state", () => this.#counted());
    stream.addEventListener("cameras", () => this.#counted());
    $("filters").addEventListener("change", () => this.#change(this.#read()));
    $("filters").addEventListener("submit", (event) => event.preventDefault());
    $("filters").addEventListener("reset", (event) => {
      event.preventDefault();
      this.#windowEnd = null;
      this.#change({ camera: "", label: "", since: null, until: null });
    });
    $("fresh").addEventListener("click", () => this.#change({}));
  }

  labels(labels) {
    $("filters").elements.label.append(...labels.map((label) => el("option", { value: label }, label)));
    this.#write();
  }

  /** The address of the list with its filters. */
  get address() {
    const asked = Object.entries(this.#filters).filter(([, value]) => value);
    return `/frames${asked.length ? `?${new URLSearchParams(asked)}` : ""}`;
  }

  /** Shows the list as the address asks; without one as it was. Resolves when it is there. */
  async show(shown, query = null) {
    this.#shown = shown;
    $("frames").hidden = !shown;
    if (!shown) return;
    document.title = "Frames · glimpse";
    const asked = query ? read(query) : this.#filters;
    const same = Object.entries(asked).every(([name, value]) => this.#filters[name] === value);
    if (this.#loaded && same) return;
    this.#filters = asked;
    await this.#load();
  }

  /** The frame after or before one in the list; null: there is none. Loads what it needs. */
  async beside(name, by) {
    const at = this.#frames.findIndex((frame) => framePath(frame) === name);
    if (at < 0 || at + by < 0) return null;
    if (at + by >= this.#frames.length) await this.more();
    return this.#frames[at + by] ?? null;
  }

  /** A frame that is listed. */
  known(name) {
    return this.#frames.find((frame) => framePath(frame) === name) ?? null;
  }

  /** Loads the next page; one at a time. */
  async more() {
    if (this.#loading || !this.#next) return;
    await this.#page(this.#next);
  }

  async #load() {
    this.#write();
    this.#loading?.abort();
    this.#loading = null;
    this.#fresh = 0;
    this.#arrived([]);
    if (this.#filters.until !== null) this.#windowEnd = this.#filters.until + this.#strip.span / 8;
    const marks = this.#marks(this.#windowEnd);
    await this.#page(null);
    await marks;
  }

  #change(filters) {
    this.#filters = { ...this.#filters, ...filters };
    history.replaceState(null, "", this.address);
    this.#load();
  }

  async #page(before) {
    const loading = new AbortController();
    this.#loading = loading;
    $("list").setAttribute("aria-busy", "true");
    const { camera, label, since, until } = this.#filters;
    try {
      const { frames, next } = await get("frames", { camera, label, since, until, before, limit: PAGE }, loading.signal);
      if (before === null) {
        this.#frames = [];
        this.#pending.clear();
        $("list").replaceChildren();
      }
      this.#loaded = true;
      this.#next = next;
      this.#append(frames);
      this.#foot();
      say($("frames-news"), this.#frames.length ? `${plural(this.#frames.length, "frame")} listed` : "No frames");
    } catch (error) {
      if (error.name === "AbortError") return;
      this.#fault(error.message, before);
    } finally {
      if (this.#loading === loading) this.#loading = null;
      $("list").removeAttribute("aria-busy");
    }
  }

  #append(frames) {
    const now = this.#live.now();
    for (const frame of frames) {
      const title = `${when(frame.at, now)}, ${minute(frame.at)}`;
      let group = $("list").lastElementChild;
      if (group?.dataset.title !== title) {
        group = el("section", { class: "minute", "data-title": title, "aria-label": title }, el("h2", {}, title), el("ul", { class: "tiles" }));
        $("list").append(group);
      }
      const shown = tile(frame);
      group.lastElementChild.append(shown);
      if (frame.boxes === null && !frame.fault) this.#pending.set(framePath(frame), shown);
    }
    this.#frames.push(...frames);
  }

  #foot() {
    const more = $("more");
    this.#end.disconnect();
    if (!this.#frames.length) more.replaceChildren(this.#nothing());
    else if (this.#next) {
      more.replaceChildren(el("button", { type: "button", click: () => this.more() }, "Load older frames"));
      this.#end.observe(more);
    } else more.replaceChildren(el("p", { class: "hint" }, "No older frames match."));
  }

  #nothing() {
    const filtered = Object.values(this.#filters).some((value) => value);
    return filtered
      ? el("div", { class: "empty" }, el("h2", {}, "No frames match"), el("p", {}, "No stored frame is of this camera, with this in view, at this time."),
        el("button", { type: "button", click: () => $("filters").reset() }, "Show all frames"))
      : el("div", { class: "empty" }, el("h2", {}, "Nothing stored yet"), el("p", {}, "Each frame that a camera sends is listed here as soon as it is on disk."));
  }

  #fault(reason, before) {
    $("more").replaceChildren(el("div", { class: "empty", role: "alert" }, el("h2", {}, "The frames could not be loaded"), el("p", {}, reason),
      el("button", { type: "button", click: () => (before === null ? this.#load() : this.#page(before)) }, "Try again")));
  }

  async #marks(until) {
    this.#windowEnd = until;
    const asked = { camera: this.#filters.camera, span: this.#strip.span, until, marks: this.#strip.parts };
    try {
      this.#strip.show(await get("marks", asked), this.#filters.until);
    } catch {
      // The list says what is wrong; the time line keeps what it has.
    }
  }

  #arrived(seen) {
    for (const frame of seen) this.#detected(frame);
    const { camera, label, until } = this.#filters;
    const wanted = (frame) => (!camera || frame.camera === camera) && (!label || counts(frame).some(([seen]) => seen === label));
    this.#fresh += until === null && this.#loaded ? seen.filter(wanted).length : 0;
    $("fresh").hidden = this.#fresh === 0;
    if (this.#fresh && this.#shown) say($("fresh"), `Show ${this.#fresh > 99 ? "99+" : this.#fresh} new ${this.#fresh === 1 ? "frame" : "frames"}`);
  }

  /** A listed frame has its boxes now. */
  #detected(frame) {
    const name = framePath(frame);
    const shown = this.#pending.get(name);
    if (!shown) return;
    this.#pending.delete(name);
    Object.assign(this.known(name), { boxes: frame.boxes, presences: frame.presences });
    const renewed = tile(frame);
    const focused = shown.contains(document.activeElement);
    shown.replaceWith(renewed);
    if (focused) renewed.firstElementChild.focus();
  }

  #counted() {
    const select = $("filters").elements.camera;
    const listed = new Set([...select.options].map((option) => option.value));
    for (const name of this.#live.cameras) if (!listed.has(name)) select.append(el("option", { value: name }, name));
    if (select.value !== this.#filters.camera) this.#write();
    const { frames, bytes: size } = this.#live.stored(this.#filters.camera);
    say($("frames-sub"), `${number(frames)} stored${this.#filters.camera ? ` of ${this.#filters.camera}` : ""}, ${bytes(size)}`);
  }

  #read() {
    const { camera, label, since, until } = $("filters").elements;
    return { camera: camera.value, label: label.value, since: fromLocal(since.value), until: fromLocal(until.value) };
  }

  #write() {
    const { camera, label, since, until } = $("filters").elements;
    for (const [field, value] of [[camera, this.#filters.camera], [label, this.#filters.label]]) {
      if (value && ![...field.options].some((option) => option.value === value)) field.append(el("option", { value }, value));
      field.value = value;
    }
    since.value = toLocal(this.#filters.since);
    until.value = toLocal(this.#filters.until);
    $("clear").hidden = !Object.values(this.#filters).some((value) => value);
  }
}

function read(query) {
  const moment = (name) => (Number.isFinite(parseFloat(query.get(name))) ? parseFloat(query.get(name)) : null);
  return { camera: query.get("camera") ?? "", label: query.get("label") ?? "", since: moment("since"), until: moment("until") };
}

/** What a datetime-local field holds, in unix seconds. */
const fromLocal = (text) => (text ? new Date(text).getTime() / 1000 : null);

function toLocal(seconds) {
  if (seconds === null) return "";
  const at = new Date(seconds * 1000);
  const two = (value) => String(value).padStart(2, "0");
  return `${at.getFullYear()}-${two(at.getMonth() + 1)}-${two(at.getDate())}T${clock(seconds)}`;
}

function tile(frame) {
  const seen = frame.boxes === null ? el("span", {}, frame.fault ? "unreadable" : "pending") : chips(frame);
  return el("li", {},
    el("a", { href: `/${framePath(frame)}`, class: "tile" },
      thumbnail(frame),
      el("span", { class: "row" }, el("b", {}, exact(frame.at).slice(0, -2)), el("span", {}, bytes(frame.bytes))),
      el("span", { class: "row dim" }, el("span", { class: "cut" }, frame.camera), seen)));
}

function chips(frame) {
  return el("span", { class: "counts" }, counts(frame).slice(0, 4).map(([label, n]) => {
    const swatch = el("span", { class: "swatch", "aria-hidden": "true" });
    swatch.style.background = colour(label);
    return el("span", { title: label }, swatch, n === null ? label : String(n), n === null ? null : el("span", { class: "sr" }, ` ${label}`));
  }));
}

function thumbnail({ width, height, boxes }) {
  const drawn = svg("svg", { class: "thumb", viewBox: `0 0 ${width || 4} ${height || 3}`, "aria-hidden": "true" });
  for (const [label, , x1, y1, x2, y2] of [...(boxes ?? [])].reverse()) {
    drawn.append(svg("rect", { x: x1, y: y1, width: x2 - x1, height: y2 - y1, stroke: colour(label), fill: colour(label) }));
  }
  return drawn;
}
