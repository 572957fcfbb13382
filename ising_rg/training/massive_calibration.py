"""Calibration off criticality: slopes of the kernel's weights shifted until raw and refined lattices are right at every mass.

As in `calibration`, weights are shifted by one number for each class of taps; here by x(mu) = sum over d of c_d (mu / MASS_UNIT)^d,
added to the slopes, so that the critical kernel stays as it is. c is the least of

    sum over masses [x F x / (2 KL_SCALE) + sum over observables (deviation / tolerance)^2 / 2],

deviations being what one stage adds to C at PLACES, raw and after REFINE_SWEEPS, from start lattices of Swendsen-Wang at K':
correlations of the fine lattices, regressed on those of their coarse lattices, where the latter are exact. Tolerances hold
statistical errors too.
"""

from __future__ import annotations

import copy

import numpy as np
import torch

from ising_rg.base import random_numbers
from ising_rg.base.random_numbers import Purpose
from ising_rg.kernels.conditional import ConditionalKernel, on_grid
from ising_rg.kernels.form import MASS_UNIT
from ising_rg.sampler.sampling import SCALE
from ising_rg.spins import lattice
from ising_rg.theory import correlations, exact, temperature
from ising_rg.training import added, calibration, objectives
from ising_rg.training.off_critical import DEGREE
from ising_rg.updates import metropolis, swendsen_wang

PLACES = ((1, 0), (1, 1), (2, 0), (3, 0), (4, 0), (8, 0), (16, 0))
_CONTROLS = ((1, 0), (1, 1), (2, 0), (4, 0), (8, 0))  # of the coarse lattice
_REFINED_TOLERANCE = np.array([2e-5, 3e-5, 3e-5, 5e-5, 5e-5, 8e-5, 1e-4])  # as at criticality
TOLERANCE = np.concatenate([30 * _REFINED_TOLERANCE, _REFINED_TOLERANCE])
KL_LIMIT = calibration.KL_LIMIT  # nats a site that the shift may cost at any mass
_SLOPE_SHARE = 8  # of the start lattices so many fewer for the slopes
_MEASUREMENTS = 3  # of all masses, the first without a shift


