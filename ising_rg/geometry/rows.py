"""Rows of what clusters and walls of a lattice are, beside exact values; the verdict.

A row's error is that of one lattice, exact for FK bonds and else measured in Swendsen-Wang ensembles (`_SCATTER`:
benchmarks/measure_geometry.py), together with how far the mean of such ensembles is from a value that is exact for infinite sizes
only: clusters of hundreds of sites are not quite scale invariant yet.
"""

from __future__ import annotations

import math

import numpy as np

from ising_rg.geometry import loops, records
from ising_rg.geometry.survey import Counted
from ising_rg.theory import deviates, exact, geometry

THRESHOLD = 4.5  # standard deviations, as in `checks.comparison`
SMALLEST_ENSEMBLE = 10  # lattices of one size from which their means are judged too
SMALLEST, SMALLEST_SLOPES = 64, 2048  # sites a side from which the critical rows are made, and those of sizes and areas
POWERS = {"cluster": (8, 13), "loop": (6, 12)}  # of 2: sizes, and areas of loops, between which exponents are fitted
AREAS = (64, 256, 1024)  # sites; of loops that are larger
_HULL_UNITS = 4  # of a hull's area, in the lattice of twice the size, to a site
_MEASURED = 2048  # sites a side of the lattices that _SCATTER is of
# Name: (standard deviation of one lattice times L; of sum s^2, over its mean), (how far the mean of Swendsen-Wang lattices is from
# what is exact of infinite sizes, and its error), of 60 lattices, to 10 %. A row that is not here is told, and not judged.
_SCATTER: dict[str, tuple[float, float]] = {
    "FK clusters a site": (0.75, 0.0),
    "FK sum s^2 / N^2": (0.32, 0.0),
    "spin dimension": (82.0, 0.012),
    "FK dimension": (65.0, 0.013),
    "wall dimension": (32.0, 0.0027),
    "hull dimension": (10.0, 0.005),
    "spin exponent": (200.0, 0.028),
    "FK exponent": (190.0, 0.045),
    "walls, A N(>A) / C, 64": (64.0, 0.018),
    "walls, A N(>A) / C, 256": (120.0, 0.032),
    "walls, A N(>A) / C, 1024": (220.0, 0.064),
    "hulls, A N(>A) / C, 64": (36.0, 0.013),
    "hulls, A N(>A) / C, 256": (65.0, 0.011),
    "hulls, A N(>A) / C, 1024": (140.0, 0.0097),
}


def mean_square(counted: Counted, n_sites: int) -> float:
    """Return the sum of squared sizes over N^2."""
    kept = sum(int(size) ** 2 for size in counted.kept[:, records.SIZE])
    return (int(counted.tally[..., records.SQUARES].sum()) + kept) / n_sites**2


def number(counted: Counted) -> int:
    """Return the number of clusters."""
    return int(counted.tally[..., records.COUNT].sum()) + len(counted.kept)


def histogram(counted: Counted) -> np.ndarray:
    """Return int64 (POWERS, 3): clusters, sites and sums of squared radii (`records.RADIUS_UNIT`), by the power of 2 of the size.

    Clusters that wind, or touch the edges of a window, are left out: they have no size or radius of their own.
    """
    found = counted.tally[0][:, [records.COUNT, records.SITES, records.RADII]].copy()
    for one in counted.kept:
        if not (one[records.WX] or one[records.WY] or one[records.FLAGS] & records.EDGE):
            radius = records.squared_radius(*one[[records.SIZE, records.SX, records.SY, records.SQ]])
            row = found[int(one[records.SIZE]).bit_length() - 1]
            row += np.array([1, one[records.SIZE], np.rint(radius / records.RADIUS_UNIT)], np.int64)
    return found


def larger_areas(counted: Counted, constant: float, n_sites: int, units: int) -> np.ndarray:
    """Return by power of 2 of the area A, in `units`, the loops of at least A, times A - 1/2, over C a site."""
    n = counted.walls[::-1, loops.AREAS].cumsum()[::-1]
    return n * (2.0 ** np.arange(len(n)) - 0.5) / units / (constant * n_sites)


