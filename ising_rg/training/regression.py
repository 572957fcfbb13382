"""Maximum likelihood for a conditional kernel: one logistic regression for each of its steps, solved by Newton's method.

Given the rule, -ln q(s | S) is convex in the weights, so there is one best kernel and nothing to tune. With x the values of taps
and products, h = w x the field and s the spin drawn, per block

    gradient  -x (s - tanh h),    Hessian  x x (1 - tanh^2 h).

The Hessian is needed only as well as makes the next step small: it comes from a few windows, the last gradient from many. With n
weights and N blocks the fit lies n / 2N nats above the best one: 10^7 blocks are enough for 1,300 weights.

The clamped sums come first, by least squares: the estimate of a block's field w*s that is linear in the spins drawn so far.
"""

from __future__ import annotations

import copy
import itertools

import numpy as np
import torch

from ising_rg.kernels.conditional import CLAMP_UNIT, ConditionalKernel
from ising_rg.run.processes import Processes
from ising_rg.sampler import sampling
from ising_rg.sampler.sampling import SCALE
from ising_rg.training.objectives import ShardSum, draw_coarse, look, random_windows

WINDOW_BLOCKS = 128
WORTH = 0.8e-6  # nats a spin that a multiply-add must save, beside what a weight saves by chance
CANDIDATES = 11  # nearest spins whose products of three are tried
_RIDGE = 1e-7  # of the Hessian's trace: coarse spins far away are nearly functions of the others


