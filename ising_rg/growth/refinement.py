"""How many Metropolis sweeps each stage takes, and what bias they leave: REFINE_SWEEPS = "auto".

A stage adds a(n) to c10, relative to its exact value, of which its n sweeps have left so much: measured for a kernel and kept in a
file beside its weights (`python -m benchmarks.bias_ledger`). A stage later a third of it is left, since the energy density
scales as 1/length. One lattice's own c10 scatters by sigma(L), nearly 1/L. So the bias of a run in units of sigma is

    bias / sigma = sum over stages a(n_j) / 3^(stages after j) / sigma(L),

and (sigma / bias)^2 lattices may be averaged before it shows.
"""

from __future__ import annotations

import itertools
import math
import os
from dataclasses import dataclass

from ising_rg.base.errors import UserError
from ising_rg.files import storage
from ising_rg.kernels import weight_files
from ising_rg.sampler.sampling import SCALE
from ising_rg.theory import exact

FEWEST = 5  # sweeps of a stage: c10 needs fewer, but var(E) and products of four spins are right to a percent only then
LARGEST_SHARE = 1 / 3  # of one lattice's standard deviation of c10 that the bias may be
_TOLD_APART = 1.1  # bounds nearer than this are the ledger's own errors


@dataclass(frozen=True)
class Ledger:
    """What a stage adds to c10 after so many sweeps, relative: `bounds` of |a(n)|, as measured and one error, ascending in n."""

    sweeps: tuple[int, ...]
    bounds: tuple[float, ...]


def ledger_file(kernel_file: str) -> str:
    """Return the name of the ledger that belongs to a weight file."""
    return os.path.splitext(kernel_file)[0] + "_bias.json"


def load(kernel_file: str, digest: str) -> Ledger | None:
    """Return the ledger of a weight file, or None if there is none for weights of this SHA-256."""
    path = ledger_file(weight_files.find(kernel_file))
    content = storage.load_json(path) if os.path.exists(path) else {}
    if content.get("kernel_sha256") != digest:
        return None
    rows = [(n, bound) for n, bound in zip(content["sweeps"], content["bounds"], strict=True) if n >= FEWEST]
    return Ledger(*map(tuple, zip(*rows, strict=True)))


def sweeps(
    setting: str | int | tuple[int, ...], ledger: Ledger | None, start_size: int, n_stages: int
) -> tuple[int, ...]:
    """Return the sweeps of each stage that REFINE_SWEEPS asks for: "auto", one number, or one a stage.

    Raises:
        UserError: not as many numbers as stages.
    """
    if setting == "auto":
        return plan(ledger, start_size, n_stages) if ledger else (FEWEST,) * n_stages
    found = setting if isinstance(setting, tuple) else (setting,) * n_stages
    if len(found) != n_stages:
        raise UserError(
            f"REFINE_SWEEPS: found {setting}, needed auto, one number, or one for each of the {n_stages} stages"
        )
    return found


def told(
    ledger: Ledger | None, sweeps: tuple[int, ...], start_size: int, beta: float = exact.BETA_CRITICAL
) -> tuple[str, dict]:
    """Return what is known of the bias after so many sweeps a stage: in words, and as numbers for the report."""
    if not exact.is_critical(beta):
        return "bias not known: ledgers are of the critical point", {}
    L = start_size * SCALE ** len(sweeps)
    bias = expected_bias(ledger, sweeps) if ledger else math.inf
    if math.isinf(bias):
        why = (
            "for fewer sweeps than the ledger knows" if ledger else "the kernel has no ledger (benchmarks.bias_ledger)"
        )
        return f"bias not known: {why}", {}
    n = (scatter(L) / bias) ** 2
    words = (
        f"bias of c10 within {bias:.1e} (measured and one error), {bias / scatter(L):.2f} of one lattice's scatter: "
        + (f"shows from {n:.0f} lattices on" if n >= 1 else "may show in a single one")
    )
    return words, {"c10_bias_bound": bias, "c10_scatter": scatter(L), "lattices_until_it_shows": n}


def expected_bias(ledger: Ledger, sweeps: tuple[int, ...]) -> float:
    """Return the largest relative bias of c10 at the last stage; sweeps of each stage, rounded down to those of the ledger."""
    bias = 0.0
    for n in sweeps:
        known = [bound for m, bound in zip(ledger.sweeps, ledger.bounds, strict=True) if m <= n]
        bias = bias / SCALE + (known[-1] if known else math.inf)
    return bias


def scatter(L: int) -> float:
    """Return the standard deviation of one lattice's c10, relative to its exact value, at criticality."""
    return exact.c10_noise(L) / exact.torus_c10(L)


def plan(ledger: Ledger, start_size: int, n_stages: int) -> tuple[int, ...]:
    """Return the sweeps of each stage: the least work whose bias is within LARGEST_SHARE of one lattice's scatter.

    If none is, the least work whose bias the ledger cannot tell from that of the most sweeps.
    """
    most = (ledger.sweeps[-1],) * n_stages
    limit = max(LARGEST_SHARE * scatter(start_size * SCALE**n_stages), _TOLD_APART * expected_bias(ledger, most))
    # A sweep of the stage before costs a ninth, and its bias counts a third: three stages decide, earlier ones take all that pay.
    enough = next(
        n for n, bound in zip(ledger.sweeps, ledger.bounds, strict=True) if bound <= _TOLD_APART * ledger.bounds[-1]
    )
    earlier = (enough,) * max(0, n_stages - 3)
    ways = itertools.product(ledger.sweeps, repeat=min(3, n_stages))
    within = [way for way in ways if expected_bias(ledger, earlier + way) <= limit]
    return earlier + min(within, key=lambda way: sum(n * SCALE ** (2 * j) for j, n in enumerate(way)))
