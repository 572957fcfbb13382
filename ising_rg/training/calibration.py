"""Calibration of a trained kernel: raw lattices and those after sweeps right at once, at the least cost in KL.

A kernel fitted by maximum likelihood lacks some multi-spin correlations. They relax in the first sweeps, and with them gain and
short-distance correlations change. The kernel's weights move raw and refined lattices differently: sweeps undo 35 to 75 % of a
change of the raw gain, depending on which weights make it (docs/training.md). So the weights are shifted by x, one number for each
class of taps (`tap_classes`), so that for what a stage adds (`training.added`)

    x F x / (2 KL_SCALE) + sum over observables ((deviation of raw or refined lattices) / tolerance)^2 / 2

is least among all x with x F x / 2 <= KL_LIMIT. F is the Fisher information of the classes per site: x F x / 2 is what x costs in
KL. Deviations are linear in x with a slope measured by shifting one class at a time with the same start lattices and random numbers
throughout; Gauss-Newton does the rest.
All is measured on the second stage, whose coarse lattices are themselves grown, as those of all later stages are.
"""

from __future__ import annotations

import copy

import numpy as np
import torch

from ising_rg.base import random_numbers
from ising_rg.base.random_numbers import Purpose
from ising_rg.growth import refinement
from ising_rg.kernels.conditional import ConditionalKernel, on_grid
from ising_rg.kernels.form import DRAWING_ORDER
from ising_rg.kernels.kernel import Kernel
from ising_rg.sampler.sampling import CLAMPED, SCALE
from ising_rg.training import added, objectives

REFINE_SWEEPS = refinement.FEWEST
# Gain, then C at added.DISTANCES, of refined lattices. Raw ones are looked at by those who study the kernel alone; to hold them
# three times tighter costs half as much KL again, by the slopes.
_REFINED_TOLERANCE = np.array([5e-5, 2e-5, 3e-5, 3e-5, 5e-5, 5e-5, 8e-5, 1e-4, 1e-4, 1e-4])
TOLERANCE = np.concatenate([30 * _REFINED_TOLERANCE, _REFINED_TOLERANCE])
KL_SCALE = 1e-5  # nats a site that one tolerance is worth: level with the standard error of the kernel's KL
KL_LIMIT = 1.2e-5  # nats a site that the shift may cost: a twentieth of the kernel's KL
_PROBE_KL = 4e-5  # what shifting one class costs: gains and correlations change by 0.2 to 1 %, nearly linear
# Squared distances, in sites, from the site drawn to the middle of the coarse block, and to the fine site.
_COARSE_EDGES = (0, 0.5, 2.5, 6, 13.5, 25, 1000)
_FINE_EDGES = (0, 1.5, 3, 4.5, 6, 9, 12, 17, 1000)
_SLOPE_SHARE = (
    16  # of the start lattices so many fewer for the slopes: random numbers in common all but cancel the noise
)
_MEASUREMENTS = 3  # of the whole shift, the first without one


def tap_classes(kernel: ConditionalKernel) -> dict[str, list[torch.Tensor]]:
    """Return {name: masks shaped like `kernel.weights`}, 1 at the taps of the class; every tap on a spin belongs to one class.

    Classes tell apart what is drawn (centre, corners or edges of blocks), coarse from fine spins, and distances.
    """
    classes = {}
    for step, (k, _, p) in enumerate(kernel.draws):
        drawn = "centre" if DRAWING_ORDER[p] == 4 else "edge" if DRAWING_ORDER[p] % 2 else "corner"
        for i, (plane, distance) in enumerate(zip(kernel.taps[k][:, 0], kernel.distances(k), strict=True)):
            if plane == CLAMPED:
                continue
            number = np.searchsorted(_FINE_EDGES if plane else _COARSE_EDGES, distance**2, side="right") - 1
            empty = [torch.zeros_like(weight, device="cpu") for weight in kernel.weights]
            classes.setdefault(f"{drawn}, {'fine' if plane else 'coarse'} {number}", empty)[step][i] = 1
    return classes


def shifted(
    kernel: ConditionalKernel, classes: dict[str, list[torch.Tensor]], x: np.ndarray | list[float]
) -> ConditionalKernel:
    """Return a copy of the kernel whose weights in each class are larger by x (one number a class)."""
    result = copy.deepcopy(kernel)
    with torch.no_grad():
        for amount, masks in zip(x, classes.values(), strict=True):
            for weight, mask in zip(result.weights, masks, strict=True):
                weight += float(amount) * mask.to(weight)
    return result


def fisher(
    kernel: ConditionalKernel, classes: dict[str, list[torch.Tensor]], coarse: torch.Tensor, fine: torch.Tensor
) -> np.ndarray:
    """Return F, float64 (classes, classes): shifting by x costs x F x / 2 nats a site; arguments as `kernel.features`."""
    total, sites = 0, 0
    with torch.no_grad():
        for step, (x, spins) in enumerate(kernel.features(coarse, fine)):
            spread = 1 / torch.cosh(kernel.weights[step] @ x)  # sqrt of the variance of each spin
            effects = ((torch.stack([masks[step] for masks in classes.values()]).to(x) @ x) * spread).double()
            total, sites = total + effects @ effects.T, sites + len(spins)
    return (total / sites).cpu().numpy()


