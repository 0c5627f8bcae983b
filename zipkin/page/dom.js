// Elements and texts. Names, tags and annotations come from strangers: they
// only ever become text nodes and values, never markup.

const SVG = "http://www.w3.org/2000/svg";

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "style") for (const [property, v] of Object.entries(value)) element.style.setProperty(property, v);
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

// h makes an element: h("a", {href, onclick, style: {width}}, children...).
export const h = (tag, attributes, ...children) => fill(document.createElement(tag), attributes, children);

// s does the same for SVG.
export const s = (tag, attributes, ...children) => fill(document.createElementNS(SVG, tag), attributes, children);

// getJSON asks the server; an error carries what it answered.
export async function getJSON(path, options) {
  const response = await fetch(path, options);
  const text = await response.text();
  if (!response.ok) throw new Error(text.trim() || response.statusText);
  return JSON.parse(text);
}

export const message = (text, bad) => h("div", { class: bad ? "card message error" : "card message", role: bad ? "alert" : "status" }, text);

// duration writes microseconds.
export function duration(us) {
  const in_ = (value, unit) => `${Number(value.toPrecision(value < 1000 ? 4 : 6))}${unit}`;
  if (us < 1000) return in_(us, "µs");
  if (us < 1e6) return in_(us / 1e3, "ms");
  if (us < 60e6) return in_(us / 1e6, "s");
  return `${Math.floor(us / 60e6)}m ${Math.round((us % 60e6) / 1e6)}s`;
}

// parseDuration reads "5us", "10ms", "1.5s", "2m" or a number of microseconds.
export function parseDuration(text) {
  const match = /^\s*(\d+(?:\.\d+)?)\s*(us|µs|ms|s|m)?\s*$/.exec(text);
  if (!match) throw new Error(`“${text}” is no duration: write 5us, 10ms or 1.5s`);
  return Math.round(match[1] * { us: 1, "µs": 1, ms: 1e3, s: 1e6, m: 60e6 }[match[2] ?? "us"]);
}

const two = (n) => String(n).padStart(2, "0");

// clock writes a time of microseconds in the reader's time zone.
export function clock(us) {
  const d = new Date(us / 1000);
  return `${d.getFullYear()}-${two(d.getMonth() + 1)}-${two(d.getDate())} ${two(d.getHours())}:${two(d.getMinutes())}:${two(d.getSeconds())}.${String(d.getMilliseconds()).padStart(3, "0")}`;
}

// moment is the time of day, with the date when that is not today.
export function moment(us) {
  const [date, time] = clock(us).split(" ");
  return clock(Date.now() * 1000).startsWith(date) ? time : `${date} ${time}`;
}

export function ago(us) {
  const seconds = Math.round((Date.now() - us / 1000) / 1000);
  if (seconds < 5) return "just now";
  for (const [size, unit] of [[86400, "day"], [3600, "hour"], [60, "minute"], [1, "second"]]) {
    const n = Math.floor(seconds / size);
    if (n >= 1) return `${n} ${unit}${n > 1 ? "s" : ""} ago`;
  }
}

// hue gives a service its colour, none near the red of failures. The name
// chooses it; of two that choose the same, the later takes another.
const HUES = 20;
const hues = new Map();
export function hue(name) {
  if (!hues.has(name)) {
    let hash = 2166136261;
    for (const c of name) hash = Math.imul(hash ^ c.codePointAt(0), 16777619);
    const taken = new Set(hues.values());
    let slot = (hash >>> 8) % HUES;
    for (let tries = 0; tries < HUES && taken.has(slot); tries++) slot = (slot + 7) % HUES;
    hues.set(name, slot);
  }
  return 22 + hues.get(name) * (320 / HUES);
}

export const hued = (name) => ({ "--hue": hue(name) });

// LOOKBACKS are the windows of time that the views offer.
export const LOOKBACKS = [
  [60e3, "1 minute"], [300e3, "5 minutes"], [900e3, "15 minutes"], [1800e3, "30 minutes"], [3600e3, "1 hour"], [7200e3, "2 hours"],
  [10800e3, "3 hours"], [21600e3, "6 hours"], [43200e3, "12 hours"], [86400e3, "1 day"], [172800e3, "2 days"], [604800e3, "7 days"],
];

// lookbackSelect offers the windows, and the given one when it is another.
export function lookbackSelect(value) {
  const all = LOOKBACKS.some(([ms]) => ms === value) ? LOOKBACKS : [...LOOKBACKS, [value, `${duration(value * 1000)}`]];
  return h("select", { name: "lookback" }, all.map(([ms, text]) => h("option", { value: ms, selected: ms === value }, text)));
}

// endInput asks for the end of the window; empty is now.
export function endInput(ms) {
  let value = "";
  if (ms) {
    const d = new Date(Number(ms));
    value = new Date(d - d.getTimezoneOffset() * 60e3).toISOString().slice(0, 19);
  }
  return h("input", { type: "datetime-local", step: 1, name: "endTs", value, title: "Empty means now" });
}

export const endOf = (text) => (text ? String(new Date(text).getTime()) : "");
