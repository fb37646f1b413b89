// Messages that an exchange holds back until they are due.

import { exchangePath, get, remove } from "../api.js";
import { card, tableOf } from "../detail.js";
import { confirm } from "../dialog.js";
import { h } from "../dom.js";
import * as format from "../format.js";
import { table } from "../list.js";
import { done } from "../notice.js";

/** Messages that are shown: those that are due first. */
const SHOWN = 100;

/** The first messages that an exchange holds back, or null if it does not delay. */
export async function loadDelayed({ vhost, name, type, arguments: args, policy }, signal) {
  if (type !== "x-delayed-message" && !args["x-delayed-exchange"] && !policy) return null;
  try {
    return await get(`${exchangePath(vhost, name)}/delayed`, { count: SHOWN }, signal);
  } catch (error) {
    // It does not delay, or the user may not look.
    if ([400, 401, 404].includes(error.status)) return null;
    throw error;
  }
}

/** Describes them. */
export function delayedCard(context, { vhost, name }, { total, items }) {
  const where = `${exchangePath(vhost, name)}/delayed`;
  const cancel = (title, text, address) =>
    confirm({
      title,
      text,
      action: "Cancel delivery",
      async submit() {
        await remove(address);
        done("The exchange has forgotten what it held back.");
        context.reload();
      },
    });
  const all = () => cancel(`Cancel all delayed messages of ${name}?`, `${format.plural(total, "message")} will never be delivered.`, where);
  const one = (row) => cancel("Cancel this message?", `The message with routing key ${row.routing_key} will never be delivered.`, `${where}/${encodeURIComponent(row.id)}`);
  const columns = [
    { title: "Due", name: true, cell: ({ due_ms }) => format.moment(due_ms) },
    { title: "In", number: true, cell: ({ due_ms }) => format.duration(Math.max(0, due_ms - Date.now())) },
    { title: "Routing key", cell: ({ routing_key }) => h("code", routing_key) },
    { title: "Size", number: true, cell: ({ payload_bytes }) => format.bytes(payload_bytes) },
    { title: "Properties", cell: ({ properties }) => tableOf(Array.isArray(properties) ? {} : properties) },
    { title: "", cell: (row) => h("button.small", { type: "button", onclick: () => one(row), "aria-label": `Cancel ${row.routing_key}` }, "Cancel") },
  ];
  return card(
    "Delayed messages",
    { actions: [total > 0 && { text: "Cancel all", onclick: all }] },
    items.length === 0 ? h("p.empty", "Nothing is held back.") : h("div.table-frame", table({ columns, rows: items, key: ({ id }) => id })),
    total > items.length && h("p.hint", `The first ${format.count(items.length)} of ${format.count(total)}.`),
  );
}
