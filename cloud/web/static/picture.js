// A picture of one frame, for people: asked for when the frame is opened, told of on the way, and
// left when the frame is. First comes the faithful view; detail is generated only where somebody
// asks for it.

import { Refused, toLogin } from "./api.js";
import { el, say } from "./dom.js";
import { bytes, clock, plural, when } from "./format.js";

const LINGER_MS = 120; // who steps through frames with a key held down does not ask for each
const STEPS = [1, 2, 4, 8];
const FAITHFUL = "Faithful view: no detail in it is generated.";
const GENERATED = "Detail is generated. It is plausible, and it is not evidence.";
const RESTORED = [255, 140, 0]; // the colour of what was not seen, on the map

/** Events: 'change': there is something else to draw. */
export class Picture extends EventTarget {
  #path = null;
  #leaving = null;
  #linger = 0;
  #faithful = null; // {bitmap, map, done, url}; map: of what was restored, or null
  #refined = null;
  #preview = null; // {bitmap, step} while steps are made
  #fetch = false; // the camera may be asked
  #last = null; // what was asked for last, to ask again
  #most = 0; // steps that the server makes

  #share = el("input", { type: "range", min: 0, max: 100, value: 100, "aria-label": "From the faithful view to generated detail", input: () => this.#shared() });
  #boxes = el("button", { type: "button", "aria-pressed": "true", click: () => this.#toggle() }, "Boxes");
  #map = el("button", { type: "button", "aria-pressed": "false", hidden: true, title: "Orange: restored. Clear: as it was seen.", click: () => this.#mapped() }, "What was seen");
  #label = el("p", { class: "meaning", hidden: true });
  #news = el("p", { class: "news", role: "status" });
  #bar = el("progress", { max: 1, "aria-label": "Making the picture", hidden: true });
  #stop = el("button", { type: "button", class: "plain", hidden: true, click: () => this.#stopped() }, "Stop");
  #fade = el("div", { class: "fade", hidden: true }, el("span", {}, "Faithful"), this.#share, el("span", {}, "Detail"));
  #section = el("section", { class: "picture" });

