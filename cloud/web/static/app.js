// The page's start: one stream, two views, one dialog, and which of them the address asks for.

import { get } from "./api.js";
import { $, el, say } from "./dom.js";
import { clock } from "./format.js";
import { FrameDialog } from "./frame.js";
import { FramesView } from "./frames.js";
import { LiveView } from "./live.js";
import { Stream } from "./stream.js";

const LINK = { connecting: "Connecting", open: "Connected", lost: "Reconnecting", refused: "Waiting", paused: "Paused" };

const stream = new Stream();
const live = new LiveView(stream);
const frames = new FramesView(live, stream);
let dialog = null;
let lastHeard = 0;

async function route() {
  const [, view, ...name] = location.pathname.split("/");
  const inFrames = view === "frames";
  live.show(!inFrames);
  for (const link of document.querySelectorAll("nav [data-view]")) {
    if (link.dataset.view === (inFrames ? "frames" : "live")) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  const single = inFrames && name.length === 3;
  if (!single) dialog?.close();
  const listed = frames.show(inFrames, single ? null : new URLSearchParams(location.search));
  if (single) await dialog?.open(location.pathname.slice(1));
  await listed;
}

function go(address) {
  history.pushState(null, "", address);
  return route();
}

document.addEventListener("click", (event) => {
  const link = event.target.closest("a[href^='/']");
  if (!link || link.hasAttribute("download") || event.defaultPrevented || event.button || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
  event.preventDefault();
  go(link.dataset.view === "frames" ? frames.address : link.getAttribute("href"));
});
addEventListener("popstate", route);

stream.addEventListener("link", ({ detail: { state } }) => {
  $("link").dataset.state = state;
  say($("link-text"), LINK[state]);
  document.body.classList.toggle("stale", state !== "open" && lastHeard > 0);
  const reasons = {
    lost: `The server does not answer; trying again.${lastHeard ? ` What you see is from ${clock(lastHeard)}.` : ""}`,
    refused: "The server answers, and has no room for another live page. Stored frames can be seen all the same.",
  };
  $("notice").hidden = !reasons[state];
  say($("notice"), reasons[state] ?? "");
});
for (const name of ["state", "cameras", "seen"]) {
  stream.addEventListener(name, ({ detail }) => {
    lastHeard = detail.now;
  });
}
stream.addEventListener("state", () => performance.getEntriesByName("glimpse-live").length || performance.mark("glimpse-live"));

async function start() {
  const first = route();
  stream.start();
  try {
    const about = await get("session");
    live.legend(about.labels);
    frames.labels(about.labels);
    dialog = new FrameDialog(frames, about);
    dialog.addEventListener("go", ({ detail }) => go(`/${detail.name}`));
    dialog.addEventListener("close", () => go(frames.address));
    if (location.pathname.split("/").length === 5) await dialog.open(location.pathname.slice(1));
  } catch (error) {
    if (error.status !== 401) $("main").append(el("div", { class: "empty", role: "alert" }, el("h2", {}, "This page could not be loaded"), el("p", {}, error.message), el("button", { type: "button", click: () => location.reload() }, "Try again")));
  }
  await first;
  performance.mark("glimpse-usable");
}

start();
