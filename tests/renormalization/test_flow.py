"""Correlations of a level: means over the square's images."""

import numpy as np

from ising_rg.renormalization import flow
from ising_rg.spins import bitmaps


def test_both_directions_weigh_the_same():
    """A lattice that is not the same along rows and columns, beside means over all eight images by np.roll: to rounding."""
    spins = np.where(np.random.default_rng(1).random((36, 36)) < 0.5, 1, -1).astype(np.int8)
    spins[:, 1::3] = spins[:, ::3]
    places = ((1, 0), (3, 0), (18, 0), (2, 2), (2, 1), (4, 1))
    expected = [
        np.mean(
            [
                (spins * np.roll(spins, image, (0, 1))).mean()
                for a, b in ((x, y), (y, x))
                for image in ((a, b), (-a, b), (a, -b), (-a, -b))
            ]
        )
        for x, y in places
    ]
    np.testing.assert_allclose(flow.correlations(bitmaps.from_spins(spins), places), expected, atol=1e-14)
