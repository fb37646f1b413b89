// Elements from descriptions of them. A view describes what it shows anew after every answer of the broker; `render` changes
// only what is different, so that the focus, the selection and what is being typed stay where they are.
//
// Text becomes text nodes and never markup, whatever it holds.

const SVG = "http://www.w3.org/2000/svg";
const SVG_TAGS = new Set(["svg", "g", "path", "line", "text", "rect", "circle"]);

class Description {
  constructor(tag, props, children) {
    this.tag = tag;
    this.props = props;
    this.children = children;
    this.key = props.key;
  }
}

/** Describes an element: `h("td.number", { title: "x" }, "text", child, [children])`. */
export function h(selector, ...rest) {
  const first = rest[0];
  const hasProps = first !== null && typeof first === "object" && !Array.isArray(first) && !(first instanceof Description);
  const props = hasProps ? { ...first } : {};
  const [tag, ...classes] = selector.split(".");
  const names = [...classes, props.class].filter(Boolean).join(" ");
  if (names) props.class = names;
  const children = (hasProps ? rest.slice(1) : rest).flat(Infinity);
  return new Description(tag, props, children.filter((child) => child !== null && child !== undefined && child !== false && child !== ""));
}

/** Describes a place for an element that looks after itself: a form that is being filled in. */
export function foreign(element) {
  return new Description("div", { class: "foreign", key: element, foreign: element }, []);
}

/** Makes an element at once. */
export function make(...description) {
  return create(h(...description));
}

/** Makes the children of `container` what `descriptions` say. */
export function render(container, ...descriptions) {
  const focused = document.activeElement;
  reconcile(container, descriptions.flat(Infinity).filter(Boolean));
  // An element that was moved has lost the focus.
  if (focused && focused !== document.activeElement && focused.isConnected) focused.focus({ preventScroll: true });
}

function create(description) {
  if (!(description instanceof Description)) return document.createTextNode(String(description));
  const { tag, props, children } = description;
  const element = SVG_TAGS.has(tag) ? document.createElementNS(SVG, tag) : document.createElement(tag);
  element.described = new Description(tag, {}, []);
  if (props.foreign) element.append(props.foreign);
  else for (const child of children) element.append(create(child));
  // After the children: a select has no value before it has options.
  setProps(element, props);
  element.described = description;
  props.onmount?.(element);
  return element;
}

function reconcile(parent, children) {
  const keyed = new Map();
  for (const node of parent.childNodes) {
    const key = node.described?.key;
    if (key !== undefined) keyed.set(key, node);
  }
  let next = parent.firstChild;
  for (const child of children) {
    const key = child instanceof Description ? child.key : undefined;
    let node = key === undefined ? next : keyed.get(key);
    // What has a key is found by it alone.
    if (key === undefined && node?.described?.key !== undefined) node = undefined;
    if (!node || !update(node, child)) {
      const made = create(child);
      if (node && node === next && key === undefined) {
        next = next.nextSibling;
        node.replaceWith(made);
      } else {
        parent.insertBefore(made, next);
      }
      continue;
    }
    if (node === next) next = next.nextSibling;
    else parent.insertBefore(node, next);
    keyed.delete(key);
  }
  while (next) {
    const gone = next;
    next = next.nextSibling;
    gone.remove();
  }
}

/** Makes a node what is described, unless it is of another kind. */
function update(node, description) {
  if (!(description instanceof Description)) {
    if (node.nodeType !== Node.TEXT_NODE) return false;
    const text = String(description);
    if (node.data !== text) node.data = text;
    return true;
  }
  const old = node.described;
  if (!old || old.tag !== description.tag || old.key !== description.key) return false;
  if (description.props.foreign) return true;
  reconcile(node, description.children);
  setProps(node, description.props);
  node.described = description;
  return true;
}

function setProps(element, props) {
  const old = element.described.props;
  for (const name of Object.keys(old)) if (!(name in props)) setProp(element, name, undefined, old[name]);
  for (const [name, value] of Object.entries(props)) setProp(element, name, value, old[name]);
}

function setProp(element, name, value, old) {
  if (name === "key" || name === "foreign" || name === "onmount") return;
  if (name.startsWith("on")) {
    const handlers = (element.handlers ??= {});
    if (!(name in handlers)) element.addEventListener(name.slice(2), (event) => handlers[name]?.(event));
    handlers[name] = value;
  } else if (value === old) {
    // What the user has typed or chosen since stays.
  } else if (name === "value" || name === "checked") {
    element[name] = value ?? "";
  } else if (value === undefined || value === null || value === false) {
    element.removeAttribute(name);
  } else {
    element.setAttribute(name, value === true ? "" : value);
  }
}
