// The limits of all virtual hosts and users.

import { get, path, remove } from "../api.js";
import { card, head } from "../detail.js";
import { h } from "../dom.js";
import * as format from "../format.js";
import { table } from "../list.js";
import { done, refused } from "../notice.js";
import { USER_LIMITS, VHOST_LIMITS, setLimit } from "./limit.js";

export const limits = {
  title: () => "Limits",

  async load(_, signal) {
    const [vhosts, users, names] = await Promise.all([get("vhost-limits", {}, signal), get("user-limits", {}, signal), get("users", { columns: "name" }, signal)]);
    return { vhosts, users, names: names.map(({ name }) => name) };
  },

  render(context, { vhosts, users, names }) {
    return h(
      "div.view",
      head("Limits"),
      card(
        "Virtual hosts",
        { actions: [{ text: "Set limit of a virtual host", onclick: () => setLimit(context, { kind: "vhost-limits", names: context.vhosts, known: VHOST_LIMITS }) }] },
        limitTable(context, "vhost-limits", vhosts.flatMap(({ vhost, value }) => rowsOf(vhost, value)), "No virtual host is limited."),
      ),
      card(
        "Users",
        { actions: [{ text: "Set limit of a user", onclick: () => setLimit(context, { kind: "user-limits", names, known: USER_LIMITS }) }] },
        limitTable(context, "user-limits", users.flatMap(({ user, value }) => rowsOf(user, value)), "No user is limited."),
      ),
    );
  },
};

const rowsOf = (of, limits) => Object.entries(limits).map(([limit, value]) => ({ of, limit, value }));

function limitTable(context, kind, rows, empty) {
  if (rows.length === 0) return h("p.empty", empty);
  const clear = async ({ of, limit }) => {
    try {
      await remove(path(kind, of, limit));
      done(`Limit ${limit} of ${of} is cleared.`);
    } catch (error) {
      refused(error);
    }
    context.reload();
  };
  const columns = [
    { title: "Of", name: true, cell: ({ of }) => of },
    { title: "Limit", cell: ({ limit }) => limit },
    { title: "Value", number: true, cell: ({ value }) => format.count(value) },
    { title: "", cell: (row) => h("button.small", { type: "button", onclick: () => clear(row), "aria-label": `Clear ${row.limit} of ${row.of}` }, "Clear") },
  ];
  return h("div.table-frame", table({ columns, rows, key: ({ of, limit }) => `${of} ${limit}` }));
}
