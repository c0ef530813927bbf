// A part of the band of the window at a closer scale. The mount is asked for it, as its cells are
// smaller, and again whenever the maps are others.

import { h } from "./dom.js";

const STEP = 4n; // how much closer, and of how many parts one is moved over
const PAGE = 4096n;
const KEYS = { "+": 1, "=": 1, "-": -1, _: -1, 0: 0 };
const MOVES = { ArrowLeft: -1n, ArrowRight: 1n };

export class Zoom {
  // map: the CellMap of the band
  // ask(what): a promise of what the server says
  // drawn(): called when other cells are there
  constructor(box, map, ask, drawn) {
    this.map = map;
    this.ask = ask;
    this.drawn = drawn;
    this.part = null; // { start, end }; null, all of it
    this.pointed = null; // the address under the pointer
    this.lit = null; // the address of what lights up
    this.busy = false;
    const button = (word, label, step) => h("button", { type: "button", title: label,
      "aria-label": label, click: () => this.step(step) }, word);
    this.closer = button("+", "closer (key +)", 1);
    this.farther = button("\u2212", "farther (key \u2212)", -1);
    this.all = button("all", "all of it (key 0)", 0);
    box.prepend(h("p", { class: "zoom" }, this.closer, this.farther, this.all));
    map.picture.tabIndex = 0;
    map.picture.setAttribute("role", "group");
    map.picture.setAttribute("aria-label", "The band; the keys + and \u2212 zoom, the arrows move it");
    map.picture.addEventListener("keydown", (event) => this.key(event));
    map.picture.addEventListener("pointermove", (event) => {
      this.pointed = map.addressAt(event);
    });
    map.picture.addEventListener("pointerleave", () => { this.pointed = null; });
  }

  // All of the band, as it is now; names: letter -> what it is
  show(cells, names) {
    this.whole = cells;
    this.names = names;
    return this.draw();
  }

  bounds() {
    return { start: BigInt(`0x${this.whole.start}`), end: BigInt(`0x${this.whole.end}`) };
  }

  key(event) {
    if (event.ctrlKey || event.altKey || event.metaKey || !this.whole) return;
    if (event.key in KEYS) this.step(KEYS[event.key]);
    else if (event.key in MOVES && this.part) {
      const { start, end } = this.part;
      this.go(start + (MOVES[event.key] * (end - start)) / STEP, end - start);
    } else return;
    event.preventDefault();
  }

  // 1, closer; -1, farther; 0, all
  step(which) {
    if (!this.whole || (which > 0 && this.map.cells.share === 1)) return;
    const { start, end } = this.part ?? this.bounds();
    const length = which > 0 ? (end - start) / STEP : (end - start) * STEP;
    const inside = (address) => address !== null && address >= start && address < end;
    const at = [this.pointed, this.lit].find(inside) ?? (start + end) / 2n;
    // What was there stays there: as far from the left as before.
    if (which) this.go(at - ((at - start) * length) / (end - start), length);
    else this.go(start, this.bounds().end - this.bounds().start);
  }

  go(start, length) {
    const whole = this.bounds();
    start -= start % PAGE;
    length -= length % PAGE;
    const all = length >= whole.end - whole.start;
    const last = whole.end - length;
    const first = start < whole.start ? whole.start : start > last ? last : start;
    this.part = all ? null : { start: first, end: first + length };
    return this.draw();
  }

  // One question at a time: what has changed meanwhile is asked for after it.
  async draw() {
    this.again = true;
    if (this.busy) return;
    this.busy = true;
    try {
      while (this.again) {
        this.again = false;
        const cells = await this.cells();
        if (this.again) continue;
        this.map.show(cells, this.names);
        this.closer.disabled = cells.share === 1;
        this.farther.disabled = this.all.disabled = !this.part;
        this.drawn();
      }
    } finally {
      this.busy = false;
    }
  }

  async cells() {
    if (this.part) {
      const { start, end } = this.part;
      const said = await this.ask(`band?from=${start.toString(16)}&to=${end.toString(16)}`)
        .catch(() => null);
      if (said?.letters) return said;
      this.part = null; // it is gone, as another mount may have none of it
    }
    return this.whole;
  }
}
