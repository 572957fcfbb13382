"""Check saved configurations against the exact theory: energy, correlations at every scale, local equilibrium; a verdict in words.

    python checking.py
    python checking.py --input=results/multi_stage/spins_0000_stage3_L13824.npy
    python checking.py --input="data/samples/sample_00*.npy"
    python checking.py --input=results/normal --beta=0.5
    python checking.py --input=results/multi_stage --xi=300
    python checking.py --kernel_file=models/conditional_k5_s3.pt --start_size=64 --num_configs=400

INPUT is a file, a folder or a pattern (** for any folders): int8 .npy (L, L) or (n, L, L), bit-packed uint8 (L, L/8), batches
(.pt), or spins as other programs write them: other numbers, .npz, text, PNG, HDF5, .mat; windows of lattices (WINDOW of
fast_generating_multi_stage.py) are judged as windows. Every lattice is tested by itself, and
ensembles of equal L, or of one window, by their means too. With KERNEL_FILE a kernel is measured instead: KL per site in both
directions, effective sample size and, at criticality, the share of its block-spin rule, stage gain and correlations. Writes
check_report.json (verdict, reasons, one row per observable) and check.png into OUTPUT_DIR; of a kernel, kernel_report.json. Exit
status: 0 good (or a kernel measured), 1 bad, 2 a mistake in the settings or files.
"""

import glob
import os
import sys
import time

import ising_rg  # noqa: F401, first: it leaves out variables that the libraries could not use  # isort: skip
import numpy as np
from tqdm import tqdm

from ising_rg.base.errors import UserError
from ising_rg.checks import comparison, reports, window, window_counts
from ising_rg.checks.curves import CheckCurves
from ising_rg.figures import pictures
from ising_rg.files import storage
from ising_rg.run import folders, settings
from ising_rg.spins import configurations, origins
from ising_rg.spins.window_files import Window
from ising_rg.theory import deviates, exact, temperature

# fmt: off
# ---------------------------------------------------------------------------------------------------------------------
INPUT = "results/multi_stage"        # a file, a folder or a pattern (quoted) of .npy configurations
BETA = exact.BETA_CRITICAL           # inverse temperature that they should have
XI = ""                              # instead of BETA: correlation length in sites, minus below T_c (300, -300), or "critical"
KERNEL_FILE = ""                     # a kernel (.pt) to measure instead of INPUT
START_SIZE = 64                      # of KERNEL_FILE: sites per side of the start lattices, even
NUM_CONFIGS = 400                    # of KERNEL_FILE: seeds
SEED = 1000                          # of KERNEL_FILE: names the seeds
PICTURES = True                      # draw check.png
OUTPUT_DIR = "results/checking"      # where check_report.json and check.png go
# ---------------------------------------------------------------------------------------------------------------------
# fmt: on


_SHARES = {8: (150, 32), 16: (50, 32)}  # coarse size: seeds and draws for the share of the block-spin rule
_ESS_SIZES, _ESS_CONFIGS = (8, 16), 1000  # for the effective sample size
_PICTURES = ("check.png", "check_L[0-9]*.png")  # one a lattice size


def main(s):
    if s.KERNEL_FILE:
        measure_kernel(s)
        return
    paths = configurations.find(s.INPUT)
    report_file = os.path.join(s.OUTPUT_DIR, "check_report.json")
    drawn = [os.path.join(s.OUTPUT_DIR, name) for one in _PICTURES for name in glob.glob(one, root_dir=s.OUTPUT_DIR)]
    storage.keep_inputs(paths, [report_file, *drawn])
    folders.claim(s.OUTPUT_DIR)
    start = time.perf_counter()
    if not exact.is_critical(s.BETA):
        xi = temperature.correlation_length(s.BETA)
        print(
            f"BETA = {s.BETA} is not critical: correlations decay over {xi:.4g} sites. Energy and local equilibrium are known "
            "there on any lattice, magnetization and C(r) on those of many correlation lengths"
        )
    for path in paths:
        warn_about_beta(s, path)
    lattices, copies = origins.distinct(paths, s.BETA, windows=True)
    results, curves = check_all(s, lattices)
    groups, members = {}, {}
    for lattice, result in zip(lattices, results, strict=True):
        groups.setdefault(kind(result), []).append(result)
        members.setdefault(kind(result), []).append(lattice)
    ensembles = [
        ensemble(group, s.BETA, origins.chains(members[key]))
        for key, group in sorted(groups.items())
        if len(group) >= comparison.SMALLEST_ENSEMBLE
    ]
    for means in ensembles:
        print(f"\nensemble: {means['n']} configurations of {shape(means)} ({means['note']})")
        reports.print_rows(means["rows"])

    judged = ensembles or [results[0]]
    reasons = [reason for means in ensembles for reason in means["reasons"]]
    reasons += [
        (f"{os.path.basename(result['file'])}: " if len(results) > 1 else "") + reason
        for result in results
        for reason in result["reasons"]
    ]
    verdict = "bad" if reasons else "good"
    by_name = {result["file"]: result for result in results}
    told = {"ensembles": ensembles, "copies": copies}
    told["configurations"] = results + [{**by_name[of], "file": name} for name, of in copies.items()]
    report = settings.provenance(s, verdict=verdict, reasons=reasons, rows=judged[0]["rows"], **told)
    storage.save_json(report_file, report)
    folders.remove_older(s.OUTPUT_DIR, *_PICTURES)
    if s.PICTURES:
        with pictures.attempt():
            draw(s, curves, results)
    conclude(verdict, reasons, results, ensembles)
    print(f"{len(results)} checked in {time.perf_counter() - start:.1f} s; check_report.json in {s.OUTPUT_DIR}")
    if verdict == "bad":
        sys.exit(1)


