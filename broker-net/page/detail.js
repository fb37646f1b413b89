// Parts that views of one object share: its head with buttons, facts, cards.

import { h } from "./dom.js";

/** A heading with what can be done: `actions` are `{ text, onclick, danger, primary }` or nothing. */
export function head(title, { kind, marks = [], actions = [] } = {}) {
  const buttons = actions.filter(Boolean);
  return h(
    "div.head",
    { key: "head" },
    h("h1", kind && h("span.kind", kind), h("span.head-name", title)),
    marks.length > 0 && h("div.marks", marks),
    buttons.length > 0 && h("div.actions", buttons.map(({ text, onclick, danger, primary }) => h(danger ? "button.danger" : primary ? "button.primary" : "button", { key: text, type: "button", onclick }, text))),
  );
}

/** A titled part of a page. */
export function card(title, { key = title, actions = [] } = {}, ...contents) {
  const buttons = actions.filter(Boolean);
  return h(
    "section.card",
    { key, "aria-label": title },
    h("div.card-head", h("h2", title), buttons.length > 0 && h("div.actions", buttons.map(({ text, onclick }) => h("button.small", { key: text, type: "button", onclick }, text)))),
    ...contents,
  );
}

/** Names and values. Pairs without a value are left out. */
export function facts(pairs) {
  const known = pairs.filter((pair) => pair && pair[1] !== undefined && pair[1] !== null && pair[1] !== "");
  return h("dl.facts", known.map(([name, value, help]) => h("div", { key: name, title: help }, h("dt", name), h("dd", value))));
}

/** Large numbers side by side. */
export function figures(pairs) {
  return h("dl.figures", pairs.filter(Boolean).map(([name, value, help, bad]) => h(bad ? "div.bad" : "div", { key: name, title: help }, h("dt", name), h("dd", value))));
}

/** A short mark with its meaning, of a feature of a queue or exchange. */
export function mark(text, help, kind) {
  return h("abbr.mark", { key: text, title: help, class: kind }, text);
}

/** The state of something: a dot and a word. */
export function state(name) {
  const kind = ["running", "up", "idle"].includes(name) ? "good" : ["paused", "blocked", "blocking", "flow"].includes(name) ? "held" : ["down", "crashed", "stopped"].includes(name) ? "bad" : "";
  return h("span.state", { class: kind }, name ?? "–");
}

const textOf = (value) => (typeof value === "string" && value !== "" ? value : JSON.stringify(value));

/** A number of a list: nothing stands back behind something. */
export function quantity(value, write) {
  return value ? write(value) : h("span.zero", write(0));
}

/** Arguments as a list of names and values. */
export function tableOf(object) {
  const entries = Object.entries(object ?? {});
  if (entries.length === 0) return h("span.none", "none");
  return h("dl.inner", entries.map(([name, value]) => h("div", { key: name }, h("dt", name), h("dd", typeof value === "object" && value !== null && !Array.isArray(value) ? tableOf(value) : textOf(value)))));
}