  /** What stands below the picture. */
  tools = el("div", { class: "tools" },
    el("div", { class: "tools-row" }, this.#boxes, this.#map, this.#fade, el("div", { class: "progress" }, this.#news, this.#stop)),
    this.#bar, this.#label);

  /** What is to be drawn, in order: [{bitmap, alpha}]. */
  get layers() {
    const detail = this.#preview ?? this.#refined;
    const faithful = this.#faithful && { bitmap: this.#faithful.bitmap, alpha: 1 };
    const alpha = this.#preview ? 1 : this.#share.value / 100;
    const shown = [faithful, detail && { bitmap: detail.bitmap, alpha }];
    if (this.#map.getAttribute("aria-pressed") === "true") shown.push({ bitmap: this.#shown?.map, alpha: 0.6 });
    return shown.filter((layer) => layer?.alpha && layer.bitmap);
  }

  /** When what has not changed was seen, in words; empty: there was no reference picture. */
  get seenAt() {
    const at = this.#shown?.done.seen?.at;
    if (!at) return "";
    const day = when(at, Date.now() / 1000);
    return `${/^(Today|Yesterday)$/.test(day) ? day.toLowerCase() : `on ${day}`} at ${clock(at)}`;
  }

  get #shown() {
    return this.#refined ?? this.#faithful;
  }

  get withBoxes() {
    return this.#boxes.getAttribute("aria-pressed") === "true";
  }

  /** In words, for who cannot see it; empty: there is none. */
  get alt() {
    if (!this.layers.length) return "";
    return this.#refined ? "A picture restored from the frame's layers, with generated detail" : "A picture restored from the frame's layers";
  }

  /** Begins anew on a frame. pictures: the server has a decoder; steps: of which it makes up to so many. Returns the panel's section. */
  open(path, frame, { pictures: possible, steps }) {
    if (path === this.#path) return this.#section;
    this.close();
    this.#path = path;
    this.#most = steps;
    const silent = !possible || frame.fault;
    this.tools.hidden = Boolean(silent);
    if (!possible) this.#say("This server makes no pictures: it has no human decoder. Its operator can put one into the folder WEIGHTS/human.");
    else if (frame.fault) this.#say("No picture can be made: the layer cannot be read.");
    else {
      this.#say("");
      this.#linger = setTimeout(() => this.#ask(0), LINGER_MS);
    }
    return this.#section;
  }

  /** Leaves the frame: what is under way is not wanted any more. */
  close() {
    clearTimeout(this.#linger);
    this.#leaving?.abort();
    for (const shown of [this.#faithful, this.#refined]) if (shown) URL.revokeObjectURL(shown.url);
    this.#path = this.#leaving = this.#faithful = this.#refined = this.#preview = null;
    this.#fetch = false;
    this.#idle();
    this.#label.hidden = this.#fade.hidden = this.#map.hidden = true;
    this.#map.setAttribute("aria-pressed", "false");
  }

  async #ask(steps) {
    this.#leaving?.abort();
    const leaving = (this.#leaving = new AbortController());
    this.#last = steps;
    this.#busy("Asking for the picture", null);
    this.#show();
    try {
      const wish = { steps, auxiliary: this.#fetch ? "fetch" : "if stored" };
      for await (const news of asked(this.#path, wish, leaving.signal)) {
        await this.#take(news, leaving.signal);
        if (leaving.signal.aborted) return;
      }
      this.#idle();
      this.#show();
      if (steps && this.#faithful?.done.auxiliary_bytes !== this.#refined?.done.auxiliary_bytes) await this.#ask(0);
    } catch (error) {
      if (leaving.signal.aborted) return;
      this.#preview = null;
      this.#idle();
      this.#show(error);
      this.#changed();
    }
  }

  async #take(news, signal) {
    if (news.queued !== undefined) this.#busy(news.queued ? `${plural(news.queued, "picture")} before this one` : "Making the picture", null);
    else if (news.loading) this.#busy("Loading the decoder: the first picture takes some seconds more", null);
    else if (news.waiting !== undefined) this.#busy(news.waiting ? "Asking the camera for its auxiliary layer" : "The camera is still to answer; a better picture follows", null);
    else if (news.step !== undefined) {
      this.#busy(news.step ? `Step ${news.step} of ${news.of}` : "The faithful view is there", news.of ? news.step / news.of : null);
      if (!news.step && this.#faithful) return;
      const bitmap = await picture(news.preview, "image/webp");
      if (signal.aborted) return;
      this.#preview = { bitmap };
      this.#changed();
    } else if (news.done) {
      await this.#keep(news.done, signal);
    } else if (news.fault) throw new Refused(news.fault.status, news.fault.error);
  }

  async #keep(done, signal) {
    const file = blob(done.file, "image/png");
    const [bitmap, map] = await Promise.all([createImageBitmap(file), done.seen && seenMap(done.seen)]);
    if (signal.aborted) return;
    const which = done.generated ? this.#refined : this.#faithful;
    if (which) URL.revokeObjectURL(which.url);
    const kept = { bitmap, map, done: { ...done, file: null }, url: URL.createObjectURL(file) };
    if (done.generated) {
      this.#refined = kept;
      this.#share.value = 100;
    } else this.#faithful = kept;
    this.#preview = null;
    this.#shared();
    this.#show();
  }

  #shared() {
    const detail = this.#refined && Number(this.#share.value);
    this.#share.setAttribute("aria-valuetext", detail ? `${detail} percent generated detail` : "the faithful view");
    this.#fade.hidden = !(this.#refined && this.#faithful);
    this.#label.hidden = !(this.#refined || this.#faithful);
    this.#label.classList.toggle("generated", Boolean(detail));
    this.#map.hidden = !this.#shown?.map;
    const seen = this.seenAt && ` Background as seen ${this.seenAt}.`;
    say(this.#label, `${detail ? GENERATED : FAITHFUL}${seen}`);
    this.#changed();
  }

  #toggle() {
    this.#boxes.setAttribute("aria-pressed", String(!this.withBoxes));
    this.#changed();
  }

  #mapped() {
    this.#map.setAttribute("aria-pressed", String(this.#map.getAttribute("aria-pressed") !== "true"));
    this.#changed();
  }

  #stopped() {
    this.#leaving?.abort();
    this.#preview = null;
    this.#idle();
    this.#show();
    this.#changed();
  }

  /** share 0..1; null: nobody knows. */
  #busy(text, share) {
    say(this.#news, text);
    this.#bar.hidden = this.#stop.hidden = false;
    if (share === null) this.#bar.removeAttribute("value");
    else this.#bar.value = share;
  }

  #idle() {
    say(this.#news, "");
    this.#bar.hidden = this.#stop.hidden = true;
  }

  #say(text) {
    this.#section.replaceChildren(el("h3", {}, "Picture"), text ? el("p", { class: "hint" }, text) : "");
  }

  /** The panel's section, as things are; with what went wrong, and what to do about it. */
  #show(error = null) {
    const busy = !this.#bar.hidden;
    const shown = this.#shown;
    this.#section.replaceChildren(...[el("h3", {}, "Picture"),
      error ? fault(error, () => this.#ask(this.#last)) : "",
      shown ? facts(shown.done) : error ? "" : el("p", { class: "hint" }, busy ? "It is being made." : "It was stopped."),
      error && !shown ? "" : this.#actions(busy, shown)].flat());
  }

  #actions(busy, shown) {
    if (busy) return "";
    if (!shown) return el("div", { class: "actions" }, el("button", { type: "button", click: () => this.#ask(0) }, "Make a picture"));
    const offered = STEPS.filter((n) => n <= this.#most);
    const steps = el("select", { "aria-label": "Diffusion steps" }, offered.map((n) => el("option", { value: n, selected: n === (this.#refined?.done.steps ?? 4) }, plural(n, "step"))));
    const camera = el("button", { type: "button", class: "call", title: "It costs the camera some thousand bytes", click: () => this.#better() }, "Ask the camera for more");
    return el("div", { class: "actions" },
      shown.done.auxiliary_bytes ? "" : camera,
      offered.length ? el("span", { class: "group" }, el("button", { type: "button", click: () => this.#ask(Number(steps.value)) }, "Add detail"), steps) : "",
      el("a", { class: "button", href: shown.url, download: `${this.#path.split("/").slice(1).join("-")}-${shown.done.steps}-steps.png`, title: "A PNG that says of itself how it was made" }, "Download picture"));
  }

  #better() {
    this.#fetch = true;
    this.#ask(0);
  }

  #changed() {
    this.dispatchEvent(new Event("change"));
  }
}

/** What is told, as it comes. Raises Refused. */
async function* asked(path, wish, signal) {
  let reply;
  try {
    reply = await fetch(`/api/${path}/picture`, { method: "POST", body: JSON.stringify(wish), signal, headers: { "content-type": "application/json" } });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Refused(0, "The server cannot be reached.");
  }
  if (reply.status === 401) {
    toLogin();
    throw new Refused(401, "You are logged out.");
  }
  if (!reply.ok) {
    const body = await reply.json().catch(() => ({}));
    throw new Refused(reply.status, body.error ?? `The server answered ${reply.status}.`);
  }
  let ended = false;
  try {
    for await (const line of lines(reply.body)) {
      const news = JSON.parse(line);
      ended = Boolean(news.fault || (news.done && !news.done.upgrade_expected));
      yield news;
    }
  } catch (error) {
    if (error instanceof Refused || error.name === "AbortError") throw error;
  }
  if (!ended) throw new Refused(0, "The server went away before the picture was there.");
}

async function* lines(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const parts = (rest + value).split("\n");
    rest = parts.pop();
    yield* parts;
  }
}

const blob = (text, type) => new Blob([Uint8Array.from(atob(text), (c) => c.charCodeAt(0))], { type });

/** A cell is the more orange, the less of it was seen. */
function seenMap({ columns, rows, shares }) {
  const map = new ImageData(columns, rows);
  Array.from(atob(shares), (c) => c.charCodeAt(0)).forEach((share, i) => map.data.set([...RESTORED, 255 - share], 4 * i));
  return createImageBitmap(map);
}

const picture = (text, type) => createImageBitmap(blob(text, type));

function facts(done) {
  const rows = [
    ["Machine layer", bytes(done.machine_bytes)],
    ["Auxiliary layer", done.auxiliary_bytes ? bytes(done.auxiliary_bytes) : "none"],
    ["Steps", done.steps ? `${done.steps}, seed ${done.seed}, fidelity ${done.fidelity}` : "0: the faithful view"],
    ["Decoder", done.decoder],
  ];
  if (done.seen !== null) rows.push(["Seen before", `${Math.round(done.seen.share * 100)}% of it, in an earlier still`]);
  return [
    el("dl", {}, rows.map(([name, value]) => el("div", {}, el("dt", {}, name), el("dd", {}, value)))),
    spent(done),
    done.auxiliary_bytes || done.seen ? "" : el("p", { class: "note" }, "Made of the machine layer alone: enough for boxes, and hardly a picture. The camera may have more of it."),
    ...done.notes.map((note) => el("p", { class: "note" }, `${note[0].toUpperCase()}${note.slice(1)}.`)),
  ];
}

/** What this picture cost on its way here, and what one as good would have cost; nothing: nobody knows. */
function spent(done) {
  const others = Object.entries(done.elsewhere).map(([codec, size]) => [codec.toUpperCase(), size, `about ${bytes(size)}`]);
  if (!others.length) return "";
  const ours = done.machine_bytes + done.auxiliary_bytes;
  const most = Math.max(ours, ...others.map(([, size]) => size));
  const row = ([name, size, text], i) => {
    const bar = el("span", { class: i ? "bar" : "bar ours", "aria-hidden": "true" });
    bar.style.width = `${(100 * size) / most}%`;
    return el("div", {}, el("dt", {}, name), el("dd", {}, el("span", { class: "rail" }, bar), el("span", { class: "much" }, text)));
  };
  return el("div", { class: "spent" }, el("h4", {}, "Bytes for a picture as good"),
    el("dl", {}, [["This one", ours, bytes(ours)], ...others].map(row)),
    el("p", { class: "note" }, "At equal MS-SSIM of the faithful view: an estimate, from six photographs."));
}

/** What went wrong, and what to do. */
function fault(error, again) {
  const todo = {
    0: "Its page comes back by itself; then try again.",
    404: "It expired meanwhile, or a layer that it leans on did.",
    409: "Its operator can say why; trying again changes nothing.",
    503: "Another try may succeed.",
    507: "Try again when others are done.",
  };
  return el("div", { class: "trouble", role: "alert" }, el("p", {}, el("b", {}, "No picture: "), `${error.message}${/[.!?]$/.test(error.message) ? "" : "."} ${todo[error.status] ?? ""}`),
    [404, 409].includes(error.status) ? null : el("button", { type: "button", click: again }, "Try again"));
}
