// One quantum: the way through the page tables to it, and the frame of each page.

import { h } from "./dom.js";

function table(title, heads, rows) {
  return h("div", { class: "wide" },
    h("table", {}, h("caption", {}, title),
      h("thead", {}, h("tr", {}, ...heads.map(([head, kind]) =>
        h("th", { scope: "col", class: kind }, head)))),
      h("tbody", {}, ...rows.map((row) => h("tr", { class: row.kind ?? null },
        ...row.words.map((word, at) => h("td", { class: heads[at][1] }, word)))))));
}

// What is said of a quantum (state.Chosen), as elements.
export function quantumWords(chosen) {
  const head = h("p", {}, h("b", {}, `Quantum ${chosen.number.toLocaleString("en-US")} of ` +
    `${chosen.device}`), `: ${chosen.where}`);
  if (!chosen.there) return [head, h("p", {}, chosen.moral)];
  const entries = chosen.pages.some((page) => page.entry);
  return [
    head,
    h("p", {}, chosen.words),
    table(`The way of ${chosen.byte}`,
      [["table", "tables"], ["in frame", "number"], ["index", "number"], ["entry", "mono"],
        ["leads to", ""]],
      chosen.path.map((step) =>
        ({ words: [step.level, step.frame, step.place, step.entry, step.leads] }))),
    table("Its pages",
      [["virtual", "mono virtual"], ["", ""], [entries ? "page-table entry" : "", "mono tables"],
        ["physical", "physical"]],
      chosen.pages.map((page) => ({ kind: page.name === "guard" ? "guard" : null,
        words: [page.address, page.name, page.entry, page.frame] }))),
    ...(chosen.left ? [h("p", { class: "quiet" }, `… ${chosen.left}`)] : []),
    h("p", { class: "moral" }, chosen.moral),
  ];
}

// Which cells light up: of RAM and of the window, number -> class.
export function litCells(chosen, ram, band) {
  const inRam = new Map(), inBand = new Map();
  if (!chosen?.there || !ram.cells) return [inRam, inBand];
  for (const step of chosen.path) inRam.set(step.cell, "table");
  for (const cell of chosen.cells) inRam.set(cell, "frame");
  const start = BigInt(`0x${chosen.start}`), end = BigInt(`0x${chosen.end}`);
  if (end > band.start) // the linear mapping may be below
    for (const cell of band.cellsOf(start, end)) inBand.set(cell, "area");
  return [inRam, inBand];
}
