"""The conditional kernel off criticality: slopes in the mass, by maximum likelihood for pairs of all masses at once.

As in `regression`, -ln q is convex in the weights w0 + x w1 + x^2 w2 + ..., x = mu / MASS_UNIT: the gradient and the Hessian in
(w0, w1, ...) are those in w times powers of x.
"""

from __future__ import annotations

import copy

import numpy as np
import torch

from ising_rg.kernels.block_spin import BlockSpinRule
from ising_rg.kernels.conditional import ConditionalKernel
from ising_rg.kernels.form import MASS_UNIT
from ising_rg.run.processes import Processes
from ising_rg.sampler.sampling import SCALE
from ising_rg.training.objectives import ShardSum, draw_coarse, random_windows
from ising_rg.training.off_critical import DEGREE, LARGEST_STEP
from ising_rg.training.regression import regression_sums


class KernelSlopes:
    """The slopes of a kernel in mu, for a rule that has slopes: Newton's method, one pass over windows an `advance`.

    Weights w0 + x w1 + x^2 w2 + ... are fitted to pairs of all masses and of criticality. w0 is then maximum likelihood's, which
    the calibrated kernel is not; only w1, w2, ... are taken.

    Args:
        kernel: ConditionalKernel for the critical point, which stays as it is; rule: its rule, with slopes.
        batches: list of int8 (B, L, L), at criticality; massive: {mu: int8 (n, L, L)}.
        seed: names the windows.
        plan: windows of each mass in each step; the last step takes the Hessian of the one before.
    """

    def __init__(
        self,
        kernel: ConditionalKernel,
        rule: BlockSpinRule,
        batches: list[np.ndarray],
        massive: dict[float, np.ndarray],
        seed: int,
        plan: tuple[int, ...],
        processes: Processes | None = None,
    ):
        self.kernel, self.rule, self.seed, self.plan = kernel, rule, seed, plan
        self.data = {0.0: batches, **{mu: [spins] for mu, spins in massive.items()}}
        self.blocks = min(128, min(spins[0].shape[-1] for spins in self.data.values()) // SCALE - 2)
        self.sum, self.step, self.n_steps = ShardSum(processes), 0, len(plan)
        self.history, self.hessians = [], []
        self.weights = [
            np.vstack([weight.detach().double().cpu().numpy(), np.zeros((DEGREE, len(weight)))])
            for weight in kernel.weights
        ]

    def advance(self, stop: bool = False) -> bool:
        """Do one step of the plan; return whether any process wants to stop after it."""
        with_hessian = self.step < self.n_steps - 1 or not self.hessians
        sizes = [weight.shape[1] for weight in self.weights]
        found, losses = [], []
        for mu in self.data:
            kernel = self._at(mu)
            total, stop = self.sum(
                lambda shard, kernel=kernel, mu=mu: self._shard(kernel, mu, shard, with_hessian),
                self.plan[self.step],
                stop,
            )
            losses.append(float(total[1] / total[0]))
            blocks, gradients = total[2 : 2 + len(sizes)], np.split(total[2 + len(sizes) :], np.cumsum(sizes))[:-1]
            squares = np.split(total[2 + len(sizes) + sum(sizes) :], np.cumsum(np.square(sizes)))[:-1]
            powers = (mu / MASS_UNIT) ** np.arange(DEGREE + 1)
            found.append((powers, blocks, gradients, squares))
        if with_hessian:
            self.hessians = [
                [squares[k].reshape(n, n) / blocks[k] for _, blocks, _, squares in found] for k, n in enumerate(sizes)
            ]
        for k, n in enumerate(sizes):
            many = sum(blocks[k] for _, blocks, *_ in found)
            gradient, normal = self.weights[k] / many, np.zeros((DEGREE + 1, n, DEGREE + 1, n))
            for (powers, blocks, gradients, _), hessian in zip(found, self.hessians[k], strict=True):
                gradient = gradient + np.multiply.outer(powers, gradients[k]) / many
                share = np.multiply.outer(powers, powers) * blocks[k] / many
                normal += share[:, None, :, None] * hessian[None, :, None, :]
            size = (DEGREE + 1) * n
            # A prior of variance 1 for each weight: of no weight but in few, small windows.
            step = np.linalg.solve(normal.reshape(size, size) + np.eye(size) / many, gradient.ravel())
            self.weights[k] = self.weights[k] - np.clip(step.reshape(DEGREE + 1, n), -LARGEST_STEP, LARGEST_STEP)
        self.history.append({"step": self.step + 1, "windows": self.plan[self.step], "losses": losses})
        self.step += 1
        return stop

    def _at(self, mu):
        """Return the kernel of the weights at mass mu, with its rule."""
        kernel = self.kernel.like((self.kernel.taps, self.kernel.products), self.rule.at_mass(mu))
        powers = (mu / MASS_UNIT) ** np.arange(DEGREE + 1)
        for weight, values in zip(kernel.weights, self.weights, strict=True):
            weight.data = torch.from_numpy(powers @ values).to(self.kernel.weights[0])
        return kernel.to(self.kernel.weights[0].device)

    def _shard(self, kernel, mu, shard, with_hessian):
        size = SCALE * self.blocks + 2 * kernel.rule.margin
        number = 10**6 * (100 + self.step) + 10**4 * list(self.data).index(mu) + shard
        windows, generator = random_windows(self.data[mu], 1, size, self.seed, number)
        coarse, fine = draw_coarse(kernel.rule, windows.to(kernel.weights[0].device), generator)
        return regression_sums(kernel, coarse, fine, with_hessian)

    def result(self) -> ConditionalKernel:
        """Return the kernel with slopes and their rule."""
        old = self.kernel
        result = old.like((old.taps, old.products), self.rule, DEGREE)
        for new, slopes, weight, found in zip(result.weights, result.slopes, old.weights, self.weights, strict=True):
            new.data = weight.detach().clone()
            slopes.data = torch.from_numpy(found[1:]).to(weight)
        return result.requires_grad_(False)

    def state(self) -> dict:
        """Return everything needed to go on, for `storage.save_pt`."""
        arrays = {
            "weights": [torch.from_numpy(weight) for weight in self.weights],
            "hessians": [[torch.from_numpy(h) for h in of_step] for of_step in self.hessians],
        }
        return copy.deepcopy({"step": self.step, "history": self.history, **arrays})

    def restore(self, state: dict) -> None:
        """Take up a state from `state`."""
        self.step, self.history = state["step"], list(state["history"])
        self.weights = [weight.numpy() for weight in state["weights"]]
        self.hessians = [[h.numpy() for h in of_step] for of_step in state["hessians"]]
