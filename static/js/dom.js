// Descriptions of elements, and making the page agree with them. Text is only ever set as text: nothing here parses HTML.

/** `props`: attributes; false and null leave one out. `key` tells siblings apart; `opened` opens a new <details>. */
export const h = (tag, props, ...children) => ({ tag, ...split(props ?? {}), children: flat(children) });

const split = ({ key, opened, ...attributes }) => ({ key, opened, attributes });
const flat = (children) => children.flat(Infinity).filter((child) => child != null && child !== false && child !== "");

/** Make the children of `parent` what `nodes` describe, keeping every element that is still described, and what people opened. */
export function patch(parent, nodes) {
  const wanted = flat([nodes]);
  const keyed = new Map([...parent.children].filter((node) => node.quorumKey != null).map((node) => [node.quorumKey, node]));
  let cursor = parent.firstChild;
  for (const node of wanted) {
    const found = node.key == null ? match(cursor, node) : keyed.get(node.key);
    const element = found ?? create(node);
    if (element === cursor) cursor = cursor.nextSibling;
    else parent.insertBefore(element, cursor);
    update(element, node);
  }
  while (cursor) {
    const next = cursor.nextSibling;
    cursor.remove();
    cursor = next;
  }
}

function match(element, node) {
  if (!element) return undefined;
  if (typeof node !== "object") return element.nodeType === Node.TEXT_NODE ? element : undefined;
  const same = element.nodeType === Node.ELEMENT_NODE && element.localName === node.tag;
  return same && element.quorumKey == null ? element : undefined;
}

function create(node) {
  if (typeof node !== "object") return document.createTextNode(String(node));
  const element = document.createElement(node.tag);
  if (node.key != null) element.quorumKey = node.key;
  if (node.opened) element.open = true;
  return element;
}

function update(element, node) {
  if (typeof node !== "object") {
    if (element.data !== String(node)) element.data = String(node);
    return;
  }
  for (const [name, value] of Object.entries(node.attributes)) setAttribute(element, name, value);
  for (const { name } of [...element.attributes]) if (!(name in node.attributes || name === "open")) element.removeAttribute(name);
  patch(element, node.children);
}

function setAttribute(element, name, value) {
  if (value == null || value === false) element.removeAttribute(name);
  else if (element.getAttribute(name) !== String(value)) element.setAttribute(name, value === true ? "" : String(value));
}
