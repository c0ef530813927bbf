// Elements made of names, attributes and texts. A text is always a text: nothing that the mount
// says is ever read as HTML.

const SVG = "http://www.w3.org/2000/svg";

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") element.addEventListener(name, value);
    else if (value !== false && value != null) element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.filter((child) => child !== "" && child != null));
  return element;
}

export function h(name, attributes = {}, ...children) {
  return fill(document.createElement(name), attributes, children);
}

export function svg(name, attributes = {}, ...children) {
  return fill(document.createElementNS(SVG, name), attributes, children);
}

export const byId = (id) => document.getElementById(id);

// The class that has the colours of a letter (view.css); ram.py and window.py say what it means.
const KINDS = { S: "slab", K: "large", T: "tables", V: "vmalloc", "?": "other", R: "reserved",
  "|": "guard", Z: "lazy", P: "pool", ".": "free", X: "free" };
const DEVICE_COLOURS = 7;

export function kindOf(letter) {
  if (letter in KINDS) return `k-${KINDS[letter]}`;
  if (letter >= "0" && letter <= "9") return "k-free";
  if (letter >= "a" && letter <= "z")
    return `k-device${(letter.charCodeAt(0) - 97) % DEVICE_COLOURS}`;
  return "k-none";
}

export function swatch(letter) {
  return h("span", { class: `swatch ${kindOf(letter)}`, "aria-hidden": "true" }, letter);
}

export const count = (number) => number.toLocaleString("en-US");
