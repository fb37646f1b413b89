// Bindings, as the views of exchanges and queues show, make and delete them.

import { path, post, remove } from "../api.js";
import { ask, confirm } from "../dialog.js";
import { h } from "../dom.js";
import { tableOf } from "../detail.js";
import { table } from "../list.js";
import { done } from "../notice.js";
import { exchangeHref, queueHref } from "../route.js";
import { exchangeName } from "./exchanges.js";

/** More bindings than these are counted, not shown: a page with more is no use to anybody. */
const SHOWN = 500;

/** Describes the bindings of something: where they lead (`to`), or where they come from. */
export function bindings({ rows, to, context, empty }) {
  if (rows.length === 0) return h("p.empty", empty);
  const columns = [to ? { title: "To", name: true, cell: destination } : { title: "From", name: true, cell: source }, { title: "Routing key", cell: ({ routing_key }) => h("code", routing_key) }, { title: "Arguments", cell: (row) => tableOf(row.arguments) }, { title: "", cell: (row) => row.source !== "" && unbind(row, context) }];
  const key = (row) => `${row.source} ${row.destination_type} ${row.destination} ${row.properties_key}`;
  return h("div.table-frame", table({ columns, rows: rows.slice(0, SHOWN), key }), rows.length > SHOWN && h("p.hint", `${rows.length - SHOWN} more are not shown.`));
}

function destination({ vhost, destination, destination_type }) {
  const address = destination_type === "queue" ? queueHref(vhost, destination) : exchangeHref(vhost, destination);
  return [h("span.kind", destination_type), h("a", { href: address }, destination)];
}

function source({ vhost, source }) {
  return h("a", { href: exchangeHref(vhost, source || "amq.default") }, exchangeName(source));
}

const between = ({ vhost, source, destination, destination_type }) => path("bindings", vhost, "e", source, destination_type === "queue" ? "q" : "e", destination);

function unbind(row, context) {
  const onclick = () =>
    confirm({
      title: "Delete this binding?",
      text: `From ${row.source} to ${row.destination_type} ${row.destination}${row.routing_key ? ` with routing key ${row.routing_key}` : ""}.`,
      action: "Unbind",
      async submit() {
        await remove(`${between(row)}/${encodeURIComponent(row.properties_key)}`);
        done("The binding is deleted.");
        context.reload();
      },
    });
  return h("button.small", { type: "button", onclick, "aria-label": `Unbind ${row.destination} from ${row.source}` }, "Unbind");
}

/** Asks for a binding: from a `source`, or to a `queue`. */
export function addBinding({ vhost, source, queue, done: after }) {
  const ends = queue === undefined
    ? [{ name: "destination_type", label: "To", type: "select", options: ["queue", "exchange"] }, { name: "destination", label: "Name", required: true }]
    : [{ name: "source", label: "From exchange", required: true }];
  return ask({
    title: queue === undefined ? `Bind to exchange ${source}` : `Bind queue ${queue}`,
    action: "Bind",
    fields: [...ends, { name: "routing_key", label: "Routing key" }, { name: "arguments", label: "Arguments", type: "arguments" }],
    async submit(values) {
      const { routing_key, arguments: args } = values;
      const row = { vhost, source, destination: queue, destination_type: "queue", ...values };
      await post(between(row), { routing_key, arguments: args });
      done("The binding is made.");
      after();
    },
  });
}
