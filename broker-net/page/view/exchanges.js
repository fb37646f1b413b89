// Exchanges, and making them.

import { exchangePath, get, path, put } from "../api.js";
import { head, mark, quantity } from "../detail.js";
import { ask } from "../dialog.js";
import { h } from "../dom.js";
import * as format from "../format.js";
import { EXCHANGE_ARGUMENTS, marks } from "../known.js";
import { list, loadPage, withVhost } from "../list.js";
import { done } from "../notice.js";
import { exchangeHref } from "../route.js";
import { session } from "../session.js";

export const exchanges = {
  title: () => "Exchanges",

  async load({ route, state }, signal) {
    state.types ??= (await get("overview", { columns: "exchange_types" }, signal)).exchange_types.map(({ name }) => name);
    return loadPage(route, (query) => get(session.vhost ? path("exchanges", session.vhost) : "exchanges", query, signal));
  },

  render(context, page) {
    const columns = page.items.some(({ message_stats }) => message_stats) ? [...COLUMNS, ...RATES] : COLUMNS;
    return h(
      "div.view",
      head("Exchanges", { actions: [{ text: "Add exchange", primary: true, onclick: () => add(context) }] }),
      list(context, { page, noun: ["exchange", "exchanges"], busy: context.busy, key: ({ vhost, name }) => `${vhost} ${name}`, columns: withVhost(context, columns), empty: "There are no exchanges." }),
    );
  },
};

/** What a list calls an exchange: the default one has no name. */
export const exchangeName = (name) => (name === "" ? "(AMQP default)" : name);

const COLUMNS = [
  { title: "Name", sort: "name", name: true, cell: ({ vhost, name }) => h("a", { href: exchangeHref(vhost, name || "amq.default") }, exchangeName(name)) },
  { title: "Virtual host", sort: "vhost", cell: ({ vhost }) => vhost },
  { title: "Type", sort: "type", cell: ({ type }) => type },
  { title: "Features", marks: true, cell: exchangeMarks },
  { title: "Policy", sort: "policy", cell: ({ policy }) => policy ?? "" },
];

const RATES = [
  { title: "In", sort: "message_stats.publish_in_details.rate", number: true, help: "Messages published to the exchange", cell: (row) => quantity(row.message_stats?.publish_in_details?.rate, format.rate) },
  { title: "Out", sort: "message_stats.publish_out_details.rate", number: true, help: "Messages that it has put into queues", cell: (row) => quantity(row.message_stats?.publish_out_details?.rate, format.rate) },
];

/** The features of an exchange as short marks. */
export function exchangeMarks(row) {
  return [
    row.durable && mark("D", "Durable: there after a restart"),
    row.auto_delete && mark("AD", "Auto delete: gone with its last binding"),
    row.internal && mark("I", "Internal: clients cannot publish to it"),
    marks(row.arguments).map(({ mark: short, text }) => mark(short, text)),
  ];
}

function add(context) {
  const vhosts = context.vhosts;
  return ask({
    title: "Add an exchange",
    action: "Add exchange",
    fields: [
      { name: "vhost", label: "Virtual host", type: "select", options: vhosts, value: session.vhost || vhosts[0] },
      { name: "name", label: "Name", required: true },
      { name: "type", label: "Type", type: "select", options: context.state.types, value: "direct" },
      { name: "durable", label: "Durability", type: "select", options: [{ value: "true", text: "Durable" }, { value: "false", text: "Transient" }] },
      { name: "auto_delete", label: "Auto delete", type: "checkbox", hint: "Deleted with its last binding." },
      { name: "internal", label: "Internal", type: "checkbox", hint: "Other exchanges publish to it, clients cannot." },
      { name: "arguments", label: "Arguments", type: "arguments", known: EXCHANGE_ARGUMENTS },
    ],
    async submit({ vhost, name, durable, ...rest }) {
      await put(exchangePath(vhost, name), { ...rest, durable: durable === "true" });
      done(`Exchange ${name} is declared.`);
      context.reload();
    },
  });
}
