// Tables of arguments: a name, a type and a value in each row, and buttons for those that are known.

import { h, make, render } from "./dom.js";

const TYPES = ["String", "Number", "Boolean", "List or table"];

/** The field `{ known: [{ name, text, type, value }], value: { .. } }` of a form. */
export function argumentsField({ known = [], value = {}, noun = "argument" }, id) {
  const rows = Object.entries(value).map(([name, value]) => ({ id: next(), name, ...typed(value) }));
  const input = make("div.arguments", { id });
  const change = (row, changes) => {
    Object.assign(row, changes);
    if ("type" in changes) draw();
  };
  const add = (row) => {
    rows.push({ id: next(), name: "", type: "String", value: "", ...row });
    draw();
    const [name, , value] = [...input.querySelectorAll(".argument")].at(-1).querySelectorAll("input, select");
    (row.name ? value : name).focus();
  };
  const drop = (row) => {
    rows.splice(rows.indexOf(row), 1);
    draw();
    input.querySelector(".argument-add").focus();
  };
  const draw = () => {
    const unused = known.filter(({ name }) => !rows.some((row) => row.name === name));
    render(
      input,
      rows.map((row) => argumentRow(row, (changes) => change(row, changes), () => drop(row))),
      h(
        "div.known",
        { key: "known" },
        h("button.argument-add.small", { type: "button", key: "add", onclick: () => add({}) }, `Add ${noun}`),
        unused.map((argument) =>
          h(
            "button.chip",
            { type: "button", key: argument.name, title: argument.name, onclick: () => add({ name: argument.name, type: argument.type, value: argument.value ?? "" }) },
            argument.text,
          ),
        ),
      ),
    );
  };
  draw();
  return { input, read: () => read(rows) };
}

let rowsMade = 0;
const next = () => ++rowsMade;

function argumentRow(row, change, drop) {
  return h(
    "div.argument",
    { key: row.id },
    h("input", { "aria-label": "Argument", placeholder: "x-argument", value: row.name, autocomplete: "off", spellcheck: "false", autocapitalize: "none", oninput: (event) => change({ name: event.target.value }) }),
    h("select", { "aria-label": "Type", value: row.type, onchange: (event) => change({ type: event.target.value, value: event.target.value === "Boolean" ? "true" : row.value }) }, TYPES.map((type) => h("option", { value: type }, type))),
    valueInput(row, change),
    h("button.small", { type: "button", "aria-label": `Remove ${row.name || "argument"}`, onclick: drop }, "×"),
  );
}

function valueInput(row, change) {
  if (row.type === "Boolean") {
    const onchange = (event) => change({ value: event.target.value });
    return h("select", { key: "boolean", "aria-label": "Value", value: row.value, onchange }, ["true", "false"].map((value) => h("option", { value }, value)));
  }
  const placeholder = row.type === "List or table" ? '["a", "b"] or {"a": 1}' : row.type === "Number" ? "0" : "";
  const inputmode = row.type === "Number" ? "decimal" : null;
  return h("input", { key: "text", "aria-label": "Value", placeholder, inputmode, value: row.value, autocomplete: "off", spellcheck: "false", oninput: (event) => change({ value: event.target.value }) });
}

function typed(value) {
  if (typeof value === "string") return { type: "String", value };
  if (typeof value === "number") return { type: "Number", value: String(value) };
  if (typeof value === "boolean") return { type: "Boolean", value: String(value) };
  return { type: "List or table", value: JSON.stringify(value) };
}

function read(rows) {
  const named = rows.filter(({ name }) => name.trim() !== "");
  return Object.fromEntries(named.map(({ name, type, value }) => [name.trim(), parse(name, type, String(value))]));
}

function parse(name, type, text) {
  if (type === "String") return text;
  if (type === "Boolean") return text === "true";
  if (type === "Number") {
    const number = Number(text);
    if (text.trim() === "" || !Number.isFinite(number)) throw new Error(`${name}: ${text === "" ? "a number is missing" : `${text} is not a number`}`);
    return number;
  }
  try {
    return JSON.parse(text);
  } catch {
    throw new Error(`${name}: not valid JSON`);
  }
}
