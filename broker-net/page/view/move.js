// Moving messages from a queue elsewhere, and dead letters back to where they came from.

import { path, post } from "../api.js";
import { ask } from "../dialog.js";
import * as format from "../format.js";
import { done, refused } from "../notice.js";

const HINTS = {
  redrive: "Each dead letter goes back to where it died first. Other messages stay.",
  queue: "Each message goes to the queue of this name.",
  exchange: "Each message is routed by the exchange as if it was published there.",
};

const OPTIONS = [
  { value: "queue", text: "To another queue" },
  { value: "exchange", text: "To an exchange" },
  { value: "redrive", text: "Back: redrive dead letters" },
];

const FIELDS = {
  queue: [{ name: "queue", label: "Queue", required: true }],
  exchange: [
    { name: "exchange", label: "Exchange", required: true },
    { name: "routing_key", label: "Routing key", hint: "Empty: each message keeps its own." },
  ],
  redrive: [
    { name: "to", label: "Back to", type: "select", options: [{ value: "queue", text: "The queue in which it died" }, { value: "exchange", text: "The exchange it was published to" }] },
  ],
};

const COUNT = { name: "count", label: "Most messages", type: "number", min: 1, placeholder: "all that are ready" };

/** What `/move` and `/redrive` are asked. */
function order({ where, queue, exchange, routing_key, to, count }) {
  const most = count === null ? {} : { count };
  if (where === "redrive") return ["redrive", { to, ...most }];
  const destination = where === "queue" ? { queue } : { exchange, ...(routing_key && { "routing-key": routing_key }) };
  return ["move", { destination, ...most }];
}

/** Asks where to, and moves. */
export function moveMessages(context, { vhost, queue, messages }) {
  return ask({
    title: `Move messages from ${queue}`,
    text: `${format.plural(messages, "message")} ${messages === 1 ? "is" : "are"} ready. A message is gone from here only when it is safe there.`,
    action: "Move messages",
    choice: { name: "where", label: "Where", value: "queue", options: OPTIONS, hints: HINTS, fields: (where) => [...FIELDS[where], COUNT] },
    async submit(values) {
      const [what, body] = order(values);
      const { moved, left, reason } = await post(`${path("queues", vhost, queue)}/${what}`, body);
      done(`${format.plural(moved, "message")} moved, ${format.count(left)} left.`);
      if (reason) refused(new Error(`The move has ended before its time: ${reason}`));
      context.reload();
    },
  });
}
