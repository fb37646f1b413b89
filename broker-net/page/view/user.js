// One user: tags, password, permissions, limits.

import { get, path, put, remove } from "../api.js";
import { card, facts, head, mark } from "../detail.js";
import { ask, confirm } from "../dialog.js";
import { h } from "../dom.js";
import { done } from "../notice.js";
import { USER_LIMITS, limitsCard } from "./limit.js";
import { addPermission, addTopicPermission, permissionTable, topicPermissionTable } from "./permission.js";
import { TAGS_HINT } from "./users.js";

export const user = {
  title: ({ parts }) => parts[1],

  async load({ route }, signal) {
    const where = path("users", route.parts[1]);
    const [row, permissions, topics] = await Promise.all([get(where, {}, signal), get(`${where}/permissions`, {}, signal), get(`${where}/topic-permissions`, {}, signal)]);
    return { row, permissions, topics };
  },

  render(context, { row, permissions, topics }) {
    const { name, tags } = row;
    return h(
      "div.view",
      head(name, { kind: "User", marks: tags.map((tag) => mark(tag, `Tag ${tag}`)), actions: [{ text: "Change", onclick: () => change(context, row) }, { text: "Delete", danger: true, onclick: () => drop(context, row) }] }),
      permissions.length === 0 && h("p.warning", "This user has no permissions in any virtual host, and cannot connect."),
      h(
        "div.cards",
        card("Details", {}, facts([["Tags", tags.join(", ") || "none"], ["Password", row.password_hash ? "set" : "none: the user cannot log in with a password"], ["Hashing", row.hashing_algorithm]])),
        limitsCard(context, { where: path("user-limits", name), limits: row.limits ?? {}, known: USER_LIMITS }),
      ),
      card("Permissions", { actions: [{ text: "Set permission", onclick: () => addPermission(context, { user: name }) }] }, permissionTable(context, permissions, "vhost")),
      card("Topic permissions", { actions: [{ text: "Set topic permission", onclick: () => addTopicPermission(context, { user: name }) }] }, topicPermissionTable(context, topics, "vhost")),
    );
  },
};

function change(context, { name, tags }) {
  return ask({
    title: `Change user ${name}`,
    action: "Change user",
    fields: [
      { name: "tags", label: "Tags", value: tags.join(","), hint: TAGS_HINT, wide: true },
      { name: "what", label: "Password", type: "select", options: [{ value: "keep", text: "Keep" }, { value: "set", text: "Set a new one" }, { value: "none", text: "Take it away" }] },
      { name: "password", label: "New password", type: "password", autocomplete: "new-password" },
    ],
    async submit({ tags, what, password }) {
      if (what === "set" && password === "") throw new Error("The new password is empty.");
      // Without either, the broker takes the password away: what is kept has to be said again.
      const { password_hash, hashing_algorithm } = await get(path("users", name));
      const body = { keep: { password_hash, hashing_algorithm }, set: { password }, none: { password_hash: "" } }[what];
      await put(path("users", name), { ...body, tags });
      done(`User ${name} is changed.`);
      context.reload();
    },
  });
}

function drop(context, { name }) {
  return confirm({
    title: `Delete user ${name}?`,
    text: "The user's permissions are deleted, and connections are closed.",
    action: "Delete user",
    async submit() {
      await context.leave(() => remove(path("users", name)), "users");
      done(`User ${name} is deleted.`);
    },
  });
}
