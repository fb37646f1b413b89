// Forms: fields with labels, hints and limits, and what was entered.

import { argumentsField } from "./argument.js";
import { h, make } from "./dom.js";

let fields = 0;

/**
 * Makes a form. A field is `{ name, label, type, value, options, hint, required, placeholder, wide, fixed }`, its type one of text,
 * password, number, select, checkbox, textarea, file, arguments. A `choice` is a select whose `fields(value)` and `hints` go with its
 * value. `submit(values)` does the work; what it throws is shown in the form.
 */
export function form({ fields: described = [], choice, action, danger, submit, cancel }) {
  const made = make("div.fields");
  const problem = make("p.problem", { role: "alert", hidden: true });
  const button = make(danger ? "button.danger" : "button.primary", { type: "submit" }, action);
  const buttons = make("div.buttons");
  if (cancel) buttons.append(make("button", { type: "button", onclick: cancel }, "Cancel"));
  buttons.append(button);
  const element = make("form.form");
  element.append(made, problem, buttons);
  const inputs = choice ? chosenFields(made, choice) : fixedFields(made, described);
  element.addEventListener("submit", async (event) => {
    event.preventDefault();
    problem.hidden = true;
    button.disabled = true;
    element.setAttribute("aria-busy", "true");
    try {
      await submit(Object.fromEntries([...inputs()].map(([name, { read }]) => [name, read()])));
    } catch (error) {
      problem.textContent = error.message;
      problem.hidden = false;
      problem.scrollIntoView({ block: "nearest" });
    } finally {
      button.disabled = false;
      element.removeAttribute("aria-busy");
    }
  });
  return { element };
}

function fixedFields(made, described) {
  const inputs = new Map(described.map((field) => [field.name, makeField(field)]));
  made.append(...[...inputs.values()].map(({ row }) => row));
  return () => inputs;
}

/** Fields that depend on a choice. What was entered in those that stay is kept. */
function chosenFields(made, { hints, fields: fieldsOf, ...select }) {
  let inputs = new Map();
  const show = (value) => {
    const entered = new Map([...inputs].filter(([, { plain }]) => plain).map(([name, { read }]) => [name, read()]));
    const described = fieldsOf(value).map((field) => (entered.has(field.name) ? { ...field, value: entered.get(field.name) } : field));
    inputs = new Map(described.map((field) => [field.name, makeField(field)]));
    made.replaceChildren(chosen.row, ...[...inputs.values()].map(({ row }) => row));
    chosen.row.querySelector(".hint").textContent = hints[value];
  };
  const chosen = makeField({ ...select, type: "select", hint: hints[select.value], onchange: show, wide: true });
  show(select.value);
  return () => new Map([[select.name, chosen], ...inputs]);
}

function makeField(field) {
  const { type = "text" } = field;
  const id = `field-${++fields}`;
  const { input, extra, read } = control(field, id);
  const hint = field.hint && make("p.hint", { id: `${id}-hint` }, field.hint);
  if (hint) input.setAttribute("aria-describedby", hint.id);
  const label = make("label", { for: id }, field.label);
  const row = make(type === "checkbox" ? "div.field.check" : "div.field");
  if (type === "textarea" || type === "arguments" || field.wide) row.classList.add("wide");
  if (type === "arguments") {
    row.setAttribute("role", "group");
    row.setAttribute("aria-label", field.label);
  }
  row.append(...(type === "checkbox" ? [input, label] : [label, input]), ...(hint ? [hint] : []));
  if (extra) row.append(extra);
  return { row, read, plain: type !== "select" && type !== "arguments" };
}

function control(field, id) {
  const { name, type = "text", value, required, placeholder, fixed } = field;
  const common = { id, name, required, placeholder, readonly: fixed };
  switch (type) {
    case "arguments":
      return argumentsField(field, id);
    case "select": {
      const options = field.options.map((option) => (typeof option === "string" ? { value: option, text: option } : option));
      const input = make("select", { ...common, value: value ?? options[0]?.value }, options.map(({ value, text }) => h("option", { value }, text)));
      if (field.onchange) input.addEventListener("change", () => field.onchange(input.value));
      return { input, read: () => input.value };
    }
    case "checkbox": {
      const input = make("input", { id, name, type, checked: Boolean(value) });
      return { input, read: () => input.checked };
    }
    case "textarea": {
      const input = make("textarea", { ...common, rows: field.rows ?? 5, spellcheck: "false", value });
      return { input, read: () => input.value };
    }
    case "number": {
      const { min = 0, max } = field;
      const input = make("input", { ...common, type, value: value ?? "", min, max, step: 1, inputmode: "numeric" });
      return { input, read: () => (input.value === "" ? null : Number(input.value)) };
    }
    case "file": {
      const input = make("input", { ...common, type, accept: field.accept });
      return { input, read: () => input.files[0] };
    }
    default: {
      const autocomplete = field.autocomplete ?? "off";
      const list = field.suggestions && `${id}-list`;
      const input = make("input", { ...common, type, value: value ?? "", autocomplete, list, spellcheck: "false", autocapitalize: "none" });
      const extra = list && make("datalist", { id: list }, field.suggestions.map((value) => h("option", { value })));
      return { input, extra, read: () => input.value };
    }
  }
}
