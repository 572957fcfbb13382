"""exploring.py's page in a browser: from the whole lattice to single spins at an address, at a seam too; spins; other lattices."""

import io
import json
import time
import urllib.request

import numpy as np
import pytest

from ising_rg import Lattice
from ising_rg.spins import bitmaps
from tests import browser
from tests.exploring.test_server import serving

pytestmark = [pytest.mark.long, pytest.mark.skipif(browser.PROGRAM is None, reason="no chromium on PATH")]
START, STAGES = 16, 15
L = START * 3**STAGES
READY = "item.getFullyLoaded() && !viewer.isAnimating() && shown === asked"
BOX = "(({left, top, width, height}) => [left, top, width, height])(element('lattice').getBoundingClientRect())"


@pytest.fixture(scope="module")
def server():
    with serving(seed=3, stages=STAGES, start=START) as one:
        yield one


@pytest.fixture(scope="module")
def page(server):
    with browser.opened(server.url, 900, 620) as one:
        one.wait(READY)
        yield one
        assert one.errors == []


def go(page, address):
    page.evaluate(f"location.hash = '{address}'")
    time.sleep(0.05)
    page.wait(READY)


def shown(page):
    """Return the pixels of the lattice, cards hidden, uint8 (height, width)."""
    hide = "document.querySelectorAll('.card, .navigator, .panel').forEach((it) => it.style.visibility = '{}')"
    page.evaluate(hide.format("hidden"))
    left, top, width, height = (int(part) for part in page.evaluate(BOX))
    picture = page.screenshot()[top : top + height, left : left + width]
    page.evaluate(hide.format("visible"))
    assert np.ptp(picture, axis=2).max() == 0
    return picture[:, :, 0]


def test_it_opens_with_the_whole_lattice(page):
    assert page.evaluate("[facts.seed, document.title, whole]") == ["3", f"L = {L:,}, critical, seed 3", True]
    assert "stage " in page.evaluate("element('stage').textContent")
    go(page, "seed=3&xi=critical&x=1&y=1&zoom=3e-6")
    assert page.evaluate("location.hash").startswith("#seed=3&xi=critical&x=1&y=1&zoom=")


@pytest.mark.parametrize("x, y", [(70_000_000, 5), (0, 0), (L - 1, 123_456_789)])
def test_an_address_leads_to_single_spins_as_exact_squares(page, x, y):
    """Pixels of the screen are the Lattice's spins, but for those at the edges of squares; the places lie at seams.

    The viewer stretches tiles by one pixel, those before a seam by 1.75, so that no gap shows."""
    zoom = 16
    go(page, f"seed=3&x={x}&y={y}&zoom={zoom}")
    assert page.evaluate("element('stage').textContent") == f"stage 15 of 15, L = {L:,}"
    picture = shown(page)

    def sites(centre, n_pixels):
        place = centre + 0.5 + (np.arange(n_pixels) + 0.5 - n_pixels / 2) / zoom
        within = place % 1 * zoom
        return np.floor(place).astype(int), (within > 2) & (within < zoom - 2)

    (rows, in_row), (columns, in_column) = sites(y, picture.shape[0]), sites(x, picture.shape[1])
    lattice = Lattice(3, STAGES, START)

    n_rows, n_columns = rows[-1] - rows[0] + 1, columns[-1] - columns[0] + 1
    near = bitmaps.to_spins(lattice.around(rows[0] % L, columns[0] % L, n_rows, n_columns))
    expected = np.where(near[np.ix_(rows[in_row] - rows[0], columns[in_column] - columns[0])] > 0, 0, 255)
    assert np.array_equal(picture[np.ix_(in_row, in_column)], expected)
    assert page.evaluate("location.hash") == f"#seed=3&xi=critical&x={x}&y={y}&zoom={zoom}"


def test_zooming_passes_through_the_stages(page):
    go(page, "seed=3&x=70000001&y=69999999&zoom=1e-3")
    stages = []
    for number in range(7):
        page.wait(f"{READY} && Math.abs(pixelsPerSite() / {1e-3 * 3**number} - 1) < 1e-6")
        stages.append(int(page.evaluate("element('stage').textContent").split()[1]))
        page.evaluate("void viewer.viewport.zoomBy(3).applyConstraints()")
    assert stages == [9, 10, 11, 12, 13, 14, 15]
    assert page.evaluate("element('site').textContent") == "centre: x = 70000001, y = 69999999"


def test_these_spins(page, server):
    go(page, f"seed=3&x={L - 30}&y=40&zoom=8")
    page.evaluate("openPanel('spins')")
    offered = page.evaluate("['npy', 'json'].map((name) => element(name).href)")
    python = page.evaluate("element('python').textContent")
    with urllib.request.urlopen(offered[0]) as answer:
        spins = np.load(io.BytesIO(answer.read()))
    with urllib.request.urlopen(offered[1]) as answer:
        about = json.load(answer)
    _, _, width, height = page.evaluate(BOX)
    assert spins.shape == (int(height / 8), int(width / 8)) == tuple(about["window"][2:])
    assert np.array_equal(spins, eval(python, {"Lattice": Lattice, "bitmaps": bitmaps}))
    page.evaluate("element('row').value = '7'; element('height').value = '9999'; offer()")
    assert page.evaluate("element('npy').hidden") and "needed" in page.evaluate("element('of-stage').textContent")
    page.evaluate("element('row').value = '7'; element('height').value = '20'; element('column').value = '9'; offer()")
    python = page.evaluate("element('python').textContent")
    assert "around" not in python and eval(python, {"Lattice": Lattice}).shape == (20, int(width / 8))
    page.evaluate("openPanel('')")


