// Publishing a message from the page.

import { exchangePath, post } from "../api.js";
import { form } from "../form.js";
import { done, refused } from "../notice.js";

const PROPERTIES = ["content_type", "content_encoding", "correlation_id", "reply_to", "expiration", "message_id", "type", "app_id", "user_id"];
const NUMBERS = ["priority", "timestamp"];

/** Makes a form that publishes to an exchange, or through the default one to a queue whose name is the routing key. */
export function publishForm({ vhost, exchange, routing_key, onpublish }) {
  return form({
    action: "Publish message",
    fields: [
      { name: "routing_key", label: "Routing key", value: routing_key },
      { name: "delivery_mode", label: "Delivery mode", type: "select", options: [{ value: "2", text: "Persistent" }, { value: "1", text: "Transient" }] },
      { name: "payload_encoding", label: "Payload encoding", type: "select", options: [{ value: "string", text: "Text" }, { value: "base64", text: "Base64" }] },
      { name: "payload", label: "Payload", type: "textarea", rows: 4 },
      { name: "properties", label: "Properties", type: "arguments", noun: "property", known: [...PROPERTIES.map((name) => ({ name, text: name, type: "String" })), ...NUMBERS.map((name) => ({ name, text: name, type: "Number" }))] },
      { name: "headers", label: "Headers", type: "arguments", noun: "header" },
    ],
    async submit({ routing_key, delivery_mode, payload, payload_encoding, properties, headers }) {
      const unknown = Object.keys(properties).find((name) => !PROPERTIES.includes(name) && !NUMBERS.includes(name));
      if (unknown) throw new Error(`${unknown} is no property of messages. Did you mean a header?`);
      const all = { delivery_mode: Number(delivery_mode), headers, ...properties };
      const answer = await post(`${exchangePath(vhost, exchange)}/publish`, { routing_key, payload, payload_encoding, properties: all });
      if (answer.routed) done("Message published.");
      else refused(new Error("Message published, but not routed: no queue is bound for it."));
      onpublish?.();
    },
  }).element;
}
