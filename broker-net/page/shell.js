// What is around every view: the name of the broker, alarms, the menu, the virtual host and how often the page looks.

import { h } from "./dom.js";
import * as format from "./format.js";
import { session } from "./session.js";

const INTERVALS = [[1000, "1 second"], [5000, "5 seconds"], [10_000, "10 seconds"], [30_000, "30 seconds"], [0, "Paused"]];

/** `[place, text, number of them, who may]` */
const MENU = [
  ["", "Overview"],
  ["connections", "Connections", "connections"],
  ["channels", "Channels", "channels"],
  ["exchanges", "Exchanges", "exchanges"],
  ["queues", "Queues and streams", "queues"],
];

const ADMIN = [
  ["users", "Users", "administrator"],
  ["vhosts", "Virtual hosts", "monitor"],
  ["permissions", "Permissions", "administrator"],
  ["policies", "Policies", "policymaker"],
  ["limits", "Limits", "administrator"],
  ["definitions", "Definitions", "administrator"],
];

/** Describes everything that is on the screen. */
export function shell(context, actions) {
  return [
    h("a.skip", { key: "skip", href: "#main", onclick: skip }, "Skip to the contents"),
    header(context, actions),
    h("div.frame", { key: "frame" }, menu(context), contents(context)),
  ];
}

/** The address belongs to places: the link only moves the focus. */
function skip(event) {
  event.preventDefault();
  document.getElementById("main").focus();
}

function header({ app }, { onlogout, oninterval, onvhost, onmenu }) {
  const { overview, vhosts, user } = app;
  return h(
    "header.top",
    { key: "top" },
    h("button.menu-button", { type: "button", "aria-expanded": String(app.menu), "aria-controls": "menu", onclick: () => onmenu(!app.menu) }, h("span.bars", { "aria-hidden": "true" }), h("span.hidden", "Menu")),
    h("a.brand", { href: "#/" }, h("span.ring", { "aria-hidden": "true" }), h("span.brand-name", "RingMQ"), overview && h("span.version", overview.product_version)),
    overview && h("span.cluster", { title: `Node ${overview.node}` }, overview.cluster_name),
    h(
      "div.controls",
      h(
        "label.control",
        h("span", "Virtual host"),
        h("select", { key: "vhost", value: session.vhost, onchange: (event) => onvhost(event.target.value) }, h("option", { key: "all", value: "" }, "All"), vhosts.map((name) => h("option", { key: `vhost ${name}`, value: name }, name))),
      ),
      h(
        "label.control",
        h("span", "Refresh"),
        h("select", { value: String(app.interval), onchange: (event) => oninterval(Number(event.target.value)) }, INTERVALS.map(([value, text]) => h("option", { value: String(value) }, text))),
      ),
      h("span.user", { title: user.tags.join(", ") }, user.name),
      h("button.small", { type: "button", onclick: onlogout }, "Log out"),
    ),
  );
}

function menu(context) {
  const { app, route } = context;
  const here = route.parts[0] ?? "";
  const item = ([place, text, total]) =>
    h(
      "li",
      { key: place },
      h("a", { href: `#/${place}`, "aria-current": here === place ? "page" : null }, h("span", text), total && app.overview && h("span.total", format.compact(app.overview.object_totals?.[total] ?? 0))),
    );
  const allowed = ADMIN.filter(([, , who]) => context[who]);
  return h(
    "nav.menu",
    { id: "menu", key: "menu", "aria-label": "Main", class: app.menu ? "shown" : undefined },
    h("ul", MENU.map(item)),
    allowed.length > 0 && h("h2", "Admin"),
    allowed.length > 0 && h("ul", allowed.map(([place, text]) => item([place, text]))),
  );
}

function contents(context) {
  const { error, view, route } = context;
  return h(
    "main",
    { id: "main", key: `main ${route.place}`, tabindex: -1 },
    banners(context.app),
    h("div.refusals", { key: "refusals", role: "alert" }, error && stays(context) && h("p.problem", error.message)),
    shown(context, view.title(route)),
  );
}

/** What was shown stays if the broker refuses only what is asked of it now: a filter that is being typed, say. */
const stays = ({ data, error }) => data !== null && error.status !== 401 && error.status !== 404;

function shown(context, title) {
  const { data, error, view } = context;
  if (error && !stays(context)) return problem(title, error);
  return data === null ? loading(title) : view.render(context, data);
}

function banners({ unreachable, alarms, overview }) {
  return h(
    "div.banners",
    { key: "banners", role: "alert" },
    unreachable && h("p.banner", { key: "unreachable" }, h("b", "The broker does not answer."), " What is shown is old. The page goes on trying."),
    alarms.map(({ resource, node }) =>
      h("p.banner", { key: resource }, h("b", `${alarmName(resource)} alarm`), ` on ${node ?? overview?.node ?? "the broker"}. Publishers are blocked until it is over.`),
    ),
  );
}

const alarmName = (resource) => ({ memory: "Memory", disk: "Disk space" })[resource] ?? resource;

function loading(title) {
  return h("div", { key: "loading", "aria-busy": "true" }, h("h1", title), h("div.skeleton"), h("div.skeleton.short"), h("p.hidden", { role: "status" }, "Loading"));
}

function problem(title, error) {
  const text = error.status === 404 ? "There is nothing of this name. It may have been deleted." : error.message;
  return h("div.failed", { key: "failed" }, h("h1", title), h("p.problem", { role: "alert" }, text), h("p", h("a", { href: "#/" }, "Go to the overview")));
}
