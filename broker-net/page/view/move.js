// Moving messages from a queue to another one or to an exchange: dead letters go back where they came from in this way.

import { path, post } from "../api.js";
import { ask } from "../dialog.js";
import * as format from "../format.js";
import { done } from "../notice.js";

/** Asks where to, and moves. */
export function moveMessages(context, { vhost, queue, messages }) {
  return ask({
    title: `Move messages from ${queue}`,
    text: `${format.plural(messages, "message")} can be moved. Each is gone from here when it is safe there.`,
    action: "Move messages",
    fields: [
      { name: "destination", label: "To queue", required: true },
      { name: "count", label: "Most messages", type: "number", min: 1, placeholder: "all" },
    ],
    async submit({ destination, count }) {
      const answer = await post(`${path("queues", vhost, queue)}/move`, { destination, ...(count && { count }) });
      done(`${format.plural(answer?.moved ?? 0, "message")} moved to ${destination}.`);
      context.reload();
    },
  });
}