def test_the_curve(page):
    go(page, "seed=3&x=1000&y=1000&zoom=2")
    page.evaluate("openPanel('curve')")
    page.wait("document.querySelectorAll('#plot circle').length > 10")
    assert "Line: exact" in page.evaluate("element('curve-told').textContent")
    page.evaluate("openPanel('')")


def test_other_lattices_and_back(page):
    """Seed and correlation length are taken together, and a place with them; the last address wins whatever comes between."""
    go(page, "seed=3&x=7&y=8&zoom=4")
    page.evaluate("element('xi').value = '1e6'; element('choose').requestSubmit()")
    page.wait(f"{READY} && facts.xi === 1e6")
    assert "ξ = 1,000,000" in page.evaluate("document.title")
    assert page.evaluate("location.hash") == "#seed=3&xi=1000000&x=7&y=8&zoom=4"
    go(page, "seed=9&x=5&y=6&zoom=4")
    page.wait(f"{READY} && facts.seed === '9' && facts.xi === 'critical'")
    assert page.evaluate("location.hash") == "#seed=9&xi=critical&x=5&y=6&zoom=4"
    assert page.evaluate("item.source.getTileUrl(3, 0, 0)") == "/tile?seed=9&xi=critical&level=3&x=0&y=0"
    page.evaluate("show('10', '-1e6', null); show('11', '', null); location.hash = 'seed=12&xi=1e6&x=2&y=3&zoom=8'")
    page.wait(f"{READY} && facts.seed === '12'")
    page.wait("location.hash.startsWith('#seed=12&xi=1000000&x=2&y=3&zoom=8')")


def test_off_criticality_the_whole_lattice_is_grey(page):
    go(page, f"seed=3&xi=300000&x=0&y=0&zoom={500 / L}")
    assert page.evaluate("facts.levels[0].block") > 1 and 0 < page.evaluate("facts.spread") < 1
    picture = shown(page)
    assert len(np.unique(picture)) > 20 and abs(picture.mean() - 127.5) < 15


def test_a_refusal_is_told_and_the_lattice_stays(page):
    before = page.evaluate("facts.seed")
    page.evaluate("element('xi').value = 'warm'; element('choose').requestSubmit()")
    page.wait("!element('notice').hidden")
    assert "a correlation length" in page.evaluate("element('notice').textContent")
    assert page.evaluate("facts.seed") == before and page.evaluate("shown === asked")
    page.errors[:] = [
        error for error in page.errors if "400" not in json.dumps(error)
    ]  # the browser's own note of the answer
    page.evaluate("show(facts.seed, 'critical', null)")
    page.wait("element('notice').hidden")


def test_keys(page):
    go(page, "seed=3&xi=critical&x=1000&y=1000&zoom=1")
    for key, panel in (("o", "other"), ("s", "spins"), ("c", "curve"), ("?", "about")):
        page.call("Input.dispatchKeyEvent", type="keyDown", key=key, text=key)
        page.call("Input.dispatchKeyEvent", type="keyUp", key=key)
        assert page.evaluate(
            "[...document.querySelectorAll('.panel')].filter((it) => !it.hidden).map((it) => it.id)"
        ) == [panel]
    page.call("Input.dispatchKeyEvent", type="keyDown", key="Escape")
    assert page.evaluate("[...document.querySelectorAll('.panel')].every((it) => it.hidden)")
    page.evaluate("element('spacing').value = '0.3'; tell()")
    assert "nm" in page.evaluate("element('length').textContent")
    page.evaluate("element('spacing').value = ''; tell()")
    page.call("Input.dispatchKeyEvent", type="keyDown", key="1", text="1")
    page.wait(f"{READY} && Math.abs(pixelsPerSite() - 32) < 1e-6")


@pytest.mark.parametrize("width, height", [(360, 640), (1280, 720)])
def test_nothing_overlaps(page, width, height):
    """Header, card, inset and each panel keep apart, and within the window."""
    page.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
    go(page, "seed=3&x=1000000&y=1000000&zoom=1e-5")
    boxes = """['header', '.card', '.navigator', '.panel:not([hidden])'].map((name) => document.querySelector(name))
        .filter((it) => it).map((it) => it.getBoundingClientRect())
        .map(({left, top, right, bottom}) => [left, top, right, bottom])"""
    for panel in ("", "other", "spins", "curve", "about"):
        page.evaluate("openPanel('')")
        page.evaluate(f"openPanel('{panel}')")
        found = page.evaluate(boxes)
        assert len(found) == 3 + bool(panel)
        for number, (left, top, right, bottom) in enumerate(found):
            assert left >= 0 and top >= 0 and right <= width and bottom <= height, (panel, number, found)
            for other in found[:number]:
                apart = left >= other[2] or right <= other[0] or top >= other[3] or bottom <= other[1]
                assert apart, (panel, number, found)
    page.evaluate("openPanel('')")
