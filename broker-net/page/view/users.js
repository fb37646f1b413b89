// Users, and making them.

import { get, path, put } from "../api.js";
import { head, mark, tableOf } from "../detail.js";
import { ask } from "../dialog.js";
import { h } from "../dom.js";
import { list, loadPage } from "../list.js";
import { done } from "../notice.js";
import { userHref } from "../route.js";

export const TAGS_HINT = "Separated by commas: administrator, monitoring, policymaker, management. Without a tag, a user cannot log in here.";

export const users = {
  title: () => "Users",

  async load({ route }, signal) {
    const [page, permissions] = await Promise.all([loadPage(route, (query) => get("users", query, signal)), get("permissions", {}, signal)]);
    return { page, permissions };
  },

  render(context, { page, permissions }) {
    const vhosts = Map.groupBy(permissions, ({ user }) => user);
    return h(
      "div.view",
      head("Users", { actions: [{ text: "Add user", primary: true, onclick: () => add(context) }] }),
      list(context, { page, noun: ["user", "users"], busy: context.busy, key: ({ name }) => name, columns: columns(vhosts), empty: "There are no users." }),
    );
  },
};

const columns = (vhosts) => [
  { title: "Name", sort: "name", name: true, cell: ({ name }) => h("a", { href: userHref(name) }, name) },
  { title: "Tags", cell: ({ tags }) => tags.map((tag) => mark(tag, `Tag ${tag}`)) },
  { title: "Can access virtual hosts", cell: ({ name }) => accessible(vhosts.get(name)) },
  { title: "Limits", cell: ({ limits }) => (Object.keys(limits ?? {}).length > 0 ? tableOf(limits) : "") },
  { title: "Password", cell: ({ password_hash }) => (password_hash ? "set" : "none") },
];

function accessible(permissions) {
  return permissions ? permissions.map(({ vhost }) => vhost).join(", ") : h("span.none", "none");
}

function add(context) {
  return ask({
    title: "Add a user",
    action: "Add user",
    fields: [
      { name: "name", label: "Name", required: true },
      { name: "password", label: "Password", type: "password", autocomplete: "new-password", hint: "Without a password the user cannot log in with one." },
      { name: "tags", label: "Tags", hint: TAGS_HINT, suggestions: ["administrator", "monitoring", "policymaker", "management"], wide: true },
      { name: "vhost", label: "Full access to", type: "select", options: [{ value: "", text: "No virtual host" }, ...context.vhosts.map((name) => ({ value: name, text: name }))] },
    ],
    async submit({ name, password, tags, vhost }) {
      await put(path("users", name), password ? { password, tags } : { password_hash: "", tags });
      if (vhost) await put(path("permissions", vhost, name), { configure: ".*", write: ".*", read: ".*" });
      done(`User ${name} is added.`);
      context.reload();
    },
  });
}
