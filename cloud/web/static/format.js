// Numbers, times and counts in words. Times are unix seconds, shown in the reader's time zone.

const CLOCK = { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" };
const clockFormat = new Intl.DateTimeFormat(undefined, CLOCK);
const minuteFormat = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", hourCycle: "h23" });
const dayFormat = new Intl.DateTimeFormat(undefined, { weekday: "short", day: "numeric", month: "short", year: "numeric" });
const shortDayFormat = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "short" });

const date = (seconds) => new Date(seconds * 1000);

/** 16:09:01 */
export const clock = (seconds) => clockFormat.format(date(seconds));

/** 16:09:01.361 */
export const exact = (seconds) => `${clock(seconds)}.${String(date(seconds).getMilliseconds()).padStart(3, "0")}`;

/** 16:09 */
export const minute = (seconds) => minuteFormat.format(date(seconds));

/** Tue, 4 Aug 2026 */
export const day = (seconds) => dayFormat.format(date(seconds));

/** 4 Aug */
export const shortDay = (seconds) => shortDayFormat.format(date(seconds));

/** Today, Yesterday, or the day. */
export function when(seconds, now) {
  const days = Math.round((midnight(now) - midnight(seconds)) / 86400);
  return days === 0 ? "Today" : days === 1 ? "Yesterday" : day(seconds);
}

const midnight = (seconds) => new Date(date(seconds)).setHours(0, 0, 0, 0) / 1000;

/** 3 s, 4 min, 2 h, 5 days */
export function span(seconds) {
  const s = Math.abs(seconds);
  if (s < 10) return `${s.toFixed(1)} s`;
  if (s < 100) return `${Math.round(s)} s`;
  if (s < 5400) return `${Math.round(s / 60)} min`;
  if (s < 129600) return `${Math.round(s / 3600)} h`;
  return `${Math.round(s / 86400)} days`;
}

/** 385 B, 6.9 MB: powers of a thousand, as data plans count. */
export function bytes(count) {
  if (count < 999.5) return `${Math.round(count)} B`;
  const units = ["kB", "MB", "GB", "TB"];
  let value = count / 1000;
  while (value >= 999.5 && units.length > 1) {
    value /= 1000;
    units.shift();
  }
  return `${value < 9.95 ? value.toFixed(1) : Math.round(value)} ${units[0]}`;
}

export const number = (value) => new Intl.NumberFormat("en").format(value);

/** One frame, 2 frames */
export const plural = (count, one, many = `${one}s`) => `${number(count)} ${count === 1 ? one : many}`;

/**
 * What is in a frame by class, most first: [["person", 3], ["car", 1]]. A layer may say of a class
 * only that it is in view: [["bus", null]]
 */
export function counts({ boxes, presences }) {
  const found = new Map();
  for (const [label] of boxes ?? []) found.set(label, (found.get(label) ?? 0) + 1);
  const counted = [...found].sort((a, b) => b[1] - a[1] || (a[0] < b[0] ? -1 : 1));
  return [...counted, ...(presences ?? []).map(([label]) => [label, null])];
}

const MANY = { person: "people", bus: "buses" };

/** 3 people, 1 car */
export const inView = (frame) =>
  counts(frame).map(([label, n]) => (n === null ? label : plural(n, label, MANY[label]))).join(", ") || "nothing in view";
