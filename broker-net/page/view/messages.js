// Messages taken from a queue to look at them.

import { path, post } from "../api.js";
import { h, make, render } from "../dom.js";
import { facts, tableOf } from "../detail.js";
import { form } from "../form.js";
import * as format from "../format.js";

/** Most messages at a time, and most bytes of each that are shown. */
const MOST = 1000;
const TRUNCATE = 50_000;

const MODES = [
  { value: "ack_requeue_true", text: "Put back (requeue)" },
  { value: "ack_requeue_false", text: "Remove (ack)" },
  { value: "reject_requeue_true", text: "Reject and put back" },
  { value: "reject_requeue_false", text: "Reject (dead letter or drop)" },
];

/** Makes a form that gets messages, with those that were got below it. */
export function getMessages({ vhost, queue, onget }) {
  const results = make("div.messages", { role: "region", "aria-live": "polite", "aria-label": "Messages" });
  const { element } = form({
    action: "Get messages",
    fields: [
      { name: "ackmode", label: "What becomes of them", type: "select", options: MODES, hint: "Messages that are put back are marked as redelivered." },
      { name: "count", label: "Messages", type: "number", value: 1, min: 1, max: MOST, required: true },
      { name: "encoding", label: "Encoding", type: "select", options: [{ value: "auto", text: "Text if possible" }, { value: "base64", text: "Base64" }] },
    ],
    async submit(values) {
      const messages = await post(`${path("queues", vhost, queue)}/get`, { ...values, truncate: TRUNCATE });
      render(results, messages.length === 0 ? h("p.empty", { key: "none" }, "The queue is empty.") : messages.map(message));
      onget();
    },
  });
  const both = make("div");
  both.append(element, results);
  return both;
}

function message(got, index) {
  const { exchange, routing_key, redelivered, message_count, payload, payload_bytes, payload_encoding, properties } = got;
  const { headers, ...rest } = Array.isArray(properties) ? {} : properties;
  return h(
    "article.message",
    { "aria-label": `Message ${index + 1}` },
    h("div.message-head", h("b", `Message ${index + 1}`), h("span", `${format.count(message_count)} more in the queue`)),
    facts([
      ["Exchange", exchange === "" ? "(AMQP default)" : exchange],
      ["Routing key", h("code", routing_key)],
      ["Redelivered", redelivered ? "yes" : "no"],
      ["Properties", tableOf(rest)],
      ["Headers", headers && tableOf(headers)],
    ]),
    h("div.payload-head", `Payload, ${format.bytes(payload_bytes)}${payload_encoding === "base64" ? ", Base64" : ""}${payload_bytes > TRUNCATE ? `, the first ${format.bytes(TRUNCATE)} of it` : ""}`),
    h("pre.payload", { tabindex: 0 }, payload === "" ? h("span.none", "empty") : payload),
  );
}
