// The time line: where in time there are frames, and of what. A native slider lies over it.

import { el, svg } from "./dom.js";
import { clock, minute, shortDay } from "./format.js";
import { colour } from "./stage.js";

const SPANS = [[900, "15 min"], [3600, "1 h"], [21600, "6 h"], [86400, "1 day"], [604800, "1 week"]];
const PARTS = 120;

/** Events: 'window' {span, until} when it wants other data; 'pick' {until} when a time is chosen. */
export class Strip extends EventTarget {
  #span = 3600;
  #data = null;
  #title = el("p", { class: "span" }, "\u00a0");
  #lanes = el("div", { class: "lanes" });
  #ticks = el("div", { class: "ticks", "aria-hidden": "true" });
  #slider = el("input", {
    type: "range", min: 0, max: PARTS - 1, step: 1, value: PARTS - 1, "aria-label": "Go to a time",
    input: () => this.#speak(), change: () => this.#pick(),
  });
  #spans = SPANS.map(([seconds, name]) =>
    el("button", { type: "button", "aria-pressed": String(seconds === 3600), "data-span": seconds, click: () => this.#zoom(seconds) }, name));

  constructor(root) {
    super();
    const step = (name, label, by) =>
      el("button", { type: "button", "aria-label": label, title: label, click: () => this.#pan(by) }, name);
    root.append(
      el("div", { class: "strip-head" },
        el("h2", {}, "Time line"), this.#title,
        el("div", { class: "group", role: "group", "aria-label": "Length" }, this.#spans),
        el("div", { class: "group", role: "group", "aria-label": "Move" },
          step("‹", "Earlier", -0.5), step("›", "Later", 0.5),
          el("button", { type: "button", click: () => this.#ask(null) }, "Newest"))),
      el("div", { class: "track" }, this.#lanes, this.#slider),
      this.#ticks);
  }

  get parts() {
    return PARTS;
  }

  get span() {
    return this.#span;
  }

  /** Draws {since, until, step, lanes} as the server gives it; `chosen`: a time to point at. */
  show(data, chosen) {
    this.#data = data;
    const { since, until, step, lanes } = data;
    this.#title.textContent = `${shortDay(since)}, ${minute(since)} – ${shortDay(since) === shortDay(until) ? "" : `${shortDay(until)}, `}${minute(until)}`;
    this.#lanes.replaceChildren(...lanes.map(lane));
    this.#ticks.replaceChildren(...ticks(since, until, Math.max(2, Math.floor(this.#ticks.clientWidth / 90))));
    const at = chosen === null ? PARTS - 1 : Math.ceil((chosen - since) / step) - 1;
    this.#slider.value = Math.max(0, Math.min(PARTS - 1, at));
    this.#slider.classList.toggle("set", chosen !== null && chosen > since && chosen <= until);
    this.#speak();
  }

  #time() {
    return this.#data.since + (Number(this.#slider.value) + 1) * this.#data.step;
  }

  #speak() {
    if (this.#data) this.#slider.setAttribute("aria-valuetext", `${shortDay(this.#time())}, ${clock(this.#time())}`);
  }

  #pick() {
    if (!this.#data) return;
    this.#slider.classList.add("set");
    this.dispatchEvent(new CustomEvent("pick", { detail: { until: this.#time() } }));
  }

  #zoom(seconds) {
    this.#span = seconds;
    for (const button of this.#spans) button.setAttribute("aria-pressed", String(Number(button.dataset.span) === seconds));
    this.#ask(this.#data?.until ?? null);
  }

  #pan(by) {
    if (this.#data) this.#ask(this.#data.until + by * this.#span);
  }

  #ask(until) {
    this.dispatchEvent(new CustomEvent("window", { detail: { until } }));
  }
}

function lane({ label, marks }) {
  const drawn = svg("svg", { viewBox: `0 0 ${PARTS} 1`, preserveAspectRatio: "none", "aria-hidden": "true" });
  for (const [from, to] of runs(marks)) {
    drawn.append(svg("rect", { x: from, y: 0, width: to - from + 1, height: 1, fill: label ? colour(label) : null }));
  }
  const share = `${label ?? "any frame"}: ${Math.round((100 * marks.length) / PARTS)} percent of the time shown`;
  return el("div", { class: label ? "lane" : "lane all", role: "img", "aria-label": share }, el("span", { "aria-hidden": "true" }, label ?? "frames"), drawn);
}

/** [1, 2, 3, 7] in any order as [[1, 3], [7, 7]] */
function runs(marks) {
  const found = [];
  for (const mark of [...marks].sort((a, b) => a - b)) {
    const last = found.at(-1);
    if (last && last[1] === mark - 1) last[1] = mark;
    else found.push([mark, mark]);
  }
  return found;
}

/** At most so many times, at round ones of the reader's day. */
function ticks(since, until, most) {
  const steps = [60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400, 172800];
  const step = steps.find((seconds) => (until - since) / seconds <= most) ?? 604800;
  const zone = new Date(since * 1000).getTimezoneOffset() * 60;
  const found = [];
  const room = (until - since) / (2 * most); // for the last one's text
  for (let at = Math.ceil((since - zone) / step) * step + zone; at < until - room; at += step) {
    const tick = el("span", {}, step >= 86400 ? shortDay(at) : minute(at));
    tick.style.left = `${(100 * (at - since)) / (until - since)}%`;
    found.push(tick);
  }
  return found;
}
