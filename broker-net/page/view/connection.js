// One connection: what it is, its bytes, its channels; closing it.

import { get, path, remove } from "../api.js";
import { chart, ratePoints } from "../chart.js";
import { card, facts, head, state, tableOf } from "../detail.js";
import { ask } from "../dialog.js";
import { h } from "../dom.js";
import * as format from "../format.js";
import { look, samples, span } from "../history.js";
import { table } from "../list.js";
import { done } from "../notice.js";
import { CHANNEL_COLUMNS } from "./channels.js";

export const connection = {
  title: ({ parts }) => parts[1],

  async load({ route }, signal) {
    const name = route.parts[1];
    const [row, channels] = await Promise.all([get(path("connections", name), {}, signal), get(path("connections", name, "channels"), {}, signal)]);
    look(`connection ${name}`, { recv_oct: row.recv_oct, send_oct: row.send_oct });
    return { row, channels };
  },

  render(context, { row, channels }) {
    const points = (name) => ratePoints(samples(`connection ${row.name}`, name));
    return h(
      "div.view",
      head(row.name, { kind: "Connection", actions: [(context.administrator || row.user === context.app.user.name) && { text: "Close connection", danger: true, onclick: () => close(context, row) }] }),
      h(
        "div.charts",
        chart(context, { id: "octets", title: "Data rates", unit: "byteRate", span: span(`connection ${row.name}`), lines: [{ name: "From client", points: points("recv_oct") }, { name: "To client", points: points("send_oct") }] }),
        card(
          "Details",
          {},
          facts([
            ["State", state(row.state)],
            ["Virtual host", row.vhost],
            ["User", row.user],
            ["Client's name", row.user_provided_name],
            ["Protocol", row.protocol],
            ["Authentication", row.auth_mechanism],
            ["TLS", row.ssl ? "yes" : "no"],
            ["Connected", `${format.moment(row.connected_at)} (${format.duration(Date.now() - row.connected_at)} ago)`],
            ["Heartbeat", row.timeout ? `${row.timeout}s` : "off"],
            ["Frame max", format.bytes(row.frame_max)],
            ["Channel limit", format.count(row.channel_max)],
            ["Received", format.bytes(row.recv_oct)],
            ["Sent", format.bytes(row.send_oct)],
          ]),
        ),
      ),
      card("Channels", {}, channels.length === 0 ? h("p.empty", "This connection has no channels.") : h("div.table-frame", table({ columns: CHANNEL_COLUMNS.filter(({ sort }) => sort !== "vhost" && sort !== "user"), rows: channels, key: ({ name }) => name }))),
      card("Client properties", {}, tableOf(row.client_properties)),
    );
  },
};

function close(context, row) {
  return ask({
    title: "Close this connection?",
    text: `${row.name} is told the reason. Most clients connect again.`,
    fields: [{ name: "reason", label: "Reason", placeholder: "Closed via management plugin", wide: true }],
    action: "Close connection",
    danger: true,
    async submit({ reason }) {
      // Headers hold Latin letters only.
      const headers = reason ? { "x-reason": reason.replace(/[^\x20-\x7e]/g, "?") } : {};
      await context.leave(() => remove(path("connections", row.name), headers), "connections");
      done("The connection is closed.");
    },
  });
}
