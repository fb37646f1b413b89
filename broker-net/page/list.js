// Lists: filtered, sorted and cut to pages, by the broker where there may be many rows.

import { h } from "./dom.js";
import * as format from "./format.js";
import { href, requery } from "./route.js";
import { session } from "./session.js";

const PAGE_SIZES = [25, 50, 100, 250, 500];
const DEFAULT_PAGE_SIZE = 100;
/** Time without a key before a filter is sent. */
const TYPING_MS = 250;

/** What the address asks of a list, as the API understands it. */
export function listQuery({ query }) {
  return {
    page: query.page ?? 1,
    page_size: query.page_size ?? DEFAULT_PAGE_SIZE,
    pagination: true,
    name: query.name,
    use_regex: query.name ? (query.use_regex ?? "false") : undefined,
    sort: query.sort,
    sort_reverse: query.sort ? (query.sort_reverse ?? "false") : undefined,
  };
}

/** Asks the broker for a page; for the first one if there are fewer pages by now. */
export async function loadPage(route, load) {
  try {
    return await load(listQuery(route));
  } catch (error) {
    if (error.error !== "page_out_of_range") throw error;
    return load({ ...listQuery(route), page: 1 });
  }
}

/** Does with all rows what the broker does with a list that it cuts into pages. */
export function pageOf({ query }, rows, name) {
  const found = rows.filter(nameFilter(query, name));
  if (query.sort) {
    found.sort((one, other) => compare(fieldOf(one, query.sort), fieldOf(other, query.sort)));
    if (query.sort_reverse === "true") found.reverse();
  }
  const size = Number(query.page_size ?? DEFAULT_PAGE_SIZE);
  const page_count = Math.max(1, Math.ceil(found.length / size));
  const page = Math.min(Number(query.page ?? 1), page_count);
  const items = found.slice((page - 1) * size, page * size);
  return { items, page, page_count, page_size: size, filtered_count: found.length, total_count: rows.length };
}

function nameFilter(query, name) {
  if (!query.name) return () => true;
  if (query.use_regex === "true") {
    try {
      const regex = new RegExp(query.name, "i");
      return (row) => regex.test(name(row));
    } catch {
      return () => false;
    }
  }
  return (row) => name(row).toLowerCase().includes(query.name.toLowerCase());
}

const fieldOf = (row, field) => field.split(".").reduce((value, name) => value?.[name], row) ?? 0;

function compare(one, other) {
  if (typeof one === "number" && typeof other === "number") return one - other;
  return String(one).localeCompare(String(other), "en", { numeric: true });
}

/**
 * Describes a list with its filter and pages. A column is `{ title, sort, cell(row), number, help }`; `noun` is what
 * one row is, and what many are; `empty` is shown where there is
 * nothing at all.
 */
export function list(context, { page, columns, key, noun, empty, busy }) {
  const { route } = context;
  const filtered = Boolean(route.query.name);
  return h(
    "section.list",
    { key: "list", "aria-busy": busy ? "true" : null },
    toolbar(route, page, noun, filtered, columns),
    page.items.length === 0
      ? h("div.empty", { key: "empty" }, filtered ? `No ${noun[0]} has a name like this.` : empty)
      : h(
          "div.table-frame",
          { key: "rows", tabindex: 0, role: "region", "aria-label": noun[1] },
          table({ columns, rows: page.items, key, query: route.query }),
        ),
    page.page_count > 1 && pages(route, page),
  );
}

/** Columns without the virtual host, where all rows have the same. */
export function withVhost(context, columns) {
  return context.vhosts.length > 1 && !session.vhost ? columns : columns.filter(({ sort }) => sort !== "vhost");
}

/** Describes a table; with `query`, its columns can be sorted by. */
export function table({ columns, rows, key, query }) {
  return h(
    "table",
    h("thead", h("tr", columns.map((column) => header(column, query)))),
    h("tbody", rows.map((row) => h("tr", { key: key(row) }, columns.map((column) => h("td", { class: classOf(column), "data-title": column.title }, column.cell(row)))))),
  );
}

