// Who is connected.

import { get, path } from "../api.js";
import { head, quantity, state } from "../detail.js";
import { h } from "../dom.js";
import * as format from "../format.js";
import { list, loadPage, withVhost } from "../list.js";
import { connectionHref, userHref } from "../route.js";
import { session } from "../session.js";

export const connections = {
  title: () => "Connections",

  load: ({ route }, signal) =>
    loadPage(route, (query) => get(session.vhost ? path("vhosts", session.vhost, "connections") : "connections", query, signal)),

  render(context, page) {
    return h(
      "div.view",
      head("Connections"),
      list(context, {
        page,
        noun: ["connection", "connections"],
        busy: context.busy,
        key: ({ name }) => name,
        columns: withVhost(context, columns(context)),
        empty: "Nobody is connected.",
      }),
    );
  },
};

const columns = ({ administrator }) => [
  { title: "Name", sort: "name", name: true, cell: (row) => [h("a", { href: connectionHref(row.name) }, row.name), row.user_provided_name && h("small.second", row.user_provided_name)] },
  { title: "Virtual host", sort: "vhost", cell: ({ vhost }) => vhost },
  { title: "User", sort: "user", cell: ({ user }) => (administrator ? h("a", { href: userHref(user) }, user) : user) },
  { title: "State", sort: "state", cell: (row) => state(row.state) },
  { title: "TLS", sort: "ssl", cell: ({ ssl }) => (ssl ? "yes" : "no") },
  { title: "Client", cell: (row) => client(row.client_properties) },
  { title: "Channels", sort: "channels", number: true, cell: ({ channels }) => quantity(channels, format.count) },
  { title: "From client", sort: "recv_oct_details.rate", number: true, cell: (row) => quantity(row.recv_oct_details?.rate, format.byteRate) },
  { title: "To client", sort: "send_oct_details.rate", number: true, cell: (row) => quantity(row.send_oct_details?.rate, format.byteRate) },
  { title: "Connected", sort: "connected_at", number: true, help: "Time since it was opened", cell: ({ connected_at }) => format.duration(Date.now() - connected_at) },
];

function client({ product, version } = {}) {
  return product ? [product, version && h("small.second", version)] : "–";
}
