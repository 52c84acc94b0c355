// Boxes on a neutral canvas. The colours are the style sheet's.

const TEXT_PX = 11;
const NARROW_PX = 480; // below it tags would hide what they name

const tokens = new Map();

/** The colour of a class, as CSS. */
export const colour = (label) => (/^[a-z]+$/.test(label) && token(`--class-${label}`)) || token("--class-other");

/** A value of the style sheet. The stage is the same in light and dark, so it is read once. */
function token(name) {
  if (!tokens.has(name)) tokens.set(name, getComputedStyle(document.documentElement).getPropertyValue(name).trim());
  return tokens.get(name);
}

/** Matches the canvas to its size on the screen; true if that changed it, which empties it. */
export function fit(canvas) {
  const ratio = Math.min(devicePixelRatio || 1, 2);
  const [width, height] = [Math.round(canvas.clientWidth * ratio), Math.round(canvas.clientHeight * ratio)];
  if (canvas.width === width && canvas.height === height) return false;
  [canvas.width, canvas.height] = [width, height];
  return true;
}

/**
 * Draws things, [{label, score, box, alpha, trail, strong}], of a width x height picture.
 * strong: drawn heavier than the others. `presences`, [[label, score]], have no place: they stand
 * in a row at the top. `pictures`, [{bitmap, alpha}], lie under all, in place of the empty canvas.
 */
export function draw(canvas, width, height, things, presences = [], pictures = []) {
  const ratio = canvas.width / Math.max(1, canvas.clientWidth);
  const context = canvas.getContext("2d");
  const scale = Math.min(canvas.width / width, canvas.height / height);
  const [left, top] = [(canvas.width - width * scale) / 2, (canvas.height - height * scale) / 2];
  background(context, canvas, left, top, width * scale, height * scale, ratio, pictures);
  const at = ([x1, y1, x2, y2]) => [left + x1 * scale, top + y1 * scale, (x2 - x1) * scale, (y2 - y1) * scale];
  for (const thing of things) drawTrail(context, thing, left, top, scale, ratio);
  for (const { label, box, alpha = 1, strong } of [...things].reverse()) {
    context.globalAlpha = alpha;
    context.strokeStyle = context.fillStyle = colour(label);
    context.lineWidth = (strong ? 3 : 1.5) * ratio;
    const [x, y, w, h] = at(box);
    outline(context, x, y, w, h, 2 * ratio);
    context.stroke();
    context.globalAlpha = alpha * (strong ? 0.22 : 0.08);
    context.fill();
  }
  tags(context, things, at, ratio, [left, top, left + width * scale, top + height * scale]);
  row(context, presences, left + 6 * ratio, top + 6 * ratio, ratio);
  context.globalAlpha = 1;
}

function background(context, canvas, left, top, width, height, ratio, pictures) {
  context.fillStyle = token("--stage-edge");
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.fillStyle = token("--stage");
  context.fillRect(left, top, width, height);
  context.imageSmoothingQuality = "high";
  for (const { bitmap, alpha } of pictures) {
    context.globalAlpha = alpha;
    context.drawImage(bitmap, left, top, width, height);
  }
  context.globalAlpha = 1;
  if (pictures.length) return;
  const step = Math.max(width, height) / 16;
  context.strokeStyle = token("--stage-grid");
  context.lineWidth = ratio;
  context.beginPath();
  for (let x = step; x < width - 1; x += step) lineOf(context, left + x, top, left + x, top + height);
  for (let y = step; y < height - 1; y += step) lineOf(context, left, top + y, left + width, top + y);
  context.stroke();
}

function lineOf(context, x1, y1, x2, y2) {
  context.moveTo(Math.round(x1) + 0.5, Math.round(y1) + 0.5);
  context.lineTo(Math.round(x2) + 0.5, Math.round(y2) + 0.5);
}

function outline(context, x, y, width, height, radius) {
  context.beginPath();
  context.roundRect(x, y, width, height, Math.min(radius, width / 2, height / 2));
}

function drawTrail(context, { label, trail = [], alpha = 1 }, left, top, scale, ratio) {
  context.strokeStyle = colour(label);
  context.lineWidth = 2 * ratio;
  context.lineCap = "butt"; // round ends would overlap and show as dots
  for (let i = 1; i < trail.length; i += 1) {
    const [from, to] = [trail[i - 1], trail[i]];
    context.globalAlpha = alpha * 0.75 * Math.max(0, 1 - to[2]);
    context.beginPath();
    context.moveTo(left + from[0] * scale, top + from[1] * scale);
    context.lineTo(left + to[0] * scale, top + to[1] * scale);
    context.stroke();
  }
}

function row(context, presences, left, top, ratio) {
  context.globalAlpha = 1;
  for (const [label, score] of presences) left += tab(context, label, words(label, score), left, top, ratio) + 4 * ratio;
}

/** A filled tab with a text; returns its width. `alpha` of the context is the caller's. */
function tab(context, label, text, x, y, ratio) {
  const [wide, tall] = tabSize(context, text, ratio);
  context.fillStyle = colour(label);
  outline(context, x, y, wide, tall, 2 * ratio);
  context.fill();
  context.fillStyle = token("--stage-ink");
  context.fillText(text, x + 4 * ratio, y + tall / 2 + ratio * 0.5);
  return wide;
}

const words = (label, score) => `${label} ${Math.round(score * 100)}%`;

function tabSize(context, text, ratio) {
  context.font = `600 ${TEXT_PX * ratio}px ${token("--font")}`;
  context.textBaseline = "middle";
  return [context.measureText(text).width + 8 * ratio, (TEXT_PX + 5) * ratio];
}

/**
 * Label and score on a tab: above the box, below it or inside; left out where it hides another. On a
 * narrow canvas the label alone, and only where it hides no other box.
 */
function tags(context, things, at, ratio, [left, top, right, bottom]) {
  const narrow = right - left < NARROW_PX * ratio;
  const taken = narrow ? things.map(({ box }) => at(box)) : [];
  for (const { label, score, box, alpha = 1, strong } of things) {
    const [x, y, , h] = at(box);
    const text = narrow && !strong ? label : words(label, score);
    const [wide, tall] = tabSize(context, text, ratio);
    const tabX = Math.max(left, Math.min(x - context.lineWidth / 2, right - wide));
    const rows = [y - tall, y + h, y, y + h - tall].filter((above) => above >= top && above + tall <= bottom);
    const free = rows.find((above) => !taken.some((other) => overlap([tabX, above, wide, tall], other)));
    const tabY = free ?? (strong ? rows[0] : undefined);
    if (tabY === undefined) continue;
    taken.push([tabX, tabY, wide, tall]);
    context.globalAlpha = alpha;
    tab(context, label, text, tabX, tabY, ratio);
  }
}

const overlap = ([ax, ay, aw, ah], [bx, by, bw, bh]) => ax < bx + bw && bx < ax + aw && ay < by + bh && by < ay + ah;

/** A stored frame's boxes as things to draw. */
export const things = (boxes) => boxes.map(([label, score, ...box]) => ({ label, score, box }));
