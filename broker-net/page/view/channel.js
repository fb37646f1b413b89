// One channel: its rates and its consumers.

import { get, path } from "../api.js";
import { chart, ratePoints } from "../chart.js";
import { card, facts, head, state } from "../detail.js";
import { h } from "../dom.js";
import * as format from "../format.js";
import { look, samples, span } from "../history.js";
import { table } from "../list.js";
import { connectionHref, queueHref } from "../route.js";

const RATES = [["publish", "Publish"], ["confirm", "Confirm"], ["deliver_get", "Deliver and get"], ["ack", "Acknowledge"], ["return_unroutable", "Returned"]];

export const channel = {
  title: ({ parts }) => parts[1],

  async load({ route }, signal) {
    const row = await get(path("channels", route.parts[1]), {}, signal);
    look(`channel ${row.name}`, row.message_stats ?? {});
    return row;
  },

  render(context, row) {
    const lines = RATES.map(([name, text]) => ({ name: text, points: ratePoints(samples(`channel ${row.name}`, name)) }));
    return h(
      "div.view",
      head(row.name, { kind: "Channel" }),
      h(
        "div.charts",
        chart(context, { id: "channel", title: "Message rates", unit: "rate", span: span(`channel ${row.name}`), lines }),
        card(
          "Details",
          {},
          facts([
            ["State", state(row.state)],
            ["Connection", h("a", { href: connectionHref(row.connection_details.name) }, row.connection_details.name)],
            ["Virtual host", row.vhost],
            ["User", row.user],
            ["Mode", row.transactional ? "transactional" : row.confirm ? "publisher confirms" : "plain"],
            ["Prefetch of consumers", format.count(row.prefetch_count)],
            ["Prefetch of the channel", format.count(row.global_prefetch_count)],
            ["Unacked", format.count(row.messages_unacknowledged)],
            ["Unconfirmed", format.count(row.messages_unconfirmed)],
            ["Uncommitted", format.count(row.messages_uncommitted)],
          ]),
        ),
      ),
      card("Consumers", {}, row.consumer_details.length === 0 ? h("p.empty", "Nothing is consumed on this channel.") : table({ columns: CONSUMERS, rows: row.consumer_details, key: ({ consumer_tag }) => consumer_tag })),
    );
  },
};

const CONSUMERS = [
  { title: "Consumer tag", name: true, cell: ({ consumer_tag }) => consumer_tag },
  { title: "Queue", cell: ({ queue }) => h("a", { href: queueHref(queue.vhost, queue.name) }, queue.name) },
  { title: "Acks", cell: ({ ack_required }) => (ack_required ? "required" : "none") },
  { title: "Exclusive", cell: ({ exclusive }) => (exclusive ? "yes" : "no") },
  { title: "Prefetch", number: true, cell: ({ prefetch_count }) => (prefetch_count ? format.count(prefetch_count) : "–") },
];
