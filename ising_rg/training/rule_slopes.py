"""The block-spin rule off criticality: slopes in the mass that make the blocked model the nearest-neighbour one at mass 3 mu.

By Gauss and Newton's method, for all masses at once: Callen's identities at K' (`callen`), less what the critical rule leaves of
them at criticality, and the amplitude of long-range correlations (`temperature.projected_gain`), which small couplings of long
range would spoil together. As in `rule_fit`, KL decides where these leave a choice; here it asks for the critical rule.
"""

from __future__ import annotations

import copy

import numpy as np
import torch

from ising_rg.base import random_numbers
from ising_rg.base.random_numbers import Purpose
from ising_rg.kernels.block_spin import BlockSpinRule
from ising_rg.kernels.form import MASS_UNIT
from ising_rg.run.processes import Processes
from ising_rg.sampler.sampling import SCALE
from ising_rg.theory import temperature
from ising_rg.training import callen, rule_fit, rule_parameters
from ising_rg.training.objectives import ShardSum
from ising_rg.training.off_critical import DEGREE, LARGEST_STEP, MASSES
from ising_rg.updates import swendsen_wang

_JACOBIAN_SHARDS = 4
_DEMANDS = rule_fit.INVERTIBLE  # of every rule: without KL slopes of third degree are not all fixed


