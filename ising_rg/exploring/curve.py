"""C(r) of a window on screen beside the exact function and, where it is known, the scatter of such a window."""

from __future__ import annotations

import math

import numpy as np

from ising_rg.checks import window_counts
from ising_rg.spins.bitmaps import Bitmap
from ising_rg.theory import correlations, exact, massive_fluctuations, window_fluctuations

_FARTHEST = 1024  # sites: the exact function off criticality takes 0.1 s so far
SMALLEST = 16  # sites of the smaller side


def of(window: Bitmap, L: int, beta: float) -> dict:
    """Return r, measured, exact and error (None where it is not known), lists, of a window of an L x L lattice at beta.

    r goes from 1 to a quarter of the window's smaller side; measured: mean over both axes, of pairs within the window.
    """
    height, width = window.height, window.width
    smaller = min(height, width)
    r = np.unique(np.geomspace(1, max(1, min(smaller // 4, _FARTHEST)), 24).astype(int)).tolist()
    shifts = np.array([place for x in r for place in ((x, 0), (0, x))], np.int64)
    unlike = window_counts.count_unlike(window, shifts, 0, height)
    pairs = np.array([window_counts.n_pairs(height, width, place) for place in shifts.tolist()])
    measured = (1 - 2 * unlike / pairs).reshape(-1, 2).mean(1)
    n_pairs = pairs.reshape(-1, 2).mean(1).tolist()
    if exact.is_critical(beta):
        expected = [exact.torus_c10(L, beta), *(float(exact.torus_correlation(x, 0, L)) for x in r[1:])]
        side = window_fluctuations.side(height, width, L)
        errors = [window_fluctuations.correlation_noise(x, n, side) for x, n in zip(r, n_pairs, strict=True)]
    else:
        expected = correlations.axis_correlation(beta, r[-1])[r].tolist()
        errors = [None] * len(r)
        if massive_fluctuations.holds(beta, smaller):
            noise = massive_fluctuations.correlation_noise
            errors = [noise(x, beta, math.sqrt(n)) for x, n in zip(r, n_pairs, strict=True)]
    return {"r": r, "measured": measured.tolist(), "exact": expected, "error": errors}
