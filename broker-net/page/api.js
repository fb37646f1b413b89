// Requests to the management API of the broker that has sent this page.

import { session } from "./session.js";

/** A request that was refused, or that nobody answered: `reason` is the broker's. */
export class ApiError extends Error {
  constructor(status, error, reason, answer) {
    super(reason);
    this.status = status;
    this.error = error;
    this.answer = answer;
  }

  /** The name or the password is wrong, or the user is gone. A user who may not do something is `not_authorised`. */
  get unauthenticated() {
    return this.status === 401 && this.error === "not_authorized";
  }
}

/** A path of the API from its parts: `path("queues", vhost, name)`. */
export function path(...parts) {
  return parts.map(encodeURIComponent).join("/");
}

/** The path of an exchange: the default one has no name, which no path can say. */
export function exchangePath(vhost, name) {
  return path("exchanges", vhost, name === "" ? "amq.default" : name);
}

export const get = (where, query, signal) => request("GET", where, { query, signal });
export const put = (where, body) => request("PUT", where, { body });
export const post = (where, body) => request("POST", where, { body });
export const remove = (where, headers, query) => request("DELETE", where, { headers, query });

async function request(method, where, { query, body, headers, signal }) {
  const search = new URLSearchParams(Object.entries(query ?? {}).filter(([, value]) => value !== undefined && value !== ""));
  const url = `api/${where}${search.size > 0 ? `?${search}` : ""}`;
  const options = {
    method,
    signal,
    cache: "no-store",
    // Without this, a refused password makes the browser ask for another one in a window of its own.
    credentials: "omit",
    headers: { ...headers, ...(session.authorization && { authorization: session.authorization }) },
  };
  if (body !== undefined) {
    options.headers["content-type"] = "application/json";
    options.body = typeof body === "string" ? body : JSON.stringify(body);
  }
  let response;
  let text;
  try {
    response = await fetch(url, options);
    text = await response.text();
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiError(0, "unreachable", "The broker does not answer.");
  }
  const answer = parse(text);
  if (response.ok) return answer;
  throw new ApiError(response.status, answer?.error, reasonOf(answer) ?? `${response.status} ${response.statusText}`, answer);
}

function parse(text) {
  try {
    return JSON.parse(text);
  } catch {
    return text === "" ? null : text;
  }
}

/** What the broker says: a text, or the list that stands for a tuple. */
function reasonOf(answer) {
  const reason = answer?.reason ?? (typeof answer === "string" ? answer : undefined);
  if (reason === undefined || reason === null) return undefined;
  const text = typeof reason === "string" ? reason : JSON.stringify(reason);
  // The API writes some reasons for pages that take them as markup. This one does not.
  return text.replaceAll("&lt;", "<").replaceAll("&gt;", ">").replaceAll("&amp;", "&").trim();
}
