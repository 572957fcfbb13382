"""What the picture of a check shows, averaged over configurations of one size: G(r), S(k), a thumbnail."""

from __future__ import annotations

import numpy as np

from ising_rg.checks import counts, spectra
from ising_rg.figures.pictures import preview
from ising_rg.spins import bitmaps, pairs
from ising_rg.spins.bitfile import Rows
from ising_rg.spins.bitmaps import Bitmap
from ising_rg.theory import correlations, exact, fluctuations, massive_fluctuations, temperature

_MAP_MODES = 24  # modes each way in the map of S(k)


class CheckCurves:
    """Curves of one or more bitmaps of size L x L.

    critical, known: whether beta is critical, and whether exact values are known of C(r) at all.
    r, correlation, exact, error: (n,) distances along the axes, mean C(r), exact value, standard deviation of the mean.
    map: S(k) of the modes next to k = 0; radial: (k, S, error) averaged over rings; exact_modes: (k, S).
    """

    def __init__(self, L: int, beta: float):
        self.L, self.beta, self.n = L, beta, 0
        self.critical = exact.is_critical(beta) and L >= counts.SMALLEST
        self.known = self.critical or massive_fluctuations.holds(beta, L)
        # Off criticality what is far beyond the correlation length is noise, or the square of the magnetization.
        largest = L // 2 if self.critical else max(2, int(min(L // 2, 3 * temperature.correlation_length(beta))))
        self.r = np.unique(np.geomspace(1, largest, 60).astype(int))
        self.block = spectra.block_for(L)
        self.thumbnail = None
        self._correlation, self._power = 0.0, 0.0

    def add(self, bitmap: Bitmap | Rows) -> None:
        """Take one more configuration into the means."""
        displacements = [d for r in self.r for d in ((int(r), 0), (0, int(r)))]
        self._correlation += pairs.correlations(bitmap, displacements).reshape(-1, 2).mean(1)
        field = bitmaps.block_averages(bitmap, self.block)
        self._power += spectra.structure_factor(field, self.block)
        if self.thumbnail is None:
            self.thumbnail = preview(field, 512)
        self.n += 1

    @property
    def correlation(self) -> np.ndarray:
        return self._correlation / self.n

    @property
    def exact(self) -> np.ndarray:
        if not self.critical:
            return correlations.axis_correlation(self.beta, int(self.r[-1]))[self.r]
        values = np.asarray(exact.torus_correlation(self.r, 0, self.L))
        return np.r_[exact.torus_c10(self.L), values[1:]]

    @property
    def error(self) -> np.ndarray:
        if self.critical:
            each = [fluctuations.correlation_noise(int(r), 0, self.L) for r in self.r]
        else:
            each = [massive_fluctuations.correlation_noise(int(r), self.beta, self.L) for r in self.r]
        return np.array(each) / np.sqrt(self.n)

    @property
    def map(self) -> np.ndarray:
        return _centre(self._power / self.n, min(_MAP_MODES, len(self._power) // 3))

    @property
    def radial(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        modes = spectra.wave_numbers(len(self._power), self.block)
        k, s, error = spectra.radial_average(self._power / self.n, *modes, 2 * np.pi / 3 / self.block)
        return k, s, error / np.sqrt(self.n)

    @property
    def exact_modes(self) -> tuple[np.ndarray, np.ndarray]:
        return spectra.exact_low_modes(self.L)


def _centre(power, reach):
    """Return S(k) of the modes -reach ... reach in both directions from the half plane of a real transform; k = 0 is left out."""
    rows = np.r_[-reach : reach + 1]
    right = power[rows][:, : reach + 1]
    left = power[-rows][:, reach:0:-1]
    image = np.concatenate([left, right], 1)
    image[reach, reach] = np.nan
    return image
