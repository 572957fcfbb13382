"""Tiles are the spins of the Lattice, or averages of them; turns; what is kept stays within its bytes."""

import io
import threading
import time

import numpy as np
import pytest
from PIL import Image

from ising_rg import Lattice
from ising_rg.exploring import atlas, curve, film
from ising_rg.exploring.atlas import Atlas
from ising_rg.exploring.atlases import Atlases
from ising_rg.exploring.turns import Busy, Gone, Turns
from ising_rg.figures import png
from ising_rg.spins import bitmaps
from ising_rg.theory import exact

KERNEL = "models/conditional_k5_s3.pt"
MANY = 2**26


def pixels(data):
    return np.asarray(Image.open(io.BytesIO(data)).convert("L"))


@pytest.fixture(scope="module")
def deep():
    """64 -> 64 x 3^15 at the critical point."""
    return Atlas(5, "critical", 15, 64, KERNEL, MANY)


@pytest.mark.parametrize(
    "number, x, y", [(0, 0, 0), (1, 0, 0), (4, 10, 3), (15, 1793613, 1793613), (15, 0, 7), (15, 5, 0)]
)
def test_a_tile_is_the_spins_of_its_stage(deep, number, x, y):
    """Those of the last columns and rows are smaller; level l of a critical lattice is stage l."""
    lattice = Lattice(5, 15, 64).stage(number)
    L, T = lattice.shape[0], atlas.TILE
    assert deep.levels[number] == (L, number, 1, True)
    rows, columns = (slice(place * T, min(L, place * T + T)) for place in (y, x))
    expected = np.where(lattice[rows, columns] > 0, png.BLACK, png.WHITE)
    assert np.array_equal(pixels(deep.tile(number, x, y)), expected)


@pytest.mark.parametrize("place", [(0, 1, 0), (0, 0, 1), (15, 1793614, 0), (15, 0, -1), (15, 10**30, 0)])
def test_a_tile_beyond_the_lattice(deep, place):
    with pytest.raises(IndexError, match="needed 0 to"):
        deep.tile(*place)


def test_windows_go_across_the_seam(deep):
    L = 64 * 3**15
    spins = bitmaps.to_spins(deep.spins(15, L - 20, L - 31, 50, 70))
    lattice = Lattice(5, 15, 64)
    corner = [
        lattice[rows, columns]
        for rows in (slice(L - 20, L), slice(0, 30))
        for columns in (slice(L - 31, L), slice(0, 39))
    ]
    assert np.array_equal(spins, np.block([corner[:2], corner[2:]]))


