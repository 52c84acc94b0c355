// Boxes of one frame after another as things that move: for the eye only. The detector looks at
// each frame alone; which box became which is guessed here, from overlap.

const TRAIL_MS = 4000;
const FADE_MS = 350;
const LOST_MS = 1500; // a thing that the detector misses for less is still the same one
const [SHORTEST_MS, LONGEST_MS] = [80, 600];

export class Tracks {
  #tracks = [];
  #at = 0;

  /** Takes a frame's boxes, rows of [label, score, x1, y1, x2, y2], at `now` in milliseconds. */
  update(boxes, now) {
    const pace = Math.min(LONGEST_MS, Math.max(SHORTEST_MS, now - this.#at));
    this.#at = now;
    const free = new Set(this.#tracks);
    const next = [];
    for (const [box, track] of pairs(boxes, free)) {
      const moved = track ?? { born: now, trail: [], gone: 0 };
      const back = !track || track.gone;
      Object.assign(moved, {
        from: back ? box.slice(2) : place(track, now), born: back ? now : track.born, gone: 0,
        label: box[0], score: box[1], to: box.slice(2), start: now, pace,
      });
      free.delete(track);
      moved.trail.push([(box[2] + box[4]) / 2, box[5], now]);
      next.push(moved);
    }
    for (const track of this.#tracks) {
      if (free.has(track) && !track.gone) Object.assign(track, { from: place(track, now), to: place(track, now), gone: now });
    }
    this.#tracks = [...next, ...[...free].filter((track) => now - track.gone < LOST_MS)];
  }

  /** What to draw at `now`: [{label, score, box, alpha, trail: [[x, y, age 0..1]]}]. */
  at(now, smooth = true) {
    return this.#tracks
      .filter((track) => !track.gone || (smooth && now - track.gone < FADE_MS))
      .map((track) => ({
        label: track.label,
        score: track.score,
        box: smooth ? place(track, now) : track.to,
        alpha: smooth ? opacity(track, now) : 1,
        trail: trail(track, now),
      }));
  }

  /** Whether a later look would differ. */
  moving(now) {
    return this.#tracks.some((track) => track.gone || track.trail.length > 1 || now - Math.max(track.start - FADE_MS + track.pace, track.born) < FADE_MS);
  }

  clear() {
    this.#tracks = [];
  }
}

/** Where a track is on its way from one frame's box to the next. */
function place(track, now) {
  const t = Math.min(1, (now - track.start) / track.pace);
  return track.to.map((end, i) => track.from[i] + (end - track.from[i]) * t);
}

function opacity(track, now) {
  if (track.gone) return Math.max(0, 1 - (now - track.gone) / FADE_MS);
  return Math.min(1, 0.4 + (now - track.born) / FADE_MS);
}

function trail(track, now) {
  while (track.trail.length && now - track.trail[0][2] > TRAIL_MS) track.trail.shift();
  return track.trail.map(([x, y, at]) => [x, y, (now - at) / TRAIL_MS]);
}

/** [box, its track or null] for each box: the likeliest first, each track once. */
function pairs(boxes, tracks) {
  const close = [];
  boxes.forEach((box, i) => {
    for (const track of tracks) {
      const likely = track.label === box[0] ? likeness(box.slice(2), track.to) : 0;
      if (likely > 0) close.push([likely, i, track]);
    }
  });
  close.sort((a, b) => b[0] - a[0]);
  const chosen = new Map();
  const taken = new Set();
  for (const [, i, track] of close) {
    if (!chosen.has(i) && !taken.has(track)) {
      chosen.set(i, track);
      taken.add(track);
    }
  }
  return boxes.map((box, i) => [box, chosen.get(i) ?? null]);
}

/** Overlap, or else nearness within a box's own size; 0: not the same thing. */
function likeness(a, b) {
  const width = Math.min(a[2], b[2]) - Math.max(a[0], b[0]);
  const height = Math.min(a[3], b[3]) - Math.max(a[1], b[1]);
  if (width > 0 && height > 0) return 1 + (width * height) / (area(a) + area(b) - width * height);
  const size = Math.max(a[2] - a[0], a[3] - a[1]);
  const apart = Math.hypot(a[0] + a[2] - b[0] - b[2], a[1] + a[3] - b[1] - b[3]) / 2;
  return area(a) < 2 * area(b) && area(b) < 2 * area(a) ? Math.max(0, 1 - apart / size) : 0;
}

const area = ([x1, y1, x2, y2]) => (x2 - x1) * (y2 - y1);
