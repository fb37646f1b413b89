// Policies and operator policies.

import { get, path, put, remove } from "../api.js";
import { card, head, tableOf } from "../detail.js";
import { ask, confirm } from "../dialog.js";
import { h } from "../dom.js";
import { OPERATOR_POLICY_KEYS, POLICY_KEYS } from "../known.js";
import { list, pageOf, table } from "../list.js";
import { done } from "../notice.js";
import { session } from "../session.js";

const KINDS = {
  policies: { noun: "policy", keys: POLICY_KEYS, applyTo: ["all", "queues", "classic_queues", "quorum_queues", "streams", "exchanges"] },
  "operator-policies": { noun: "operator policy", keys: OPERATOR_POLICY_KEYS, applyTo: ["queues", "classic_queues", "quorum_queues", "streams"] },
};

export const policies = {
  title: () => "Policies",

  async load(_, signal) {
    const where = (kind) => (session.vhost ? path(kind, session.vhost) : kind);
    const [rows, operator] = await Promise.all(["policies", "operator-policies"].map((kind) => get(where(kind), {}, signal)));
    return { rows, operator };
  },

  render(context, { rows, operator }) {
    return h(
      "div.view",
      head("Policies", { actions: [{ text: "Add policy", primary: true, onclick: () => edit(context, "policies") }] }),
      list(context, {
        page: pageOf(context.route, rows, ({ name }) => name),
        noun: ["policy", "policies"],
        key,
        columns: columns(context, "policies"),
        empty: "There are no policies. A policy gives settings to all queues or exchanges whose names it matches.",
      }),
      card(
        "Operator policies",
        { actions: [context.administrator && { text: "Add operator policy", onclick: () => edit(context, "operator-policies") }] },
        operator.length === 0 ? h("p.empty", "There are no operator policies. They limit what arguments and policies may ask for.") : h("div.table-frame", table({ columns: columns(context, "operator-policies"), rows: operator, key })),
      ),
    );
  },
};

const key = ({ vhost, name }) => `${vhost} ${name}`;

function columns(context, kind) {
  const allowed = kind === "policies" || context.administrator;
  return [
    { title: "Name", sort: "name", name: true, cell: ({ name }) => name },
    { title: "Virtual host", sort: "vhost", cell: ({ vhost }) => vhost },
    { title: "Pattern", sort: "pattern", cell: ({ pattern }) => h("code", pattern) },
    { title: "Applies to", sort: "apply-to", cell: (row) => row["apply-to"] },
    { title: "Definition", cell: ({ definition }) => tableOf(definition) },
    { title: "Priority", sort: "priority", number: true, cell: ({ priority }) => String(priority) },
    { title: "", cell: (row) => allowed && buttons(context, kind, row) },
  ];
}

function buttons(context, kind, row) {
  return h(
    "span.row-actions",
    h("button.small", { type: "button", onclick: () => edit(context, kind, row), "aria-label": `Change ${row.name}` }, "Change"),
    h("button.small", { type: "button", onclick: () => drop(context, kind, row), "aria-label": `Delete ${row.name}` }, "Delete"),
  );
}

function edit(context, kind, row) {
  const { noun, keys, applyTo } = KINDS[kind];
  const vhosts = row ? [row.vhost] : context.vhosts;
  return ask({
    title: row ? `Change ${noun} ${row.name}` : `Add ${noun === "policy" ? "a" : "an"} ${noun}`,
    action: row ? `Change ${noun}` : `Add ${noun}`,
    fields: [
      { name: "vhost", label: "Virtual host", type: "select", options: vhosts, value: row?.vhost ?? (session.vhost || vhosts[0]) },
      { name: "name", label: "Name", required: true, value: row?.name, fixed: Boolean(row) },
      { name: "pattern", label: "Pattern", required: true, value: row?.pattern, placeholder: "^orders\\.", hint: "A regular expression of names." },
      { name: "apply-to", label: "Apply to", type: "select", options: applyTo, value: row?.["apply-to"] ?? applyTo[0] },
      { name: "priority", label: "Priority", type: "number", value: row?.priority ?? 0, min: -1000000, required: true, hint: "The highest that matches holds." },
      { name: "definition", label: "Definition", type: "arguments", known: keys, value: row?.definition },
    ],
    async submit({ vhost, name, ...policy }) {
      await put(path(kind, vhost, name), policy);
      done(`The ${noun} ${name} is set.`);
      context.reload();
    },
  });
}

function drop(context, kind, { vhost, name }) {
  const { noun } = KINDS[kind];
  return confirm({
    title: `Delete ${noun} ${name}?`,
    text: "What it has set no longer holds for the queues and exchanges that it matches.",
    action: `Delete ${noun}`,
    async submit() {
      await remove(path(kind, vhost, name));
      done(`The ${noun} ${name} is deleted.`);
      context.reload();
    },
  });
}