def plan(windows: int) -> tuple[tuple[str, int], ...]:
    """Return the plan of a fit that ends with a step over so many windows."""
    few = max(1, windows // 25)
    more = (("choose", min(8 * few, windows)), ("newton", min(4 * few, windows)), ("gradient", windows))
    return (("newton", few),) * 4 + more


class KernelFit:
    """The fit of a ConditionalKernel whose rule is given, one pass over windows an `advance`; it can be taken up again.

    Args:
        kernel: ConditionalKernel with all the taps that it may have; `kernel` is in the end the one fitted.
        batches: list of int8 arrays (B, L, L).
        seed: names the windows.
        starts: equilibrated lattices from which the kernel generates as it is fitted, int8 (n, L, L), for `history`.
        processes: `processes.Processes` that share the windows, or None.
        plan: ((what, windows), ...): "newton" with a new Hessian, "gradient" with the last one; "choose": a Newton step with all
            candidate products, of which, and of the taps, only those stay that are worth their multiply-adds.
    """

    def __init__(
        self,
        kernel: ConditionalKernel,
        batches: list[np.ndarray],
        seed: int,
        starts: np.ndarray,
        plan: tuple[tuple[str, int], ...],
        processes: Processes | None = None,
    ):
        self.kernel, self.batches, self.seed, self.starts, self.plan = kernel, batches, seed, starts, plan
        self.blocks = min(WINDOW_BLOCKS, batches[0].shape[-1] // SCALE - 2)
        self.sum = ShardSum(processes)
        self.step, self.n_steps, self.history, self.hessians = 0, len(plan), [], []

    def advance(self, stop: bool = False) -> bool:
        """Do one step of the plan; return whether any process wants to stop after it."""
        what, n_windows = self.plan[self.step]
        if self.step == 0 and self.kernel.clamped:
            total, _ = self.sum(self._field_shard, n_windows)
            self._set_clamps(total)
        if what == "choose":
            self.kernel = self.kernel.reformed(*with_candidates(self.kernel))
        total, stop = self.sum(lambda shard: self._shard(shard, what != "gradient"), n_windows, stop)
        loss, sizes = float(total[1] / total[0]), [len(weight) for weight in self.kernel.weights]
        blocks, at = total[2 : 2 + len(sizes)], 2 + len(sizes)
        gradients = np.split(total[at : at + sum(sizes)], np.cumsum(sizes)[:-1])
        if what != "gradient":
            squares = np.split(total[at + sum(sizes) :], np.cumsum(np.square(sizes))[:-1])
            self.hessians = [q.reshape(n, n) / m for q, n, m in zip(squares, sizes, blocks, strict=True)]
        for weight, gradient, hessian, n in zip(self.kernel.weights, gradients, self.hessians, blocks, strict=True):
            # A prior of variance 1 for each weight: of no weight but in few, small windows.
            old = weight.detach().double().cpu().numpy()
            step = np.linalg.solve(hessian + np.eye(len(old)) / n, (gradient + old) / n)
            weight.data -= torch.from_numpy(step).to(weight)
        if what == "choose":
            self._choose(blocks)
        self.step += 1
        row = {"step": self.step, "windows": n_windows, "loss": loss, "multiply_adds": self.kernel.multiply_adds}
        self.history.append(row | look(self.kernel, self.starts, self.seed))
        return stop

    def _choose(self, blocks):
        """Reduce the kernel to the taps and products that are worth their multiply-adds."""
        taps, products, weights = list(self.kernel.taps), list(self.kernel.products), []
        found = zip(self.kernel.draws, self.kernel.weights, self.hessians, blocks, strict=True)
        for (k, _, _), weight, hessian, n_blocks in found:
            n = len(taps[k])
            costs = np.append(np.ones(n), np.full(len(products[k]), 3.0))
            kept, values = eliminate(hessian, weight.detach().double().cpu().numpy(), WORTH * costs + 1 / n_blocks)
            taps[k], products[k] = taps[k][kept[kept < n]], products[k][kept[kept >= n] - n]
            weights.append(values)
        self.kernel = self.kernel.reformed(taps, products)
        for weight, values in zip(self.kernel.weights, weights, strict=True):
            weight.data = torch.from_numpy(values).to(weight)
        self.hessians = []

    def _pair(self, shard, first=0):
        rule = self.kernel.rule
        size = SCALE * self.blocks + 2 * rule.margin
        windows, generator = random_windows(self.batches, 1, size, self.seed, first + shard)
        windows = windows.to(rule.weight.device)
        return windows, *draw_coarse(rule, windows, generator)

    def _shard(self, shard, with_hessian):
        """Return sites, -ln q, blocks of each step, gradients and Hessians for one window (a window a shard), float32, flat."""
        _, coarse, fine = self._pair(shard, 10**6 * self.step)
        return regression_sums(self.kernel, coarse, fine, with_hessian)

    def _field_shard(self, shard):
        """Return the normal equations of a block's field on the spins of the 3 x 3 blocks around it, float32, flat."""
        windows, _, fine = self._pair(shard)
        with torch.no_grad():
            field = self.kernel.rule.field(windows)[0, 0, 1:-1, 1:-1].flatten()
            near = self._last_clamp()[1:]
            known = self.kernel.known(fine[:, :, ::SCALE, ::SCALE], fine)[0]
            n, m = known.shape[-2] - 2, known.shape[-1] - 2
            x = torch.stack(
                [known[c, 1 + dy : 1 + dy + n, 1 + dx : 1 + dx + m].flatten() for c, dy, dx in near.tolist()]
            )
        return torch.cat([x @ field, (x @ x.T).flatten()]).cpu().numpy()

    def _last_clamp(self):
        return [
            taps for (kind, _), taps in zip(self.kernel.steps, self.kernel.taps, strict=True) if kind == sampling.CLAMP
        ][-1]

    def _set_clamps(self, total):
        n = len(self._last_clamp()) - 1
        moments, products = total[:n], total[n:].reshape(n, n)
        first, *others = self.kernel.clamp_weights
        first.copy_(torch.round(CLAMP_UNIT * torch.tensor([5, 2.5, 2.5, 2.5, 2.5]) / 3))
        for weight in others:
            k = len(weight) - 1  # the taps of a sum are the first ones of the next
            estimate = np.linalg.solve(products[:k, :k], moments[:k])
            weight.copy_(torch.from_numpy(np.round(CLAMP_UNIT * np.concatenate([[1.0], estimate]))))

    def state(self) -> dict:
        """Return everything needed to go on, for `storage.save_pt`."""
        form = [[torch.from_numpy(places) for places in lists] for lists in (self.kernel.taps, self.kernel.products)]
        state = {"step": self.step, "history": self.history, "form": form, "kernel": self.kernel.state_dict()}
        return copy.deepcopy(state | {"hessians": [torch.from_numpy(h) for h in self.hessians]})

    def restore(self, state: dict) -> None:
        """Take up a state from `state`."""
        self.step, self.history = state["step"], list(state["history"])
        self.kernel = self.kernel.reformed(*([places.numpy() for places in lists] for lists in state["form"]))
        self.kernel.load_state_dict(state["kernel"])
        self.hessians = [h.numpy() for h in state["hessians"]]


def regression_sums(
    kernel: ConditionalKernel, coarse: torch.Tensor, fine: torch.Tensor, with_hessian: bool
) -> np.ndarray:
    """Return sites, -ln q, blocks of each step, gradients and Hessians, float32, flat; spins as `kernel.features`."""
    loss, blocks, gradients, hessians = 0.0, [], [], []
    with torch.no_grad():
        for weight, (x, spins) in zip(kernel.weights, kernel.features(coarse, fine), strict=True):
            h = weight @ x
            t = torch.tanh(h)
            loss += float(torch.nn.functional.softplus(-2 * h * spins).sum())
            blocks.append(len(spins))
            gradients.append(x @ (t - spins))
            if with_hessian:
                x *= torch.sqrt(1 - t * t)
                hessians.append((x @ x.T).flatten())
    return torch.cat([gradients[0].new_tensor([sum(blocks), loss, *blocks]), *gradients, *hessians]).cpu().numpy()


def with_candidates(kernel: ConditionalKernel) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Return (taps, products) of the kernel with all products of three of the nearest spins of each step that draws."""
    products = [np.zeros((0, 3, 3), np.int64) for _ in kernel.steps]
    for k, _, _ in kernel.draws:
        distances = kernel.distances(k)
        near = kernel.taps[k][np.argsort(distances, kind="stable")[: min(CANDIDATES, np.isfinite(distances).sum())]]
        products[k] = near[list(itertools.combinations(range(len(near)), 3))]
    return kernel.taps, products


def eliminate(hessian: np.ndarray, weights: np.ndarray, worth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return (indices kept, their weights): one by one, what raises g(w) = w H w / 2 - ... least is left out, the rest refitted.

    Leaving out i costs w_i^2 / (2 (H^-1)_ii), for the weights at the minimum. It goes on while some cost is below its worth.

    Args:
        hessian: float64 (n, n); weights: float64 (n,), the minimum; worth: float64 (n,), nats a spin.
    """
    kept, w = np.arange(len(weights)), weights.copy()
    inverse = np.linalg.inv(hessian + _RIDGE * np.trace(hessian) * np.eye(len(hessian)))
    while len(kept):
        gain = w**2 / 2 / np.diag(inverse) - worth[kept]
        i = int((gain / worth[kept]).argmin())
        if gain[i] > 0:
            break
        column = inverse[:, i] / inverse[i, i]
        w, inverse = w - column * w[i], inverse - np.outer(column, inverse[i])
        w, kept = np.delete(w, i), np.delete(kept, i)
        inverse = np.delete(np.delete(inverse, i, 0), i, 1)
    return kept, w
