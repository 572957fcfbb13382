"""Clusters found by runs are those of a flood fill, on random bonds and on bonds made to be difficult."""

import numpy as np
import pytest

from ising_rg.base import random_numbers
from ising_rg.base.random_numbers import ROUNDS, Purpose
from ising_rg.updates import bonds, cluster_signs, clusters_of_runs

SHAPES = [(4, 4), (6, 4), (4, 6), (30, 30), (12, 64), (66, 66), (8, 126), (130, 130), (50, 200)]


def flooded(right, down):
    """Return the smallest site index of every site's cluster, int (H, L), by flood fill; periodic boundaries."""
    height, width = right.shape
    labels = np.full((height, width), -1)
    for site in range(height * width):
        waiting = [(site // width, site % width)] if labels.flat[site] < 0 else []
        while waiting:
            y, x = waiting.pop()
            if labels[y, x] >= 0:
                continue
            labels[y, x] = site
            above, left = (y - 1) % height, (x - 1) % width
            if right[y, x]:
                waiting.append((y, (x + 1) % width))
            if right[y, left]:
                waiting.append((y, left))
            if down[y, x]:
                waiting.append(((y + 1) % height, x))
            if down[above, x]:
                waiting.append((above, x))
    return labels


def pack(bits):
    height, width = bits.shape
    padded = np.zeros((height, -(-width // 64) * 64), np.uint8)
    padded[:, :width] = bits
    return np.packbits(padded, axis=1, bitorder="little").view(np.uint64)


def labelled(right, down, n_strips):
    """Return (Runs with all clusters joined, how many roots were joined across seams)."""
    height, width = right.shape
    runs = clusters_of_runs.empty(height, width, n_strips)
    runs.bonds[:, bonds.RIGHT], runs.bonds[:, bonds.DOWN] = pack(right), pack(down)
    for strip in range(n_strips):
        clusters_of_runs.find_runs(runs, strip)
        clusters_of_runs.label_strip(runs, strip)
    clusters_of_runs.count_runs(runs)
    return runs, clusters_of_runs.join_strips(runs)


def path_bonds(shape, sites):
    """Return (right, down) of the bonds along a path of neighbouring sites (y, x)."""
    right, down = np.zeros((2, *shape), bool)
    for (y, x), (y1, x1) in zip(sites, sites[1:], strict=False):
        if y == y1:
            right[y, min(x, x1)] = True
        else:
            down[min(y, y1), x] = True
    return right, down


def spiral(shape):
    """A path from the corner to the middle with a gap of one site between its turns: joined to the outermost last."""
    (height, width), y, x, dy, dx = shape, 0, 0, 0, 1
    sites, seen = [(0, 0)], {(0, 0)}
    while True:
        for _ in range(2):
            ahead, beyond = (y + dy, x + dx), (y + 2 * dy, x + 2 * dx)
            if 0 <= ahead[0] < height and 0 <= ahead[1] < width and ahead not in seen and beyond not in seen:
                break
            dy, dx = dx, -dy
        else:
            return path_bonds(shape, sites)
        y, x = ahead
        sites.append(ahead)
        seen.add(ahead)


def turned(right, down):
    """Return the bonds turned by 180 degrees."""
    return np.roll(right[::-1, ::-1], -1, 1), np.roll(down[::-1, ::-1], -1, 0)


def snake(shape):
    return path_bonds(
        shape, [(y, x if y % 2 == 0 else shape[1] - 1 - x) for y in range(shape[0]) for x in range(shape[1])]
    )


def comb(shape, row):
    """Every second column a tooth, joined in one row alone."""
    right, down = np.zeros((2, *shape), bool)
    right[row] = True
    down[:, ::2] = True
    down[-1] = False
    return right, down


def helix(shape):
    """Stairs around the torus in both directions."""
    y, x = np.indices(shape)
    return (x + y) % 2 == 0, (x + y) % 2 == 1


def nested_arches(shape):
    """Arches inside one another, whose legs meet only in the last rows, the inner ones first."""
    right, down = np.zeros((2, *shape), bool)
    height, width = shape
    for k in range(min(height, width // 2)):
        right[height - 1 - k, width // 2 - 1 - k : width // 2 + k] = k % 2 == 0
        down[: height - 1 - k, [width // 2 - 1 - k, width // 2 + k]] = True
    return right, down


def bonds_of(name, shape):
    none, every = np.zeros(shape, bool), np.ones(shape, bool)
    if name.startswith("random"):
        return np.random.default_rng(1).random((2, *shape)) < float(name.split()[1])
    if name == "around the edges":
        right, down = none.copy(), none.copy()
        right[:, -1], down[-1] = True, True
        return right, down
    return {
        "none": lambda: (none, none),
        "all": lambda: (every, every),
        "rows": lambda: (every, none),
        "columns": lambda: (none, every),
        "one row": lambda: (np.arange(shape[0])[:, None] == shape[0] // 2) & np.stack([every, none]),
        "one column": lambda: (np.arange(shape[1]) == shape[1] // 2) & np.stack([none, every]),
        "spiral": lambda: spiral(shape),
        "spiral inside out": lambda: turned(*spiral(shape)),
        "snake": lambda: snake(shape),
        "comb upward": lambda: comb(shape, -1),
        "comb downward": lambda: comb(shape, 0),
        "helix": lambda: helix(shape),
        "arches": lambda: nested_arches(shape),
    }[name]()


NAMES = [
    "none", "all", "rows", "columns", "one row", "one column", "around the edges", "spiral", "spiral inside out", "snake",
    "comb upward", "comb downward", "helix", "arches", "random 0.1", "random 0.3", "random 0.5", "random 0.6", "random 0.9",
]  # fmt: skip


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", NAMES)
def test_clusters_are_those_of_a_flood_fill(name, shape):
    """In one strip, in some, and in a strip for every row."""
    right, down = bonds_of(name, shape)
    expected = flooded(right, down)
    for n_strips in {1, 2, 3, shape[0]}:
        runs, _ = labelled(right, down, n_strips)
        labels = np.empty(shape, np.int32)
        clusters_of_runs.write_labels(runs, labels)
        assert np.array_equal(labels, expected), n_strips


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", NAMES)
def test_signs_are_the_random_bits_of_the_roots(name, shape):
    """A root's number is that of its run among all runs: sites without a bond from the left, and the first of each row."""
    right, down = bonds_of(name, shape)
    height, width = shape
    starts = ~np.roll(right, 1, 1)
    starts[:, 0] = True
    numbers = np.cumsum(starts) - 1
    roots = numbers[flooded(right, down)]
    key = random_numbers.key(5, Purpose.CLUSTERS)
    bits = []
    for k in range(numbers[-1] // 128 + 1):
        x = random_numbers.philox4x32(*map(np.uint64, (k, 0, 7, 2)), *key, ROUNDS)
        words = [int(x[0]) << 32 | int(x[1]), int(x[2]) << 32 | int(x[3])]
        bits += [word >> bit & 1 for word in words for bit in range(64)]
    expected = pack(np.array(bits)[roots])
    for n_strips in {1, 2, 3, height}:
        runs, n_joined = labelled(right, down, n_strips)
        arguments = np.uint64(7), np.uint64(2), key
        cluster_signs.sign_joined(runs, n_joined, *arguments)
        words = np.empty_like(runs.starts)
        for strip in reversed(range(n_strips)):
            cluster_signs.write_strip(runs, strip, *arguments, words)
        assert np.array_equal(words, expected), n_strips
