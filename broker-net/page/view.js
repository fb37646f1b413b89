// Which view shows which place. A view has `title(route)`, `load(context, signal)`, which asks the broker, and
// `render(context, data)`, which describes what it has answered.

import { channel } from "./view/channel.js";
import { channels } from "./view/channels.js";
import { connection } from "./view/connection.js";
import { connections } from "./view/connections.js";
import { definitions } from "./view/definitions.js";
import { exchange } from "./view/exchange.js";
import { exchanges } from "./view/exchanges.js";
import { limits } from "./view/limits.js";
import { overview } from "./view/overview.js";
import { permissions } from "./view/permissions.js";
import { policies } from "./view/policies.js";
import { queue } from "./view/queue.js";
import { queues } from "./view/queues.js";
import { user } from "./view/user.js";
import { users } from "./view/users.js";
import { vhost } from "./view/vhost.js";
import { vhosts } from "./view/vhosts.js";

/** Lists, and the views of one of their rows with the number of parts of its name. */
const VIEWS = {
  connections: [connections, connection, 1],
  channels: [channels, channel, 1],
  exchanges: [exchanges, exchange, 2],
  queues: [queues, queue, 2],
  users: [users, user, 1],
  vhosts: [vhosts, vhost, 1],
  permissions: [permissions],
  policies: [policies],
  limits: [limits],
  definitions: [definitions],
};

const nowhere = {
  title: () => "Not found",
  load: () => Promise.reject(Object.assign(new Error("There is no such place."), { status: 404 })),
  render: () => null,
};

/** The view of a place. */
export function viewOf({ parts }) {
  const [first, ...name] = parts;
  if (first === undefined || first === "") return overview;
  const [all, one, names] = Object.hasOwn(VIEWS, first) ? VIEWS[first] : [];
  if (all && name.length === 0) return all;
  if (one && name.length === names) return one;
  return nowhere;
}