def loops_of(spin: Counted | None, fk: Counted | None) -> tuple:
    """Return (Counted, C, units of area to a site) of walls and of hulls, as `larger_areas` takes them."""
    return (spin, geometry.WALL_CONSTANT, 1), (fk, geometry.HULL_CONSTANT, _HULL_UNITS)


def observables(spin: Counted | None, fk: Counted | None, n_sites: int) -> dict[str, float]:
    """Return by name what is measured of a lattice of n_sites and of the kinds counted; not finite where there is too little."""
    found = {}
    with np.errstate(divide="ignore", invalid="ignore"):
        if fk is not None:
            found["FK bonds"] = fk.n_open_bonds / (2 * n_sites)
            found["FK clusters a site"] = number(fk) / n_sites
            found["FK sum s^2 / N^2"] = mean_square(fk, n_sites)
        for name, loop, (counted, constant, units) in zip(
            ("spin", "FK"), ("wall", "hull"), loops_of(spin, fk), strict=True
        ):
            if counted is None:
                continue
            areas = larger_areas(counted, constant, n_sites, units)
            for area in AREAS:
                found[f"{loop}s, A N(>A) / C, {area}"] = float(areas[(area * units).bit_length() - 1])
            n, sites, radii = histogram(counted)[slice(*POWERS["cluster"])].T
            found[f"{name} dimension"] = 2 / _slope(np.log2(sites / n), np.log2(radii / n))
            found[f"{name} exponent"] = 1 - _slope(np.arange(len(n)), np.log2(n))
            n, length, area = counted.walls[slice(*POWERS["loop"])][
                :, [loops.AREAS, loops.LENGTHS_OF_AREA, loops.SUM_OF_AREAS]
            ].T
            found[f"{loop} dimension"] = 2 * _slope(np.log2(area / n), np.log2(length / n))
    return found


def _slope(x, y):
    x = x - x.mean()
    return float((x * (y - y.mean())).sum() / (x * x).sum())


def expected(L: int, beta: float) -> dict[str, tuple[float, float, float]]:
    """Return by name (exact value, standard deviation of one L x L torus, how far it holds) of what is known at beta."""
    if L % 2 or L < 4:  # of which the torus' energy is not known here
        return {}
    known = {
        "FK bonds": (geometry.fk_bond_density(beta, exact.torus_c10(L, beta)), geometry.fk_bond_noise(beta, L), 0.0)
    }
    if not exact.is_critical(beta) or L < SMALLEST:
        return known
    scatter, holds = _errors("FK clusters a site", L)
    known["FK clusters a site"] = (geometry.fk_clusters_per_site(L), scatter, holds + 2 / L**2)
    m2 = geometry.fk_mean_square(L)
    scatter, holds = _errors("FK sum s^2 / N^2", 1)
    known["FK sum s^2 / N^2"] = (m2, scatter * m2, holds)
    if L < SMALLEST_SLOPES:
        return known
    values = {
        "spin dimension": exact.SPIN_CLUSTER_DIMENSION,
        "FK dimension": exact.FK_CLUSTER_DIMENSION,
        "wall dimension": exact.DOMAIN_WALL_DIMENSION,
        "hull dimension": geometry.HULL_DIMENSION,
        "spin exponent": geometry.SPIN_SIZE_EXPONENT,
        "FK exponent": geometry.FK_SIZE_EXPONENT,
    } | {f"{loop}s, A N(>A) / C, {area}": 1.0 for loop in ("wall", "hull") for area in AREAS}
    return known | {name: (value, *_errors(name, L)) for name, value in values.items()}


def _errors(name, L):
    scatter, holds = _SCATTER.get(name, (math.inf, 0.0))
    # Variances grow as ln L, as the energy's: deviations times L of walls of area 64 were 43, 56, 64 at L = 512, 1024, 2048.
    growth = math.sqrt(1 + 0.3 * max(0.0, math.log2(L / _MEASURED)))
    return scatter * growth / L, holds


