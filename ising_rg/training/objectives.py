"""What every training shares: windows, coarse spins, sums over shards; and the optimization loop for the independent kernel.

Training data are windows of large equilibrated critical configurations. Windows are open: only blocks whose whole
neighbourhood lies inside count, so nothing is assumed about the size of the lattice they come from.

Shard j of step i draws its windows from random numbers of (seed, i, j) alone, so an interrupted optimization goes on as if it
never was. Each shard is computed by one thread of one process, and the shards are summed in order: the
weights do not depend on how many threads or processes there are.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch

from ising_rg.base import random_numbers
from ising_rg.base.random_numbers import Purpose
from ising_rg.kernels.block_spin import BlockSpinRule
from ising_rg.kernels.conditional import ConditionalKernel
from ising_rg.kernels.independent import IndependentKernel
from ising_rg.kernels.kernel import Kernel
from ising_rg.run.processes import Processes
from ising_rg.sampler.sampling import SCALE
from ising_rg.spins import observables, statistics
from ising_rg.theory import exact
from ising_rg.updates import swendsen_wang


def random_windows(
    batches: list[np.ndarray], n: int, size: int, seed: int, step: int
) -> tuple[torch.Tensor, torch.Generator]:
    """Return n square windows of random samples, randomly turned, as floats (n, 1, size, size), and the torch generator used.

    Args:
        batches: list of int8 arrays (B, L, L), L >= size.
        seed, step: name the random numbers.
    """
    generator = torch.Generator().manual_seed(random_numbers.derived_seed(seed, Purpose.TRAINING, step))

    def integer(high: int) -> int:
        return int(torch.randint(high, (1,), generator=generator))

    windows = np.empty((n, 1, size, size), np.float32)
    for window in windows:
        batch = batches[integer(len(batches))]
        spins = batch[integer(len(batch))]
        y, x = integer(len(spins) - size + 1), integer(len(spins) - size + 1)
        part = spins[y : y + size, x : x + size]
        part = part.T if integer(2) else part
        window[0] = part[:: 1 - 2 * integer(2), :: 1 - 2 * integer(2)]
    return torch.from_numpy(windows), generator


def draw_coarse(
    rule: BlockSpinRule, fine: torch.Tensor, generator: torch.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return (S, s): coarse spins drawn from the rule and the fine sites of exactly their blocks, for windows of fine spins."""
    with torch.no_grad():
        up = torch.sigmoid(2 * rule.field(fine))
        coarse = torch.where(torch.rand(up.shape, generator=generator) < up.cpu(), 1.0, -1.0).to(fine.device)
    return coarse, fine[..., rule.margin : -rule.margin, rule.margin : -rule.margin]


class KernelObjective:
    """Loss of a kernel: -ln q(s | S) per site for coarse spins drawn from the rule; a window a shard."""

    def __init__(
        self,
        batches: list[np.ndarray],
        rule: BlockSpinRule,
        seed: int,
        device: str,
        n_windows: int = 4,
        window_blocks: int = 64,
        seed_size: int = 64,
        n_seeds: int = 64,
    ):
        self.batches, self.rule, self.seed, self.device = batches, rule.to(device), seed, device
        self.n_shards, self.window_blocks = n_windows, window_blocks
        # Equilibrated lattices from which the kernel generates as it is trained: the only honest look at c10 and the gain.
        self.starts = swendsen_wang.sample(
            seed_size, exact.BETA_CRITICAL, n_seeds, random_numbers.derived_seed(seed, Purpose.SEED_LATTICE)
        )

    def __call__(
        self, kernel: ConditionalKernel | IndependentKernel, step: int, shard: int
    ) -> tuple[torch.Tensor, dict]:
        """Return (loss, {}) for one window of one step."""
        size = SCALE * self.window_blocks + 2 * self.rule.margin
        fine, generator = random_windows(self.batches, 1, size, self.seed, step * self.n_shards + shard)
        coarse, fine = draw_coarse(self.rule, fine.to(self.device), generator)
        return kernel.negative_log_likelihood(coarse, fine), {}

    def look(self, kernel: Kernel) -> dict[str, float]:
        """Return c10, r21 and the stage gain of raw lattices generated from equilibrated start lattices."""
        return look(kernel, self.starts, self.seed)


def look(kernel: Kernel, starts: np.ndarray, seed: int) -> dict[str, float]:
    """Return c10, r21 and the stage gain of raw lattices generated from equilibrated start lattices, int8 (n, L, L)."""
    fine = kernel.sample(starts, seed)
    c10, c11 = (observables.correlation(fine, *r).mean() for r in ((1, 0), (1, 1)))
    gain, _ = statistics.stage_gain(observables.magnetization(fine), observables.magnetization(starts))
    return {"c10": float(c10), "r21": float(c11 / c10), "gain": gain}


