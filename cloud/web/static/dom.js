// Elements without markup in strings: text from the server can only ever become text.

const SVG = "http://www.w3.org/2000/svg";

/** An element. `props`: attributes; a function is a listener for that event; null leaves it out. */
export function el(tag, props = {}, ...children) {
  return fill(document.createElement(tag), props, children);
}

/** The same, for what is drawn. */
export function svg(tag, props = {}, ...children) {
  return fill(document.createElementNS(SVG, tag), props, children);
}

export const $ = (id) => document.getElementById(id);

/** Sets text only where it differs, so that a screen reader is not told what it knows. */
export function say(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

function fill(node, props, children) {
  for (const [name, value] of Object.entries(props)) {
    if (typeof value === "function") node.addEventListener(name, value);
    else if (value === true) node.setAttribute(name, "");
    else if (value !== null && value !== undefined && value !== false) node.setAttribute(name, value);
  }
  node.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return node;
}