def ensemble(results, beta, chains):
    """Return the test of the means of lattices, or windows, of one kind."""
    if "window" in results[0]:
        return window.ensemble(results, chains)
    return comparison.ensemble(results, beta, chains)


def kind(result):
    """Return what the lattices of an ensemble share: their size, and of windows their place."""
    return (result["L"], *result.get("window", ()))


def shape(result):
    """Return in words what a result or an ensemble is of."""
    L = result["L"]
    return f"a window, {Window(*result['window'], L)}" if "window" in result else f"{L} x {L}"


def measure_kernel(s):
    """Print and write how far what a kernel grows is from the critical model."""
    from ising_rg.kernels import (
        models,  # torch takes seconds to import, and configurations do without
        quality,
    )

    settings.check_positive(s, "NUM_CONFIGS", at_least=4)
    settings.check_memory(
        100 * s.NUM_CONFIGS * s.START_SIZE**2,
        f"{s.NUM_CONFIGS} lattices of {3 * s.START_SIZE}^2",
        "choose fewer NUM_CONFIGS or a smaller START_SIZE",
    )
    kernel = models.load(s.KERNEL_FILE)
    report_file = os.path.join(s.OUTPUT_DIR, "kernel_report.json")
    storage.keep_inputs([s.KERNEL_FILE], [report_file])
    folders.claim(s.OUTPUT_DIR)
    print(f"{s.KERNEL_FILE}: {s.START_SIZE} -> {3 * s.START_SIZE}, {s.NUM_CONFIGS} configurations")
    critical, beta = exact.is_critical(s.BETA), s.BETA
    if critical:
        beta = exact.BETA_CRITICAL
    else:
        print(f"at beta = {beta:.10f}, correlation length {temperature.correlation_length(beta):.4g} sites")
    kl, error, coarse, fine = quality.kl_generated(kernel, s.START_SIZE, s.NUM_CONFIGS, s.SEED, beta)
    print(f"KL(generated || true) per site {kl:.6f} +- {error:.6f} nats")
    rows = quality.correlation_rows(coarse, fine) if critical else []
    for row in rows:
        row["far"] = abs(row["z"]) > comparison.THRESHOLD
    if rows:
        reports.print_rows(rows)
    forward, forward_error = quality.kl_true(kernel, s.START_SIZE, max(s.NUM_CONFIGS // 4, 4), s.SEED, beta)
    print(f"KL(true || generated) per site {forward:.6f} +- {forward_error:.6f} nats")
    shares = {}
    for L, (n_seeds, n_draws) in _SHARES.items() if critical else ():
        rule, rule_error, pairs = quality.rule_share(kernel, n_seeds, n_draws, s.SEED, L)
        shares[f"{L} -> {3 * L}"] = {"rule": rule, "error": rule_error, "kernel": pairs - rule}
        print(
            f"shares at {L} -> {3 * L}: block-spin rule {rule:.6f} +- {rule_error:.6f} (an upper bound), "
            f"conditional kernel {pairs - rule:.6f} of {pairs:.6f}"
        )
    sizes = {}
    for L in _ESS_SIZES:
        ess, ess_error = quality.effective_sample_size(kernel, L, _ESS_CONFIGS, s.SEED, beta)
        sizes[f"{L} -> {3 * L}"] = [ess, ess_error]
        print(f"effective sample size of one stage {L} -> {3 * L}, pairs weighted: {ess:.3f} +- {ess_error:.3f} of 1")
    if critical:
        print(f"  published, fine lattices weighted, by side (RiGCS, arXiv:2503.08918): {quality.PUBLISHED_ESS}")
    report = settings.provenance(
        s,
        effective_sample_size=sizes,
        kl_per_site=kl,
        kl_per_site_error=error,
        gain=rows[0]["measured"] if rows else None,
        gain_error=rows[0]["error"] if rows else None,
        kl_true_per_site=forward,
        kl_true_per_site_error=forward_error,
        shares=shares,
        rows=rows,
    )
    storage.save_json(report_file, report)
    print(f"kernel_report.json in {s.OUTPUT_DIR}")


def check_all(s, lattices):
    """Return (one result a lattice, one dict of curves for the picture a lattice size)."""
    results, curves = [], {}
    for lattice in lattices:
        check_size(lattice)
    opened = origins.opened(lattices)
    bar = tqdm(opened, total=len(lattices), desc="checking", unit="lattice", leave=False, disable=None)
    for lattice, bitmap in bar:
        if lattice.window:
            result = window.configuration(bitmap, lattice.window, s.BETA, len(lattices))
        else:
            result = comparison.configuration(bitmap, s.BETA, len(lattices))
        results.append({"file": lattice.name, **result})
        if s.PICTURES and not lattice.window:
            if bitmap.width not in curves:
                curves[bitmap.width] = CheckCurves(bitmap.width, s.BETA)
            curves[bitmap.width].add(bitmap)
        if len(lattices) > 1:
            with bar.external_write_mode():
                print_line(results[-1])
    if len(results) == 1:
        first = results[0]
        print(f"{first['file']}: {shape(first)}, m = {first['m']:+.6f}, beta = {s.BETA:.10g}")
        reports.print_rows(results[0]["rows"])
    return results, curves


def check_size(lattice):
    """Raise UserError if a lattice or a window is of no size that can be judged."""
    smallest = window_counts.SMALLEST
    if lattice.window and not window.large_enough(lattice.window):
        found = f"a window, {lattice.window}"
        raise UserError(f"{lattice.name}: found {found}, needed at least {smallest} x {smallest} to be judged")
    if not lattice.window and (lattice.L % 2 or lattice.L < 4):
        raise UserError(f"{lattice.name}: found {lattice.L} x {lattice.L}, needed an even size of at least 4")


def warn_about_beta(s, path):
    """Say so if the JSON beside a file names another beta than BETA."""
    beta = storage.described_beta(path)
    if beta is not None and abs(beta - s.BETA) > 1e-6:
        print(f"note: {storage.sidecar(path)} says beta = {beta}; it is checked against BETA = {s.BETA}")


def print_line(result):
    worst = max(result["rows"], key=lambda row: abs(row["z"]))
    c10 = result["rows"][0]
    print(
        f"{os.path.basename(result['file']):>40} L {result['L']:6d} c10 {c10['measured']:.6f} z {deviates.text(c10['z'], 2):>6}, "
        f"worst {worst['name']} z {deviates.text(worst['z'], 2):>6}: {result['verdict']}"
    )


def conclude(verdict, reasons, results, ensembles):
    z = np.array([row["z"] for result in results for row in result["rows"]])
    print(f"\nverdict: {verdict}")
    for reason in reasons[:20]:
        print(f"  - {reason}")
    if len(reasons) > 20:
        print(f"  and {len(reasons) - 20} more, in check_report.json")
    for note in sorted({note for result in results for note in result["notes"]})[:5]:
        print(f"  note: {note}")
    if verdict == "good":
        print(
            f"  nothing speaks against {'it' if len(results) == 1 else 'them'}: {z.size} comparisons with exact values, "
            f"largest |z| {np.abs(z).max():.1f}, root mean square {np.sqrt((z**2).mean()):.2f} (expected 1)"
        )


def draw(s, curves, results):
    if not curves:
        print("no picture: it shows whole lattices, and here are windows only")
    for L, curve in curves.items():
        name = "check.png" if len(curves) == 1 else f"check_L{L}.png"
        path = os.path.join(s.OUTPUT_DIR, name)
        first = next(result for result in results if kind(result) == (L,))
        several = f" and {curve.n - 1} more" if curve.n > 1 else ""
        pictures.check(path, curve, f"{os.path.basename(first['file'])}{several}, beta = {s.BETA:.6f}")
        print(f"written: {path}")


if __name__ == "__main__":
    settings.run(main, globals())
