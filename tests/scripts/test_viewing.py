"""The pyramid is the lattice, pixel by pixel; viewing.py as a user runs it; the page in a browser, opened from disk."""

import itertools
import os
import signal
import subprocess
import sys
from urllib.parse import quote

import numpy as np
import pytest
from PIL import Image

from ising_rg.figures import deep_zoom
from ising_rg.files import storage
from ising_rg.spins import configurations
from tests import browser
from tests.scripts.test_pipeline import ROOT, fail, succeed

pytestmark = pytest.mark.long


def some_spins(L, seed=1):
    """Return int8 (L, L): domains of 8 x 8 with every tenth spin flipped, so that averages of all sizes vary."""
    random = np.random.default_rng(seed)
    domains = np.kron(random.choice([-1, 1], (L // 8 + 1, L // 8 + 1)), np.ones((8, 8), int))[:L, :L]
    return np.where(random.random((L, L)) < 0.1, -domains, domains).astype(np.int8)


def save_both(folder, spins):
    """Write the spins as int8 and as bits; return both paths."""
    paths = folder / "int8.npy", folder / "bits.npy"
    np.save(paths[0], spins)
    np.save(paths[1], np.packbits(spins > 0, axis=1))
    return paths


def write(folder, path, tile_size):
    L, rows = configurations.open_packed_rows(path)
    return deep_zoom.write(L, rows, folder, "a", tile_size, 2, "the page")


def level(folder, number, side, tile_size):
    """Return one level of the pyramid put together, uint8 (side, side); every tile has the size that the format demands."""
    whole = np.zeros((side, side), np.uint8)
    starts = range(0, side, tile_size)
    for (column, x), (row, y) in itertools.product(enumerate(starts), enumerate(starts)):
        with Image.open(folder / str(number) / f"{column}_{row}.png") as image:
            assert image.mode in ("1", "L") and image.size == (min(tile_size, side - x), min(tile_size, side - y))
            whole[y : y + tile_size, x : x + tile_size] = image.convert("L")
    assert len(os.listdir(folder / str(number))) == len(starts) ** 2
    return whole


@pytest.mark.parametrize("L, tile_size", [(1, 64), (7, 64), (96, 64), (100, 64), (1000, 64), (1000, 512), (1023, 100)])
def test_the_finest_level_is_the_spins_and_the_others_are_averages(tmp_path, L, tile_size):
    """Levels follow each other within the rounding of one average; k of them are within k / 2 grey levels of the block average."""
    spins = some_spins(L)
    pyramids = []
    for path in save_both(tmp_path, spins):
        out = tmp_path / path.stem
        out.mkdir()
        n_tiles, n_bytes = write(out, path, tile_size)
        files = {str(file.relative_to(out)): file.read_bytes() for file in out.rglob("*") if file.is_file()}
        assert (n_tiles, n_bytes) == (len(files) - 2, sum(map(len, files.values())))
        assert n_bytes + 4096 * len(files) <= deep_zoom.disk_bytes(L, tile_size)  # in whole blocks
        pyramids.append(files)
    assert pyramids[0] == pyramids[1]
    assert (
        f'Width="{L}"' in pyramids[0]["a.dzi"].decode() and f'TileSize="{tile_size}"' in pyramids[0]["a.dzi"].decode()
    )

    finest = (L - 1).bit_length()
    assert sorted(map(int, os.listdir(out / "a_files"))) == list(range(finest + 1))
    finer = level(out / "a_files", finest, L, tile_size)
    assert np.array_equal(finer, np.where(spins > 0, 0, 255))
    blocks = finer.astype(float)
    for number in reversed(range(finest)):
        side = (len(finer) + 1) // 2
        coarser = level(out / "a_files", number, side, tile_size)
        assert np.abs(coarser - halve(finer.astype(float))).max() <= 0.5
        blocks = halve(blocks)
        assert np.abs(coarser - blocks).max() <= (finest - number) / 2
        finer = coarser
    assert len(finer) == 1


def halve(image):
    """Return the averages of 2 x 2 pixels, a last odd row or column taken twice."""
    image = np.pad(image, (0, len(image) % 2), mode="edge")
    return image.reshape(len(image) // 2, 2, -1, 2).mean((1, 3))


def test_fortran_order(tmp_path):
    spins = some_spins(200)
    np.save(tmp_path / "c.npy", spins)
    np.save(tmp_path / "f.npy", np.asfortranarray(spins))
    for name in ("c", "f"):
        (tmp_path / name).mkdir()
        write(tmp_path / name, tmp_path / f"{name}.npy", 256)
        assert np.array_equal(level(tmp_path / name / "a_files", 8, 200, 256), np.where(spins > 0, 0, 255))


def test_what_fails_leaves_the_older_pyramid(tmp_path):
    spins = some_spins(100)
    path, _ = save_both(tmp_path, spins)
    out = tmp_path / "out"
    out.mkdir()
    write(out, path, 64)

    def rows(first, n):
        raise RuntimeError("planted")

    with pytest.raises(RuntimeError, match="planted"):
        deep_zoom.write(100, rows, out, "a", 64, 2, "")
    assert sorted(os.listdir(out)) == ["a.dzi", "a.html", "a_files"]
    assert (out / "a.html").read_text() == "the page"
    assert np.array_equal(level(out / "a_files", 7, 100, 64), np.where(spins > 0, 0, 255))


def test_the_script(tmp_path):
    path, _ = save_both(tmp_path, some_spins(300))
    storage.save_json(storage.sidecar(path), {"L": 300, "beta": 0.44, "seed": 7, "settings": {"SEED": 7}})
    out = tmp_path / "out"
    (out / ".int8.tmp").mkdir(parents=True)
    (out / ".int8.tmp" / "left").write_text("by a killed run")
    for tile_size in (256, 128):  # the second replaces the first
        said = succeed("viewing.py", f"--input={path}", f"--output_dir={out}", f"--tile_size={tile_size}")
        assert "300 x 300" in said and "int8.html" in said and "MB" in said
        assert sorted(os.listdir(out)) == ["int8.dzi", "int8.html", "int8_files"]
        assert len(os.listdir(out / "int8_files" / "9")) == (-(-300 // tile_size)) ** 2
    text = (out / "int8.html").read_text()
    assert "<h1>L = 300, β = 0.44, seed 7</h1>" in text and "CodePlex Foundation" in text and '"TILE_SIZE": 128' in text


def test_what_comes_from_files_is_escaped():
    hostile = '</script><script>alert("1")</script>'
    text = deep_zoom.page(8, f"a'{hostile}", 64, {"seed": hostile, "beta": 0.4}, {"source": hostile})
    assert hostile not in text and "<script>alert" not in text and "{{" not in text
    assert "a&#x27;&lt;/script&gt;" in text
    assert deep_zoom.page(8, "a", 64, {"seed": [], "beta": "x", "settings": 3}, {})


def test_mistakes(tmp_path):
    spins = some_spins(100)
    path, _ = save_both(tmp_path, spins)
    wrong = spins.copy()
    wrong[99, 99] = 0
    np.save(tmp_path / "wrong.npy", wrong)
    np.save(tmp_path / "float.npy", np.full((8, 8), 0.5))
    np.save(tmp_path / "flat.npy", np.ones((8, 9), np.int8))
    (tmp_path / "truncated.npy").write_bytes(path.read_bytes()[:-9])
    (tmp_path / "text.npy").write_text("hello")
    out = tmp_path / "out"
    for name, says in (
        ("wrong.npy", "other than +1 and -1"),
        ("float.npy", "other than +1 and -1"),
        ("flat.npy", "(8, 9)"),
        ("truncated.npy", "truncated"),
        ("text.npy", "foreign"),
        ("missing.npy", "fast_generating_multi_stage.py"),
        ("", "damaged"),
    ):
        fail("viewing.py", f"--input={tmp_path}/{name}", f"--output_dir={out}", says=(name, says))
    fail("viewing.py", f"--input={path}", f"--output_dir={out}", "--tile_size=8", says="TILE_SIZE")
    fail("viewing.py", f"--input={path}", f"--output_dir={out}", "--compression=1", says="COMPRESSION")
    fail("viewing.py", f"--input={path}", f"--output_dir={path}/out", says="cannot write")
    assert not out.exists() or not os.listdir(out)


def viewing(before, *arguments, shell_limit=""):
    """Return a process that runs viewing.py after the Python lines `before`."""
    code = f"import runpy, sys\n{before}\nsys.argv[0] = 'viewing.py'\nrunpy.run_path('viewing.py', run_name='__main__')"
    command = ["bash", "-c", f'{shell_limit} exec "$@"', "bash", sys.executable, "-c", code, *arguments]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_a_folder_whose_name_is_no_text(tmp_path):
    path, _ = save_both(tmp_path, some_spins(100))
    folder = os.fsdecode(bytes(tmp_path) + b"/\xff\xfe")
    succeed("viewing.py", f"--input={path}", f"--output_dir={folder}")
    assert os.path.exists(os.path.join(folder, "int8.html"))


@pytest.mark.parametrize(
    "before, limit, says",
    [
        (
            "import shutil; shutil.disk_usage = lambda folder: shutil._ntuple_diskusage(0, 0, 2**20)",
            "",
            " of disk, found 1.0 MiB free",
        ),
        ("", "ulimit -f 4;", "cannot be written"),  # files of more than 4 KiB fail, as on a full disk
    ],
)
def test_no_room(tmp_path, before, limit, says):
    path, _ = save_both(tmp_path, some_spins(600))
    process = viewing(before, f"--input={path}", f"--output_dir={tmp_path}/out", shell_limit=limit)
    _, stderr = process.communicate()
    assert process.returncode == 2 and says in stderr and "Traceback" not in stderr and stderr.count("\n") == 1, stderr
    assert not (tmp_path / "out").exists() or not os.listdir(tmp_path / "out")


@pytest.mark.parametrize("how, status", [(signal.SIGINT, 130), (signal.SIGKILL, -signal.SIGKILL)])
def test_a_stopped_run_leaves_nothing_that_looks_finished(tmp_path, how, status):
    """Stopped while it reads the second of its bands: Ctrl-C leaves nothing, a kill a hidden folder that the next run removes."""
    path, _ = save_both(tmp_path, some_spins(600))
    slow = """
import time
from ising_rg.figures import deep_zoom
from ising_rg.spins import configurations
opened = configurations.open_packed_rows
def slowly(path):
    L, rows = opened(path)
    def some(first, n):
        if first:
            print("reading", flush=True)
            time.sleep(1)
        return rows(first, n)
    return L, some
configurations.open_packed_rows = slowly
"""
    process = viewing(slow, f"--input={path}", f"--output_dir={tmp_path}/out")
    while process.stdout.readline() != "reading\n":
        assert process.poll() is None
    process.send_signal(how)
    _, stderr = process.communicate()
    assert process.returncode == status and "Traceback" not in stderr, stderr
    left = [] if how == signal.SIGINT else [".int8.lock", ".int8.tmp"]  # the name of a lock that nobody holds
    assert sorted(os.listdir(tmp_path / "out")) == left
    succeed("viewing.py", f"--input={path}", f"--output_dir={tmp_path}/out")
    assert sorted(os.listdir(tmp_path / "out")) == ["int8.dzi", "int8.html", "int8_files"]


needs_browser = pytest.mark.skipif(browser.PROGRAM is None, reason="no chromium on PATH")
READY = "item.getFullyLoaded() && !viewer.isAnimating()"
BOX = "(({left, top, width, height}) => [left, top, width, height])(element('lattice').getBoundingClientRect())"


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """Spins of 1000 x 1000 and the address of their page, of a name that needs every kind of escaping."""
    folder = tmp_path_factory.mktemp("site")
    spins, name = some_spins(1000), "a <b> & 'c' #1 100%"
    np.save(folder / f"{name}.npy", spins)
    succeed("viewing.py", f"--input={folder}/{name}.npy", f"--output_dir={folder}/out", "--tile_size=256")
    return spins, f"file://{quote(str(folder))}/out/{quote(name)}.html"


@needs_browser
@pytest.mark.parametrize("x, y, zoom", [(500, 400, 32), (512, 256, 10), (990, 995, 16)])
def test_an_address_leads_to_single_spins_as_exact_squares(site, x, y, zoom):
    """Every pixel of the view has the colour of its spin, but for those at the edges of squares: the viewer stretches each
    tile by one pixel, so that none shows a seam. No pixel is grey: nothing is smoothed."""
    spins, url = site
    with browser.opened(f"{url}#x={x}&y={y}&zoom={zoom}") as page:
        page.wait(READY)
        page.evaluate("document.querySelectorAll('.card, .navigator').forEach((it) => it.style.visibility = 'hidden')")
        left, top, width, height = (int(part) for part in page.evaluate(BOX))
        shown = page.screenshot()[top : top + height, left : left + width]

    def sites(centre, n_pixels):
        """Return (site under each pixel, whether the pixel lies inside the site's square and the lattice)."""
        place = centre + (np.arange(n_pixels) + 0.5 - n_pixels / 2) / zoom
        within = place % 1 * zoom
        return np.floor(place).astype(int), (within > 1) & (within < zoom - 1) & (place < 1000)

    (rows, in_row), (columns, in_column) = sites(y, height), sites(x, width)
    expected = np.where(spins[np.ix_(rows[in_row], columns[in_column])] > 0, 0, 255)
    assert expected.size > 0.2 * width * height
    assert np.array_equal(shown[np.ix_(in_row, in_column)], np.repeat(expected[:, :, None], 3, 2))
    lattice = shown[np.ix_(rows < 1000, columns < 1000)][1:-1, 1:-1]
    assert set(np.unique(lattice)) == {0, 255}


@needs_browser
def test_the_page_shows_the_whole_lattice_and_tells_where_the_mouse_is(site):
    spins, url = site
    with browser.opened(url, 800, 600) as page:
        page.wait(READY)
        assert page.evaluate("document.title") == "L = 1000" and "<b> & 'c'" in page.evaluate("document.body.innerText")
        left, top, width, height = page.evaluate(BOX)
        zoom = page.evaluate("pixelsPerSite()")
        assert abs(1000 * zoom / min(width, height) - 1) < 1e-3
        picture = page.screenshot()[:, :, 0]
        # Blocks of 50 x 50 sites, in the middle where nothing lies over the lattice.
        blocks, shown = [], []
        for i, j in itertools.product(range(4, 14), repeat=2):
            blocks.append(spins[50 * i : 50 * i + 50, 50 * j : 50 * j + 50].mean())
            y, x = (int(o + size / 2 + (50 * at - 500) * zoom) for o, size, at in ((top, height, i), (left, width, j)))
            n = int(50 * zoom)
            shown.append(picture[y : y + n, x : x + n].mean())
        assert np.corrcoef(blocks, shown)[0, 1] < -0.95

        page.mouse("mouseMoved", left + width / 2 + 100 * zoom, top + height / 2 - 200 * zoom)
        assert page.evaluate("element('site').textContent") in [f"mouse: x = {x}, y = 300" for x in (599, 600)] + [
            f"mouse: x = {x}, y = 299" for x in (599, 600)
        ]
        page.mouse("mouseMoved", left + 2, top + 2)
        assert page.evaluate("element('site').textContent") == "outside"

        for kind in ("mousePressed", "mouseReleased"):  # the keys go where the last click went
            page.mouse(kind, left + 2, top + 2, button="left", clickCount=1)
        for key, code in (("r", 82), ("f", 70), ("+", 187)):
            name = "Equal" if key == "+" else f"Key{key.upper()}"
            page.call("Input.dispatchKeyEvent", type="keyDown", key=key, code=name, windowsVirtualKeyCode=code)
            page.call("Input.dispatchKeyEvent", type="keyUp", key=key, code=name, windowsVirtualKeyCode=code)
        page.wait(f"{READY} && pixelsPerSite() > {1.05 * zoom}")
        assert page.evaluate("viewer.viewport.getRotation() === 0 && !viewer.viewport.getFlip()")

        bar = "[parseFloat(element('bar').style.width), parseInt(element('length').textContent), pixelsPerSite()]"
        page.evaluate("element('single').click()")
        page.wait(f"{READY} && Math.abs(pixelsPerSite() - 32) < 1e-6 && location.hash.includes('zoom=32')")
        pixels, sites, zoom = page.evaluate(bar)
        assert sites == 5 and pixels == pytest.approx(5 * 32)
        page.evaluate("element('whole').click()")
        page.wait(f"{READY} && whole")
        page.call("Emulation.setDeviceMetricsOverride", width=700, height=400, deviceScaleFactor=1, mobile=False)
        page.wait(f"Math.abs(1000 * pixelsPerSite() / element('lattice').clientHeight - 1) < 1e-3 && {READY} && whole")
        page.evaluate("location.hash = '#x=100&y=200&zoom=4'")
        page.wait("Math.abs(pixelsPerSite() - 4) < 1e-6 && element('scale').textContent === '4.0 pixels a site'")


def test_help_and_unknown_settings():
    assert "python viewing.py" in succeed("viewing.py", "--help")
    fail("viewing.py", "--no_such_setting=1", says="settings are")
