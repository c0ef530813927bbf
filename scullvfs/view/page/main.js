// The page: asks for what is new, has it drawn, and says when nothing comes.

import { byId, h, swatch, count } from "./dom.js";
import { CellMap } from "./cells.js";
import { Tree } from "./tree.js";
import { litCells, quantumWords } from "./quantum.js";
import { Zoom } from "./zoom.js";

const EVERY = 500; // milliseconds between an answer and the next question
const LATER = 2000; // the same where nobody has answered

const ram = new CellMap(byId("ram"), "RAM");
const ramLegend = byId("ram").appendChild(h("div"));
const bandHead = byId("band").appendChild(h("p", { class: "quiet" }));
const band = new CellMap(byId("band"), "The window");
const zoom = new Zoom(byId("band"), band, ask, light);
const bandLegend = byId("band").appendChild(h("div"));
const tree = new Tree(byId("tree"), choose);

let version = 0;
let paused = false;
let wanted = null; // { device, number } of the quantum that is chosen
let chosen = null; // what was said of it, state.Chosen

// -- what is shown ------------------------------------------------------------------------------

function legend(title, heads, rows, total) {
  const row = (cell) => (each) => h("tr", {},
    h(cell, { class: "letter", scope: cell === "th" && "row" }, each.letter ? swatch(each.letter) : ""),
    h(cell, {}, each.name), h(cell, { class: "number" }, count(each.number)),
    h(cell, { class: "number" }, each.size));
  return h("table", { class: "legend" }, h("caption", {}, title),
    h("thead", {}, h("tr", {}, h("th"), h("th", { scope: "col" }, heads[0]),
      h("th", { scope: "col", class: "number" }, heads[1]),
      h("th", { scope: "col", class: "number" }, heads[2]))),
    h("tbody", {}, ...rows.map(row("td"))),
    total ? h("tfoot", {}, row("th")(total)) : "");
}

function showMaps(maps) {
  const names = new Map([...maps.band_rows, ...maps.ram_rows].map((row) => [row.letter, row.name]));
  ram.show(maps.ram, names);
  ramLegend.replaceChildren(
    legend("Whose the frames are", ["whose", "frames", "size"], maps.ram_rows, maps.total),
    ...maps.ram_notes.map((note) => h("p", { class: "quiet" }, note)));
  bandHead.textContent = maps.window;
  zoom.show(maps.band, names);
  bandLegend.replaceChildren(
    legend("What the addresses are", ["what", "ranges", "size"], maps.band_rows));
}

function showTree(said) {
  tree.show(said);
  const names = said.devices.map((device) => device.name);
  const select = byId("device");
  const before = select.value;
  if (names.join() !== Array.from(select.options, (option) => option.value).join())
    select.replaceChildren(...names.map((name) => h("option", { value: name }, name)));
  if (names.includes(before)) select.value = before;
}

function light() {
  if (!band.cells) return;
  zoom.lit = chosen?.there ? BigInt(`0x${chosen.start}`) : null;
  const [inRam, inBand] = litCells(chosen, ram, band);
  ram.light(inRam);
  band.light(inBand);
}

function say(trouble, state) {
  const box = byId("trouble");
  box.hidden = !trouble;
  if (box.textContent !== trouble) box.textContent = trouble;
  document.body.classList.toggle("stale", Boolean(trouble));
  if (byId("state").textContent !== state) byId("state").textContent = state;
}

// -- what is asked ------------------------------------------------------------------------------

let trouble = "";

function show(state) {
  const changed = state.tree || state.maps;
  version = state.version;
  if (state.mount !== undefined) {
    byId("mount").textContent = state.mount;
    document.title = `${state.mount} – scullvfs view`;
  }
  if (state.now !== undefined) byId("now").textContent = state.now;
  if (state.trouble !== undefined) trouble = state.trouble;
  if (state.tree) showTree(state.tree);
  if (state.maps) showMaps(state.maps);
  const silent = state.silence ? `The mount has not answered for ${state.silence} s.` : trouble;
  if (!paused) say(silent, silent ? "" : state.behind ? "live; RAM is being read" : "live");
  return changed;
}

async function ask(what) {
  const answer = await fetch(what, { cache: "no-store" });
  if (!answer.ok) throw new Error(answer.statusText);
  return answer.json();
}

async function poll() {
  let next = EVERY;
  if (!paused && !document.hidden) {
    try {
      const changed = show(await ask(`state?have=${version}`));
      if (changed && wanted && !trouble) await askQuantum();
      else if (changed) light();
    } catch {
      say("The program that serves this page does not answer. If it has ended, start it again, and " +
        "open the address that it prints.", "");
      next = LATER;
    }
  }
  setTimeout(poll, next);
}

async function askQuantum() {
  const asked = wanted;
  const said = await ask(`quantum?device=${encodeURIComponent(asked.device)}&number=${asked.number}`);
  if (asked !== wanted) return; // another one was clicked meanwhile
  if (JSON.stringify(said) !== JSON.stringify(chosen))
    byId("quantum").replaceChildren(
      ...(said.trouble ? [h("p", {}, said.trouble)] : quantumWords(said)));
  chosen = said;
  light();
}

// -- what the reader does -----------------------------------------------------------------------

async function choose(device, number) {
  wanted = { device, number };
  chosen = null;
  byId("device").value = device;
  byId("number").value = number;
  byId("clear").hidden = false;
  tree.select(wanted);
  history.replaceState(null, "", `#${device}/${number}`);
  try {
    await askQuantum();
  } catch {
    byId("quantum").replaceChildren(h("p", {}, "Nobody has answered."));
  }
}

byId("pick").addEventListener("submit", (event) => {
  event.preventDefault();
  if (byId("device").value) choose(byId("device").value, Number(byId("number").value));
});

byId("clear").addEventListener("click", () => {
  wanted = chosen = null;
  byId("clear").hidden = true;
  tree.select(null);
  history.replaceState(null, "", "#");
  hint();
  light();
});

byId("pause").addEventListener("click", () => {
  paused = !paused;
  byId("pause").setAttribute("aria-pressed", paused);
  byId("pause").textContent = paused ? "Go on" : "Pause";
  if (paused) say("", `paused at ${new Date().toLocaleTimeString()}`);
  document.body.classList.toggle("paused", paused);
});

function hint() {
  byId("quantum").replaceChildren(h("p", { class: "quiet" },
    "Click a quantum of a device: its area, the way through the page tables and its frames light up."));
}

// The address says which quantum is chosen, so that a page that is loaded again has it, too.
function follow() {
  const [, device, number] = /^#(\w+)\/(\d+)$/.exec(location.hash) ?? [];
  if (device) choose(device, Number(number));
}

addEventListener("hashchange", follow);
hint();
poll().then(follow);
