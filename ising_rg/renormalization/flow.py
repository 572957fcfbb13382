"""The levels of a renormalization flow: couplings, correlations and stage gain of blocked lattices beside exact values.

A transformation by 3 that keeps the model nearest-neighbour takes K to K' with mu(K') = 3 mu(K) (`temperature.coarser`), keeps
all other couplings zero and, at the critical point, takes m to m / 3^(-1/8).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from ising_rg.renormalization import couplings
from ising_rg.sampler.sampling import SCALE
from ising_rg.spins import bitmaps, pairs, statistics
from ising_rg.spins.bitfile import Rows
from ising_rg.spins.bitmaps import Bitmap
from ising_rg.theory import exact, fluctuations

TOLERANCE = 0.003  # couplings closer to those of the nearest-neighbour model are called its own
NEAREST_TOLERANCE = 0.005  # of K_(1,0), relative
_JACKKNIFE = 8  # configurations from which on the gain has an error of its own
_NOISE_MODES = 2  # of each direction, from which the error of fewer is taken


def row(name: str, measured: float, expected: float, error: float) -> dict:
    """Return a row of a table: measured beside exact, with z."""
    return {
        "name": name,
        "measured": float(measured),
        "exact": float(expected),
        "error": float(error),
        "z": float((measured - expected) / error) if error > 0 else 0.0,
    }


def coupling_rows(lattices: Sequence[Bitmap | Rows], beta: float) -> tuple[list[dict], list[dict]]:
    """Return (rows, rows of left-out terms): couplings of the lattices beside those of the nearest-neighbour model at beta.

    Raises:
        UserError: as `couplings.fit`.
    """
    fit = couplings.fit(lattices, start=beta)
    rows = [
        row(name, value, 0 if index else beta, fit.errors[name])
        for index, (name, value) in enumerate(fit.values.items())
    ]
    return rows, [row(name, value, 0, error) for name, (value, error) in fit.left_out.items()]


def correlation_rows(lattices: Sequence[Bitmap | Rows], beta: float, critical: bool) -> list[dict]:
    """Return rows of c10, c11, c20 of lattices of one size beside exact values; off the critical point of c10 alone."""
    L, n = lattices[0].width, len(lattices)
    places = ((1, 0), (1, 1), (2, 0))
    measured = np.mean([correlations(lattice, places) for lattice in lattices], 0)
    rows = [row("c10", measured[0], exact.torus_c10(L, beta), exact.c10_noise(L, beta) / math.sqrt(n))]
    if critical:
        for place, value in zip(places[1:], measured[1:], strict=True):
            noise = fluctuations.correlation_noise(*place, L) / math.sqrt(n)
            rows.append(row("c{}{}".format(*place), value, float(exact.torus_correlation(*place, L)), noise))
    return rows


def correlations(lattice: Bitmap | Rows, places: Sequence[tuple[int, int]]) -> np.ndarray:
    """Return C(x, y) of one lattice, the mean over the square's images of (x, y), each pair once, float64 (places,)."""
    images = [sorted({max(d, (-d[0], -d[1])) for d in ((x, y), (y, x), (x, -y), (y, -x))}) for x, y in places]
    values = pairs.correlations(lattice, [image for several in images for image in several])
    return np.array([part.mean() for part in np.split(values, np.cumsum([len(several) for several in images])[:-1])])


def gain_row(
    fine: Sequence[Bitmap | Rows], coarse: Sequence[Bitmap | Rows], expected: float = exact.STAGE_GAIN
) -> dict:
    """Return the row of the stage gain <m_fine m_coarse> / <m_coarse^2> of lattices and what they were blocked to.

    The error of a few configurations comes from their modes of longest waves other than m itself: what these are off the gain is
    noise of a white spectrum, the same for m.
    """
    m_fine, m_coarse = (
        np.array([bitmaps.magnetization(lattice) for lattice in of_level]) for of_level in (fine, coarse)
    )
    gain, error = statistics.stage_gain(m_fine, m_coarse)
    if len(fine) < _JACKKNIFE:
        gain = (m_fine @ m_coarse) / (m_coarse @ m_coarse)
        rest = [_modes(a, SCALE) - gain * _modes(b, 1) for a, b in zip(fine, coarse, strict=True)]
        error = math.sqrt(np.mean(np.abs(rest) ** 2) / (m_coarse @ m_coarse))
    return row("stage gain", gain, expected, error)


def _modes(lattice, scale):
    """Return the Fourier coefficients of the longest waves but the mean, of averages over blocks of like physical size."""
    L = lattice.width // scale
    block = max(b for b in range(1, L // (4 * _NOISE_MODES) + 1) if L % b == 0)
    field = bitmaps.block_averages(lattice, block * scale)
    few = np.r_[-_NOISE_MODES : _NOISE_MODES + 1]
    return np.delete((np.fft.fft2(field) / field.size)[np.ix_(few, few)].reshape(-1), len(few) ** 2 // 2)


def verdict(rows: list[dict]) -> tuple[bool, str]:
    """Return (is it the nearest-neighbour model, words) for the coupling rows of one level."""
    off = [
        one
        for index, one in enumerate(rows)
        if abs(one["measured"] - one["exact"])
        > 2 * one["error"] + (TOLERANCE if index else NEAREST_TOLERANCE * one["exact"])
    ]
    if off:
        told = ", ".join(f"{o['name']} {o['measured']:+.4f}({_digits(o['error'])})" for o in off)
        told += f" instead of {rows[0]['exact']:.4f} between nearest neighbours and 0 elsewhere"
        return False, f"not the nearest-neighbour model: {told}"
    largest = max(one["error"] for one in rows)
    words = f"the nearest-neighbour model within {TOLERANCE} + 2 errors, which are up to {largest:.4f}"
    return True, words + ("; too large to tell much: take more or larger lattices" if largest > 4 * TOLERANCE else "")


def _digits(error):
    return max(1, round(error * 1e4))


def comparison_rows(lattices: Sequence[Bitmap | Rows], others: Sequence[Bitmap | Rows], beta: float) -> list[dict]:
    """Return rows of couplings and C(r) of lattices ("measured") beside those of other lattices of the same size ("exact").

    z is of the difference. Where both are as many, C(r) is compared in pairs: what a run grew, beside what it was grown from.
    """
    here, there = (couplings.fit(of_one, start=beta) for of_one in (lattices, others))
    rows = [
        row(name, here.values[name], there.values[name], math.hypot(here.errors[name], there.errors[name]))
        for name in here.values
    ]
    L = lattices[0].width
    places = [(1, 0), (1, 1)] + [(2**k, 0) for k in range(1, int(math.log2(L // 2)) + 1)]
    a, b = (np.array([correlations(lattice, places) for lattice in of_one]) for of_one in (lattices, others))
    if len(a) == len(b) > 2:
        error = (a - b).std(0, ddof=1) / math.sqrt(len(a))
    elif min(len(a), len(b)) > 2:
        error = np.sqrt(a.var(0, ddof=1) / len(a) + b.var(0, ddof=1) / len(b))
    else:
        error = np.array([fluctuations.correlation_noise(*place, L) for place in places]) * math.sqrt(
            1 / len(a) + 1 / len(b)
        )
    return rows + [
        row("C({},{})".format(*place), *values)
        for place, *values in zip(places, a.mean(0), b.mean(0), error, strict=True)
    ]
