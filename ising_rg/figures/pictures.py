"""Every figure. Functions take arrays and a path, and write a PNG; no window is opened.

Spins are drawn black (up) and white (down), block averages in between. Curves use the Okabe-Ito colours, which remain
distinct for colour-blind readers.
"""

from __future__ import annotations

import contextlib
import os
import warnings
from collections.abc import Iterator

import numpy as np

from ising_rg.files import storage
from ising_rg.spins import bitmaps
from ising_rg.spins.bitfile import Rows
from ising_rg.spins.bitmaps import Bitmap
from ising_rg.theory import exact

BLUE, ORANGE, GREEN, VERMILION, GREY = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#666666"
COLOURS = (BLUE, VERMILION, ORANGE, GREEN, "#56B4E9", "#CC79A7", "black", GREY)


def preview(spins: np.ndarray, size: int) -> np.ndarray:
    """Return spins (L, L) averaged over blocks so that the side is at most `size`, float32; edges that fill no block are cut."""
    block = -(-len(spins) // size)
    n = len(spins) // block
    rows = [
        spins[i * block : (i + 1) * block, : n * block].reshape(block, n, block).mean((0, 2), dtype=np.float32)
        for i in range(n)
    ]
    return np.array(rows)


def bitmap_preview(bitmap: Bitmap | Rows, size: int) -> np.ndarray:
    """Return the block averages of a `bitmaps.Bitmap`, as `preview` those of spins."""
    return bitmaps.block_averages(bitmap, -(-bitmap.width // size))


def full_comparison(path: str, columns: list[dict]) -> None:
    """Draw the stages of one configuration: top row raw, bottom row refined, one column a stage.

    Args:
        columns: list of dicts: title, raw, refined (previews, 2D), raw_note, refined_note. Where only the first column, the
            seed, has a raw preview, the row of raw ones is left out.
    """
    labels = {"raw": "raw, from the kernel", "refined": "refined by Metropolis sweeps"}
    kinds = [kind for kind in labels if len(columns) == 1 or any(kind in column for column in columns[1:])]
    figure = new_figure(3.4 * len(columns), 0.6 + 3.5 * len(kinds))
    axes = figure.subplots(len(kinds), len(columns), squeeze=False)
    for column, below in zip(columns, axes.T, strict=True):
        below[0].set_title(column["title"], fontsize=11)
        for axis, kind in zip(below, kinds, strict=True):
            if kind in column:
                show_spins(axis, column[kind])
                axis.set_xlabel(column[f"{kind}_note"], fontsize=9)
            else:
                axis.set_axis_off()
    for axis, kind in zip(axes[:, 0], kinds, strict=True):
        axis.set_ylabel(labels[kind], fontsize=10)
    figure.suptitle("One configuration through the stages (block averages; black: up, white: down)", fontsize=12)
    save(figure, path)


def tracking(path: str, panels: list[dict], window: int) -> None:
    """Draw one window of the start lattice followed through the stages; panels: list of dicts: title, spins, note."""
    figure = new_figure(3.6 * len(panels), 4.4)
    for axis, panel in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
        show_spins(axis, panel["spins"])
        axis.set_title(panel["title"], fontsize=11)
        axis.set_xlabel(panel["note"], fontsize=9)
    figure.suptitle(
        f"The same {window} x {window} sites of the start lattice, followed through the stages", fontsize=12
    )
    save(figure, path)


def single_stage(path: str, rows: list[dict], where: str = "on the torus") -> None:
    """Draw the whole lattice, a close-up and the correlation function of each row of a single-stage comparison.

    Args:
        rows: list of dicts: name, L, preview (2D), closeup (2D), r (distances), ratio (C measured / exact), note. The first
            is the start lattice: its ratio, with distances stretched to the fine lattice, is what a perfect stage would show.
        where: of which lattice the exact values are.
    """
    figure = new_figure(12.5, 2.9 * len(rows))
    ratios = [ratio for row in rows for ratio in row["ratio"]]
    limits = (
        min(0.9, min(ratios) - 0.03),
        max(1.1, max(ratios) + 0.03),
    )  # of all rows: they are compared, and the start lattice with each
    for row, (whole, closeup, curve) in zip(
        rows, figure.subplots(len(rows), 3, squeeze=False, width_ratios=(1, 1, 1.6)), strict=True
    ):
        show_spins(whole, row["preview"])
        whole.set_ylabel(row["name"], fontsize=11)
        whole.set_xlabel(f"whole lattice, L = {row['L']}", fontsize=9)
        show_spins(closeup, row["closeup"])
        closeup.set_xlabel(f"{len(row['closeup'])} x {len(row['closeup'])} sites", fontsize=9)
        curve.axhline(1, color=GREY, linewidth=1, linestyle="--", label=f"exact {where}")
        if row is not rows[0]:
            stretched = np.array(rows[0]["r"]) * row["L"] / rows[0]["L"]
            curve.plot(
                stretched, rows[0]["ratio"], color=ORANGE, linewidth=4, alpha=0.5, label="the start lattice, at 3r"
            )
        curve.plot(row["r"], row["ratio"], "o-", color=BLUE, markersize=4, label="this configuration")
        curve.set_xscale("log")
        curve.set_ylim(*limits)
        curve.set_xlabel("r (lattice spacings, along the axes)", fontsize=9)
        curve.set_ylabel("C(r) / exact", fontsize=9)
        curve.set_title(row["note"], fontsize=9)
        curve.legend(fontsize=8)
    save(figure, path)


def check(path: str, curves: object, title: str) -> None:
    """Draw G(r) with its ratio to the exact torus curve, S(k) as a map and averaged over rings, and the configuration.

    Args:
        curves: `curves.CheckCurves`; exact curves are drawn where they are `known`.
        title: a file's name, or a word on the ensemble.
    """
    figure = new_figure(15.5, 9)
    grid = figure.add_gridspec(3, 3, width_ratios=(1.45, 1, 1), height_ratios=(1.3, 0.4, 0.9))
    decay = figure.add_subplot(grid[:2, 0])
    ratio = figure.add_subplot(grid[2, 0], sharex=decay)
    _draw_decay(decay, ratio, curves)
    L = curves.L
    spins = figure.add_subplot(grid[:2, 1])
    show_spins(spins, curves.thumbnail)
    spins.set_title(
        f"the configuration, L = {L}" if curves.n == 1 else f"the first of {curves.n}, L = {L}", fontsize=10
    )
    spectrum = figure.add_subplot(grid[:2, 2])
    reach = 2 * np.pi / L * (curves.map.shape[0] // 2)
    image = spectrum.imshow(
        np.log10(np.maximum(curves.map, 1e-3)),
        cmap="viridis",
        extent=(-reach, reach, -reach, reach),
        interpolation="nearest",
    )
    spectrum.set_title("S(k) near k = 0", fontsize=10)
    spectrum.locator_params(nbins=4)
    spectrum.set_xlabel("k_x (radians per spacing)")
    spectrum.set_ylabel("k_y")
    figure.colorbar(image, ax=spectrum, label="log10 S(k)", shrink=0.8)
    radial = figure.add_subplot(grid[2, 1:])
    _radial_spectrum(radial, curves)
    write_title(figure, title)
    save(figure, path)


def _draw_decay(decay, ratio, curves):
    """Draw G(r) on one pair of axes, its ratio to the exact values on the other."""
    r, measured = curves.r, curves.correlation
    shown = measured > 0  # logarithmic axes of no positive value at all are warned about
    decay.loglog(r[shown], measured[shown], "o", color=BLUE, markersize=4, label="measured, along the axes", zorder=3)
    if curves.known:
        where = "on the torus" if curves.critical else "of the infinite lattice"
        decay.loglog(r, curves.exact, color="black", linewidth=1.2, label=f"exact {where}")
        straight = exact.BULK_AMPLITUDE * r**-0.25
        name = "infinite lattice" if curves.critical else "at criticality"
        decay.loglog(r, straight, color=GREY, linewidth=1, linestyle="--", label=f"{name}, 0.70338 r^(-1/4)")
        for width, shade in ((2, 0.15), (1, 0.3)):
            band = width * curves.error / curves.exact
            ratio.fill_between(
                r, 1 - band, 1 + band, color=GREY, alpha=shade, linewidth=0, label=f"{width} standard dev."
            )
        if curves.critical:
            ratio.plot(r, straight / curves.exact, color=GREY, linewidth=1, linestyle="--")
        ratio.axhline(1, color="black", linewidth=1)
        ratio.plot(r, measured / curves.exact, "o-", color=BLUE, markersize=3, linewidth=0.8)
        spread = min(max(float(np.abs(measured / curves.exact - 1).max()), 0.05), 1.0)
        ratio.set_ylim(1 - min(1.15 * spread, 1.05), 1 + 1.15 * spread)
        ratio.legend(fontsize=8, loc="lower left")
    decay.set_ylabel("G(r) = C(r, 0)")
    low, high = decay.get_ylim()
    decay.yaxis.set_major_formatter("{x:.2g}")
    decay.yaxis.set_minor_formatter("{x:.2g}" if high < 30 * low else "")
    decay.legend(fontsize=9)
    decay.tick_params(labelbottom=False)
    ratio.set_ylabel("measured / exact")
    ratio.set_xlabel("r (lattice spacings)")


def _radial_spectrum(axes, curves):
    """Draw S(k) averaged over rings; of perfect order, whose S(k) is 0 but at the pattern's own k, only words."""
    k, s, error = curves.radial
    shown = s > 0
    axes.set_xlabel("k (radians per lattice spacing)")
    axes.set_ylabel("S(k)")
    if not shown.any():
        axes.text(0.5, 0.5, "S(k) = 0 in every ring", ha="center", transform=axes.transAxes)
        return
    label = "measured, averaged over rings"
    axes.errorbar(k[shown], s[shown], error[shown], fmt="o", color=VERMILION, markersize=3, linewidth=0.8, label=label)
    if curves.critical:
        inside = k < 0.6
        axes.plot(
            k[inside],
            exact.STRUCTURE_AMPLITUDE * k[inside] ** -1.75,
            color=GREY,
            linestyle="--",
            linewidth=1,
            label=f"infinite lattice, {exact.STRUCTURE_AMPLITUDE:.4f} k^(-7/4)",
        )
        axes.plot(*curves.exact_modes, "k_", markersize=9, label="exact modes (n, 0) of the torus")
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.legend(fontsize=8)


def simulation(
    path: str, spins: np.ndarray, sweeps: np.ndarray, m: np.ndarray, energy: np.ndarray, exact_energy: float, title: str
) -> None:
    """Draw the final configuration beside m and the energy per site over time, the exact energy drawn in."""
    figure = new_figure(12, 5.4)
    grid = figure.add_gridspec(2, 2, width_ratios=(1.15, 1))
    show_spins(figure.add_subplot(grid[:, 0], title=f"final configuration, L = {len(spins)}"), preview(spins, 1024))
    top, bottom = figure.add_subplot(grid[0, 1]), figure.add_subplot(grid[1, 1])
    top.plot(sweeps, m, color=BLUE, linewidth=1)
    top.axhline(0, color=GREY, linewidth=0.8)
    top.set_ylabel("magnetization per site")
    bottom.plot(sweeps, energy, color=VERMILION, linewidth=1, label="measured")
    bottom.axhline(exact_energy, color="black", linewidth=1, linestyle="--", label=f"exact {exact_energy:.6f}")
    bottom.set_ylabel("energy per site / J")
    bottom.set_xlabel("sweeps")
    # The first samples of a hot or cold start would hide all that follows.
    tail = np.asarray(energy[len(energy) // 10 :])
    margin = 0.6 * max(np.ptp(np.r_[tail, exact_energy]), 1e-3)
    bottom.set_ylim(min(tail.min(), exact_energy) - margin, max(tail.max(), exact_energy) + margin)
    bottom.legend(fontsize=9)
    figure.suptitle(title)
    save(figure, path)


def training(path: str, kernel_name: str, maps: list[np.ndarray], map_titles: list[str], phases: list[tuple]) -> None:
    """Draw kernels as images beside the course of each phase of a training, a panel a phase.

    Args:
        maps: list of 2D arrays, each drawn with its own symmetric colour scale.
        phases: list of (title, x label, y label, list of {x: number, name: number, ...}): of each row the first is x.
    """
    columns = min(4, len(maps))
    figure = new_figure(17 * (columns + 4) / 8, max(4, 2.6 * -(-len(maps) // 4), 2 * -(-len(phases) // 2)))
    left, right = figure.subfigures(1, 2, width_ratios=(columns, 4))
    about = ("weights (red: like spins,", "blue: unlike spins;", "the largest of each is written above)")
    left.suptitle((" " if columns > 2 else "\n").join(about), fontsize=10 if columns > 2 else 8)
    axes = left.subplots(-(-len(maps) // columns), columns, squeeze=False).ravel()
    for axis in axes:
        axis.axis("off")
    for axis, array, title in zip(axes, maps, map_titles, strict=False):
        bound = float(np.abs(array).max()) or 1.0
        axis.imshow(array, cmap="RdBu_r", vmin=-bound, vmax=bound, interpolation="nearest")
        axis.set_title(f"{title}\nmax {bound:.2f}", fontsize=9)
    panels = right.subplots(-(-len(phases) // 2), min(2, len(phases)), squeeze=False).ravel()
    for axis in panels[len(phases) :]:
        axis.axis("off")
    for axis, (title, x_label, y_label, rows) in zip(panels, phases, strict=False):
        x, *names = rows[0]
        for index, name in enumerate(names):
            colour, style = COLOURS[index % len(COLOURS)], ("o-", "s--")[index // len(COLOURS) % 2]
            values = [row[name] for row in rows]
            axis.plot([row[x] for row in rows], values, style, color=colour, markersize=3, linewidth=1, label=name)
        axis.set_title(title, fontsize=9)
        axis.set_xlabel(x_label)
        axis.set_ylabel(y_label)
        if len(names) > 1:
            if min(row[name] for row in rows for name in names) < 0:
                axis.axhline(0, color="black", linewidth=1, linestyle="--")
            axis.legend(fontsize=6, ncols=-(-len(names) // 8), loc="center left", bbox_to_anchor=(1, 0.5))
    right.suptitle(f"training of the {kernel_name}", fontsize=10)
    save(figure, path)


def flow(path: str, levels: list[dict], previews: list[np.ndarray], title: str) -> None:
    """Draw the couplings of every level beside those of the nearest-neighbour model, and one configuration through the levels.

    Args:
        levels: list of dicts: level, L, couplings (rows: name, measured, exact, error), correlations (rows).
        previews: block averages of one configuration, 2D, one a level.
    """
    figure = new_figure(max(12, 3.4 * len(levels)), 8.2)
    grid = figure.add_gridspec(2, 1, height_ratios=(1.25, 1))
    nearest, others = (figure.add_subplot(part) for part in grid[0].subgridspec(1, 2, width_ratios=(1, 1.8)))
    known = [level for level in levels if level["couplings"]]
    for index, name in enumerate(row["name"] for row in (known[0]["couplings"] if known else [])):
        rows = [level["couplings"][index] for level in known]
        axis, shade = (others, COLOURS[(index - 1) % len(COLOURS)]) if index else (nearest, BLUE)
        at = [level["level"] + 0.03 * (index - 4) * (index > 0) for level in known]
        values, errors = ([row[key] for row in rows] for key in ("measured", "error"))
        axis.errorbar(at, values, errors, fmt="o-", color=shade, markersize=4, linewidth=1, capsize=2, label=name)
        if index < 2:
            axis.plot(at, [row["exact"] for row in rows], "k--", linewidth=1, label="nearest-neighbour model")
    for axis in (nearest, others):
        axis.set_xticks(
            [level["level"] for level in levels], [f"{level['level']}\nL = {level['L']}" for level in levels]
        )
        axis.set_xlabel("level")
        axis.set_ylabel("coupling K")
        if known:
            axis.legend(fontsize=8, ncols=2)
    nearest.set_title("nearest neighbours", fontsize=10)
    others.set_title("all others", fontsize=10)
    below = grid[1].subgridspec(1, len(levels))
    for part, level, preview_of in zip(below, levels, previews, strict=True):
        axis = figure.add_subplot(part)
        show_spins(axis, preview_of)
        c10 = level["correlations"][0]
        axis.set_title(f"level {level['level']}, L = {level['L']}", fontsize=10)
        axis.set_xlabel(f"c10 = {c10['measured']:.5f} (exact {c10['exact']:.5f})", fontsize=9)
    write_title(figure, title)
    save(figure, path)


@contextlib.contextmanager
def attempt() -> Iterator[None]:
    """Draw in the block, in matplotlib's own style whatever a matplotlibrc says; print a note if it fails.

    What was computed is worth more than its picture, and is on disk before.
    """
    try:
        with warnings.catch_warnings(), contextlib.ExitStack() as style:
            warnings.simplefilter("ignore")  # of letters of a file's name that the font lacks
            with contextlib.suppress(Exception):  # what fails here fails again in the block, and is told
                style.enter_context(_matplotlib().rc_context())
                _matplotlib().rcdefaults()
            yield
    except Exception as error:
        print(f"note: no picture was drawn ({type(error).__name__}: {' '.join(str(error).split())})")


def _matplotlib():
    # A notebook's backend, inherited by what is started from it, fails at import where its package is missing; none is needed.
    backend = os.environ.pop("MPLBACKEND", None)
    try:
        # Half a second to import: growing starts without it.
        import matplotlib.backends.backend_agg
        import matplotlib.figure
    finally:
        if backend is not None:
            os.environ["MPLBACKEND"] = backend
    return matplotlib


def new_figure(width: float, height: float) -> object:
    """Return a matplotlib Figure of so many inches, with a canvas that needs no window."""
    figure = _matplotlib().figure.Figure(figsize=(width, height), layout="constrained")
    _matplotlib().backends.backend_agg.FigureCanvasAgg(figure)
    return figure


def write_title(figure, text):
    """Write a text that holds a user's, such as a file's name, as it stands: it is no formula, and may be no UTF-8."""
    figure.suptitle(text.encode(errors="backslashreplace").decode(), fontsize=12, parse_math=False)


def show_spins(axis: object, image: np.ndarray) -> None:
    """Draw spins, or averages of them, black up and white down, into axes without ticks."""
    axis.imshow(image, cmap="gray_r", vmin=-1, vmax=1, interpolation="nearest")
    axis.set_xticks([])
    axis.set_yticks([])


def save(figure: object, path: str) -> None:
    """Write a figure as PNG, whole or not at all."""
    with storage.written_whole(path) as file:
        figure.savefig(file, format="png", dpi=110, metadata={"Software": None})
