"""One picture of clusters and walls: sizes over their power laws, areas over C / A, walls as lines, FK clusters in colours."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ising_rg.figures import pictures
from ising_rg.geometry import labels, loops, rows
from ising_rg.geometry.survey import Counted, Task
from ising_rg.spins import bitmaps
from ising_rg.spins.bitmaps import Bitmap
from ising_rg.theory import geometry

WALL_REGION, CLUSTER_REGION = 192, 1024  # sites a side that are drawn
_COLOURED = 24  # of the largest clusters
_LEAST = 20  # clusters or loops from which a point is drawn


def draw(path: str, lattice: object, counted: Sequence[Counted | None], task: Task, title: str) -> None:
    """Write the picture of a lattice.

    Args:
        counted: what was counted of spin clusters and of FK clusters; None of a kind that is not wanted.
        task: of FK clusters.
    """
    figure = pictures.new_figure(13, 10.5)
    (sizes, areas), (lines, colours) = figure.subplots(2, 2)
    n_sites = lattice.height * lattice.width
    exponents = geometry.SPIN_SIZE_EXPONENT, geometry.FK_SIZE_EXPONENT
    names = ("spin clusters", "walls", pictures.BLUE), ("FK clusters", "FK hulls", pictures.VERMILION)
    for exponent, loop, (cluster, wall, colour) in zip(exponents, rows.loops_of(*counted), names, strict=True):
        if loop[0] is not None:
            _draw_sizes(sizes, rows.histogram(loop[0])[:, 0], n_sites, exponent, (cluster, colour))
            _draw_areas(areas, loop, n_sites, (wall, colour))
    areas.axhline(1, color=pictures.GREY, linewidth=1, linestyle="--", label="exact, infinite lattice")
    areas.set_ylim(0.85, 1.3)
    for axis, x, y in (
        (sizes, "size s (sites)", "n(s) s^(1 + 2/D) a site"),
        (areas, "area A (sites)", "A N(>A) / C a site"),
    ):
        axis.set_xscale("log")
        axis.set_xlabel(x)
        axis.set_ylabel(y)
        axis.legend(fontsize=9)
    sizes.set_yscale("log")
    sizes.set_title("clusters that do not wind, over their power laws", fontsize=10)
    areas.set_title("loops that enclose more than A", fontsize=10)
    _draw_walls(lines, region(lattice, WALL_REGION))
    _draw_clusters(colours, region(lattice, CLUSTER_REGION), task)
    pictures.write_title(figure, title)
    pictures.save(figure, path)


def _draw_sizes(axis, n, n_sites, exponent, label):
    power = np.arange(len(n), dtype=float)
    # Of n(s) = a s^-t, bin k holds a (2^(k (1 - t)) - 2^((k + 1) (1 - t))) / (t - 1).
    share = (2 ** (power * (1 - exponent)) - 2 ** ((power + 1) * (1 - exponent))) / (exponent - 1)
    seen = n >= _LEAST
    a = (n / share / n_sites)[seen]
    axis.errorbar(
        2 ** (power[seen] + 0.5), a, a / np.sqrt(n[seen]), fmt="o-", color=label[1], markersize=4, label=label[0]
    )


def _draw_areas(axis, loop, n_sites, label):
    counted, constant, units = loop
    ratio = rows.larger_areas(counted, constant, n_sites, units)
    n = counted.walls[::-1, loops.AREAS].cumsum()[::-1]
    seen = n >= _LEAST
    x, error = 2.0 ** np.arange(len(n)) / units, ratio / np.sqrt(np.maximum(n, 1))
    axis.errorbar(x[seen], ratio[seen], error[seen], fmt="o-", color=label[1], markersize=4, label=label[0])


def region(lattice: object, size: int) -> Bitmap:
    """Return the first rows and columns of a lattice, `size` x `size` or fewer."""
    height, width = min(size, lattice.height), min(size, lattice.width)
    return bitmaps.columns(Bitmap(lattice.rows(0, height).copy(), lattice.width), 0, width)


def _draw_walls(axis, part):
    from matplotlib.collections import LineCollection
    from matplotlib.colors import LogNorm

    found = wall_lines(bitmaps.to_spins(part) > 0)
    found.sort(key=len)
    lengths = np.array([len(line) - 1 for line in found] or [1])
    drawn = LineCollection(found, array=lengths, cmap="turbo", norm=LogNorm(4, max(8, lengths.max())), linewidths=0.9)
    axis.add_collection(drawn)
    axis.set_xlim(0, part.width)
    axis.set_ylim(part.height, 0)
    axis.set_aspect("equal")
    axis.figure.colorbar(drawn, ax=axis, shrink=0.8, label="length within the picture")
    axis.set_title(f"walls of {part.height} x {part.width} sites, cut out", fontsize=10)


def wall_lines(up: np.ndarray) -> list[np.ndarray]:
    """Return the walls of spins, bool (H, W), as lines of corners, float (n, 2): x, y; by the rule of `loops`, cut at the edges."""
    height, width = up.shape
    after, before = {}, {}
    for y, x in zip(
        *np.nonzero(up[:, 1:] != up[:, :-1]), strict=True
    ):  # up on the left: up along the right edge, or down
        ends = ((x + 1, y + 1), (x + 1, y))
        _add(after, before, ends if up[y, x] else ends[::-1])
    for y, x in zip(*np.nonzero(up[1:] != up[:-1]), strict=True):
        ends = ((x, y + 1), (x + 1, y + 1))
        _add(after, before, ends if up[y, x] else ends[::-1])
    lines = []
    starts = [step for step in after if not before.get(step[0])]
    for start in [*starts, *after]:
        step, line = start, []
        while step in after:
            line.append(step[0])
            del after[step]
            (x0, y0), (x1, y1) = step
            dx, dy = x1 - x0, y1 - y0
            end = step[1]
            turns = ((dy, -dx), (dx, dy), (-dy, dx))  # left, straight on, right; y points down
            step = next((s for s in ((end, (x1 + a, y1 + b)) for a, b in turns) if s in after), None)
        if line:
            lines.append(np.array([*line, end], float))
    return lines


def _add(after, before, step):
    after[step] = True
    before[step[1]] = True


def _draw_clusters(axis, part, task):
    import matplotlib

    window = Task("fk", task.beta, task.seed, torus=False, walls=False)
    numbers, sizes = labels.of_memory(part, window)
    largest = np.argsort(-sizes, kind="stable")[:_COLOURED]
    shown = np.full(len(sizes), -1)
    shown[largest] = np.arange(len(largest))
    image = np.ones((part.height, part.width, 3))
    palette = matplotlib.colormaps["tab20"](np.arange(_COLOURED) % 20)[:, :3]
    rank = shown[numbers]
    image[rank >= 0] = palette[rank[rank >= 0]]
    axis.imshow(image, interpolation="nearest")
    axis.set_xticks([])
    axis.set_yticks([])
    axis.set_title(
        f"the {len(largest)} largest FK clusters of {part.height} x {part.width} sites, cut out", fontsize=10
    )
