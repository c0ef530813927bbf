// RAM, or a part of the window, as rows of cells: a letter and a colour each, and above them the
// outlines of those that light up.

import { h, svg, kindOf, count } from "./dom.js";

const WIDE = 11;
const HIGH = 17;
const DIGIT = 7.3;
const FEWEST = 16;
const MOST = 128;
const PAGE_SHIFT = 12n;

export class CellMap {
  constructor(box, name) {
    this.name = name;
    this.picture = h("div", { class: "cells" });
    this.readout = h("p", { class: "readout" });
    this.words = h("p", { class: "quiet" });
    box.append(this.picture, this.readout, this.words);
    this.lit = new Map();
    this.names = new Map();
    this.picture.addEventListener("pointermove", (event) => this.tell(event));
    this.picture.addEventListener("pointerleave", () => this.readout.replaceChildren());
    new ResizeObserver(() => this.layout()).observe(this.picture);
  }

  // cells: state.Cells; names: letter -> what it is
  show(cells, names) {
    this.cells = cells;
    this.names = names;
    this.words.textContent = cells.words;
    this.start = BigInt(`0x${cells.start}`);
    this.size = BigInt(cells.share) << PAGE_SHIFT;
    this.columns = 0;
    this.layout();
  }

  // lit: number of a cell -> class of its outline
  light(lit) {
    this.lit = lit;
    this.outline();
  }

  // The cells of some addresses.
  cellsOf(start, end) {
    const first = Number((start - this.start) / this.size);
    const last = Number((end - 1n - this.start) / this.size);
    const found = [];
    for (let cell = Math.max(first, 0); cell <= last && cell < this.cells.letters.length; cell++)
      found.push(cell);
    return found;
  }

  layout() {
    if (!this.cells) return;
    this.left = Math.ceil(this.cells.digits * DIGIT) + 10;
    const room = Math.floor((this.picture.clientWidth - this.left - 2) / WIDE);
    const columns = Math.max(FEWEST, Math.min(MOST, room - (room % FEWEST)));
    if (columns === this.columns) return;
    this.columns = columns;
    this.draw();
  }

  draw() {
    const { letters, others, digits, share } = this.cells;
    const rows = Math.ceil(letters.length / this.columns);
    const width = this.left + this.columns * WIDE + 2;
    const height = rows * HIGH + 2;
    this.overlay = svg("g", { class: "lit" });
    const parts = [];
    for (let row = 0; row < rows; row++) {
      const first = row * this.columns;
      const line = letters.slice(first, first + this.columns);
      const y = row * HIGH + 1;
      const address = this.start + BigInt(first) * this.size;
      parts.push(svg("text", { class: "address", x: 0, y: y + 12 },
        address.toString(16).padStart(digits, "0")));
      for (const [at, letter, length] of runs(line))
        parts.push(svg("rect", { class: kindOf(letter), x: this.left + at * WIDE, y,
          width: length * WIDE - 0.5, height: HIGH - 1 }));
      const xs = Array.from(line, (_, at) => this.left + (at + 0.5) * WIDE - 0.25).join(" ");
      parts.push(svg("text", { class: "letters", x: xs, y: y + 10 }, line));
      Array.from(others.slice(first, first + this.columns)).forEach((letter, at) => {
        if (letter !== " ")
          parts.push(svg("rect", { class: `foot ${kindOf(letter)}`, x: this.left + at * WIDE + 1,
            y: y + HIGH - 5, width: WIDE - 2.5, height: 3.5 }));
      });
    }
    const label = `${this.name} in ${count(letters.length)} cells of ${count(share)} pages; the ` +
      "table below has their sums";
    this.picture.replaceChildren(svg("svg", { role: "img", "aria-label": label, width, height,
      viewBox: `0 0 ${width} ${height}` }, ...parts, this.overlay));
    this.outline();
  }

  outline() {
    if (!this.overlay) return;
    this.overlay.replaceChildren(...Array.from(this.lit, ([cell, kind]) =>
      svg("rect", { class: kind, "data-cell": cell,
        x: this.left + (cell % this.columns) * WIDE - 0.5,
        y: Math.floor(cell / this.columns) * HIGH + 0.5, width: WIDE, height: HIGH })));
  }

  // The number of the cell under the pointer; -1, there is none.
  cellAt(event) {
    if (!this.columns) return -1;
    const box = this.picture.firstChild.getBoundingClientRect();
    const column = Math.floor((event.clientX - box.left - this.left) / WIDE);
    const cell = Math.floor((event.clientY - box.top - 1) / HIGH) * this.columns + column;
    return column < 0 || column >= this.columns || this.cells.letters[cell] === undefined ? -1 : cell;
  }

  // Where that begins; null, there is none.
  addressAt(event) {
    const cell = this.cellAt(event);
    return cell < 0 ? null : this.start + BigInt(cell) * this.size;
  }

  // What is under the pointer.
  tell(event) {
    const cell = this.cellAt(event);
    if (cell < 0) {
      this.readout.replaceChildren();
      return;
    }
    const letter = this.cells.letters[cell];
    const address = (this.start + BigInt(cell) * this.size).toString(16);
    const other = this.cells.others[cell] ?? " ";
    const also = other === " " ? "" : `; some of ${this.names.get(other) ?? other}`;
    this.readout.textContent = `${address.padStart(this.cells.digits, "0")}: ` +
      `${this.cells.share > 1 ? "mostly " : ""}${this.names.get(letter) ?? letter}${also}`;
  }
}

// Letters that are alike and side by side: [where, which, how many].
function runs(line) {
  const found = [];
  for (let at = 0; at < line.length; ) {
    let end = at + 1;
    while (line[end] === line[at]) end++;
    found.push([at, line[at], end - at]);
    at = end;
  }
  return found;
}