def probes(fisher: np.ndarray) -> np.ndarray:
    """Return by how much each class is shifted for its slopes, float64 (classes,): what moves observables by 0.2 to 1 %."""
    return np.sqrt(2 * _PROBE_KL / np.diag(fisher))


def deviations(kernel: Kernel, starts: np.ndarray, seed: int) -> np.ndarray:
    """Return what the second stage adds, relative to exact values: gain and C, raw, then after REFINE_SWEEPS; float64 (20,).

    Args:
        starts: int8 (n, L, L), equilibrated, n at least added.FEWEST.
        seed: names the random numbers, the same for every kernel.
    """
    coarse, fine = added.look(kernel, starts, seed, 2, (0, REFINE_SWEEPS))
    found = added.added(coarse, fine, SCALE**2 * starts.shape[-1])
    return np.column_stack([found.gain, found.correlations]).ravel()


class Calibration:
    """The whole procedure, one evaluation a step; its state can be saved and taken up again.

    Attributes:
        step, n_steps: evaluations done, and all: one without a shift, one a class, then Gauss-Newton.
        history: list of dicts, one a Gauss-Newton step: shift x, its deviations, its cost in KL, what was to be made small.
    """

    def __init__(self, kernel: ConditionalKernel, batches: list[np.ndarray], starts: np.ndarray, seed: int):
        self.kernel, self.starts = kernel, starts
        self.seed = random_numbers.derived_seed(seed, Purpose.CALIBRATION, 1)
        self.slope_seeds = starts[: max(added.FEWEST, len(starts) // _SLOPE_SHARE)]
        self.classes = tap_classes(kernel)
        self.step, self.history = 0, []
        self.n_steps = 1 + len(self.classes) + _MEASUREMENTS
        self.measured = []  # deviations without a shift, then with that of each class
        blocks = min(64, batches[0].shape[-1] // SCALE - 2)
        windows, generator = objectives.random_windows(
            batches, 16, SCALE * blocks + 2 * kernel.rule.margin, self.seed, 0
        )
        pairs = objectives.draw_coarse(kernel.rule, windows.to(kernel.weights[0].device), generator)
        self.fisher = fisher(kernel, self.classes, *pairs)
        self.probes = probes(self.fisher)

    def advance(self, stop: bool = False) -> bool:
        """Do one evaluation; return whether to stop after it."""
        if self.step <= len(self.classes):
            one = np.arange(1, len(self.classes) + 1) == self.step
            probe = on_grid(shifted(self.kernel, self.classes, self.probes * one))
            self.measured.append(deviations(probe, self.slope_seeds, self.seed))
        else:
            x = self._next()
            found = deviations(on_grid(shifted(self.kernel, self.classes, x)), self.starts, self.seed)
            kl = float(x @ self.fisher @ x / 2)
            objective = kl / KL_SCALE + float(((found / TOLERANCE) ** 2).sum()) / 2
            self.history.append({"x": x.tolist(), "deviations": found.tolist(), "kl": kl, "objective": objective})
        self.step += 1
        return stop

    def _next(self):
        """Return the next shift to measure: none, then the least of the objective if deviations were linear."""
        if not self.history:
            return np.zeros(len(self.classes))
        slopes = (np.array(self.measured[1:]) - self.measured[0]).T / self.probes
        if not np.isfinite(self.history[-1]["deviations"]).all():
            raise ValueError(f"deviations {self.history[-1]['deviations']}")
        tried = [(np.array(row["x"]), np.array(row["deviations"])) for row in self.history]
        for (x0, d0), (x1, d1) in zip(
            tried, tried[1:], strict=False
        ):  # Broyden: what each step has shown of the slopes
            along = self.fisher @ (x1 - x0)
            if along @ (x1 - x0) > 0:
                slopes += np.outer(d1 - d0 - slopes @ (x1 - x0), along) / (along @ (x1 - x0))
        x, found = tried[-1]
        weighted, scale = slopes / TOLERANCE[:, None], KL_SCALE
        while True:
            shift = np.linalg.solve(
                self.fisher / scale + weighted.T @ weighted, weighted.T @ (weighted @ x - found / TOLERANCE)
            )
            if shift @ self.fisher @ shift / 2 <= KL_LIMIT:
                return shift
            scale /= 1.1  # KL made dearer

    def result(self) -> ConditionalKernel:
        """Return the kernel with the best shift measured."""
        best = min(self.history, key=lambda row: row["objective"])
        return on_grid(shifted(self.kernel, self.classes, best["x"]))

    def state(self) -> dict:
        """Return everything needed to go on, for `storage.save_pt`."""
        return {"step": self.step, "history": self.history, "measured": [values.tolist() for values in self.measured]}

    def restore(self, state: dict) -> None:
        """Take up a state from `state`."""
        self.step, self.history = state["step"], list(state["history"])
        self.measured = [np.array(values) for values in state["measured"]]
