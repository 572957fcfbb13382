"""Maximum likelihood for a conditional kernel: one logistic regression for each of its steps, solved by Newton's method.

Given the rule, -ln q(s | S) is convex in the weights, so there is one best kernel and nothing to tune. With x the taps' values, h = w x
the field and s the spin drawn, per block

    gradient  -x (s - tanh h),    Hessian  x x (1 - tanh^2 h).

The Hessian is needed only as well as makes the next step small, so it comes from a few windows and the gradient of the last steps from
many. With n weights and N blocks the fit lies n / 2N nats above the best one: 10^7 blocks are enough for 1,300 weights.

The clamped sums come first, by least squares: the estimate of a block's field w*s that is linear in the spins drawn so far.
"""

import copy

import numpy as np
import torch

from ising_rg import sampling
from ising_rg.kernels import CLAMP_UNIT, SCALE
from ising_rg.training import ShardSum, draw_coarse, look, random_windows

WINDOW_BLOCKS = 128
_RIDGE = 1e-7  # of the mean square of a tap: coarse spins far away are nearly functions of the others


class KernelFit:
    """The fit of a ConditionalKernel whose rule is given, one Newton step an `advance`; its state can be saved and taken up again.

    Args:
        kernel: ConditionalKernel; its weights are set.
        batches: list of int8 arrays (B, L, L).
        seed: names the windows.
        windows: of how many windows each step is the mean; the Hessian is computed anew in those of the fewest.
        seeds: equilibrated lattices from which the kernel generates as it is fitted, int8 (n, L, L), for `history`.
        processes: `processes.Processes` that share the windows, or None.
    """

    def __init__(self, kernel, batches, seed, windows, seeds, processes=None):
        self.kernel, self.batches, self.seed, self.windows, self.seeds = kernel, batches, seed, windows, seeds
        self.blocks = min(WINDOW_BLOCKS, batches[0].shape[-1] // SCALE - 2)
        self.sum = ShardSum(processes)
        self.step, self.n_steps, self.history = 0, len(windows), []
        self.sizes = [len(weight) for weight in kernel.weights]

    def advance(self, stop=False):
        """Do one Newton step; return whether any process wants to stop after it."""
        n_windows = self.windows[self.step]
        if self.step == 0 and self.kernel.clamped:
            total, _ = self.sum(self._field_shard, n_windows)
            self._set_clamps(total)
        with_hessian = n_windows == min(self.windows)
        total, stop = self.sum(lambda shard: self._shard(shard, with_hessian), n_windows, stop)
        n, loss = total[:2] / n_windows
        total = total[2:] / n_windows
        gradients = np.split(total[: sum(self.sizes)], np.cumsum(self.sizes)[:-1])
        if with_hessian:
            squares = np.split(total[sum(self.sizes) :], np.cumsum(np.square(self.sizes))[:-1])
            self.hessians = [square.reshape(size, size) for square, size in zip(squares, self.sizes, strict=True)]
        with torch.no_grad():
            for weight, gradient, hessian in zip(self.kernel.weights, gradients, self.hessians, strict=True):
                hessian = hessian + _RIDGE * np.trace(hessian) * np.eye(len(hessian))
                weight -= torch.from_numpy(np.linalg.solve(hessian, gradient)).to(weight)
        self.step += 1
        self.history.append({"step": self.step, "windows": n_windows, "loss": loss / n, **look(self.kernel, self.seeds, self.seed)})
        return stop

    def _pair(self, shard, first=0):
        rule = self.kernel.rule
        size = SCALE * self.blocks + 2 * rule.margin
        windows, generator = random_windows(self.batches, 1, size, self.seed, first + shard)
        windows = windows.to(rule.weight.device)
        return windows, *draw_coarse(rule, windows, generator)

    def _shard(self, shard, with_hessian):
        """Return sites, -ln q, its gradient and Hessian for one window (a window a shard), float32, flat."""
        _, coarse, fine = self._pair(shard, 10**6 * self.step)
        loss, sites, gradients, hessians = 0.0, 0, [], []
        with torch.no_grad():
            for weight, (x, spins) in zip(self.kernel.weights, self.kernel.features(coarse, fine), strict=True):
                h = weight @ x
                t = torch.tanh(h)
                loss, sites = loss + float(torch.nn.functional.softplus(-2 * h * spins).sum()), sites + len(spins)
                gradients.append(x @ (t - spins))
                if with_hessian:
                    x *= torch.sqrt(1 - t * t)
                    hessians.append((x @ x.T).flatten())
        return torch.cat([torch.tensor([sites, loss]), *gradients, *hessians]).cpu().numpy()

    def _field_shard(self, shard):
        """Return the normal equations of a block's field on the spins of the 3 x 3 blocks around it, float32, flat."""
        windows, _, fine = self._pair(shard)
        with torch.no_grad():
            field = self.kernel.rule.field(windows)[0, 0, 1:-1, 1:-1].flatten()
            near = self._last_clamp()[1:]
            known = self.kernel.known(fine[:, :, :: SCALE, :: SCALE], fine)[0]
            n, m = known.shape[-2] - 2, known.shape[-1] - 2
            x = torch.stack([known[c, 1 + dy : 1 + dy + n, 1 + dx : 1 + dx + m].flatten() for c, dy, dx in near.tolist()])
        return torch.cat([x @ field, (x @ x.T).flatten()]).cpu().numpy()

    def _last_clamp(self):
        return [taps for (kind, _), taps in zip(self.kernel.steps, self.kernel.taps, strict=True) if kind == sampling.CLAMP][-1]

    def _set_clamps(self, total):
        n = len(self._last_clamp()) - 1
        moments, products = total[:n], total[n:].reshape(n, n)
        first, *others = self.kernel.clamp_weights
        first.copy_(CLAMP_UNIT * torch.tensor([1, 0.5, 0.5, 0.5, 0.5]))
        for weight in others:
            k = len(weight) - 1  # the taps of a sum are the first ones of the next
            estimate = np.linalg.solve(products[:k, :k], moments[:k])
            weight.copy_(torch.from_numpy(np.round(CLAMP_UNIT * np.concatenate([[1.0], estimate]))))

    def state(self):
        """Return everything needed to go on, for `storage.save_pt`."""
        state = {"step": self.step, "history": self.history, "kernel": self.kernel.state_dict()}
        return copy.deepcopy(state | {"hessians": [torch.from_numpy(h) for h in self.hessians]})

    def restore(self, state):
        """Take up a state from `state`."""
        self.step, self.history = state["step"], list(state["history"])
        self.kernel.load_state_dict(state["kernel"])
        self.hessians = [h.numpy() for h in state["hessians"]]