def compare(values: list[dict[str, float]], L: int, beta: float) -> tuple[list[dict], list[dict]]:
    """Return (rows, told) of the means of what `observables` tells of lattices of one size.

    rows: `deviates.row`, and `far`. told: name, measured, exact of what is not judged: its scatter has not been measured.
    """
    rows, told = [], []
    for name, (value, scatter, holds) in expected(L, beta).items():
        measured = float(np.mean([one.get(name, math.nan) for one in values]))
        error = math.hypot(scatter / math.sqrt(len(values)), holds)
        if math.isfinite(measured) and math.isfinite(error):
            row = deviates.row(name, measured, value, error)
            rows.append({**row, "far": abs(row["z"]) > THRESHOLD})
        elif math.isfinite(measured):
            told.append({"name": name, "measured": measured, "exact": value})
    return rows, told


def summary(counted: Counted, n_sites: int, n_largest: int) -> dict:
    """Return what goes into a report: numbers, histograms by powers of 2, the largest clusters, what winds around the torus."""
    last = max(1, *(int(np.max(np.nonzero(a)[0], initial=0)) + 1 for a in (counted.walls, histogram(counted))))
    largest = [
        {
            "size": int(one[records.SIZE]),
            "first": int(one[records.FIRST]),
            "winding": [int(one[records.WX]), int(one[records.WY])],
            "cross": bool(one[records.FLAGS] & records.CROSS),
            "at_edge": bool(one[records.FLAGS] & records.EDGE),
        }
        for one in counted.kept[:n_largest]
    ]
    at_edges = sum(1 for one in counted.kept if one[records.FLAGS] & records.EDGE)
    return {
        "clusters": number(counted),
        "at_edges": int(counted.tally[1, :, records.COUNT].sum()) + at_edges,
        "mean_square": mean_square(counted, n_sites),
        "open_bonds": counted.n_open_bonds,
        "largest": largest,
        "clusters_sites_radii_by_size": histogram(counted)[:last].tolist(),
        "loops": int(counted.walls[:, loops.AREAS].sum()) + len(counted.winding),
        "loops_by_length_and_area": counted.walls[:last].tolist(),
        "loops_that_wind": counted.winding[:1000].tolist(),
        "pieces_cut": counted.cut[0],
        "length_cut": counted.cut[1],
    }


def winding_rows(counted: list[Counted]) -> list[dict]:
    """Return rows of the shares of critical tori on which FK clusters wind in no way, in one, in two."""
    ways = [int(winds(one)) for one in counted]
    rows = []
    for number_of, (name, p) in enumerate(
        (name, geometry.winding_probabilities()[name]) for name in ("none", "single", "cross")
    ):
        row = deviates.row(
            f"FK winding: {name}", ways.count(number_of) / len(ways), p, math.sqrt(p * (1 - p) / len(ways))
        )
        rows.append({**row, "far": abs(row["z"]) > THRESHOLD})
    return rows


def windings(counted: Counted) -> list[str]:
    """Return how each cluster winds around the torus that does, in words: "(1, 0)", once along rows; "in two ways"."""
    around = counted.kept[(counted.kept[:, records.WX] != 0) | (counted.kept[:, records.WY] != 0)]
    return [
        "in two ways" if one[records.FLAGS] & records.CROSS else f"({one[records.WX]}, {one[records.WY]})"
        for one in around
    ]


def winds(counted: Counted) -> int:
    """Return in how many ways clusters wind around the torus: 0, 1, or 2, which only one of them can do."""
    ways = windings(counted)
    return 2 if "in two ways" in ways else min(1, len(ways))


def reasons(rows: list[dict]) -> list[str]:
    """Return in words which rows are far off."""
    return [
        f"{row['name']} = {row['measured']:.6g}, exact {row['exact']:.6g} (z = {deviates.text(row['z'])})"
        for row in rows
        if row["far"]
    ]
