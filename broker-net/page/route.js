// Where in the page we are: `#/queues/%2F/orders?sort=messages`. The names are those that bookmarks of RabbitMQ's page have.

/** The place that the address says. */
export function current() {
  const [place, search] = location.hash.replace(/^#\/?/, "").split("?");
  const parts = place.split("/").filter((part, index) => part !== "" || index > 0).map(decode);
  return { parts, place: parts.map(encodeURIComponent).join("/"), query: Object.fromEntries(new URLSearchParams(search)) };
}

function decode(part) {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}

/** The address of a place. */
export function href(parts, query = {}) {
  const search = new URLSearchParams(Object.entries(query).filter(([, value]) => value !== undefined && value !== ""));
  return `#/${parts.map(encodeURIComponent).join("/")}${search.size > 0 ? `?${search}` : ""}`;
}

/** Changes what the address asks of the same place, without a new entry in the history. */
export function requery(changes) {
  const { parts, query } = current();
  history.replaceState(null, "", href(parts, { ...query, ...changes }));
  window.dispatchEvent(new Event("hashchange"));
}

/** Goes to another place. */
export function go(...parts) {
  location.hash = href(parts);
}

export const queueHref = (vhost, name) => href(["queues", vhost, name]);
export const exchangeHref = (vhost, name) => href(["exchanges", vhost, name]);
export const connectionHref = (name) => href(["connections", name]);
export const channelHref = (name) => href(["channels", name]);
export const userHref = (name) => href(["users", name]);
export const vhostHref = (name) => href(["vhosts", name]);
