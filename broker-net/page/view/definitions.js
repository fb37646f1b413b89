// Definitions: everything but messages, taken out and brought in as a file.

import { get, path, post } from "../api.js";
import { card, head } from "../detail.js";
import { foreign, h, make } from "../dom.js";
import { form } from "../form.js";
import { done } from "../notice.js";

export const definitions = {
  title: () => "Definitions",

  load: () => Promise.resolve({}),

  render(context) {
    // Made anew when a virtual host comes or goes: the choice has to be there.
    const vhosts = context.vhosts.join("\n");
    if (context.state.vhosts !== vhosts) Object.assign(context.state, { vhosts, exporting: exporting(context), importing: importing(context) });
    return h(
      "div.view",
      head("Definitions"),
      h("p.lead", "Users, virtual hosts, permissions, parameters, policies, queues, exchanges and bindings, in RabbitMQ's format. Messages are not among them."),
      h(
        "div.cards",
        card("Export", {}, foreign(context.state.exporting)),
        card("Import", {}, h("p.hint", "What is not there is made, what is there is replaced, and nothing is deleted."), foreign(context.state.importing)),
      ),
    );
  },
};

const scope = ({ vhosts }) => ({ name: "vhost", label: "Virtual host", type: "select", options: [{ value: "", text: "All, with users" }, ...vhosts.map((name) => ({ value: name, text: name }))] });

function exporting(context) {
  const { element } = form({
    action: "Download definitions",
    fields: [scope(context), { name: "file", label: "File name", value: `ringmq_${new Date().toISOString().slice(0, 10)}.json`, required: true }],
    async submit({ vhost, file }) {
      const exported = await get(vhost ? path("definitions", vhost) : "definitions");
      save(file, JSON.stringify(exported, null, 2));
      done("Definitions are downloaded.");
    },
  });
  return element;
}

function save(name, text) {
  const address = URL.createObjectURL(new Blob([text], { type: "application/json" }));
  make("a", { href: address, download: name }).click();
  // The download has begun by then.
  setTimeout(() => URL.revokeObjectURL(address), 1000);
}

function importing(context) {
  const { element } = form({
    action: "Upload definitions",
    fields: [scope(context), { name: "file", label: "File", type: "file", accept: "application/json,.json", required: true }],
    async submit({ vhost, file }) {
      await post(vhost ? path("definitions", vhost) : "definitions", await file.text());
      done(`Definitions of ${file.name} are imported.`);
      context.reloadAll();
    },
  });
  return element;
}
