"use strict";
// The panels: another lattice, these spins, C(r), about. One is open at a time.
const PANELS = { o: "other", s: "spins", c: "curve", "?": "about" };
const FIELDS = ["row", "column", "height", "width"];
let taken = null;      // the window of the spins panel
let measurement = 0;   // number of the curve asked for last

function openPanel(name) {
  for (const button of document.querySelectorAll(".opens")) {
    const chosen = button.dataset.panel === name && element(name).hidden;
    element(button.dataset.panel).hidden = !chosen;
    button.setAttribute("aria-expanded", chosen);
  }
  if (!item || !name || element(name).hidden) return;
  if (name === "spins") takeWindow(windowOnScreen());
  if (name === "curve") measure();
}

function takeWindow(window) {
  taken = window;
  for (const name of FIELDS) element(name).value = window[name];
  offer();
}

/** Offer the window in the fields, at the level that was on screen. */
function offer() {
  for (const name of FIELDS) taken[name] = /^\d+$/.test(element(name).value) ? Number(element(name).value) : NaN;
  const level = facts.levels[taken.level], { row, column, height, width } = taken;
  const most = Math.min(LARGEST, level.side);
  const good = level.block === 1 && row < level.side && column < level.side && [height, width].every((n) => n >= 1 && n <= most);
  element("of-stage").textContent = level.block > 1 ? "Here a pixel is an average of spins: zoom in." :
    good ? `Of ${nameOf(level)}.` : `Of ${nameOf(level)}; needed: row and column below ${level.side}, 1 to ${most} rows and columns.`;
  for (const ending of ["npy", "json"]) {
    element(ending).hidden = !good;
    element(ending).href = `/spins.${ending}?${query(taken)}`;
  }
  const seam = row + height > level.side || column + width > level.side;
  element("python").textContent = !good ? "" : seam
    ? `bitmaps.to_spins(${facts.python}.stage(${level.stage}).around(${row}, ${column}, ${height}, ${width}))`
    : `${facts.python}.stage(${level.stage})[${row}:${row + height}, ${column}:${column + width}]`;
}

const query = (window) => Object.entries({ seed: facts.seed, xi: facts.xi, ...window }).map(([name, value]) => `${name}=${value}`).join("&");

async function measure() {
  const number = ++measurement, window = windowOnScreen(4096), level = facts.levels[window.level];
  element("plot").textContent = "";
  if (level.block > 1 || Math.min(window.height, window.width) < 16) {
    element("curve-told").textContent = level.block > 1 ? "Here a pixel is an average of spins: zoom in." : "Fewer than 16 spins: zoom out.";
    return;
  }
  element("curve-told").textContent = "measuring …";
  const curve = await answer(`/curve?${query(window)}`, () => number === measurement);
  if (number !== measurement) return;
  element("curve-told").textContent = curve ? `${nameOf(level)}: ${window.height} × ${window.width} spins. Line: exact; points: this window, ${
    curve.error[0] === null ? "whose scatter is not known here" : "with the scatter of such a window"}. r in its sites.` : "";
  if (curve) draw(curve);
}

/** Draw C(r) over r, both logarithmic, as an SVG. */
function draw({ r, measured, exact, error }) {
  const [W, H, left, bottom] = [320, 220, 42, 30], space = "http://www.w3.org/2000/svg";
  const values = [...measured, ...exact].filter((value) => value > 0);
  const low = Math.max(1e-4, Math.min(...values) / 1.15), high = Math.max(...values) * 1.1;
  const across = (x) => left + (W - left - 10) * Math.log(x) / Math.log(Math.max(2, r.at(-1)));
  const up = (y) => (H - bottom) - (H - bottom - 8) * Math.log(Math.min(high, Math.max(low, y)) / low) / Math.log(high / low);
  const svg = document.createElementNS(space, "svg");
  const add = (name, attributes, text = "") => {
    const part = svg.appendChild(document.createElementNS(space, name));
    for (const [key, value] of Object.entries(attributes)) part.setAttribute(key, value);
    part.textContent = text;
  };
  svg.setAttribute("viewBox", `0 0 ${W} ${H}`);
  const mark = { "font-size": 11, fill: "#1b1f23" }, line = { stroke: "#c4c8cc" };
  for (let x = 1; x <= r.at(-1); x *= 10) {
    add("line", { x1: across(x), x2: across(x), y1: 8, y2: H - bottom, ...line });
    add("text", { x: across(x), y: H - bottom + 14, "text-anchor": "middle", ...mark }, x);
  }
  for (const y of [1, 0.7, 0.5, 0.3, 0.2, 0.1, 0.05, 0.02, 0.01, 0.001, 0.0001].filter((y) => y >= low && y <= high)) {
    add("line", { x1: left, x2: W - 10, y1: up(y), y2: up(y), ...line });
    add("text", { x: left - 5, y: up(y) + 4, "text-anchor": "end", ...mark }, y);
  }
  add("text", { x: (W + left) / 2, y: H - 3, "text-anchor": "middle", ...mark }, "r");
  add("text", { x: 2, y: 14, ...mark }, "C(r)");
  add("polyline", { points: r.map((x, i) => `${across(x)},${up(exact[i])}`).join(" "), fill: "none", stroke: "black", "stroke-width": 1.3 });
  r.forEach((x, i) => {
    if (error[i] !== null) {
      const ends = { y1: up(measured[i] - error[i]), y2: up(measured[i] + error[i]) };
      add("line", { x1: across(x), x2: across(x), ...ends, stroke: "#0072b2" });
    }
    if (measured[i] > low) add("circle", { cx: across(x), cy: up(measured[i]), r: 2.6, fill: "#0072b2" });
  });
  element("plot").replaceChildren(svg);
}

for (const button of document.querySelectorAll(".opens")) button.onclick = () => openPanel(button.dataset.panel);
element("window").oninput = offer;
element("window").onsubmit = (event) => event.preventDefault();
element("again").onclick = measure;
element("spacing").oninput = tell;
element("choose").onsubmit = (event) => {
  event.preventDefault();
  show(element("seed").value.trim(), element("xi").value.trim(), null);
};
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape") openPanel("");
  if (event.target.tagName === "INPUT" || event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key in PANELS) openPanel(PANELS[event.key]);
  if (event.key === "1" && item) element("single").click();
});
