// One exchange: its bindings, publishing to it, deleting it.

import { exchangePath, get, path, remove } from "../api.js";
import { chart, ratePoints } from "../chart.js";
import { card, facts, head, tableOf } from "../detail.js";
import { confirm } from "../dialog.js";
import { foreign, h } from "../dom.js";
import { look, samples, span } from "../history.js";
import { done } from "../notice.js";
import { addBinding, bindings } from "./binding.js";
import { delayedCard, loadDelayed } from "./delayed.js";
import { exchangeMarks, exchangeName } from "./exchanges.js";
import { publishForm } from "./publish.js";

export const exchange = {
  title: ({ parts }) => exchangeName(nameOf(parts)),

  async load({ route }, signal) {
    const [, vhost] = route.parts;
    const where = exchangePath(vhost, nameOf(route.parts));
    const [row, sources, destinations] = await Promise.all([get(where, {}, signal), get(`${where}/bindings/source`, {}, signal), get(`${where}/bindings/destination`, {}, signal)]);
    const delayed = await loadDelayed(row, signal);
    if (row.message_stats) look(`exchange ${vhost} ${row.name}`, row.message_stats);
    return { row, sources, destinations, delayed };
  },

  render(context, { row, sources, destinations, delayed }) {
    const { vhost, name } = row;
    const isDefault = name === "";
    const publish = (context.state.publish ??= publishForm({ vhost, exchange: name, onpublish: context.reload }));
    const points = (counter) => ratePoints(samples(`exchange ${vhost} ${name}`, counter));
    const lines = [{ name: "In", points: points("publish_in") }, { name: "Out", points: points("publish_out") }];
    return h(
      "div.view",
      head(exchangeName(name), { kind: "Exchange", marks: exchangeMarks(row), actions: [!name.startsWith("amq.") && !isDefault && { text: "Delete", danger: true, onclick: () => drop(context, row) }] }),
      row.message_stats && chart(context, { id: "exchange", title: "Message rates", unit: "rate", span: span(`exchange ${vhost} ${name}`), lines }),
      h("div.cards", details(row), bindingCard(context, row, sources, destinations)),
      delayed && delayedCard(context, row, delayed),
      card("Publish message", {}, row.internal ? h("p.empty", "Clients cannot publish to an internal exchange.") : foreign(publish)),
    );
  },
};

function details(row) {
  return card(
    "Details",
    {},
    facts([
      ["Type", row.type],
      ["Virtual host", row.vhost],
      ["Durable", row.durable ? "yes" : "no"],
      ["Auto delete", row.auto_delete ? "yes" : "no"],
      ["Internal", row.internal ? "yes" : "no"],
      ["Policy", row.policy],
      ["Arguments", tableOf(row.arguments)],
    ]),
  );
}

function bindingCard(context, { vhost, name }, sources, destinations) {
  if (name === "") return card("Bindings", {}, h("p.empty", "Every queue is bound to the default exchange by its name."));
  return card(
    "Bindings",
    { actions: [{ text: "Add binding", onclick: () => addBinding({ vhost, source: name, done: context.reload }) }] },
    bindings({ rows: sources, to: true, context, empty: "Nothing is bound to this exchange: messages published to it are dropped or returned." }),
    destinations.length > 0 && h("h3", "From other exchanges"),
    destinations.length > 0 && bindings({ rows: destinations, to: false, context }),
  );
}

const nameOf = (parts) => (parts[2] === "amq.default" ? "" : parts[2]);

function drop(context, { vhost, name }) {
  return confirm({
    title: `Delete exchange ${name}?`,
    text: "Its bindings are deleted with it. Clients that publish to it have their channels closed.",
    action: "Delete exchange",
    async submit() {
      await context.leave(() => remove(path("exchanges", vhost, name)), "exchanges");
      done(`Exchange ${name} is deleted.`);
    },
  });
}
