"use strict";
// The page: builds itself from the JSON in #report, again on every change of language or theme. All text goes through
// text nodes; nothing here reads text as markup, and nothing must.

const report = JSON.parse(document.getElementById("report").textContent);
const address = new URLSearchParams(location.search);
const state = {
  language: ["en", "zh"].includes(address.get("lang")) ? address.get("lang") : report.language,
  theme: ["light", "dark"].includes(address.get("theme")) ? address.get("theme") : "auto",
  memory: new Map(),          // what the reader chose in each figure, kept over a redraw
};
const darkSystem = matchMedia("(prefers-color-scheme: dark)");

// ---- text and numbers -------------------------------------------------------------------------------------------

function said(label) {
  return label === null || label === undefined ? "" : typeof label === "string" ? label : label[state.language];
}

function word(name, values = {}) {
  return said(report.words[name]).replace(/<(\w+)>/g, (whole, key) => (key in values ? String(values[key]) : whole));
}

// Everything without a shape of its own, or that reorders its neighbours, gets a shape (as report/sections.py does).
const UNSEEN = /[\u0000-\u0020\u007f-\u00a0\u00ad\u061c\u180e\u2000-\u200f\u2028-\u202f\u205f-\u206f\u3000\ufeff\ufff9-\ufffb]|[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]/g;

function visible(text) {
  return text.replace(UNSEEN, (one) => {
    const code = one.charCodeAt(0);
    if (code === 32) return "␣";
    if (code === 10) return "↵";
    if (code === 9) return "⇥";
    return "⟨U+" + code.toString(16).toUpperCase().padStart(4, "0") + "⟩";
  });
}

const minus = (text) => text.replace("-", "−");

function four(value, sign = false) {
  if (!Number.isFinite(value)) return "–";
  const size = Math.abs(value);
  const digits = Number.isInteger(value) && size >= 1000 ? value.toLocaleString("en")
    : size !== 0 && (size < 0.001 || size >= 1e6) ? value.toExponential(3) : value.toFixed(4);
  return (sign && value > 0 ? "+" : "") + minus(digits);
}

function short(value) {
  if (!Number.isFinite(value)) return "–";
  const size = Math.abs(value);
  if (Number.isInteger(value)) return minus(value.toLocaleString("en"));
  if (size < 0.001) return minus(value.toExponential(1));
  return minus(size >= 1000 ? Math.round(value).toLocaleString("en") : String(Number(value.toPrecision(3))));
}

function unpack(packed) {
  if (!packed) return null;
  const bytes = Uint8Array.from(atob(packed.f32), (one) => one.charCodeAt(0));
  return { shape: packed.shape, at: new Float32Array(bytes.buffer) };
}

// ---- elements ---------------------------------------------------------------------------------------------------

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value !== null && value !== undefined && value !== false) element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat().filter((one) => one !== null && one !== undefined && one !== ""));
  return element;
}

const make = (tag, attributes, ...children) => fill(document.createElement(tag), attributes, children);
const draw = (tag, attributes, ...children) =>
  fill(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);

// One small card that follows the pointer, the keyboard focus or a finger. `lines` is called when it opens.
const card = make("div", { class: "card", role: "status", hidden: true });

function showCard(lines, x, y) {
  card.replaceChildren(...lines.map(([name, value]) =>
    make("div", null, make("bdi", { class: "card-name" }, name), value === undefined ? null : make("b", null, value))));
  card.hidden = false;
  const box = card.getBoundingClientRect();
  card.style.left = Math.max(6, Math.min(x + 14, innerWidth - box.width - 6)) + "px";
  card.style.top = (y + 18 + box.height > innerHeight ? Math.max(6, y - box.height - 12) : y + 18) + "px";
}

const hideCard = () => { card.hidden = true; };

function tip(element, lines) {
  element.addEventListener("pointermove", (event) => showCard(lines(), event.clientX, event.clientY));
  element.addEventListener("pointerdown", (event) => showCard(lines(), event.clientX, event.clientY));
  element.addEventListener("pointerleave", hideCard);
  element.addEventListener("focus", () => {
    const box = element.getBoundingClientRect();
    showCard(lines(), box.left, box.bottom - 10);
  });
  element.addEventListener("blur", hideCard);
  return element;
}

// ---- colours ----------------------------------------------------------------------------------------------------

const isDark = () => state.theme === "dark" || (state.theme === "auto" && darkSystem.matches);

const RAMPS = {
  light: { rise: ["#f7f4ee", "#f6d9a8", "#eb9a5e", "#c9484f", "#7d2261", "#2f0f45"], down: "#2f6fb5", up: "#c8452f", none: "#f7f4ee" },
  dark: { rise: ["#1d1f27", "#43285e", "#8a2f72", "#d4525f", "#f39a63", "#fdeab0"], down: "#5aa2ec", up: "#f0735a", none: "#1d1f27" },
};
const channels = (hex) => [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16));
const mixed = (a, b, share) => a.map((one, i) => Math.round(one + (b[i] - one) * share));
const css = (rgb) => `rgb(${rgb.join(" ")})`;

// A weight between 0 and 1, by its square root: what is small but there can be seen.
function heat(value) {
  const stops = RAMPS[isDark() ? "dark" : "light"].rise;
  const place = Math.sqrt(Math.min(1, Math.max(0, value || 0))) * (stops.length - 1);
  const low = Math.min(stops.length - 2, Math.floor(place));
  return mixed(channels(stops[low]), channels(stops[low + 1]), place - low);
}

