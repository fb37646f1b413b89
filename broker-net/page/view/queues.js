// Queues and streams, and making them.

import { get, path, put } from "../api.js";
import { head, mark, quantity, state } from "../detail.js";
import { ask } from "../dialog.js";
import { h } from "../dom.js";
import * as format from "../format.js";
import { QUEUE_ARGUMENTS, marks } from "../known.js";
import { list, loadPage, withVhost } from "../list.js";
import { done } from "../notice.js";
import { queueHref } from "../route.js";
import { session } from "../session.js";

export const queues = {
  title: () => "Queues and streams",

  load: ({ route }, signal) => loadPage(route, (query) => get(session.vhost ? path("queues", session.vhost) : "queues", query, signal)),

  render(context, page) {
    const add = () => addQueue(context);
    return h(
      "div.view",
      head("Queues and streams", { actions: [{ text: "Add queue", primary: true, onclick: add }] }),
      list(context, {
        page,
        noun: ["queue", "queues"],
        busy: context.busy,
        key: ({ vhost, name }) => `${vhost} ${name}`,
        columns: withVhost(context, page.items.some((row) => row.message_bytes !== undefined) ? COLUMNS.toSpliced(8, 0, BYTES) : COLUMNS),
        empty: "There are no queues yet. Clients declare them, or you add one here.",
      }),
    );
  },
};

const number = (title, field, help) => ({ title, sort: field, number: true, help, cell: (row) => quantity(row[field], format.count) });
const rate = (title, name, help) => ({ title, sort: `message_stats.${name}_details.rate`, number: true, help, cell: (row) => quantity(row.message_stats?.[`${name}_details`]?.rate, format.rate) });

const BYTES = { title: "Size", sort: "message_bytes", number: true, help: "Bytes of the bodies of all messages", cell: (row) => format.bytes(row.message_bytes) };

const COLUMNS = [
  { title: "Name", sort: "name", name: true, cell: ({ vhost, name }) => h("a", { href: queueHref(vhost, name) }, name) },
  { title: "Virtual host", sort: "vhost", cell: ({ vhost }) => vhost },
  { title: "Type", sort: "type", cell: ({ type }) => type },
  { title: "Features", marks: true, cell: queueMarks },
  { title: "State", sort: "state", cell: (row) => state(row.state) },
  number("Ready", "messages_ready", "Messages that wait for a consumer"),
  number("Unacked", "messages_unacknowledged", "Messages given out and not acknowledged yet"),
  number("Total", "messages"),
  number("Consumers", "consumers"),
  rate("Incoming", "publish"),
  rate("Deliver / get", "deliver_get"),
  rate("Ack", "ack"),
];

/** The features of a queue as short marks. */
export function queueMarks(row) {
  return [
    row.durable && mark("D", "Durable: there after a restart"),
    row.auto_delete && mark("AD", "Auto delete: gone with its last consumer"),
    row.exclusive && mark("Excl", "Exclusive: of one connection, and gone with it"),
    marks(row.arguments).map(({ mark: short, text }) => mark(short, text)),
    row.policy && mark(row.policy, `Policy: ${JSON.stringify(row.effective_policy_definition ?? {})}`, "policy"),
    row.operator_policy && mark(row.operator_policy, "Operator policy", "policy"),
  ];
}

const HINTS = {
  classic: "For everything: priorities, TTL, limits, dead letters.",
  quorum: "Always durable, with a delivery limit against poison messages.",
  stream: "Messages stay and may be read again from any offset.",
};

function addQueue(context, type = "classic") {
  const vhosts = context.vhosts;
  const fields = (type) => [
    { name: "vhost", label: "Virtual host", type: "select", options: vhosts, value: session.vhost || vhosts[0] },
    { name: "name", label: "Name", required: true },
    { name: "durable", label: "Durability", type: "select", options: type === "classic" ? [{ value: "true", text: "Durable" }, { value: "false", text: "Transient" }] : [{ value: "true", text: "Durable" }] },
    { name: "auto_delete", label: "Auto delete", type: "checkbox", hint: "Deleted with its last consumer." },
    { name: "arguments", label: "Arguments", type: "arguments", known: QUEUE_ARGUMENTS[type] },
  ];
  return ask({
    title: "Add a queue",
    action: "Add queue",
    choice: { name: "type", label: "Type", value: type, options: Object.keys(HINTS), hints: HINTS, fields },
    async submit({ vhost, name, type, durable, auto_delete, arguments: args }) {
      await put(path("queues", vhost, name), { durable: durable === "true", auto_delete, arguments: { "x-queue-type": type, ...args } });
      done(`Queue ${name} is declared.`);
      context.reload();
    },
  });
}
