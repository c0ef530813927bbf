// The devices: list items, the quantum set of each, and quanta to click.

import { h, swatch, kindOf, count } from "./dom.js";

const OPEN_AT_FIRST = 6;
const FULL = "#";
const PART = "+";
const NOTHING = ".";
const CELLS = /\.+|[^.]/g; // those that are empty are one
const MANY_HOLES = 5;

function hole(cells, share) {
  if (cells < MANY_HOLES) return h("span", { class: "hole" }, "·".repeat(cells));
  return h("span", { class: "hole many" }, `${count(cells * share)} empty`);
}

export class Tree {
  // choose(device, number) is called when a quantum is clicked.
  constructor(box, choose) {
    this.box = box;
    this.choose = choose;
    this.drawn = new Map(); // name -> { said, element }
    this.open = new Map(); // name -> whether the reader has it open
    this.chosen = null;
    box.addEventListener("keydown", (event) => this.move(event));
  }

  show(tree) {
    const focused = document.activeElement?.dataset?.key;
    const drawn = new Map();
    const used = tree.devices.filter((device) => device.quanta).length;
    for (const device of tree.devices) {
      const said = JSON.stringify(device);
      const before = this.drawn.get(device.name);
      const open = this.open.get(device.name) ?? (device.quanta > 0 && used <= OPEN_AT_FIRST);
      drawn.set(device.name,
        before?.said === said ? before : { said, element: this.draw(device, open) });
    }
    this.drawn = drawn;
    const elements = Array.from(drawn.values(), ({ element }) => element);
    if (tree.left) elements.push(h("p", { class: "quiet" }, tree.left));
    elements.forEach((element, at) => { // one that is as it was stays where it is
      const there = this.box.childNodes[at];
      if (there !== element) this.box.insertBefore(element, there ?? null);
    });
    while (this.box.childNodes.length > elements.length) this.box.lastChild.remove();
    this.mark();
    const again = focused && document.activeElement?.dataset?.key !== focused && this.find(focused);
    if (again) this.stop(again);
  }

  // Have the Tab key stop at this one of its set, and the focus be there.
  stop(button) {
    for (const other of button.closest(".set")?.querySelectorAll('[tabindex="0"]') ?? [])
      other.tabIndex = -1;
    button.tabIndex = 0;
    button.focus();
  }

  select(chosen) {
    this.chosen = chosen;
    const device = chosen && this.drawn.get(chosen.device);
    if (device) device.element.open = true;
    this.mark();
  }

  draw(device, open) {
    const body = h("div", { class: "body" });
    const fill = () => body.replaceChildren(...this.items(device));
    const element = h("details", { open, "data-device": device.name, toggle: () => {
      this.open.set(device.name, element.open);
      if (element.open && !body.firstChild) { fill(); this.mark(); }
    } },
      h("summary", { "data-key": device.name }, swatch(device.letter), h("b", {}, device.name), " ",
        h("span", { class: "words" }, device.words)),
      body);
    if (open) fill();
    return element;
  }

  items(device) {
    const parts = [];
    device.items.forEach((items, number) => {
      if (number) parts.push(h("p", { class: "next", "aria-hidden": "true" }, "↓ next"));
      parts.push(h("div", { class: "item" },
        h("div", { class: "box" }, h("b", {}, items.heading), h("span", {}, items.words)),
        items.cells ? this.set(device, items) : ""));
    });
    if (device.left) parts.push(h("p", { class: "quiet" }, `… ${device.left}`));
    return parts;
  }

  // The pointers of a quantum set; one of those that lead somewhere is a stop of the Tab key.
  set(device, items) {
    let stop = "0";
    const cells = Array.from(items.cells.matchAll(CELLS), ({ 0: cell, index: at }) => {
      if (cell[0] === NOTHING) return hole(cell.length, items.share);
      const first = items.first + at * items.share;
      const last = first + items.share - 1;
      const label = items.share === 1 ? `quantum ${count(first)} of ${device.name}`
        : `quanta ${count(first)} to ${count(last)} of ${device.name}`;
      const button = h("button", { type: "button", class: `q ${kindOf(device.letter)}`,
        "data-key": `${device.name}/${first}`, "data-last": last, "aria-label": label,
        title: label, tabindex: stop, click: () => this.choose(device.name, first) },
        cell === FULL ? device.letter : PART);
      stop = "-1";
      return button;
    });
    return h("div", { class: "set", role: "group",
      "aria-label": `quantum set of ${items.heading} of ${device.name}` },
      h("span", { class: "arrow", "aria-hidden": "true" }, "→"), ...cells);
  }

  find(key) {
    return this.box.querySelector(`[data-key="${CSS.escape(key)}"]`);
  }

  // Which one is chosen.
  mark() {
    for (const button of this.box.querySelectorAll('.q[aria-pressed="true"]'))
      button.removeAttribute("aria-pressed");
    if (!this.chosen) return;
    const { device, number } = this.chosen;
    for (const button of this.box.querySelectorAll(`[data-device="${CSS.escape(device)}"] .q`)) {
      const first = Number(button.dataset.key.split("/")[1]);
      if (first <= number && number <= Number(button.dataset.last))
        button.setAttribute("aria-pressed", "true");
    }
  }

  // The arrow keys go from quantum to quantum of a set.
  move(event) {
    const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    const set = event.target.closest?.(".set");
    if (!step || !set) return;
    const all = Array.from(set.querySelectorAll(".q"));
    const next = all[all.indexOf(event.target) + step];
    if (!next) return;
    event.preventDefault();
    this.stop(next);
  }
}
