// The broker as a whole: queued messages and rates over time, the node, its ports.

import { get } from "../api.js";
import { chart, ratePoints, samplePoints } from "../chart.js";
import { card, facts, figures } from "../detail.js";
import { h } from "../dom.js";
import * as format from "../format.js";
import { table } from "../list.js";

const SPANS = [[60, "1 minute"], [600, "10 minutes"]];

/** Seconds between two samples: those at which the broker looks. */
const STEP = 5;

/** Lines of rates: the API's name, what it is called here, what it means. */
const RATES = [
  ["publish", "Publish", "Messages that have come in"],
  ["confirm", "Confirm", "Messages confirmed to their publishers"],
  ["deliver_get", "Deliver and get", "Messages given to consumers and to basic.get"],
  ["ack", "Acknowledge", "Messages acknowledged by consumers"],
  ["redeliver", "Redelivered", "Messages given out once more"],
  ["return_unroutable", "Returned", "Mandatory messages that no queue was bound for"],
];

const CHURN = [
  ["connection_created", "Connections opened"],
  ["connection_closed", "Connections closed"],
  ["channel_created", "Channels opened"],
  ["channel_closed", "Channels closed"],
  ["queue_created", "Queues created"],
  ["queue_deleted", "Queues deleted"],
];

export const overview = {
  title: () => "Overview",

  async load({ state, monitor }, signal) {
    const span = state.span ?? 60;
    const query = { msg_rates_age: span, msg_rates_incr: STEP, lengths_age: span, lengths_incr: STEP };
    const [broker, nodes] = await Promise.all([get("overview", query, signal), monitor ? get("nodes", {}, signal) : []]);
    return { broker, node: nodes[0], span };
  },

  render(context, { broker, node, span }) {
    const { message_stats: stats, queue_totals: totals, object_totals: objects, churn_rates: churn } = broker;
    const choose = (value) => {
      context.state.span = value;
      context.reload();
    };
    return h(
      "div.view",
      h(
        "div.head",
        h("h1", "Overview"),
        h(
          "div.segments",
          { role: "group", "aria-label": "Time shown in charts" },
          SPANS.map(([value, text]) => h("button", { type: "button", "aria-pressed": String(value === (context.state.span ?? 60)), onclick: () => choose(value) }, text)),
        ),
      ),
      figures([
        ["Connections", format.count(objects.connections)],
        ["Channels", format.count(objects.channels)],
        ["Exchanges", format.count(objects.exchanges)],
        ["Queues", format.count(objects.queues)],
        ["Consumers", format.count(objects.consumers)],
        ["Messages", format.count(totals.messages)],
      ]),
      h(
        "div.charts",
        chart(context, {
          id: "totals",
          title: "Queued messages",
          unit: "count",
          span,
          lines: [
            line("Ready", totals.messages_ready_details, samplePoints, "Messages that wait for a consumer"),
            line("Unacked", totals.messages_unacknowledged_details, samplePoints, "Messages given out and not acknowledged yet"),
            line("Total", totals.messages_details, samplePoints),
          ],
        }),
        chart(context, {
          id: "rates",
          title: "Message rates",
          unit: "rate",
          span,
          lines: RATES.map(([name, text, help]) => line(text, stats[`${name}_details`], ratePoints, help)),
        }),
      ),
      h(
        "div.cards",
        node && nodeCard(node),
        h(
          "div.stack",
          card("Churn", {}, facts(CHURN.map(([name, text]) => [text, h("span", format.count(churn[name]), h("small", ` ${format.rate(churn[`${name}_details`]?.rate ?? 0)}`))]))),
          card("Ports", {}, table({ columns: PORTS, rows: broker.listeners, key: ({ protocol, ip_address, port }) => `${protocol} ${ip_address} ${port}` })),
        ),
      ),
    );
  },
};

const PORTS = [
  { title: "Protocol", cell: ({ protocol }) => protocol },
  { title: "Address", cell: ({ ip_address }) => ip_address },
  { title: "Port", number: true, cell: ({ port }) => String(port) },
];

function line(name, details, pointsOf, help) {
  return { name, help, points: pointsOf(details?.samples) };
}

function nodeCard(node) {
  const files = node.fd_total ? node.fd_used / node.fd_total : 0;
  return card(
    `Node ${node.name}`,
    { key: "node" },
    facts([
      ["Uptime", format.duration(node.uptime)],
      ["Memory", gauge(node.mem_used, node.mem_limit, node.mem_alarm, `${format.bytes(node.mem_used)} of ${format.bytes(node.mem_limit)}`)],
      ["Disk space free", h("span", { class: node.disk_free_alarm ? "bad" : undefined }, format.bytes(node.disk_free), node.disk_free_limit ? h("small", ` alarm below ${format.bytes(node.disk_free_limit)}`) : null)],
      ["Files and sockets", gauge(node.fd_used, node.fd_total, files > 0.9, `${format.count(node.fd_used)} of ${format.count(node.fd_total)}`)],
      ["Processors", format.count(node.processors)],
      ["Process", node.os_pid],
      ["Data", node.db_dir],
    ]),
  );
}

/** A bar of how much of a limit is used, with the numbers beside it. */
function gauge(used, limit, alarm, text) {
  return h("span.gauge", h("meter", { class: alarm ? "bad" : undefined, min: 0, max: limit || 1, value: used, "aria-label": text }), h("span", text));
}