class RuleSlopes:
    """The slopes of a rule in mu, an iteration of Gauss and Newton's method an `advance`.

    Args:
        rule: BlockSpinRule for the critical point, which stays as it is.
        critical: int8 (n, L, L), lattices at criticality; massive: {mu: such lattices of mass mu}.
        seed: names lattices.
        processes: `processes.Processes` that share lattices, or None.

    Attributes:
        history: list of dicts, one an iteration: "off", for each mass the couplings less those of the flow and of the critical
            lattices, and the amplitude's relative error.
    """

    n_steps = 5

    def __init__(
        self,
        rule: BlockSpinRule,
        critical: np.ndarray,
        massive: dict[float, np.ndarray],
        seed: int,
        processes: Processes | None = None,
    ):
        self.rule = copy.deepcopy(rule).cpu()
        self.samples, self.sum = {0.0: critical, **massive}, ShardSum(processes)
        self.orbits = rule_parameters.orbits(rule.weight.shape[-1])
        self.critical = rule_parameters.parameters(self.rule, self.orbits)
        self.slopes = np.zeros((DEGREE, len(self.critical)))
        self.tolerances = _DEMANDS.of_terms()
        self.step, self.history, self.at_critical = 0, [], None
        self.residuals, self.inverse = {}, {}
        for mu in self.samples:
            beta = temperature.beta_of_mass(SCALE * mu)
            self.residuals[mu] = callen.Residuals(beta, _DEMANDS.terms)
            starts = swendsen_wang.sample(128, beta, 32, random_numbers.derived_seed(seed, Purpose.SEED_LATTICE, 1))
            self.inverse[mu] = torch.linalg.inv(self.residuals[mu].hessian(starts)).numpy()

    def advance(self, stop: bool = False) -> bool:
        """Do one iteration; return whether any process wants to stop after it."""
        if self.at_critical is None:
            self.at_critical = self._measure(0.0)[0]["couplings"]
        n, size = DEGREE, len(self.critical)
        normal, slope, off = np.zeros((n, size, n, size)), np.zeros((n, size)), []
        for mu in self.samples:
            if mu == 0:
                continue
            found, stop = self._measure(mu, stop)
            off.append([*(found["couplings"] - self.at_critical).tolist(), float(found["gain"]) - 1])
            powers = (mu / MASS_UNIT) ** np.arange(1, n + 1)
            moved = powers @ self.slopes
            normal += np.multiply.outer(powers, np.multiply.outer(found["normal"], powers)).transpose(0, 1, 3, 2)
            slope += np.multiply.outer(powers, found["slope"] + found["prior"] @ moved)
        solution = np.linalg.solve(normal.reshape(n * size, n * size), slope.ravel())
        self.slopes = self.slopes - np.clip(solution.reshape(n, size), -LARGEST_STEP, LARGEST_STEP)
        self.step += 1
        self.history.append({"step": self.step, "off": off})
        return stop

    def _measure(self, mu, stop=False):
        """Return (couplings, the amplitude's ratio to the exact one, Gauss and Newton's equations at one mass; whether to stop)."""
        parameters = self.critical + (mu / MASS_UNIT) ** np.arange(1, DEGREE + 1) @ self.slopes
        n, m, n_terms = len(self.samples[mu]), len(parameters), len(self.tolerances)
        total, stop = self.sum(lambda shard: self._shard(mu, shard, parameters), n, stop)
        parts = np.split(total / n, np.cumsum([m * m, n_terms, 2, n_terms * m]))
        metric, r, (cross, own) = parts[0].reshape(m, m), parts[1], parts[2]
        d_r, (d_cross, d_own) = (part.reshape(-1, m) * n / min(n, _JACOBIAN_SHARDS) for part in parts[3:])
        couplings = self.inverse[mu] @ r
        if mu == 0:
            return {"couplings": couplings}, stop
        gain = cross / own / temperature.projected_gain(mu)
        d_gain = gain * (d_cross / cross - d_own / own)
        residuals = np.append((couplings - self.at_critical) / self.tolerances, (gain - 1) / rule_fit.GAIN_TOLERANCE)
        jacobian = np.vstack([self.inverse[mu] @ d_r / self.tolerances[:, None], d_gain / rule_fit.GAIN_TOLERANCE])
        prior = rule_fit.curvature(metric, len(self.rule.triple)) / _DEMANDS.kl_scale
        found = {"couplings": couplings, "gain": gain, "jacobian": jacobian, "prior": prior}
        return found | {"normal": jacobian.T @ jacobian + prior, "slope": jacobian.T @ residuals}, stop

    def _shard(self, mu, shard, parameters):
        features, fine = rule_parameters.features(self.rule, self.orbits, self.samples[mu][shard])
        reach = _reach(mu)
        values = rule_parameters.measured(
            self.residuals[mu],
            lambda t: _line_sums(fine, t, reach),
            features,
            parameters,
            mu != 0 and shard < _JACOBIAN_SHARDS,
        )
        return torch.cat([part.float().flatten() for part in values]).numpy()

    def result(self) -> BlockSpinRule:
        """Return the rule with its slopes."""
        result, n = BlockSpinRule(self.rule.weight.shape[-1], DEGREE, len(self.rule.triple)), len(self.orbits)
        slopes = torch.from_numpy(self.slopes).float()
        with torch.no_grad():
            for name in ("weight", "triple"):
                getattr(result, name).copy_(getattr(self.rule, name))
            result.masses.copy_(torch.tensor(MASSES))
            result.weight_slopes.copy_(torch.tensordot(slopes[:, :n], self.orbits, 1)[:, None])
            result.triple_slopes.copy_(slopes[:, n:])
        return result.requires_grad_(False)

    def state(self) -> dict:
        """Return everything needed to go on, for `storage.save_pt`."""
        arrays = {name: torch.from_numpy(getattr(self, name)) for name in ("slopes", "at_critical")}
        return copy.deepcopy({"step": self.step, "history": self.history, **arrays})

    def restore(self, state: dict) -> None:
        """Take up a state from `state`."""
        self.step, self.history = state["step"], list(state["history"])
        self.slopes, self.at_critical = state["slopes"].numpy(), state["at_critical"].numpy()


def _reach(mu):
    """Return the largest distance, in coarse sites, at which the amplitude is taken: two correlation lengths."""
    return max(4, round(2 * temperature.correlation_length(temperature.beta_of_mass(SCALE * mu)))) if mu else 4


def _line_sums(fine, t, reach):
    """Return sums of C_fc(X) and of C_cc(X) over 2 <= X <= reach, of lines along both axes, float64 (2,)."""
    cross = own = 0
    for axis in (0, 1):
        f, c = fine.mean(axis).double(), t.mean(axis).double()
        for x in range(2, reach + 1):
            cross = cross + ((f[:-x] * c[x:]).mean() + (f[x:] * c[:-x]).mean()) / 2
            own = own + (c[:-x] * c[x:]).mean()
    return torch.stack([cross, own])
