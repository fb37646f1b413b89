// The page: who is logged in, where we are, and what is shown there.

import { get } from "./api.js";
import { render } from "./dom.js";
import { login } from "./login.js";
import { notices } from "./notice.js";
import { Poll } from "./poll.js";
import { current, go } from "./route.js";
import { session } from "./session.js";
import { shell } from "./shell.js";
import { viewOf } from "./view.js";

const root = document.getElementById("app");
/** Virtual hosts change seldom: they are asked for again after this many milliseconds. */
const VHOSTS_AGE = 30_000;
const INTERVAL = "ringmq.interval";

const app = {
  user: null,
  vhosts: [],
  vhostsAt: 0,
  overview: null,
  alarms: [],
  unreachable: false,
  menu: false,
  interval: Number(localStorage.getItem(INTERVAL) ?? 5000),
};

let context = null;
let polls = [];
let drawing = false;

function has(...tags) {
  return app.user.tags.some((tag) => tags.includes(tag));
}

/** What views are given: where we are, what the user may do, and ways to have things drawn or asked for again. */
function newContext(route, view) {
  return {
    route,
    view,
    state: {},
    charts: {},
    data: null,
    error: null,
    busy: false,
    app,
    get vhosts() {
      return app.vhosts;
    },
    administrator: has("administrator"),
    monitor: has("administrator", "monitoring"),
    policymaker: has("administrator", "policymaker"),
    redraw,
    reload: () => polls[0]?.now(),
    reloadAll,
    leave,
  };
}

/** Deletes what is looked at and goes to another place. It is not asked for meanwhile: it would be missed. */
async function leave(remove, ...place) {
  for (const poll of polls.splice(0)) poll.stop();
  try {
    await remove();
  } catch (error) {
    open();
    throw error;
  }
  app.vhostsAt = 0;
  go(...place);
}

function reloadAll() {
  app.vhostsAt = 0;
  for (const poll of polls) poll.now();
}

function redraw() {
  if (drawing) return;
  drawing = true;
  requestAnimationFrame(() => {
    drawing = false;
    draw();
  });
}

function draw() {
  if (!app.user) return;
  const title = context.view.title(context.route);
  document.title = `${title} · ${app.overview?.cluster_name ?? "RingMQ"}`;
  render(root, shell(context, { onlogout: logout, oninterval, onvhost, onmenu }));
}

function oninterval(interval) {
  app.interval = interval;
  localStorage.setItem(INTERVAL, String(interval));
  reloadAll();
  redraw();
}

function onvhost(name) {
  session.vhost = name;
  open(true);
}

function onmenu(shown) {
  app.menu = shown;
  redraw();
}

/** Shows the place that the address says. What a list is asked for changes without losing what is shown. */
function open(anew = false) {
  if (!app.user) return;
  const route = current();
  for (const poll of polls.splice(0)) poll.stop();
  const moved = context !== null && context.route.place !== route.place;
  if (context === null || moved || anew) context = newContext(route, viewOf(route));
  else Object.assign(context, { route, busy: true });
  app.menu = false;
  const here = context;
  polls = [
    new Poll({
      interval: () => app.interval,
      load: (signal) => here.view.load(here, signal),
      show: (data) => shown(Object.assign(here, { data, error: null, busy: false })),
      fail: (error) => failed(Object.assign(here, { busy: false }), error),
    }),
    new Poll({ interval: () => Math.max(app.interval, 5000) * (app.interval && 1), load: loadShell, show: shownShell, fail: (error) => failed(null, error) }),
  ];
  for (const poll of polls) poll.now();
  draw();
  if (moved) {
    window.scrollTo(0, 0);
    document.getElementById("main")?.focus({ preventScroll: true });
  }
}

function shown() {
  app.unreachable = false;
  redraw();
}

function failed(here, error) {
  if (error.unauthenticated) return logout("You are logged out: the broker no longer accepts this password.");
  if (error.status === 0) app.unreachable = true;
  if (here && !(error.status === 0 && here.data)) here.error = error;
  if (error.status === undefined) console.error(error);
  redraw();
}

async function loadShell(signal) {
  const columns = "cluster_name,product_name,product_version,rabbitmq_version,node,object_totals";
  // One after the other: the broker has a limited number of connections for all who look.
  const overview = await get("overview", { columns }, signal);
  const alarms = await loadAlarms(signal);
  const names = Date.now() - app.vhostsAt > VHOSTS_AGE ? await get("vhosts", { columns: "name" }, signal) : null;
  return { overview, alarms, names };
}

/** The check answers with 503 while there are alarms. */
async function loadAlarms(signal) {
  try {
    await get("health/checks/alarms", {}, signal);
    return [];
  } catch (error) {
    if (error.status === 503) return error.answer?.alarms ?? [{ resource: error.message }];
    throw error;
  }
}

function shownShell({ overview, alarms, names }) {
  Object.assign(app, { overview, alarms });
  if (names) {
    keepVhosts(names);
    if (session.vhost && !app.vhosts.includes(session.vhost)) onvhost("");
  }
  shown();
}

function keepVhosts(names) {
  app.vhosts = names.map(({ name }) => name);
  app.vhostsAt = Date.now();
}

function logout(reason) {
  for (const poll of polls.splice(0)) poll.stop();
  session.close();
  app.user = null;
  context = null;
  document.title = "RingMQ";
  render(root, login({ reason: typeof reason === "string" ? reason : null, onlogin: enter }));
}

async function enter() {
  const user = await get("whoami");
  // Forms offer virtual hosts from the start.
  keepVhosts(await get("vhosts", { columns: "name" }));
  app.user = user;
  open(true);
}

async function start() {
  document.body.append(notices());
  window.addEventListener("hashchange", () => open());
  if (!session.authorization) return logout();
  try {
    await enter();
  } catch (error) {
    if (error.unauthenticated) return logout();
    logout(error.message);
  }
}

start();