class MassiveCalibration:
    """The whole procedure; its state can be saved and taken up again.

    Args:
        kernel: ConditionalKernel with slopes; massive: {mu: int8 (n, L, L)}, lattices of each mass.
        n_seeds, size: of each mass, and sites per side of each.
        seed: names start lattices and random numbers, the same for every kernel.

    Attributes:
        step, n_steps: slopes of one mass a step, then measurements of all.
        history: list of dicts, one a measurement: c, for each mass deviations and cost in KL, the objective.
    """

    def __init__(self, kernel: ConditionalKernel, massive: dict[float, np.ndarray], n_seeds: int, size: int, seed: int):
        self.kernel, self.massive, self.n_seeds, self.size = kernel, massive, n_seeds, size
        self.seed = random_numbers.derived_seed(seed, Purpose.CALIBRATION, 2)
        self.classes = calibration.tap_classes(kernel)
        self.masses = list(massive)
        self.step, self.n_steps = 0, len(self.masses) + _MEASUREMENTS
        self.history, self.responses, self._starts = [], [], {}

    def advance(self, stop: bool = False) -> bool:
        """Do one step; return whether to stop after it."""
        if self.step < len(self.masses):
            self.responses.append(self._response(self.masses[self.step]))
        else:
            self.history.append(self._measured(self._next()))
        self.step += 1
        return stop

    def _response(self, mu):
        """Return (F, slopes (observables, classes)) at one mass."""
        kernel = self.kernel.at_mass(mu)
        blocks = min(64, self.massive[mu].shape[-1] // SCALE - 2)
        size = SCALE * blocks + 2 * kernel.rule.margin
        number = self.masses.index(mu)
        windows, generator = objectives.random_windows([self.massive[mu]], 16, size, self.seed, number)
        pairs = objectives.draw_coarse(kernel.rule, windows.to(kernel.weights[0].device), generator)
        fisher = calibration.fisher(kernel, self.classes, *pairs)
        few, probes = max(added.FEWEST, self.n_seeds // _SLOPE_SHARE), calibration.probes(fisher)
        start, _ = self._deviations(kernel, mu, few)
        slopes = []
        for number, probe in enumerate(probes):
            x = probe * (np.arange(len(probes)) == number)
            found, _ = self._deviations(on_grid(calibration.shifted(kernel, self.classes, x)), mu, few)
            slopes.append((found - start) / probe)
        return fisher, np.array(slopes).T

    def _measured(self, c):
        """Return the row of the history of coefficients c, (DEGREE, classes)."""
        row, objective = {"c": c.tolist(), "deviations": [], "errors": [], "kl": []}, 0.0
        kernel = self._shifted(c)
        for mu, (fisher, _) in zip(self.masses, self.responses, strict=True):
            found, errors = self._deviations(kernel.at_mass(mu), mu, self.n_seeds)
            x = _powers(mu) @ c
            kl = float(x @ fisher @ x / 2)
            row["deviations"].append(found.tolist())
            row["errors"].append(errors.tolist())
            row["kl"].append(kl)
            objective += kl / calibration.KL_SCALE + float((found**2 / (TOLERANCE**2 + errors**2)).sum()) / 2
        return row | {"objective": objective}

    def _next(self):
        """Return the next coefficients to measure: none, then the least of the objective if deviations were linear."""
        n = len(self.classes)
        if not self.history:
            return np.zeros((DEGREE, n))
        last, scale = self.history[-1], calibration.KL_SCALE
        if not np.isfinite(last["deviations"]).all():
            raise ValueError(f"deviations {last['deviations']}")
        while True:
            normal, slope = np.zeros((DEGREE, n, DEGREE, n)), np.zeros((DEGREE, n))
            for index, (mu, (fisher, slopes)) in enumerate(zip(self.masses, self.responses, strict=True)):
                found, errors = (np.array(last[name][index]) for name in ("deviations", "errors"))
                powers, weight = _powers(mu), 1 / (TOLERANCE**2 + errors**2)
                inner = slopes.T * weight @ slopes + fisher / scale
                target = slopes.T * weight @ (slopes @ (powers @ np.array(last["c"])) - found)
                normal += np.multiply.outer(powers, np.multiply.outer(inner, powers)).transpose(0, 1, 3, 2)
                slope += np.multiply.outer(powers, target)
            size = DEGREE * n
            c = np.linalg.solve(normal.reshape(size, size), slope.ravel()).reshape(DEGREE, n)
            shifts = [(_powers(mu) @ c, fisher) for mu, (fisher, _) in zip(self.masses, self.responses, strict=True)]
            if max(x @ fisher @ x / 2 for x, fisher in shifts) <= KL_LIMIT:
                return c
            scale /= 1.1  # KL made dearer

    def _deviations(self, kernel, mu, n):
        """Return (what one stage adds to C at PLACES, raw and refined, relative to exact values; its errors), float64 (14,)."""
        if mu not in self._starts:
            name, coarser = (
                random_numbers.derived_seed(self.seed, Purpose.SEED_LATTICE),
                temperature.beta_of_mass(SCALE * mu),
            )
            sweeps = swendsen_wang.sweeps_at(self.size, coarser)
            self._starts[mu] = swendsen_wang.sample(self.size, coarser, self.n_seeds, name, sweeps)
        packed, beta = lattice.pack(self._starts[mu][:n]), temperature.beta_of_mass(mu)
        controls = [place for place in _CONTROLS if 4 * place[0] <= self.size]
        x = added.observed(packed, controls)[:, 1:] - _exact(controls, self.size, temperature.beta_of_mass(SCALE * mu))
        x = np.column_stack([np.ones(len(x)), x])
        fine, values = kernel.sample_packed(packed, self.seed), []
        for n_sweeps in (0, calibration.REFINE_SWEEPS):
            metropolis.sweep_packed(fine, beta, n_sweeps, self.seed)
            values.append(added.observed(fine, PLACES)[:, 1:] / _exact(PLACES, SCALE * self.size, beta) - 1)
        values = np.concatenate(values, 1)
        fit, *_ = np.linalg.lstsq(x, values, rcond=None)
        variance = ((values - x @ fit) ** 2).sum(0) / (len(x) - x.shape[1])
        return fit[0], np.sqrt(variance * np.linalg.inv(x.T @ x)[0, 0])

    def _shifted(self, c):
        result = copy.deepcopy(self.kernel)
        for numbers, masks in zip(c.T, self.classes.values(), strict=True):
            for slopes, mask in zip(result.slopes, masks, strict=True):
                slopes.data += torch.from_numpy(np.multiply.outer(numbers, mask.numpy())).to(slopes)
        return result

    def result(self) -> ConditionalKernel:
        """Return the kernel with the best slopes measured."""
        return self._shifted(np.array(min(self.history, key=lambda row: row["objective"])["c"]))

    def state(self) -> dict:
        """Return everything needed to go on, for `storage.save_pt`."""
        responses = [[torch.from_numpy(values) for values in both] for both in self.responses]
        return {"step": self.step, "history": list(self.history), "responses": responses}

    def restore(self, state: dict) -> None:
        """Take up a state from `state`."""
        self.step, self.history = state["step"], list(state["history"])
        self.responses = [tuple(values.numpy() for values in both) for both in state["responses"]]


def _powers(mu):
    return (mu / MASS_UNIT) ** np.arange(1, DEGREE + 1)


def _exact(places, L, beta):
    """Return C at the places: of the L x L torus for nearest neighbours, of the infinite lattice for others."""
    along, near = correlations.axis_correlation(beta, 64), correlations.near_correlation(beta, 2)
    return np.array(
        [exact.torus_c10(L, beta) if p == (1, 0) else along[p[0]] if p[1] == 0 else near[p] for p in places]
    )
