// Who may do what where: all permissions and topic permissions.

import { get } from "../api.js";
import { card, head } from "../detail.js";
import { h } from "../dom.js";
import { list, pageOf } from "../list.js";
import { session } from "../session.js";
import { addPermission, addTopicPermission, permissionColumns, topicPermissionTable } from "./permission.js";

export const permissions = {
  title: () => "Permissions",

  async load({ state }, signal) {
    const [rows, topics, users] = await Promise.all([get("permissions", {}, signal), get("topic-permissions", {}, signal), get("users", { columns: "name" }, signal)]);
    state.users = users.map(({ name }) => name);
    const here = ({ vhost }) => !session.vhost || vhost === session.vhost;
    return { rows: rows.filter(here), topics: topics.filter(here) };
  },

  render(context, { rows, topics }) {
    return h(
      "div.view",
      head("Permissions", { actions: [{ text: "Set permission", primary: true, onclick: () => addPermission(context, {}) }] }),
      list(context, {
        page: pageOf(context.route, rows, ({ user, vhost }) => `${user} ${vhost}`),
        noun: ["permission", "permissions"],
        key: ({ user, vhost }) => `${user} ${vhost}`,
        columns: permissionColumns(context, "user", "vhost"),
        empty: "No permissions are set.",
      }),
      card("Topic permissions", { actions: [{ text: "Set topic permission", onclick: () => addTopicPermission(context, {}) }] }, topicPermissionTable(context, topics, "user")),
    );
  },
};
