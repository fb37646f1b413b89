// Arguments and policy keys that have a button of their own in forms, and the short marks that lists show for them.

const number = (name, text, mark) => ({ name, text, type: "Number", mark });
const string = (name, text, mark, value) => ({ name, text, type: "String", mark, value });
const flag = (name, text, mark) => ({ name, text, type: "Boolean", value: "true", mark });

const LIMITS = [
  number("x-message-ttl", "Message TTL", "TTL"),
  number("x-expires", "Auto expire", "Exp"),
  number("x-max-length", "Max length", "Lim"),
  number("x-max-length-bytes", "Max length bytes", "Lim B"),
  string("x-overflow", "Overflow behaviour", "Ovfl", "reject-publish"),
];

const DEAD_LETTERS = [
  string("x-dead-letter-exchange", "Dead letter exchange", "DLX"),
  string("x-dead-letter-routing-key", "Dead letter routing key", "DLK"),
  string("x-dead-letter-strategy", "Dead letter strategy", "DLS", "at-least-once"),
];

const DELIVERY = [
  flag("x-single-active-consumer", "Single active consumer", "SAC"),
  number("x-delivery-limit", "Delivery limit", "DlL"),
  string("x-delayed-retry-type", "Delayed retry", "Retry", "all"),
  number("x-delayed-retry-min", "Retry delay, least"),
  number("x-delayed-retry-max", "Retry delay, most"),
];

const DEDUPLICATION = [
  flag("x-message-deduplication", "Deduplicate", "Dedup"),
  number("x-cache-size", "Deduplication cache size"),
  number("x-cache-ttl", "Deduplication cache TTL"),
];

/** Arguments of queues, by type. */
export const QUEUE_ARGUMENTS = {
  classic: [...LIMITS, ...DEAD_LETTERS, number("x-max-priority", "Max priority", "Pri"), ...DELIVERY, ...DEDUPLICATION],
  quorum: [...LIMITS, ...DEAD_LETTERS, ...DELIVERY, ...DEDUPLICATION],
  stream: [
    number("x-max-length-bytes", "Max length bytes", "Lim B"),
    string("x-max-age", "Max age", "Age", "7D"),
    number("x-stream-max-segment-size-bytes", "Max segment size"),
  ],
};

/** Arguments of exchanges. */
export const EXCHANGE_ARGUMENTS = [
  string("alternate-exchange", "Alternate exchange", "AE"),
  string("x-delayed-type", "Delayed type", "DT", "direct"),
  string("hash-header", "Hash header"),
  string("hash-property", "Hash property"),
  ...DEDUPLICATION,
];

/** Keys of policies. */
export const POLICY_KEYS = [
  number("message-ttl", "Message TTL", "TTL"),
  number("expires", "Auto expire", "Exp"),
  number("max-length", "Max length", "Lim"),
  number("max-length-bytes", "Max length bytes", "Lim B"),
  string("overflow", "Overflow behaviour", "Ovfl", "reject-publish"),
  string("dead-letter-exchange", "Dead letter exchange", "DLX"),
  string("dead-letter-routing-key", "Dead letter routing key", "DLK"),
  string("dead-letter-strategy", "Dead letter strategy", "DLS", "at-least-once"),
  number("delivery-limit", "Delivery limit", "DlL"),
  number("consumer-timeout", "Consumer timeout"),
  string("max-age", "Max age of streams", "Age", "7D"),
  string("alternate-exchange", "Alternate exchange", "AE"),
];

/** Keys that operators may limit. */
export const OPERATOR_POLICY_KEYS = POLICY_KEYS.filter(({ name }) => ["expires", "message-ttl", "max-length", "max-length-bytes", "delivery-limit"].includes(name));

const MARKS = new Map(
  [...Object.values(QUEUE_ARGUMENTS).flat(), ...EXCHANGE_ARGUMENTS, ...POLICY_KEYS].filter(({ mark }) => mark).map(({ name, text, mark }) => [name, { text, mark }]),
);

/** What the list of queues or exchanges shows for arguments and a policy's definition: `[{ mark, text }]`, each once. */
export function marks(args = {}, policy = {}) {
  const found = new Map();
  let others = 0;
  for (const [name, value] of [...Object.entries(args), ...Object.entries(policy)]) {
    if (name === "x-queue-type" || value === false) continue;
    const known = MARKS.get(name);
    if (known) found.set(known.mark, { mark: known.mark, text: `${known.text}: ${typeof value === "string" ? value : JSON.stringify(value)}` });
    else others += 1;
  }
  if (others > 0) found.set("Args", { mark: "Args", text: `${others} more` });
  return [...found.values()];
}
