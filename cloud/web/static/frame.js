// One stored frame in a dialog. `sections` is where a further thing to see or do about it belongs:
// each gets what is known of the frame and returns an element, or null.

import { framePath, get } from "./api.js";
import { $, el, say } from "./dom.js";
import { bytes, clock, day, exact, inView, number, plural, span } from "./format.js";
import { Picture } from "./picture.js";
import { colour, draw, fit, things } from "./stage.js";

export class FrameDialog extends EventTarget {
  #dialog = $("frame");
  #list;
  #about;
  #name = "";
  #frame = null;
  #strong = -1;
  #canvas = el("canvas", { role: "img" });
  #caption = el("p", { class: "hint" });
  #picture = new Picture();
  #title = el("h2", { id: "frame-title" });
  #body = el("div", { class: "facts" });
  #sheet = el("div", { class: "sheet" }, el("figure", {}, this.#canvas, el("figcaption", {}, this.#picture.tools, this.#caption)), this.#body);
  #newer = el("button", { type: "button", click: () => this.#step(-1) }, "‹ Newer");
  #older = el("button", { type: "button", click: () => this.#step(1) }, "Older ›");

  /** Events: 'go' {name} for another frame, 'close'. `about`: what the server says of itself. */
  constructor(list, about) {
    super();
    this.#list = list;
    this.#about = about;
    this.#dialog.append(
      el("header", {}, this.#title,
        el("div", { class: "group", role: "group", "aria-label": "Other frames" }, this.#newer, this.#older),
        el("button", { type: "button", class: "plain", "aria-label": "Close", autofocus: true, click: () => this.#dialog.close() }, "✕")),
      this.#sheet);
    this.#dialog.addEventListener("close", () => this.#picture.close());
    this.#dialog.addEventListener("close", () => this.#name && this.dispatchEvent(new CustomEvent("close")));
    this.#dialog.addEventListener("click", (event) => event.target === this.#dialog && this.#dialog.close());
    this.#dialog.addEventListener("keydown", (event) => {
      if (event.target.matches("input, select")) return; // they have arrows of their own
      if (event.key === "ArrowLeft") this.#step(-1);
      if (event.key === "ArrowRight") this.#step(1);
    });
    addEventListener("resize", () => this.#paint());
    this.#picture.addEventListener("change", () => this.#paint());
  }

  /** Opens on 'frames/CAMERA/BOOT/SEQ'. Resolves when all that is known is there. */
  async open(name) {
    if (this.#name !== name) this.#picture.close();
    this.#name = name;
    const [, camera, boot, seq] = name.split("/");
    document.title = `${camera} ${seq} · glimpse`;
    this.#show(this.#list.known(name) ?? { camera, boot, seq, boxes: null, width: 4, height: 3 }, null);
    if (!this.#dialog.open) this.#dialog.showModal();
    this.#paint();
    this.#arrows();
    try {
      const known = await get(name);
      if (this.#name === name) this.#show(known, this.#sections(known));
    } catch (error) {
      if (this.#name === name) this.#show(this.#frame, [fault(error, () => this.open(name))]);
    }
    this.#paint();
  }

  close() {
    this.#name = "";
    this.#dialog.close();
  }

  #sections(frame) {
    const picture = this.#picture.open(framePath(frame), frame, this.#about);
    return [layer(frame), picture, boxes(frame, (index) => this.#strengthen(index)), facts(frame, this.#about)];
  }

  #show(frame, sections) {
    this.#frame = frame;
    this.#strong = -1;
    this.#sheet.classList.toggle("bare", sections !== null && frame.at === undefined);
    this.#title.textContent = frame.at === undefined ? frame.camera : `${frame.camera} · ${clock(frame.at)}`;
    this.#body.replaceChildren(...(sections ?? [el("p", { class: "hint" }, "Loading…")]));
  }

  #strengthen(index) {
    this.#strong = index;
    this.#paint();
  }

  #paint() {
    if (!this.#dialog.open || !this.#frame) return;
    const { width, height, boxes: rows, presences } = this.#frame;
    const { layers, withBoxes, alt, seenAt } = this.#picture;
    say(this.#caption, caption(this.#frame, layers.length > 0, seenAt));
    this.#canvas.setAttribute("aria-label", `${alt || "An empty canvas"}${rows ? `; boxes: ${inView(this.#frame)}` : ""}`);
    this.#canvas.style.aspectRatio = `${width || 4} / ${height || 3}`;
    fit(this.#canvas);
    draw(this.#canvas, width || 4, height || 3, withBoxes ? things(rows ?? []).map((thing, i) => ({ ...thing, strong: i === this.#strong })) : [], withBoxes ? presences : [], layers);
  }

  async #step(by) {
    const beside = await this.#list.beside(this.#name, by);
    if (beside) this.dispatchEvent(new CustomEvent("go", { detail: { name: framePath(beside) } }));
  }

  async #arrows() {
    const name = this.#name;
    const [newer, older] = [await this.#list.beside(name, -1), await this.#list.beside(name, 1)];
    if (this.#name !== name) return;
    // Not `disabled`, which would take the focus, and the arrow keys with it.
    this.#newer.setAttribute("aria-disabled", String(!newer));
    this.#older.setAttribute("aria-disabled", String(!older));
  }
}

function caption(frame, hasPicture, seenAt) {
  if (frame.fault) return `The detector could not read this layer: ${frame.fault}.`;
  if (frame.boxes === null || frame.boxes === undefined) return "";
  const made = seenAt ? `The picture was made here, from the layers and a still taken ${seenAt}.` : "The picture was made here, from the layers: the camera sent none.";
  const origin = hasPicture ? made : "No picture of it was ever sent.";
  if (frame.presences?.length) return `This layer says what is in view, and not where. ${origin}`;
  return frame.boxes.length ? `What the detector saw in this frame. ${origin}` : "The detector looked at this frame and saw nothing that it knows.";
}

function layer(frame) {
  const pixels = frame.width * frame.height;
  const inter = frame.layer?.kind.endsWith("inter");
  const rate = pixels ? `${((frame.bytes * 8) / pixels).toFixed(4)} bits a pixel` : "";
  return el("section", { class: "layer" },
    el("p", {}, el("b", {}, bytes(frame.bytes)), el("span", { class: "dim" }, inter ? "leans on the layer before" : "stands alone"), el("span", { class: "dim" }, rate)),
    el("a", { class: "button", title: inter ? "Coded anew, as a layer that stands alone" : null, href: `/api/${framePath(frame)}/layer`, download: "" }, "Download layer"));
}

function boxes(frame, strengthen) {
  if (frame.presences?.length) {
    return el("section", {}, el("h3", {}, "In view"), el("table", {},
      el("thead", {}, el("tr", {}, ["Class", "Score"].map((name) => el("th", { scope: "col" }, name)))),
      el("tbody", {}, frame.presences.map(([label, score]) => el("tr", {}, classCell(label), el("td", {}, `${Math.round(score * 100)}%`))))));
  }
  if (!frame.boxes?.length) {
    return el("section", {}, el("h3", {}, "Boxes"),
      el("p", { class: "hint" }, frame.fault ? "None: the layer could not be read." : frame.boxes ? "None." : "Not yet: this frame waits for the detector."));
  }
  const row = ([label, score, x1, y1, x2, y2], i) => {
    return el("tr", { mouseenter: () => strengthen(i), mouseleave: () => strengthen(-1) },
      classCell(label), el("td", {}, `${Math.round(score * 100)}%`),
      el("td", {}, `${Math.round(x1)}, ${Math.round(y1)}`), el("td", {}, `${Math.round(x2 - x1)} × ${Math.round(y2 - y1)}`));
  };
  return el("section", {}, el("h3", {}, plural(frame.boxes.length, "box", "boxes")),
    el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Boxes" }, el("table", {},
      el("thead", {}, el("tr", {}, ["Class", "Score", "Left, top", "Size, px"].map((name) => el("th", { scope: "col" }, name)))),
      el("tbody", {}, frame.boxes.map(row)))));
}

function classCell(label) {
  const swatch = el("span", { class: "swatch", "aria-hidden": "true" });
  swatch.style.background = colour(label);
  return el("th", { scope: "row" }, swatch, label);
}

function facts(frame, about) {
  const late = frame.stored_at - frame.at;
  const rows = [
    ["Captured", `${day(frame.at)}, ${exact(frame.at)}`, new Date(frame.at * 1000).toISOString()],
    ["Stored", late < 0 ? `${clock(frame.stored_at)}: the camera's clock is ahead` : `${span(late)} later`, new Date(frame.stored_at * 1000).toISOString()],
    ["Camera", frame.camera],
    ["Boot", frame.boot, "One start of the camera process"],
    ["Frame", number(BigInt(frame.seq)), "Counts up within a boot"],
    ["Picture", frame.width ? `${frame.width} × ${frame.height} px` : "not read yet"],
    ["Detector", frame.detector || "–"],
    ["Kept", frame.pinned ? "pinned: it does not expire" : about.keep_days ? `until ${day(frame.stored_at + about.keep_days * 86400)}` : "no age limit"],
  ];
  if (frame.layer) {
    const { quality, kind, profile, model, working, ivn } = frame.layer;
    rows.splice(6, 0,
      ["Coded at", `${working[0]} × ${working[1]} px`],
      ["Quality", quality.toFixed(2), "0 smallest, 1 best"],
      ["Layer", `${kind}, for ${profile}${ivn ? `, scale ${ivn}` : ""}`],
      ["Codec model", model, "The first 16 bits of the model's hash"]);
  }
  return el("section", {}, el("h3", {}, "What is known"),
    el("dl", {}, rows.map(([name, value, title]) => el("div", { title }, el("dt", {}, name), el("dd", {}, value)))));
}

function fault(error, again) {
  if (error.status === 404) {
    return el("div", { class: "empty", role: "alert" }, el("h3", {}, "This frame is not stored"),
      el("p", {}, "It expired, or it never arrived. Frames that must stay are kept by ", el("code", {}, "glimpse-cloud pin CAMERA/BOOT/SEQ"), "."));
  }
  return el("div", { class: "empty", role: "alert" }, el("h3", {}, "This frame could not be loaded"), el("p", {}, error.message),
    error.status === 400 ? null : el("button", { type: "button", click: again }, "Try again"));
}
