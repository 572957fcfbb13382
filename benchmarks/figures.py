"""Figures of the benchmarks, drawn as those of the scripts (`ising_rg.figures.pictures`)."""

from __future__ import annotations

import numpy as np

from ising_rg.figures.pictures import BLUE, COLOURS, GREEN, GREY, ORANGE, VERMILION, new_figure, save, show_spins


def ensemble(path: str, axis: tuple, curves: dict, magnetizations: dict, small: int) -> None:
    """Draw C(r) of an ensemble over its exact value, and P(|m|) of small lattices.

    Args:
        axis: (L, r, error): sites per side, distances, and the relative standard error of the first curve.
        curves: {label: C(r) / exact}: the ensemble, one of its lattices, a run that it is compared with.
        magnetizations: {label: |m|}: grown lattices of `small` sites per side, and others.
    """
    L, r, error = axis
    figure = new_figure(12.5, 4.8)
    left, right = figure.subplots(1, 2, width_ratios=(1.7, 1))
    (mean_label, mean), (one_label, one), (cold_label, cold) = curves.items()
    left.axhline(1, color=GREY, linewidth=1, linestyle="--", label="exact on the torus")
    left.plot(r, cold, "s-", color=VERMILION, markersize=3, linewidth=1, label=cold_label)
    left.plot(r, one, "-", color=ORANGE, linewidth=1.5, label=one_label)
    left.errorbar(r, mean, error, fmt="o", color=BLUE, markersize=4, capsize=2, label=mean_label)
    left.set_xscale("log")
    left.set_ylim(0.6, 1.8)
    left.set_xlabel("r (lattice spacings, along the axes)")
    left.set_ylabel("C(r) / exact")
    left.set_title(f"Correlations from 1 to L/2, L = {L}", fontsize=11)
    left.legend(fontsize=9, loc="upper left")
    edges = np.linspace(0, 1.6, 41)
    scale = small ** (1 / 8)
    for (label, values), colour, style in zip(magnetizations.items(), (BLUE, ORANGE), ("-", "--"), strict=True):
        density, _ = np.histogram(scale * values, edges, density=True)
        right.stairs(
            density, edges, color=colour, linestyle=style, linewidth=1.8, label=f"{label}, {len(values)} lattices"
        )
    right.set_xlabel("|m| L^(1/8)")
    right.set_ylabel("probability density")
    right.set_title(f"Magnetization, L = {small}", fontsize=11)
    right.legend(fontsize=9, loc="upper left")
    save(figure, path)


def lengths(path: str, lattices: list[dict], title: str) -> None:
    """Draw lattices of several correlation lengths side by side, and C(r) of each on its exact curve.

    Args:
        lattices: dicts: title, preview (2D), r (distances), measured and exact (C at them), low and high (one standard deviation
            of one lattice about the exact value).
    """
    n = len(lattices)
    figure = new_figure(2.9 * n, 7.4)
    grid = figure.add_gridspec(2, n, height_ratios=(1, 1.35))
    curves = figure.add_subplot(grid[1, :])
    markers = "osD^vP*"
    for index, one in enumerate(lattices):
        axis, colour = figure.add_subplot(grid[0, index]), COLOURS[index]
        show_spins(axis, one["preview"])
        axis.set_title(one["title"], fontsize=11, color=colour)
        curves.fill_between(one["r"], one["low"], one["high"], color=colour, alpha=0.2, linewidth=0)
        curves.plot(one["r"], one["exact"], color=colour, linewidth=1.2)
        shown = one["measured"] > 0
        label = one["title"].replace("\n", ", ")
        marker = markers[index % len(markers)]
        curves.plot(one["r"][shown], one["measured"][shown], marker, color=colour, markersize=4, label=label)
    curves.set_xscale("log")
    curves.set_yscale("log")
    curves.set_ylim(1e-3, 1)
    curves.set_xlabel("r (lattice spacings, along the axes)")
    curves.set_ylabel("C(r)")
    curves.legend(fontsize=9, loc="lower left", title="one lattice each; line: exact, band: one standard deviation")
    figure.suptitle(title, fontsize=12)
    save(figure, path)


def kernel_comparison(path: str, results: dict[str, dict[int, tuple]], L: int) -> None:
    """Draw how far each way of growing is from exact, scale by scale and by its worst scale, for several numbers of sweeps.

    Args:
        results: dict method -> dict n_sweeps -> (r, deviation, error), relative deviations of C(r) from exact.
        L: size of the grown lattices.
    """
    figure = new_figure(4.3 * (len(results) + 1), 4.4)
    axes = figure.subplots(1, len(results) + 1)
    shades = ("#000000", VERMILION, ORANGE, GREEN, BLUE, "#56B4E9", "#CC79A7")
    for axis, (method, by_sweeps) in zip(axes, results.items(), strict=False):
        axis.axhspan(-0.2, 0.2, color=GREY, alpha=0.2, linewidth=0)
        for (n_sweeps, (r, deviation, error)), shade in zip(by_sweeps.items(), shades, strict=False):
            axis.errorbar(
                r, 100 * deviation, 100 * error, color=shade, marker="o", markersize=3, linewidth=1, label=n_sweeps
            )
        axis.set_xscale("log")
        axis.set_yscale("symlog", linthresh=0.5)
        axis.set_title(f"{method}, L = {L}", fontsize=10)
        axis.set_xlabel("r (lattice spacings)")
        axis.legend(title="sweeps", fontsize=7, title_fontsize=7, ncols=2)
    axes[0].set_ylabel("C(r) / exact - 1 (%); grey: within 0.2 %")
    worst = axes[-1]
    for (method, by_sweeps), shade, marker in zip(results.items(), (BLUE, VERMILION, GREEN), "osD", strict=False):
        values = [100 * np.abs(deviation).max() for _, deviation, _ in by_sweeps.values()]
        worst.plot([n + 0.5 for n in by_sweeps], values, marker=marker, color=shade, label=method)
    worst.axhline(0.2, color=GREY, linestyle="--", linewidth=1)
    worst.set_xscale("log")
    worst.set_yscale("log")
    ticks = list(next(iter(results.values())))
    worst.set_xticks([n + 0.5 for n in ticks], [str(n) for n in ticks])
    worst.minorticks_off()
    worst.set_xlabel("Metropolis sweeps")
    worst.set_ylabel("worst scale: |C(r) / exact - 1| (%)")
    worst.legend(fontsize=8)
    save(figure, path)
