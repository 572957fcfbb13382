"""Clusters and walls of configurations, beside exact values: spin clusters, Fortuin-Kasteleyn (FK) clusters, domain walls, hulls.

    python cluster_geometry.py
    python cluster_geometry.py --input=results/multi_stage/spins_0000_stage3_L13824.npy
    python cluster_geometry.py --input=data/samples --kind=spin --labels=true
    python cluster_geometry.py --input=results/normal --beta=0.43

INPUT is a file, a folder or a pattern (** for any folders), as checking.py takes it; a lattice of more than 1 GiB of bits stays
on disk and is read once, row by row. Spin clusters are equal neighbours; FK clusters are joined by bonds between equal
neighbours, open with probability 1 - exp(-2 BETA), which SEED and the spins themselves name. Walls are loops between unlike
neighbours, hulls the outer and inner boundaries of FK clusters. At the critical temperature sizes, areas, lengths and windings
are judged by exact values; off it, the number of FK bonds. Windows of lattices are counted, not judged. With LABELS every
site's cluster is written, numbered in raster order of first sites, with a table of all clusters. Writes geometry_report.json
and geometry.png into OUTPUT_DIR. Exit status: 0 good, 1 bad, 2 a mistake in the settings or files.
"""

import os
import sys
import time

import ising_rg  # noqa: F401, first: it leaves out variables that the libraries could not use  # isort: skip
from tqdm import tqdm

from ising_rg.checks import reports
from ising_rg.figures import pictures
from ising_rg.files import storage
from ising_rg.geometry import labels, picture, rows, survey
from ising_rg.geometry.survey import Task
from ising_rg.run import folders, settings
from ising_rg.spins import configurations, origins
from ising_rg.theory import exact

# fmt: off
# ---------------------------------------------------------------------------------------------------------------------
INPUT = "results/multi_stage"        # a file, a folder or a pattern (quoted) of .npy configurations
BETA = exact.BETA_CRITICAL           # inverse temperature of the configurations
XI = ""                              # instead of BETA: correlation length in sites, minus below T_c (300, -300), or "critical"
KIND = "all"                         # "spin": spin clusters and walls; "fk": FK clusters and hulls; "all"
LABELS = False                       # write the cluster of every site, .npy, and a table of clusters, .npz
MAX_MEMORY = "auto"                  # beside the lattice's bits: "512MiB", "2GiB", ...; "auto": half of what is free
SEED = 1                             # names the FK bonds, together with the spins
PICTURES = True                      # draw geometry.png, of the first lattice
OUTPUT_DIR = "results/geometry"      # where everything goes
# ---------------------------------------------------------------------------------------------------------------------
# fmt: on

_LARGEST = 10  # clusters told of each lattice


def main(s):
    start = time.perf_counter()
    paths = configurations.find(s.INPUT)
    report_file, picture_file = (os.path.join(s.OUTPUT_DIR, name) for name in ("geometry_report.json", "geometry.png"))
    lattices, copies = origins.distinct(paths, s.BETA, windows=True)
    files = [name for number in range(len(lattices)) for kind in kinds(s) for name in label_files(s, kind, number)]
    storage.keep_inputs(paths, [report_file, picture_file, *(files if s.LABELS else [])])
    budget = settings.memory_budget(s.MAX_MEMORY)
    folders.claim(s.OUTPUT_DIR)
    folders.remove_older(s.OUTPUT_DIR, "geometry.png")
    results, counted = [], []
    for number, (lattice, spins) in enumerate(origins.opened(lattices)):
        result, found = measure(s, lattice, spins, budget)
        if s.LABELS:
            result["labels"] = [write_labels(s, kind, number, lattice, spins, budget) for kind in kinds(s)]
        results.append(result)
        counted.append(found)
        if s.PICTURES and number == 0:
            with pictures.attempt():
                title = f"{os.path.basename(lattice.name)}, beta = {s.BETA:.6f}"
                picture.draw(picture_file, spins, found, task(s, "fk", lattice), title)
                print(f"written: {picture_file}")
    ensembles = [ensemble(s, L, results, counted) for L in sorted({result["L"] for result in results})]
    ensembles = [one for one in ensembles if one]
    reasons = [f"{one['file']}: {reason}" for one in results for reason in one["reasons"]]
    reasons += [f"{one['n']} of L = {one['L']}: {reason}" for one in ensembles for reason in one["reasons"]]
    judged = any(one["rows"] for one in results)
    verdict = "bad" if reasons else "good" if judged else "not judged"
    told = {"verdict": verdict, "reasons": reasons, "ensembles": ensembles, "configurations": results, "copies": copies}
    storage.save_json(report_file, settings.provenance(s, **told))
    print(f"\nverdict: {verdict}")
    for reason in reasons[:20]:
        print(f"  - {reason}")
    print(f"geometry_report.json in {s.OUTPUT_DIR}, in {time.perf_counter() - start:.1f} s")
    if reasons:
        sys.exit(1)


