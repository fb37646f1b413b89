// One queue or stream: its messages and rates, who consumes, what is bound, and everything that can be done to it.

import { get, path, put, remove } from "../api.js";
import { chart, ratePoints, samplePoints } from "../chart.js";
import { card, facts, figures, head, mark, state, tableOf } from "../detail.js";
import { confirm } from "../dialog.js";
import { foreign, h } from "../dom.js";
import * as format from "../format.js";
import { look, samples, span } from "../history.js";
import { table } from "../list.js";
import { done } from "../notice.js";
import { channelHref } from "../route.js";
import { addBinding, bindings } from "./binding.js";
import { getMessages } from "./messages.js";
import { moveMessages } from "./move.js";
import { publishForm } from "./publish.js";
import { queueMarks } from "./queues.js";

const RATES = [
  ["publish", "Publish", "Messages that have come in"],
  ["deliver_get", "Deliver and get", "Messages given to consumers and to basic.get"],
  ["ack", "Acknowledge", "Messages acknowledged by consumers"],
  ["redeliver", "Redelivered", "Messages given out once more"],
];

export const queue = {
  title: ({ parts }) => parts[2],

  async load({ route }, signal) {
    const [, vhost, name] = route.parts;
    const where = path("queues", vhost, name);
    const [row, bound] = await Promise.all([get(where, {}, signal), get(`${where}/bindings`, {}, signal)]);
    const { messages, messages_ready, messages_unacknowledged } = row;
    look(`queue ${vhost} ${name}`, { messages, messages_ready, messages_unacknowledged, ...row.message_stats });
    return { row, bound };
  },

  render(context, { row, bound }) {
    const { vhost, name } = row;
    const isStream = row.type === "stream";
    const publish = (context.state.publish ??= publishForm({ vhost, exchange: "", routing_key: name, onpublish: context.reload }));
    const got = (context.state.got ??= getMessages({ vhost, queue: name, onget: context.reload }));
    return h(
      "div.view",
      head(name, { kind: isStream ? "Stream" : "Queue", marks: queueMarks(row), actions: actions(context, row) }),
      figures([
        [isStream ? "Messages" : "Ready", format.count(isStream ? row.messages : row.messages_ready)],
        !isStream && ["Unacked", format.count(row.messages_unacknowledged)],
        !isStream && ["Total", format.count(row.messages)],
        row.message_bytes !== undefined && ["Size", format.bytes(row.message_bytes)],
        ["Consumers", format.count(row.consumers)],
        ["Incoming", format.rate(row.message_stats?.publish_details?.rate ?? 0)],
        ["Outgoing", format.rate(row.message_stats?.deliver_get_details?.rate ?? 0)],
      ]),
      charts(context, row),
      h(
        "div.cards",
        details(row),
        h(
          "div.stack",
          card("Consumers", {}, consumers(row.consumer_details ?? [])),
          card(
            "Bindings",
            { actions: [{ text: "Add binding", onclick: () => addBinding({ vhost, queue: name, done: context.reload }) }] },
            bindings({ rows: bound, to: false, context, empty: "Nothing is bound." }),
          ),
        ),
      ),
      h(
        "div.cards",
        card("Publish message", {}, h("p.hint", "Through the default exchange: it reaches the queue whose name is the routing key."), foreign(publish)),
        card("Get messages", {}, isStream ? h("p.empty", "Streams are read by consumers only.") : foreign(got)),
      ),
    );
  },
};

function charts(context, { vhost, name, type }) {
  const of = (number) => samples(`queue ${vhost} ${name}`, number);
  const line = (text, number) => ({ name: text, points: samplePoints(of(number)) });
  const lengths = type === "stream" ? [line("Messages", "messages")] : [line("Ready", "messages_ready"), line("Unacked", "messages_unacknowledged"), line("Total", "messages")];
  const rates = RATES.map(([number, text, help]) => ({ name: text, help, points: ratePoints(of(number)) }));
  return h(
    "div.charts",
    chart(context, { id: "lengths", title: type === "stream" ? "Messages" : "Queued messages", unit: "count", span: span(`queue ${vhost} ${name}`), lines: lengths }),
    chart(context, { id: "rates", title: "Message rates", unit: "rate", span: span(`queue ${vhost} ${name}`), lines: rates }),
  );
}

