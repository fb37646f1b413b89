// Permissions and topic permissions, as several views show and set them.

import { path, put, remove } from "../api.js";
import { ask, confirm } from "../dialog.js";
import { h } from "../dom.js";
import { table } from "../list.js";
import { done } from "../notice.js";
import { userHref, vhostHref } from "../route.js";

const COLUMNS = {
  user: { title: "User", sort: "user", name: true, cell: ({ user }) => h("a", { href: userHref(user) }, user) },
  vhost: { title: "Virtual host", sort: "vhost", name: true, cell: ({ vhost }) => h("a", { href: vhostHref(vhost) }, vhost) },
};

const pattern = (title, field) => ({ title, sort: field, cell: (row) => (row[field] === "" ? h("span.none", "nothing") : h("code", row[field])) });

/** Columns of permissions; `who` are those that say whose they are: `user`, `vhost`. */
export function permissionColumns(context, ...who) {
  const change = (row) => addPermission(context, row);
  const clear = ({ vhost, user }) => drop(context, path("permissions", vhost, user), `The permissions of ${user} in ${vhost}`);
  return [...who.map((name) => COLUMNS[name]), pattern("Configure", "configure"), pattern("Write", "write"), pattern("Read", "read"), { title: "", cell: (row) => buttons(row, change, clear) }];
}

/** Columns of topic permissions. */
export function topicPermissionColumns(context, ...who) {
  const change = (row) => addTopicPermission(context, row);
  const clear = ({ vhost, user, exchange }) => drop(context, path("topic-permissions", vhost, user, exchange), `The topic permission of ${user} for exchange ${exchange} in ${vhost}`);
  return [...who.map((name) => COLUMNS[name]), { title: "Exchange", sort: "exchange", cell: ({ exchange }) => exchange }, pattern("Write", "write"), pattern("Read", "read"), { title: "", cell: (row) => buttons(row, change, clear) }];
}

/** Describes permissions of one user or of one virtual host. */
export function permissionTable(context, rows, who) {
  if (rows.length === 0) return h("p.empty", "No permissions are set.");
  return h("div.table-frame", table({ columns: permissionColumns(context, who), rows, key: ({ user, vhost }) => `${user} ${vhost}` }));
}

/** Describes topic permissions of one user or of one virtual host. */
export function topicPermissionTable(context, rows, who) {
  if (rows.length === 0) return h("p.empty", "No topic permissions are set: topics are not limited.");
  return h("div.table-frame", table({ columns: topicPermissionColumns(context, who), rows, key: ({ user, vhost, exchange }) => `${user} ${vhost} ${exchange}` }));
}

function buttons(row, change, clear) {
  return h("span.row-actions", h("button.small", { type: "button", onclick: () => change(row), "aria-label": `Change ${row.user} in ${row.vhost}` }, "Change"), h("button.small", { type: "button", onclick: () => clear(row), "aria-label": `Clear ${row.user} in ${row.vhost}` }, "Clear"));
}

function drop(context, where, what) {
  return confirm({
    title: "Clear this permission?",
    text: `${what} are deleted. It holds at once, also for connections that are open.`.replace(/^(The topic permission .*) are deleted/, "$1 is deleted"),
    action: "Clear",
    async submit() {
      await remove(where);
      done("The permission is cleared.");
      context.reload();
    },
  });
}

/** Fields that say whose permission it is; what is known already cannot be changed. */
function who(context, { user, vhost }) {
  const names = context.state.users;
  return [
    { name: "user", label: "User", required: true, ...(user === undefined ? (names ? { type: "select", options: names } : {}) : { type: "select", options: [user] }) },
    { name: "vhost", label: "Virtual host", type: "select", options: vhost === undefined ? context.vhosts : [vhost] },
  ];
}

/** Asks for permissions and sets them. */
export function addPermission(context, row) {
  const field = (name, label, hint) => ({ name, label, value: row[name] ?? ".*", hint });
  return ask({
    title: "Set permission",
    action: "Set permission",
    text: "Regular expressions of names. An empty one matches nothing.",
    fields: [...who(context, row), field("configure", "Configure", "Declare and delete"), field("write", "Write", "Publish, and bind queues"), field("read", "Read", "Consume, get, purge")],
    async submit({ user, vhost, ...permission }) {
      await put(path("permissions", vhost, user), permission);
      done(`Permissions of ${user} in ${vhost} are set.`);
      context.reload();
    },
  });
}

/** Asks for a topic permission and sets it. */
export function addTopicPermission(context, row) {
  return ask({
    title: "Set topic permission",
    action: "Set topic permission",
    text: "Regular expressions of routing keys. {username}, {vhost} and {client_id} stand for the connection's.",
    fields: [
      ...who(context, row),
      { name: "exchange", label: "Exchange", value: row.exchange ?? "amq.topic", required: true },
      { name: "write", label: "Write", value: row.write ?? ".*", hint: "Publish" },
      { name: "read", label: "Read", value: row.read ?? ".*", hint: "Bind queues" },
    ],
    async submit({ user, vhost, ...permission }) {
      await put(path("topic-permissions", vhost, user), permission);
      done(`The topic permission of ${user} in ${vhost} is set.`);
      context.reload();
    },
  });
}