const classOf = ({ number, name, marks }) => [number && "number", name && "name", marks && "marks"].filter(Boolean).join(" ") || undefined;

function header(column, query) {
  const { title, sort, help } = column;
  if (!sort || !query) return h("th", { scope: "col", class: classOf(column), title: help }, title || h("span.hidden", "Actions"));
  const sorted = query.sort === sort;
  const reverse = query.sort_reverse === "true";
  // Numbers are looked at from the largest, names from the first; a third time undoes it.
  const first = column.number ? "true" : "false";
  const onclick = () => {
    if (!sorted) requery({ sort, sort_reverse: first, page: undefined });
    else if (String(reverse) === first) requery({ sort_reverse: String(!reverse), page: undefined });
    else requery({ sort: undefined, sort_reverse: undefined, page: undefined });
  };
  const order = sorted ? (reverse ? "descending" : "ascending") : "none";
  return h("th", { scope: "col", class: classOf(column), "aria-sort": order, title: help }, h("button.sort", { type: "button", onclick }, title, h("span.arrow", { "aria-hidden": "true" }, sorted ? (reverse ? "▼" : "▲") : "")));
}

let typing;

function toolbar(route, page, noun, filtered, columns) {
  const oninput = (event) => {
    clearTimeout(typing);
    const name = event.target.value;
    typing = setTimeout(() => requery({ name, page: undefined }), TYPING_MS);
  };
  const onregex = (event) => requery({ use_regex: event.target.checked ? "true" : undefined, page: undefined });
  const onsize = (event) => requery({ page_size: event.target.value, page: undefined });
  const counted = filtered ? `${format.count(page.filtered_count)} of ${format.count(page.total_count)}` : format.count(page.total_count);
  return h(
    "div.toolbar",
    { key: "toolbar", role: "search" },
    h("input.filter", { type: "search", "aria-label": `Filter ${noun[1]} by name`, placeholder: "Filter by name", value: route.query.name ?? "", autocomplete: "off", spellcheck: "false", autocapitalize: "none", oninput }),
    h("label.check", h("input", { type: "checkbox", checked: route.query.use_regex === "true", onchange: onregex }), "Regex"),
    sortChoice(route, columns),
    h("span.counted", h("b", counted), ` ${page.total_count === 1 ? noun[0] : noun[1]}`),
    h("label.page-size", h("span", "Rows"), h("select", { value: String(page.page_size), onchange: onsize }, PAGE_SIZES.map((size) => h("option", { value: size }, size)))),
  );
}

/** For windows that are too narrow for the heads of columns. */
function sortChoice({ query }, columns) {
  const onchange = (event) => {
    const { sort, number } = columns.find(({ sort }) => sort === event.target.value) ?? {};
    requery({ sort, sort_reverse: sort && String(Boolean(number)), page: undefined });
  };
  const options = columns.filter(({ sort }) => sort).map(({ sort, title }) => h("option", { value: sort }, title));
  return h("label.sort-choice", h("span", "Sort by"), h("select", { value: query.sort ?? "", onchange }, h("option", { value: "" }, "–"), options));
}

function pages(route, { page, page_count }) {
  const link = (to, text, label) => {
    const possible = to >= 1 && to <= page_count && to !== page;
    if (!possible) return h("span.page-link", { "aria-disabled": "true" }, text);
    return h("a.page-link", { href: href(route.parts, { ...route.query, page: to }), "aria-label": label }, text);
  };
  const onchange = (event) => {
    const to = Math.min(page_count, Math.max(1, Math.round(Number(event.target.value)) || 1));
    requery({ page: to });
  };
  return h(
    "nav.pages",
    { key: "pages", "aria-label": "Pages" },
    link(1, "« First", "First page"),
    link(page - 1, "‹ Previous", "Previous page"),
    h("label", h("span", "Page"), h("input", { type: "number", min: 1, max: page_count, value: page, onchange })),
    h("span.page-count", `of ${format.count(page_count)}`),
    link(page + 1, "Next ›", "Next page"),
    link(page_count, "Last »", "Last page"),
  );
}
