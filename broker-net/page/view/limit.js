// Limits of virtual hosts and of users, as several views show and set them.

import { path, put, remove } from "../api.js";
import { card } from "../detail.js";
import { ask } from "../dialog.js";
import { h } from "../dom.js";
import * as format from "../format.js";
import { table } from "../list.js";
import { done, refused } from "../notice.js";

export const VHOST_LIMITS = ["max-connections", "max-queues"];
export const USER_LIMITS = ["max-connections", "max-channels"];

/** Describes the limits of one virtual host or user; `where` is their path. */
export function limitsCard(context, { where, limits, known }) {
  const rows = Object.entries(limits).map(([name, value]) => ({ name, value }));
  const clear = async ({ name }) => {
    try {
      await remove(`${where}/${encodeURIComponent(name)}`);
      done(`Limit ${name} is cleared.`);
    } catch (error) {
      refused(error);
    }
    context.reload();
  };
  const columns = [
    { title: "Limit", name: true, cell: ({ name }) => name },
    { title: "Value", number: true, cell: ({ value }) => format.count(value) },
    { title: "", cell: (row) => context.administrator && h("button.small", { type: "button", onclick: () => clear(row), "aria-label": `Clear ${row.name}` }, "Clear") },
  ];
  return card(
    "Limits",
    { actions: [context.administrator && { text: "Set limit", onclick: () => setLimit(context, { where, known }) }] },
    rows.length === 0 ? h("p.empty", "No limits are set.") : h("div.table-frame", table({ columns, rows, key: ({ name }) => name })),
  );
}

/** Asks for a limit and sets it: of `where`, or of one of the `names`. */
export function setLimit(context, { where, known, kind, names }) {
  const of = names ? [{ name: "of", label: kind === "user-limits" ? "User" : "Virtual host", type: "select", options: names }] : [];
  return ask({
    title: "Set limit",
    action: "Set limit",
    fields: [...of, { name: "limit", label: "Limit", type: "select", options: known }, { name: "value", label: "Value", type: "number", required: true, min: -1, hint: "-1 for no limit." }],
    async submit({ of, limit, value }) {
      await put(`${where ?? path(kind, of)}/${encodeURIComponent(limit)}`, { value });
      done(`Limit ${limit} is set.`);
      context.reload();
    },
  });
}