def kinds(s):
    """Return the kinds that are counted."""
    return survey.KINDS if s.KIND == "all" else (s.KIND,)


def label_files(s, kind, number):
    """Return the names of a lattice's labels and of its table of clusters."""
    return [
        os.path.join(s.OUTPUT_DIR, name)
        for name in (f"labels_{kind}_{number:04d}.npy", f"clusters_{kind}_{number:04d}.npz")
    ]


def task(s, kind, lattice):
    """Return the Task of one kind; a lattice's window, if it is one, is not closed around its edges."""
    return Task(kind, s.BETA, s.SEED, torus=not lattice.window)


def measure(s, lattice, spins, budget):
    """Count one lattice and print what it is; return (what goes into the report, the Counted of both kinds, None if not wanted)."""
    n_sites = spins.height * spins.width
    with tqdm(total=spins.height, desc="counting", unit=" rows", leave=False, disable=None) as bar:
        n_rows = survey.rows_of_strips(spins.width, budget)
        found = survey.survey(spins, [task(s, kind, lattice) for kind in kinds(s)], n_rows, bar.update)
    by_kind = dict(zip(kinds(s), found, strict=True))
    spin, fk = (by_kind.get(kind) for kind in survey.KINDS)
    values = rows.observables(spin, fk, n_sites)
    compared, told = ([], []) if lattice.window else rows.compare([values], lattice.L, s.BETA)
    result = {"file": lattice.name, "L": lattice.L, "rows": compared, "told": told, "reasons": rows.reasons(compared)}
    result |= {"shape": [spins.height, spins.width], "window": list(lattice.window) if lattice.window else None}
    result |= {kind: rows.summary(one, n_sites, _LARGEST) for kind, one in by_kind.items()}
    what = f"a window, {lattice.window}" if lattice.window else f"{lattice.L} x {lattice.L}"
    print(f"\n{lattice.name}: {what}, beta = {s.BETA:.10g}")
    for kind, one in by_kind.items():
        print_counted(kind, result[kind], one, n_sites, bool(lattice.window))
    print_rows(compared, told)
    return result, (spin, fk)


def print_rows(compared, told):
    """Print what is judged, and what is told beside exact values without."""
    if compared:
        reports.print_rows(compared)
    for row in told:
        difference = row["measured"] - row["exact"]
        print(f"{row['name']:>24} {row['measured']:12.6f} {row['exact']:12.6f} {difference:+12.6f}   told, not judged")


def print_counted(kind, told, counted, n_sites, window):
    """Print how many clusters and walls of one kind there are, and the largest."""
    name, loop = ("FK", "hulls") if kind == "fk" else ("spin", "walls")
    largest = told["largest"][0] if told["largest"] else None
    share = f", the largest {largest['size'] / n_sites:.4f} of all sites" if largest else ""
    print(
        f"  {told['clusters']} {name} clusters ({told['clusters'] / n_sites:.6f} a site){share}; {told['loops']} {loop}"
    )
    if window:
        print(
            f"  {told['at_edges']} clusters touch the edges and are cut by them; so are {told['pieces_cut']} pieces of {loop}"
        )
    else:
        ways = rows.windings(counted)
        more = f" and {len(ways) - 5} more" if len(ways) > 5 else ""
        print(f"  winding around the torus: {', '.join(ways[:5]) or 'none'}{more}")


def write_labels(s, kind, number, lattice, spins, budget):
    """Write the labels and the table of one lattice; return the names of the files."""
    path, table = label_files(s, kind, number)
    settings.check_disk(8 * spins.height * spins.width, s.OUTPUT_DIR, f"labels of {lattice.name}")
    labelling = labels.Labelling(spins, task(s, kind, lattice), budget)
    needed = labels.BYTES_PER_CLUSTER * labelling.n_clusters
    settings.check_memory(
        needed, f"a table of {labelling.n_clusters} clusters", "choose LABELS = False, or a part of the lattice"
    )
    about = settings.provenance(s, source=lattice.name, kind=kind, clusters=labelling.n_clusters)
    labels.write(labelling, path, table, about)
    print(f"written: {path}, {table}")
    return [os.path.basename(path), os.path.basename(table)]


def ensemble(s, L, results, counted):
    """Return the test of the means of the lattices of one size, None if they are few or windows."""
    group = [found for result, found in zip(results, counted, strict=True) if result["L"] == L and not result["window"]]
    if len(group) < rows.SMALLEST_ENSEMBLE:
        return None
    values = [rows.observables(*found, L * L) for found in group]
    compared, told = rows.compare(values, L, s.BETA)
    if exact.is_critical(s.BETA) and s.KIND != "spin":
        compared += rows.winding_rows([fk for _, fk in group])
    print(f"\nmeans of {len(group)} configurations of {L} x {L}, taken as independent")
    print_rows(compared, told)
    return {"n": len(group), "L": L, "rows": compared, "told": told, "reasons": rows.reasons(compared)}


if __name__ == "__main__":
    settings.run(main, globals())