function details(row) {
  return card(
    "Details",
    {},
    facts([
      ["State", state(row.state)],
      ["Virtual host", row.vhost],
      ["Type", row.type],
      ["Durable", row.durable ? "yes" : "no"],
      ["Auto delete", row.auto_delete ? "yes" : "no"],
      ["Exclusive", row.exclusive ? "yes" : "no"],
      ["Policy", row.policy],
      ["Operator policy", row.operator_policy],
      ["Effective policy", Object.keys(row.effective_policy_definition ?? {}).length > 0 ? tableOf(row.effective_policy_definition) : null],
      ["Arguments", tableOf(row.arguments)],
      ["Oldest message", row.head_message_timestamp ? format.moment(row.head_message_timestamp * 1000) : null],
      ["Idle since", row.idle_since],
    ]),
  );
}

function consumers(rows) {
  if (rows.length === 0) return h("p.empty", "Nobody consumes from this queue.");
  return h("div.table-frame", table({ columns: CONSUMERS, rows, key: ({ channel_details, consumer_tag }) => `${channel_details?.name} ${consumer_tag}` }));
}

const CONSUMERS = [
  { title: "Consumer tag", name: true, cell: ({ consumer_tag }) => consumer_tag },
  { title: "Channel", cell: ({ channel_details: { name } = {} }) => (name ? h("a", { href: channelHref(name) }, name) : "–") },
  { title: "Acks", cell: ({ ack_required }) => (ack_required ? "required" : "none") },
  { title: "", cell: ({ exclusive, active }) => [exclusive && mark("Excl", "Exclusive"), active === false && mark("waits", "Waits to become the single active consumer")] },
  { title: "Prefetch", number: true, cell: ({ prefetch_count }) => (prefetch_count ? format.count(prefetch_count) : "–") },
];

function actions(context, row) {
  const { vhost, name, type } = row;
  const paused = row.state === "paused";
  return [
    type !== "stream" && { text: paused ? "Resume" : "Pause", onclick: () => pause(context, row, paused) },
    type !== "stream" && { text: "Move messages", onclick: () => moveMessages(context, { vhost, queue: name, messages: row.messages_ready }) },
    type !== "stream" && { text: "Purge", danger: true, onclick: () => purge(context, row) },
    { text: "Delete", danger: true, onclick: () => drop(context, row) },
  ];
}

function pause(context, { vhost, name }, paused) {
  const what = paused ? "resume" : "pause";
  return confirm({
    title: paused ? `Resume ${name}?` : `Pause ${name}?`,
    text: paused ? "Its consumers are given messages again." : "Its consumers are given nothing until it is resumed. Messages still come in.",
    action: paused ? "Resume" : "Pause",
    async submit() {
      await put(`${path("queues", vhost, name)}/${what}`, {});
      done(paused ? `${name} is resumed.` : `${name} is paused.`);
      context.reload();
    },
  });
}

function purge(context, { vhost, name, messages_ready }) {
  return confirm({
    title: `Purge ${name}?`,
    text: `Its ${format.plural(messages_ready, "ready message")} ${messages_ready === 1 ? "is" : "are"} deleted for good. What consumers hold stays.`,
    action: "Purge messages",
    async submit() {
      await remove(`${path("queues", vhost, name)}/contents`);
      done(`${name} is purged.`);
      context.reload();
    },
  });
}

function drop(context, { vhost, name, type, messages, consumers }) {
  return confirm({
    title: `Delete ${type === "stream" ? "stream" : "queue"} ${name}?`,
    text: `It has ${format.plural(messages, "message")} and ${format.plural(consumers, "consumer")}. Its messages and bindings are deleted for good, and its consumers are cancelled.`,
    action: type === "stream" ? "Delete stream" : "Delete queue",
    async submit() {
      await context.leave(() => remove(path("queues", vhost, name)), "queues");
      done(`${name} is deleted.`);
    },
  });
}
