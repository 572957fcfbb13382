"""Speed of clusters and walls in nanoseconds a spin, beside scipy.ndimage.label with its two signs joined around the torus.

    python fast_generating_multi_stage.py
    python -m benchmarks.bench_clusters --input=results/multi_stage/spins_0000_stage3_L13824.npy

Physics first: the number of spin clusters must be scipy's, and FK bonds as many as exact theory tells. Times are the best of
REPEATS, compilation and reading left out. The last line is JSON.
"""

import json
import time

import numba
import numpy as np

from ising_rg.base.errors import UserError
from ising_rg.geometry import labels, rows, survey
from ising_rg.geometry.survey import Task
from ising_rg.run import settings
from ising_rg.spins import bitmaps, configurations
from ising_rg.theory import exact

# fmt: off
# ---------------------------------------------------------------------------------------------------------------------
INPUT = "results/multi_stage/spins_0000_stage3_L13824.npy"  # a critical configuration
SCIPY = True                         # time scipy.ndimage.label too, which takes 9 bytes a spin
REPEATS = 2                          # runs of each, of which the best counts
# ---------------------------------------------------------------------------------------------------------------------
# fmt: on


def main(s):
    ((_, lattice),) = configurations.open_configurations(s.INPUT)
    if lattice.height != lattice.width:
        raise UserError(f"{s.INPUT}: found {lattice.height} x {lattice.width}, needed a whole lattice")
    L, beta = lattice.width, exact.BETA_CRITICAL
    small = bitmaps.from_spins(np.random.default_rng(1).choice(np.array([-1, 1], np.int8), (64, 64)))
    tasks = {
        "spin clusters": [Task("spin", walls=False)],
        "spin clusters and walls": [Task("spin")],
        "FK clusters": [Task("fk", beta, 1, walls=False)],
        "FK clusters and hulls": [Task("fk", beta, 1)],
    }
    results, found = {}, {}
    for name, task in tasks.items():
        survey.survey(small, task)  # compiles
        results[name], found[name] = best(s, lambda task=task: survey.survey(lattice, task))
    for name, task in (
        ("labels of spin clusters", Task("spin", walls=False)),
        ("labels of FK clusters", Task("fk", beta, 1, walls=False)),
    ):
        labels.of_memory(small, task)
        results[name], _ = best(s, lambda task=task: labels.of_memory(lattice, task))
    values = rows.observables(None, found["FK clusters and hulls"][0], L * L)
    (row, *_), _ = rows.compare([values], L, beta)
    if row["far"]:
        raise SystemExit(f"{row['name']} = {row['measured']:.6f}, exact {row['exact']:.6f}")
    if s.SCIPY:
        results["scipy.ndimage.label"], n = best(s, lambda: by_scipy(lattice))
        if n != rows.number(found["spin clusters"][0]):
            raise SystemExit(f"scipy finds {n} spin clusters, this project {rows.number(found['spin clusters'][0])}")
    results = {name: seconds / L**2 * 1e9 for name, seconds in results.items()}
    print(f"L = {L}, {numba.get_num_threads()} threads")
    for name, value in results.items():
        print(f"{name:>28} {value:8.2f} ns a spin")
    print(json.dumps({"L": L, "threads": numba.get_num_threads(), "ns_per_spin": results}))


def best(s, work):
    """Return (least seconds of REPEATS runs, what the last returned)."""
    seconds, value = [], None
    for _ in range(s.REPEATS):
        start = time.perf_counter()
        value = work()
        seconds.append(time.perf_counter() - start)
    return min(seconds), value


def by_scipy(lattice):
    """Return the number of spin clusters: up and down spins labelled, and labels joined around the torus."""
    from scipy import ndimage, sparse

    up = bitmaps.to_spins(lattice) > 0
    label, n = ndimage.label(up, output=np.int32)
    total = 0
    for sign in (True, False):
        if not sign:
            label, n = ndimage.label(~up, output=np.int32)
        ends = [(label[0], label[-1]), (label[:, 0], label[:, -1])]
        one, other = (np.concatenate([pair[i] for pair in ends]) for i in (0, 1))
        both = (one > 0) & (other > 0)
        graph = sparse.coo_matrix((np.ones(both.sum()), (one[both] - 1, other[both] - 1)), (n, n))
        total += sparse.csgraph.connected_components(graph, directed=False)[0]
    return total


if __name__ == "__main__":
    settings.run(main, globals())