class ShardSum:
    """Sums of what is computed shard by shard: the same to the last bit for any number of threads and processes.

    Each shard is computed by one thread of one process (two threads in one convolution would sum its gradient in an order that
    depends on their number), and shards are summed in order.
    """

    def __init__(self, processes: Processes | None = None, on_cpu: bool = True):
        self.processes = processes
        self.rank, self.size = (processes.rank, processes.size) if processes else (0, 1)
        n_threads = processes.n_threads if processes else 1
        self._pool = ThreadPoolExecutor(n_threads if on_cpu else 1)
        torch.set_num_threads(1)
        torch.backends.cudnn.deterministic = True

    def __call__(
        self, compute: Callable[[int], np.ndarray], n_shards: int, stop: bool = False
    ) -> tuple[np.ndarray, bool]:
        """Return (sum over shards of the flat float32 arrays compute(shard), float64; whether any process gave `stop`)."""
        own = range(self.rank, n_shards, self.size)
        found = list(self._pool.map(compute, own))
        if self.size == 1:
            return sum(row.astype(np.float64) for row in found), stop
        length = self.processes.gather(np.array([len(found[0]) if found else 0], np.float32)).max()
        results = np.zeros((-(-n_shards // self.size), int(length) + 1), np.float32)
        for row, values in zip(results, found, strict=False):
            row[:-1] = values
        results[:, -1] = stop
        # Shard j is row j // size of process j % size.
        everybody = self.processes.gather(results).swapaxes(0, 1).reshape(-1, int(length) + 1)
        return sum(row.astype(np.float64) for row in everybody[:n_shards, :-1]), bool(everybody[:, -1].any())


class Optimization:
    """Adam with a cosine schedule on one objective; its whole state can be saved and taken up again.

    Args:
        module: what is trained.
        objective: objective(module, step, shard) returns (loss, dict of what is shown); the mean over its `n_shards` is minimized.
        n_steps, learning_rate: of the whole schedule.
        processes: `processes.Processes` that share the shards, or None.

    Attributes:
        step: steps done.
        history: list of dicts, one a report: step, loss (mean since the last report), lr and what the objective shows.
    """

    def __init__(
        self,
        module: torch.nn.Module,
        objective: Callable,
        n_steps: int,
        learning_rate: float,
        processes: Processes | None = None,
    ):
        self.module, self.objective, self.n_steps, self.learning_rate = module, objective, n_steps, learning_rate
        self._trained = [parameter for parameter in module.parameters() if parameter.requires_grad]
        self.optimizer = torch.optim.Adam(self._trained, lr=learning_rate)
        self.step, self.history, self._losses, self._shown = 0, [], [], {}
        self.sum = ShardSum(processes, self._trained[0].device.type == "cpu")

    def advance(self, stop: bool = False) -> bool:
        """Do one step; return whether any process wants to stop after it."""
        lr = self.learning_rate * (1 + math.cos(math.pi * self.step / self.n_steps)) / 2
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        total, stop = self.sum(self._shard, self.objective.n_shards, stop)
        mean, at = total / self.objective.n_shards, 0
        for parameter in self._trained:
            part = torch.from_numpy(mean[at : at + parameter.numel()]).reshape(parameter.shape)
            parameter.grad = part.to(parameter)
            at += parameter.numel()
        self.optimizer.step()
        self.step += 1
        self._losses.append(float(mean[-1]))
        return stop

    def _shard(self, shard):
        """Return gradient and loss of one shard, float32 (n_parameters + 1,)."""
        loss, shown = self.objective(self.module, self.step, shard)
        if shard == 0:
            self._shown = shown
        gradients = torch.autograd.grad(loss, self._trained, materialize_grads=True)
        return torch.cat([part.reshape(-1) for part in (*gradients, loss.detach())]).cpu().numpy()

    def report(self) -> dict:
        """Append a row to `history` and return it."""
        shown = self.objective.look(self.module) if hasattr(self.objective, "look") else self._shown
        row = {
            "step": self.step,
            "loss": float(np.mean(self._losses)),
            **shown,
            "lr": self.optimizer.param_groups[0]["lr"],
        }
        self.history.append(row)
        self._losses = []
        return row

    def state(self) -> dict:
        """Return everything needed to go on, for `storage.save_pt`: copies, since later phases go on with the same module."""
        state = {
            "step": self.step,
            "history": self.history,
            "losses": self._losses,
            "module": self.module.state_dict(),
            "optimizer": self.optimizer.state_dict(),
        }
        return copy.deepcopy(state)

    def restore(self, state: dict) -> None:
        """Take up a state from `state`."""
        self.step, self.history, self._losses = state["step"], list(state["history"]), list(state["losses"])
        self.module.load_state_dict(state["module"])
        self.optimizer.load_state_dict(state["optimizer"])
