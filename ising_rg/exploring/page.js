"use strict";
// One lattice at a time, `facts`: of a seed and a correlation length, which are taken together or not at all. Levels are a factor of
// three apart. In the address x and y are the site in the middle of the view, whole numbers.
const COARSEST = 1 / Math.sqrt(3);  // pixels of screen that a pixel of a level has at least: the level nearest to one is shown
const LARGEST = 8192;               // sites per side of what is handed out

let facts = null;
let asked = 0;   // number of the lattice asked for last
let shown = -1;  // and of the one on screen

const modulo = (n, N) => ((n % N) + N) % N;
const last = () => facts.levels.length - 1;
const count = (n) => n.toLocaleString("en");

/** Return the number of the level on screen, at so many pixels a site. */
function levelAt(scale) {
  const n = last() + Math.log(scale * OpenSeadragon.pixelDensityRatio / COARSEST) / Math.log(3);
  return Math.min(last(), Math.max(0, Math.floor(n + 1e-9)));
}

/** Return {level, row, column, height, width} of what is on screen, in pixels of its level, and no more than the lattice. */
function windowOnScreen(most = LARGEST) {
  const level = levelAt(pixelsPerSite());
  const side = facts.levels[level].side, view = viewer.viewport.getBounds(true);
  const [width, height] = [view.width, view.height].map((part) => Math.max(1, Math.min(Math.floor(part * side), side, most)));
  const [x, y] = [view.x + view.width / 2, view.y + view.height / 2].map((part) => part * side);
  return { level, row: modulo(Math.round(y - height / 2), side), column: modulo(Math.round(x - width / 2), side), height, width };
}

function nameOf(level) {
  const stage = level.stage === 0 ? "start lattice" : `stage ${level.stage} of ${facts.levels[last()].stage}`;
  if (!level.drawn) return "beyond all correlations: not drawn, its mean";
  return level.block > 1 ? `${stage}, averages of ${level.block} × ${level.block}` : `${stage}, L = ${count(level.side)}`;
}

const spacing = () => parseFloat(element("spacing").value);

/** Return a length of so many nm in the unit that suits it. */
function metres(nm) {
  const units = [[1e12, "km"], [1e9, "m"], [1e7, "cm"], [1e6, "mm"], [1e3, "µm"], [1, "nm"]];
  const [size, name] = units.find(([size]) => nm >= size) || [1, "nm"];
  return `${+(nm / size).toPrecision(3)} ${name}`;
}

Object.assign(ways, {
  length: (sites) => `${count(sites)} site${sites === 1 ? "" : "s"}${spacing() > 0 ? ` = ${metres(sites * spacing())}` : ""}`,
  site: (x, y) => [modulo(x, facts.L), modulo(y, facts.L)],
  tell: (scale) => {
    const n = levelAt(scale), level = facts.levels[n], pixels = scale * 3 ** (last() - n);
    element("stage").textContent = nameOf(level);
    element("spins-a-pixel").textContent = level.block > 1 ? "" :
      pixels >= 1 ? `${rounded(pixels)} pixels a spin of it` : `${rounded(pixels ** -2)} of its spins a pixel`;
    element("drawing").hidden = item.getFullyLoaded();
  },
  address: (x, y) => `seed=${facts.seed}&xi=${facts.xi}&x=${modulo(Math.floor(x), facts.L)}&y=${modulo(Math.floor(y), facts.L)}`,
  mayWrite: () => shown === asked,
});

function source(of) {
  const made = new OpenSeadragon.TileSource({
    width: of.L, height: of.L, tileSize: of.tile, tileOverlap: 0, minLevel: 0, maxLevel: of.levels.length - 1,
  });
  made.getLevelScale = (level) => of.levels[level].side / of.L;
  made.getNumTiles = (level) => {  // whole numbers: a scale times a size may be a hair more
    const n = Math.ceil(of.levels[level].side / of.tile);
    return new OpenSeadragon.Point(n, n);
  };
  made.getTileUrl = (level, x, y) => `/tile?seed=${of.seed}&xi=${of.xi}&level=${level}&x=${x}&y=${y}`;
  return made;
}

function complain(sentence) {
  element("notice").textContent = sentence;
  element("notice").hidden = !sentence;
}

/** Return what the server answers to a path, as JSON; null if that is no longer wanted, or it refuses, which is told. */
async function answer(path, wanted) {
  try {
    const got = await fetch(path);
    const content = got.ok ? await got.json() : await got.text();
    if (!wanted()) return null;
    complain(got.ok ? "" : content);
    return got.ok ? content : null;
  } catch {
    if (wanted()) complain("The server does not answer. Is exploring.py still running?");
    return null;
  }
}

/** Show a lattice at a place {x, y, zoom}; an empty seed or xi is the script's, no place leaves the view as it is. */
async function show(seed, xi, place) {
  const number = ++asked;
  const query = Object.entries({ seed, xi }).filter(([, value]) => value).map(([name, value]) => `${name}=${encodeURIComponent(value)}`);
  const found = await answer(`/lattice?${query.join("&")}`, () => number === asked);
  if (!found) {
    if (number === asked) asked = shown;  // refused: the one on screen stays
    return;
  }
  if (facts && item && found.seed === facts.seed && found.xi === facts.xi) {
    shown = number;
    goToSite(place);
    return;
  }
  const view = item && !place ? { x: viewer.viewport.getCenter(true).x * facts.L, y: viewer.viewport.getCenter(true).y * facts.L } : null;
  const stay = view ? { ...view, zoom: pixelsPerSite() } : place;
  item = null;  // what belongs to the one before is neither told nor written
  facts = found;
  viewer.addOnceHandler("open", () => {
    if (number !== asked) return;
    shown = number;
    goToSite(stay);
    describe();
    writeAddress();
  });
  viewer.open(source(found));
}

/** Go to a place, its site in the middle. */
function goToSite(place) {
  if (place) goTo(Math.floor(place.x) + 0.5, Math.floor(place.y) + 0.5, place.zoom);
}

function describe() {
  const xi = facts.xi === "critical" ? "critical" : `ξ = ${count(facts.xi)}`;
  element("title").textContent = document.title = `L = ${count(facts.L)}, ${xi}, seed ${facts.seed}`;
  element("seed").value = facts.seed;
  element("xi").value = facts.xi;
  element("flat").hidden = facts.spread === null;
  element("flat").textContent = `Where a pixel averages many correlation lengths, nothing is drawn: it has the grey of the exact mean,
    from which averages would differ by ${facts.spread?.toPrecision(2)} (of a spin's 1) or less, a third of that at each level further out.`;
}

function followPlace() {
  const address = new URLSearchParams(location.hash.slice(1));
  show(address.get("seed"), address.get("xi"), placeOf(address));
}

openViewer({
  wrapHorizontal: true,
  wrapVertical: true,
  minPixelRatio: COARSEST,
  imageLoaderLimit: 6,  // at a time; what waits for them is chosen anew with every frame
  maxTilesPerFrame: 6,
  timeout: 120000,
});
viewer.addHandler("tile-loaded", () => setTimeout(tell));
viewer.addHandler("tile-load-failed", (event) => {
  if (shown === asked) complain(`A tile was not drawn (${event.message}). Is exploring.py still running?`);
});
viewer.addHandler("animation-finish", () => {  // around the torus and back
  const centre = viewer.viewport.getCenter();
  const home = new OpenSeadragon.Point(modulo(centre.x, 1), modulo(centre.y, 1));
  if (item && !home.equals(centre)) viewer.viewport.panTo(home, true);
});
window.addEventListener("hashchange", followPlace);
followPlace();