// A signed share of the largest, -1 to 1.
function tilt(share) {
  const ramp = RAMPS[isDark() ? "dark" : "light"];
  return mixed(channels(ramp.none), channels(share < 0 ? ramp.down : ramp.up), Math.min(1, Math.abs(share || 0)) * 0.9);
}

const inkOn = (rgb) => (0.299 * rgb[0] + 0.587 * rgb[1] + 0.114 * rgb[2] > 140 ? "#1b1a18" : "#fbfaf7");

// ---- sections ---------------------------------------------------------------------------------------------------

const sections = {};   // kind -> (section, memory) => element; the other files add theirs

sections.text = (section) => [...section.paragraphs.map((one) => make("p", null, said(one)))];
sections.note = (section) => make("aside", { class: "note " + section.tone }, said(section.text));
sections.samples = (section) => make("div", { class: "samples" }, section.samples.map((one) =>
  make("article", { class: "sample " + one.verdict },
    ...[["given", one.given], ["made", one.made], ["expected", one.expected]].filter(([, text]) => said(text))
      .map(([name, text]) => make("div", { class: "said " + name },
        make("span", { class: "label" }, word(name)), make("bdi", { class: "speech" }, said(text)))),
    said(one.remark) ? make("p", { class: "remark" }, said(one.remark)) : null)));

sections.chapter = (chapter, memory, path) => [
  said(chapter.about) ? make("p", { class: "lead" }, said(chapter.about)) : null,
  ...chapter.sections.map((section, i) => built(section, path + "-" + i, 3)),
];

function built(section, path, depth) {
  if (!state.memory.has(path)) state.memory.set(path, {});
  const title = said(section.title);
  let body;
  try { body = [sections[section.kind](section, state.memory.get(path), path)].flat(); }
  catch (error) { body = [make("aside", { class: "note bad" }, word("broken", { reason: String(error) }))]; }
  return make("section", { id: "s" + path, class: "kind-" + section.kind },
    title ? make("h" + depth, null, make("bdi", null, title)) : null,
    body, said(section.note) ? make("p", { class: "remark" }, said(section.note)) : null);
}

// ---- the page ---------------------------------------------------------------------------------------------------

const chosen = (name, value, wanted) =>
  make("button", { type: "button", "aria-pressed": String(state[name] === value), onclick: () => choose(name, value) }, wanted);

function choose(name, value) {
  state[name] = value;
  address.set({ language: "lang", theme: "theme" }[name], value);
  try { history.replaceState(null, "", "?" + address + location.hash); } catch { /* some browsers forbid it on files */ }
  render();
}

const fact = (value) => (value && value.n !== undefined ? short(value.n) : said(value));

function head() {
  return make("header", { class: "top" },
    make("div", { class: "controls" },
      make("span", { class: "group", role: "group", "aria-label": word("language") }, chosen("language", "zh", "中文"), chosen("language", "en", "English")),
      make("span", { class: "group", role: "group", "aria-label": word("theme") }, ["auto", "light", "dark"].map((one) => chosen("theme", one, word("theme_" + one)))),
      make("button", { type: "button", class: "print", onclick: () => print() }, word("print"))),
    make("h1", null, make("bdi", null, said(report.title))),
    said(report.about) ? make("p", { class: "lead" }, said(report.about)) : null,
    report.facts.length ? make("dl", { class: "facts" }, report.facts.map(([name, value]) =>
      make("div", null, make("dt", null, said(name)), make("dd", null, make("bdi", null, fact(value)))))) : null);
}

function contents() {
  const line = (section, path) => said(section.title) ? make("li", null, make("a", { href: "#s" + path }, said(section.title)),
    section.kind === "chapter" ? make("ol", null, section.sections.map((one, i) => line(one, path + "-" + i))) : null) : null;
  const lines = report.sections.map((section, i) => line(section, String(i))).filter(Boolean);
  return lines.length < 3 ? null : make("nav", { class: "contents", "aria-label": word("contents") },
    make("details", { open: matchMedia("(min-width: 70rem)").matches },
      make("summary", null, word("contents")), make("ol", null, lines)));
}

function render() {
  const scrolled = scrollY;
  document.documentElement.lang = state.language === "zh" ? "zh-Hans" : "en";
  document.documentElement.dataset.theme = isDark() ? "dark" : "light";
  document.title = said(report.title);
  hideCard();
  document.body.replaceChildren(
    make("div", { class: "page" }, contents(),
      make("main", null, head(), report.sections.map((section, i) => built(section, String(i), 2)),
        make("footer", null, word("made_by")))), card);
  scrollTo(0, scrolled);
}

// A figure that must know its width: `paint(width)` returns elements, called again whenever the width changes.
function sized(attributes, paint) {
  const frame = make("div", attributes);
  let before = 0;
  new ResizeObserver(() => {
    const width = Math.floor(frame.clientWidth);
    if (width && width !== before) { before = width; frame.replaceChildren(...[paint(width)].flat()); }
  }).observe(frame);
  return frame;
}

darkSystem.addEventListener("change", () => state.theme === "auto" && render());
addEventListener("scroll", hideCard, { passive: true });
addEventListener("DOMContentLoaded", render);
let unprinted = null;
addEventListener("beforeprint", () => { unprinted = state.theme; state.theme = "light"; render(); });
addEventListener("afterprint", () => { state.theme = unprinted ?? state.theme; render(); });
