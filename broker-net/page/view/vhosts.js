// Virtual hosts, and making them.

import { get, path, put } from "../api.js";
import { head, mark, quantity } from "../detail.js";
import { ask } from "../dialog.js";
import { h } from "../dom.js";
import * as format from "../format.js";
import { list, loadPage } from "../list.js";
import { done } from "../notice.js";
import { vhostHref } from "../route.js";

export const vhosts = {
  title: () => "Virtual hosts",

  load: ({ route }, signal) => loadPage(route, (query) => get("vhosts", query, signal)),

  render(context, page) {
    return h(
      "div.view",
      head("Virtual hosts", { actions: [context.administrator && { text: "Add virtual host", primary: true, onclick: () => add(context) }] }),
      list(context, { page, noun: ["virtual host", "virtual hosts"], busy: context.busy, key: ({ name }) => name, columns: COLUMNS, empty: "There are no virtual hosts." }),
    );
  },
};

const COLUMNS = [
  { title: "Name", sort: "name", name: true, cell: ({ name, description }) => [h("a", { href: vhostHref(name) }, name), description && h("small.second", description)] },
  { title: "Tags", cell: ({ tags }) => (tags ?? []).map((tag) => mark(tag, `Tag ${tag}`)) },
  { title: "Default queue type", sort: "default_queue_type", cell: (row) => row.default_queue_type },
  { title: "Ready", sort: "messages_ready", number: true, cell: (row) => quantity(row.messages_ready, format.count) },
  { title: "Unacked", sort: "messages_unacknowledged", number: true, cell: (row) => quantity(row.messages_unacknowledged, format.count) },
  { title: "Total", sort: "messages", number: true, cell: (row) => quantity(row.messages, format.count) },
];

/** The fields of a virtual host but its name. */
export const vhostFields = ({ description, tags = [], default_queue_type } = {}) => [
  { name: "description", label: "Description", value: description, wide: true },
  { name: "tags", label: "Tags", value: tags.join(","), hint: "Separated by commas." },
  { name: "default_queue_type", label: "Default queue type", type: "select", options: ["classic", "quorum", "stream"], value: default_queue_type },
];

function add(context) {
  return ask({
    title: "Add a virtual host",
    action: "Add virtual host",
    fields: [{ name: "name", label: "Name", required: true, hint: "You get all permissions in it." }, ...vhostFields()],
    async submit({ name, ...fields }) {
      await put(path("vhosts", name), fields);
      done(`Virtual host ${name} is added.`);
      context.reloadAll();
    },
  });
}
