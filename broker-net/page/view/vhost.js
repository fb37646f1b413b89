// One virtual host: who may use it, its limits, deleting it.

import { get, path, put, remove } from "../api.js";
import { card, facts, figures, head } from "../detail.js";
import { ask, confirm } from "../dialog.js";
import { h } from "../dom.js";
import * as format from "../format.js";
import { done } from "../notice.js";
import { VHOST_LIMITS, limitsCard } from "./limit.js";
import { addPermission, addTopicPermission, permissionTable, topicPermissionTable } from "./permission.js";
import { vhostFields } from "./vhosts.js";

export const vhost = {
  title: ({ parts }) => parts[1],

  async load({ route, administrator, state }, signal) {
    const name = route.parts[1];
    const where = path("vhosts", name);
    const [row, limits] = await Promise.all([get(where, {}, signal), get(path("vhost-limits", name), {}, signal)]);
    if (!administrator) return { row, limits, permissions: [], topics: [] };
    const [permissions, topics, users] = await Promise.all([get(`${where}/permissions`, {}, signal), get(`${where}/topic-permissions`, {}, signal), get("users", { columns: "name" }, signal)]);
    state.users = users.map(({ name }) => name);
    return { row, limits, permissions, topics };
  },

  render(context, { row, limits, permissions, topics }) {
    const { name } = row;
    const { administrator } = context;
    const actions = [{ text: "Change", onclick: () => change(context, row) }, { text: "Delete", danger: true, onclick: () => drop(context, row) }];
    return h(
      "div.view",
      head(name, { kind: "Virtual host", actions: administrator ? actions : [] }),
      figures([["Ready", format.count(row.messages_ready)], ["Unacked", format.count(row.messages_unacknowledged)], ["Messages", format.count(row.messages)]]),
      h(
        "div.cards",
        card("Details", {}, facts([["Description", row.description], ["Tags", (row.tags ?? []).join(", ")], ["Default queue type", row.default_queue_type]])),
        limitsCard(context, { where: path("vhost-limits", name), limits: limits[0]?.value ?? {}, known: VHOST_LIMITS }),
      ),
      administrator && card("Permissions", { actions: [{ text: "Set permission", onclick: () => addPermission(context, { vhost: name }) }] }, permissionTable(context, permissions, "user")),
      administrator && card("Topic permissions", { actions: [{ text: "Set topic permission", onclick: () => addTopicPermission(context, { vhost: name }) }] }, topicPermissionTable(context, topics, "user")),
    );
  },
};

function change(context, row) {
  return ask({
    title: `Change virtual host ${row.name}`,
    action: "Change virtual host",
    fields: vhostFields(row),
    async submit(fields) {
      await put(path("vhosts", row.name), fields);
      done(`Virtual host ${row.name} is changed.`);
      context.reload();
    },
  });
}

function drop(context, { name, messages }) {
  return confirm({
    title: `Delete virtual host ${name}?`,
    text: `All its queues with ${format.plural(messages, "message")}, its exchanges, bindings, policies and permissions are deleted for good, and its connections are closed.`,
    action: "Delete virtual host",
    async submit() {
      await context.leave(() => remove(path("vhosts", name)), "vhosts");
      done(`Virtual host ${name} is deleted.`);
    },
  });
}
