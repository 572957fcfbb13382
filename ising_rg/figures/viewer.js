"use strict";
// What the pages of viewing.py and exploring.py share: the viewer, the scale bar, the coordinates under the mouse, the buttons, the address.
// The address ends in #x=..&y=..&zoom=..: the site at the centre of the view and the pixels of screen a site. Site (x, y) is
// spins[y, x] and covers x ... x + 1 to the right and y ... y + 1 downwards, so that x = 0.5 is the middle of the first.
const SHARPEST = 64;      // pixels a site
const SINGLE_SPINS = 32;  // pixels a site
const element = (id) => document.getElementById(id);

// What a page does in its own way.
const ways = {
  length: (sites) => `${sites} site${sites === 1 ? "" : "s"}`,  // how the scale bar says its length
  site: (x, y) => x >= 0 && y >= 0 && x < sides() && y < sides() ? [x, y] : null,  // the site at a place, if any
  tell: () => {},                       // whatever else it tells, after every change of the view
  address: (x, y) => `x=${x.toFixed(2)}&y=${y.toFixed(2)}`,
  mayWrite: () => true,                 // whether the address may be written
};

let viewer = null;
let item = null;      // the lattice, once it is open
let pointer = null;   // where the mouse is, in pixels of the viewer
let whole = true;     // whether the view is the whole lattice, which then follows the size of the window

const pixelsPerSite = () => item.viewportToImageZoom(viewer.viewport.getZoom(true));
const sides = () => item.getContentSize().x;

/** Return the longest of 1, 2, 5, 10, 20, ... sites that fits into so many pixels. */
function roundLength(pixels, scale) {
  const most = Math.max(1, pixels / scale);
  const power = 10 ** Math.floor(Math.log10(most));
  return power * (most >= 5 * power ? 5 : most >= 2 * power ? 2 : 1);
}

/** Return a number of sites or pixels as people read it. */
const rounded = (number) => number >= 1e5 ? number.toExponential(1).replace(/e\+?(-?\d+)/, " × 10^$1") : number.toFixed(number < 10 ? 1 : 0);

function tell() {
  if (!item) return;
  const scale = pixelsPerSite();
  whole = Math.abs(viewer.viewport.getZoom(true) / viewer.viewport.getHomeZoom() - 1) < 1e-6;
  // Averages of many spins may be smoothed; single ones are squares.
  viewer.drawer.setImageSmoothingEnabled(scale * window.devicePixelRatio < 1);
  const sites = roundLength(Math.min(200, viewer.element.clientWidth / 3), scale);
  element("length").textContent = ways.length(sites);
  element("bar").style.width = `${sites * scale}px`;
  element("scale").textContent = scale >= 1 ? `${rounded(scale)} pixels a site` : `${rounded(1 / scale)} sites a pixel`;
  const place = pointer || viewer.viewport.viewportToViewerElementCoordinates(viewer.viewport.getCenter(true));
  const at = item.viewerElementToImageCoordinates(place);
  const site = ways.site(Math.floor(at.x), Math.floor(at.y));
  element("site").textContent = site ? `${pointer ? "mouse" : "centre"}: x = ${site[0]}, y = ${site[1]}` : "outside";
  ways.tell(scale);
}

function goTo(x, y, zoom) {
  viewer.viewport.zoomTo(item.imageToViewportZoom(zoom), null, true);
  viewer.viewport.panTo(item.imageToViewportCoordinates(x, y), true);
  viewer.viewport.applyConstraints(true);
  tell();
}

/** Return the numbers x, y and zoom of the address, null if it has not all of them. */
function placeOf(address) {
  const [x, y, zoom] = ["x", "y", "zoom"].map((key) => parseFloat(address.get(key)));
  return Number.isFinite(x) && Number.isFinite(y) && zoom > 0 ? { x, y, zoom } : null;
}

function followAddress() {
  const place = placeOf(new URLSearchParams(location.hash.slice(1)));
  if (item && place) goTo(place.x, place.y, place.zoom);
}

function writeAddress() {
  if (!item || !ways.mayWrite()) return;
  const centre = item.viewportToImageCoordinates(viewer.viewport.getCenter());
  const scale = item.viewportToImageZoom(viewer.viewport.getZoom());
  const hash = `#${ways.address(centre.x, centre.y)}&zoom=${+scale.toPrecision(5)}`;
  try { history.replaceState(null, "", hash); } catch { /* some browsers refuse it for files: the view is as good without */ }
}

/** Open the viewer in #lattice; options: of OpenSeadragon, beside those that both pages have. */
function openViewer(options) {
  viewer = OpenSeadragon({
    element: element("lattice"),
    drawer: "canvas",  // WebGL may not read tiles of a page that was opened from disk
    showNavigationControl: false,
    showNavigator: true,
    navigatorPosition: "BOTTOM_RIGHT",
    navigatorWidth: "168px",
    navigatorHeight: "168px",
    navigatorAutoFade: false,
    navigatorOpacity: 1,
    maxZoomPixelRatio: SHARPEST,
    smoothTileEdgesMinZoom: Infinity,  // tiles drawn straight onto the page: squares stay sharp up to its last pixel
    minZoomImageRatio: 0.7,
    preserveImageSizeOnResize: true,
    animationTime: 0.5,
    zoomPerScroll: 1.3,
    gestureSettingsMouse: { clickToZoom: false, dblClickToZoom: true },
    ...options,
  });
  viewer.addHandler("open", () => {
    item = viewer.world.getItemAt(0);
    tell();
  });
  viewer.addHandler("close", () => { item = null; });
  viewer.addHandler("update-viewport", tell);
  viewer.addHandler("animation-finish", writeAddress);
  viewer.addHandler("after-resize", () => {
    if (whole) setTimeout(() => viewer.viewport.goHome(true));  // once the viewer itself is done with the new size
  });
  viewer.addHandler("canvas-key", (event) => {  // the viewer's keys to turn and mirror: x and y would no longer be what they seem
    if (["KeyR", "KeyF"].includes(event.originalEvent.code)) event.preventDefaultAction = true;
  });
  viewer.element.addEventListener("pointermove", (event) => {
    const box = viewer.element.getBoundingClientRect();
    pointer = event.pointerType === "touch" ? null : new OpenSeadragon.Point(event.clientX - box.left, event.clientY - box.top);
    tell();
  });
  viewer.element.addEventListener("pointerleave", () => { pointer = null; tell(); });
  element("in").onclick = () => viewer.viewport.zoomBy(2).applyConstraints();
  element("out").onclick = () => viewer.viewport.zoomBy(0.5).applyConstraints();
  element("whole").onclick = () => viewer.viewport.goHome();
  element("single").onclick = () => viewer.viewport.zoomTo(item.imageToViewportZoom(SINGLE_SPINS)).applyConstraints();
}
