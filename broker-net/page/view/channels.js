// The channels of all connections.

import { get, path } from "../api.js";
import { head, mark, quantity, state } from "../detail.js";
import { h } from "../dom.js";
import * as format from "../format.js";
import { list, loadPage, withVhost } from "../list.js";
import { channelHref } from "../route.js";
import { session } from "../session.js";

export const channels = {
  title: () => "Channels",

  load: ({ route }, signal) =>
    loadPage(route, (query) => get(session.vhost ? path("vhosts", session.vhost, "channels") : "channels", query, signal)),

  render(context, page) {
    return h(
      "div.view",
      head("Channels"),
      list(context, { page, noun: ["channel", "channels"], busy: context.busy, key: ({ name }) => name, columns: withVhost(context, CHANNEL_COLUMNS), empty: "There are no channels." }),
    );
  },
};

const rate = (name) => (row) => quantity(row.message_stats?.[`${name}_details`]?.rate, format.rate);

export const CHANNEL_COLUMNS = [
  { title: "Channel", sort: "name", name: true, cell: ({ name }) => h("a", { href: channelHref(name) }, name) },
  { title: "Virtual host", sort: "vhost", cell: ({ vhost }) => vhost },
  { title: "User", sort: "user", cell: ({ user }) => user },
  { title: "Mode", help: "C: confirms, T: transactional", cell: (row) => [row.confirm && mark("C", "Publisher confirms"), row.transactional && mark("T", "Transactional")] },
  { title: "State", sort: "state", cell: (row) => state(row.state) },
  { title: "Consumers", sort: "consumer_count", number: true, cell: (row) => quantity(row.consumer_count, format.count) },
  { title: "Unconfirmed", sort: "messages_unconfirmed", number: true, cell: (row) => quantity(row.messages_unconfirmed, format.count) },
  { title: "Prefetch", sort: "prefetch_count", number: true, help: "Of a consumer; of the channel in brackets", cell: prefetch },
  { title: "Unacked", sort: "messages_unacknowledged", number: true, cell: (row) => quantity(row.messages_unacknowledged, format.count) },
  { title: "Publish", sort: "message_stats.publish_details.rate", number: true, cell: rate("publish") },
  { title: "Confirm", sort: "message_stats.confirm_details.rate", number: true, cell: rate("confirm") },
  { title: "Deliver / get", sort: "message_stats.deliver_get_details.rate", number: true, cell: rate("deliver_get") },
  { title: "Ack", sort: "message_stats.ack_details.rate", number: true, cell: rate("ack") },
];

function prefetch({ prefetch_count, global_prefetch_count }) {
  const own = prefetch_count ? format.count(prefetch_count) : "–";
  return global_prefetch_count ? `${own} (${format.count(global_prefetch_count)})` : own;
}