@pytest.mark.parametrize("xi, mean", [(150.0, 0.0), (-150.0, None)])
def test_off_criticality_levels_before_the_start_lattice_are_averages(monkeypatch, xi, mean):
    """64 -> 15552 with xi = 150: stages from xi = 17 on are drawn, growth begins at 576 = 64 x 9 with xi = 5.6."""
    whole = Atlas(3, xi, 5, 64, KERNEL, MANY)
    assert [level[1:3] for level in whole.levels] == [(0, 9), (0, 3), (0, 1), (1, 1), (2, 1), (3, 1)]
    start = Lattice(3, 5, 64, xi).stage(0)[:, :]
    for number, block in ((0, 9), (1, 3)):
        means = start.reshape(64 * 9 // block, block, -1, block).mean((1, 3))
        assert np.abs(pixels(whole.tile(number, 0, 0)) - (1 - means) * 127.5).max() <= 0.5 + 1e-3
    with pytest.raises(IndexError, match="average"):
        whole.spins(1, 0, 0, 8, 8)
    assert whole.facts()["spread"] is None

    monkeypatch.setattr(atlas, "WHOLE_START", 100)  # windows of the start lattice are equilibrated by themselves
    monkeypatch.setattr(atlas, "_LARGEST_BLOCK", 3)
    parts = Atlas(3, xi, 5, 64, KERNEL, MANY)
    lattice = Lattice(3, 5, 64, xi, whole_start=100)
    assert np.array_equal(pixels(parts.tile(5, 30, 2)), np.where(lattice[1024:1536, 15360:] > 0, 0, 255))
    assert [level.drawn for level in parts.levels] == [False, True, True, True, True, True]
    mean = exact.spontaneous_magnetization(lattice.run.betas[0]) if mean is None else mean
    assert set(np.unique(pixels(parts.tile(0, 0, 0)))) == {round((1 - mean) * 127.5)}
    assert 0 < parts.facts()["spread"] < 1
    assert eval(parts.python(), {"Lattice": Lattice}).run.whole_start == 100


def test_newest_first_and_nothing_for_those_who_have_gone():
    turns, order, gone = Turns(), [], {2}
    holds, release = threading.Event(), threading.Event()

    def hold():
        with turns.turn():
            holds.set()
            release.wait()

    def ask(number):
        try:
            with turns.turn(lambda: number in gone):
                order.append(number)
        except Gone:
            order.append(f"{number} has gone")

    threads = [threading.Thread(target=hold)]
    threads[0].start()
    holds.wait()
    for number in range(4):
        threads.append(threading.Thread(target=ask, args=(number,)))
        threads[-1].start()
        while len(turns._waiting) <= number:
            time.sleep(0.001)
    release.set()
    for thread in threads:
        thread.join()
    assert order == [3, "2 has gone", 1, 0]


def test_too_many_wait(monkeypatch):
    monkeypatch.setattr("ising_rg.exploring.turns._MOST", 0)
    with pytest.raises(Busy), Turns().turn():
        pass


def test_what_is_kept_stays_within_its_bytes():
    """Tiles of 40 places and three seeds with room for some: the oldest go; a tile that is kept is not drawn again."""
    kept = Atlases(2**17, 8, 64, KERNEL)
    for number in range(40):
        first = kept.tile((number % 5, "critical"), (8, number, 3))
        assert kept._held == sum(map(len, kept._tiles.values())) <= 2**16 and len(kept._atlases) <= 3
    kept.turns = None  # drawing would fail
    assert kept.tile((4, "critical"), (8, 39, 3)) is first


def test_the_curve_is_the_mean_over_pairs_of_the_window(deep):
    spins = bitmaps.to_spins(deep.spins(15, 10, 20, 100, 140)).astype(int)
    found = curve.of(deep.spins(15, 10, 20, 100, 140), 64 * 3**15, exact.BETA_CRITICAL)
    for r, measured, expected, error in zip(*found.values(), strict=True):
        along, down = (spins[:, r:] * spins[:, :-r]).mean(), (spins[r:] * spins[:-r]).mean()
        assert measured == pytest.approx((along + down) / 2, abs=1e-12)
        assert expected == pytest.approx(exact.BULK_AMPLITUDE * r**-0.25, rel=0.006 if r > 1 else 0.01)
        assert abs(measured - expected) < 5 * error
    assert found["r"][0] == 1 and found["r"][-1] == 25
    massive = curve.of(bitmaps.from_spins(np.ones((64, 64), np.int8)), 10**6, 0.43)
    assert massive["measured"] == [1.0] * len(massive["r"]) and massive["exact"][-1] < 0.5


@pytest.mark.parametrize("scale, expected", [(1.0, "spins"), (4.0, "squares"), (1 / 3, "the coarser stage")])
def test_a_frame_at_whole_powers_of_three_is_a_stage(deep, scale, expected):
    """Elsewhere it blends two; at the deepest it is the spins, enlarged. The place lies at the seam."""
    L, place, size = 64 * 3**15, (0, 0), 96
    shown = film.picture(deep, (place[0] + 0.5, place[1] + 0.5), scale, size)
    number, n = (14, size) if scale < 1 else (15, int(size / scale))
    corner = (-round(n / 2 - 0.5 * (3.0 ** (number - 15)) + 1e-9)) % deep.levels[number].side
    near = bitmaps.to_spins(deep.spins(number, corner - 1, corner - 1, n + 2, n + 2))
    grey = np.where(near > 0, 0.0, 255.0)
    if scale >= 1:
        whole = np.kron(grey, np.ones((int(scale),) * 2))
        best = min(
            np.abs(shown - whole[dy : dy + size, dx : dx + size]).mean()
            for dy in range(len(whole) - size + 1)
            for dx in range(len(whole) - size + 1)
        )
        assert best < 1, expected
    else:
        # half a fine site aside: an average of neighbouring pixels
        assert np.corrcoef(shown.ravel(), grey[1:-1, 1:-1].ravel())[0, 1] > 0.8
    assert shown.shape == (size, size) and 0 <= shown.min() <= shown.max() <= 255 and L > 0


def test_the_first_frame_is_the_whole_lattice_and_a_place_is_balanced(deep):
    size = 64
    shown = film.picture(deep, (0.5, 0.5), size / (64 * 3**15), size)
    start = Lattice(5, 15, 64).stage(0)[:, :]
    expected = np.roll(np.where(start > 0, 0.0, 255.0), (32, 32), (0, 1))
    assert (np.abs(shown - expected) > 1).mean() < 0.02
    x, y = film.balanced(deep)
    assert 0 <= x < 64 * 3**15 and 0 <= y < 64 * 3**15
    near = [deep.grey(n, y // 3 ** (15 - n) - 32, x // 3 ** (15 - n) - 32, 64, 64).mean() for n in (5, 10, 15)]
    assert all(20 < grey < 235 for grey in near)
