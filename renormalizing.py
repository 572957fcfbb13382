"""Block configurations by a block-spin rule, L -> L/3 -> L/9 -> ...: couplings of every level, their flow, exponents.

    python renormalizing.py
    python renormalizing.py --input="results/multi_stage/spins_*_stage3_L13824.npy" --compare="results/multi_stage/*stage0*.npy"
    python renormalizing.py --xi=300
    python renormalizing.py --input=results/normal --beta=0.43 --levels=1
    python renormalizing.py --rule_file=majority
    python renormalizing.py --num_lattices=170000 --lattice_size=108 --levels=2
    python renormalizing.py --num_lattices=170000 --lattice_size=108 --levels=2 --kernel_file=models/conditional_k5_s3.pt

The inverse of the generating scripts: a configuration (collected, grown or your own) is blocked LEVELS times. For each level the
couplings of its Hamiltonian are measured, beside those of the nearest-neighbour model, with a verdict in words; c10, c11 and
c20 beside exact values; and the stage gain beside 3^(-1/8). With NUM_LATTICES, lattices of LATTICE_SIZE are made instead,
equilibrated or grown, and the exponents y_t and y_h measured; 100 or more configurations of INPUT give exponents, too. Writes
the coarse configurations, blocking_report.json and flow.png into OUTPUT_DIR.
"""

import os
import time

import ising_rg  # noqa: F401, first: it leaves out variables that the libraries could not use  # isort: skip
import numpy as np
from tqdm import tqdm

from ising_rg.base import random_numbers
from ising_rg.base.errors import UserError
from ising_rg.checks import reports
from ising_rg.figures import pictures
from ising_rg.files import storage
from ising_rg.growth import refinement, upsampling
from ising_rg.kernels import drawer
from ising_rg.renormalization import blocking, exponents, flow
from ising_rg.run import folders, settings
from ising_rg.spins import bitmaps, configurations, origins
from ising_rg.theory import exact, fluctuations, temperature

# fmt: off
# ---------------------------------------------------------------------------------------------------------------------
INPUT = "results/multi_stage"        # a file, a folder or a pattern (quoted) of .npy configurations of one size
RULE_FILE = "models/measuring_rule_k9_s3.pt"  # a rule of kernel_training_pixel_shuffle.py; or "majority", of 3 x 3 spins
LEVELS = 3                           # how often to block; L must be divisible by 3 as often
BETA = exact.BETA_CRITICAL           # inverse temperature of the configurations
XI = ""                              # instead of BETA: correlation length in sites, minus below T_c (300, -300), or "critical"
COMPARE = ""                         # configurations (as INPUT) of the last level's size to compare it with
NUM_LATTICES = 0                     # instead of INPUT: lattices to make for exponents; y_h takes 10^3, y_t 10^5
LATTICE_SIZE = 324                   # of NUM_LATTICES: sites per side, even, divisible by 3 as often as LEVELS says
KERNEL_FILE = ""                     # of NUM_LATTICES: a kernel that grows them in LEVELS stages; "": they are equilibrated
SAVE_LEVELS = "all"                  # coarse configurations to write: "all", "last" or "none"
FILE_FORMAT = "auto"                 # "int8", a byte a spin; "bits", numpy.packbits, an eighth; "auto": bits beyond 2^30 spins
PICTURES = True                      # draw flow.png
PREVIEW_SIZE = 512                   # pixels per side of each lattice in it
SEED = 1                             # names the coarse configurations: the same SEED gives the same spins
OUTPUT_DIR = "results/renormalizing"  # where everything goes
# ---------------------------------------------------------------------------------------------------------------------
# fmt: on

_CHAINS = 200  # of NUM_LATTICES, made at a time; groups of the jackknife
_SMALLEST = 12  # sites per side of the coarsest lattice: operators reach four
_ENSEMBLE = 100  # configurations of INPUT from which on exponents are measured


def main(s):
    start = time.perf_counter()
    report_file, picture = (os.path.join(s.OUTPUT_DIR, name) for name in ("blocking_report.json", "flow.png"))
    if s.NUM_LATTICES:
        storage.keep_inputs([s.RULE_FILE, s.KERNEL_FILE], [report_file, picture])
        report, previews = {"exponents": measure_exponents(s, blocking.program_at(s.RULE_FILE)[0])}, []
    else:
        programs = rules(s)
        paths, names, lattices = read(s.INPUT, s.BETA)
        blocking.check_size(lattices[0].width, s.LEVELS, _SMALLEST, s.INPUT)
        compared, _, others = read(s.COMPARE, temperature.coarser(s.BETA, s.LEVELS)) if s.COMPARE else ([], [], [])
        last = lattices[0].width // 3**s.LEVELS
        if others and others[0].width != last:
            raise UserError(
                f"COMPARE: found {others[0].width} x {others[0].width}, needed the last level's {last} x {last}"
            )
        coarse = [
            coarse_file(s, number, level, lattices[0].width // 3**level)
            for level in saved_levels(s)
            for number in range(len(names))
        ]
        storage.keep_inputs([*paths, *compared, s.RULE_FILE], [*coarse, report_file, picture])
        folders.claim(s.OUTPUT_DIR)
        folders.remove_older(s.OUTPUT_DIR, "flow.png")
        report, previews = renormalize(s, programs, names, lattices, others)
    storage.save_json(report_file, settings.provenance(s, **report))
    if previews:
        with pictures.attempt():
            draw(s, len(names), report["levels"], previews)
    print(f"blocking_report.json in {s.OUTPUT_DIR}, in {time.perf_counter() - start:.1f} s")


def read(pattern, beta):
    """Return (files, names, lattices) of the configurations of a file, folder or pattern: the largest size, none twice."""
    paths = configurations.find(pattern)
    found, _ = origins.distinct(paths, beta)
    sizes = sorted({lattice.L for lattice in found})
    if len(sizes) > 1:
        print(f"{pattern}: found sizes {', '.join(map(str, sizes))}; only those of {sizes[-1]} x {sizes[-1]} are taken")
    largest = [lattice for lattice in found if lattice.L == sizes[-1]]
    return paths, [lattice.name for lattice in largest], [spins for _, spins in origins.opened(largest)]


def saved_levels(s):
    """Return the levels whose configurations are written."""
    return {"all": range(1, s.LEVELS + 1), "last": [s.LEVELS], "none": []}[s.SAVE_LEVELS]


def coarse_file(s, number, level, L):
    return os.path.join(s.OUTPUT_DIR, f"spins_{number:04d}_level{level}_L{L}.npy")


def renormalize(s, programs, names, lattices, others):
    """Block all lattices and print what every level is; return the report, and a preview of each level if one is drawn."""
    if len(names) > 1:
        print(f"{len(names)} configurations, taken as independent")
    # By its own spins, so that files blocked one by one are blocked independently, and alike in whatever company.
    seeds = [random_numbers.seed_for(bitmaps.digest(lattice), s.SEED) for lattice in lattices]
    beta, levels, previews, sums = s.BETA, [], [], []
    for level in range(s.LEVELS + 1):
        fine = lattices
        if level:
            beta = temperature.coarser(s.BETA, level)
            bar = tqdm(fine, desc=f"level {level}", unit="lattice", leave=False, disable=None)
            lattices = [
                blocking.block(lattice, programs[level], seed, level) for lattice, seed in zip(bar, seeds, strict=True)
            ]
            if level in saved_levels(s):
                save(s, names, lattices, level, beta)
        levels.append(measure_level(s, level, fine, lattices, beta))
        if s.PICTURES:
            previews.append(pictures.bitmap_preview(lattices[0], s.PREVIEW_SIZE))
        if len(names) >= _ENSEMBLE:
            sums.append(exponents.sums_of(lattices))
    report = {"levels": levels, "nearest_neighbour": all(one["nearest_neighbour"] for one in levels[1:])}
    if sums:
        report["exponents"] = print_exponents(sums, np.arange(len(names)))
    if others:
        rows = flow.comparison_rows(lattices, others, beta)
        print(f"\nlevel {s.LEVELS} beside {s.COMPARE} ({len(lattices)} and {len(others)} configurations)")
        reports.print_rows(rows, "there")
        report["comparison"] = rows
    print("\nverdict:")
    for one in levels:
        print(f"  level {one['level']}, L = {one['L']}: {one['verdict']}")
    return report, previews


def draw(s, n, levels, previews):
    L, path = levels[0]["L"], os.path.join(s.OUTPUT_DIR, "flow.png")
    pictures.flow(path, levels, previews, f"{n} of {L} x {L}, {s.RULE_FILE}")
    print(f"written: {path}")


def rules(s):
    """Return the program of the rule that makes each level, at the temperature of the level before; None for level 0."""
    programs = [None]
    for level in range(1, s.LEVELS + 1):
        beta = temperature.coarser(s.BETA, level - 1)
        program, exactly = blocking.program_at(
            s.RULE_FILE, 0.0 if exact.is_critical(s.BETA) else temperature.mass(beta)
        )
        programs.append(program)
        if not exactly:
            xi = temperature.correlation_length(beta)
            print(
                f"note: level {level}: {s.RULE_FILE} is not for correlations of {xi:.3g} sites; taken at the nearest it is for"
            )
    return programs


def measure_level(s, level, fine, lattices, beta):
    """Print and return one level of the flow; level 0 is what was given."""
    L = lattices[0].width
    print(f"\nlevel {level}: {len(lattices)} of {L} x {L}, nearest-neighbour model at K = {beta:.6f}")
    critical = exact.is_critical(s.BETA)
    result = {"level": level, "L": L, "n": len(lattices), "beta_exact": beta, "couplings": [], "left_out": []}
    try:
        result["couplings"], result["left_out"] = flow.coupling_rows(lattices, beta)
        result["nearest_neighbour"], result["verdict"] = flow.verdict(result["couplings"])
    except UserError as error:  # a flow to low temperatures ends in order; what can be told is told
        result["nearest_neighbour"], result["verdict"] = False, f"couplings not determined: {error}"
    result["correlations"] = flow.correlation_rows(lattices, beta, critical)
    if level and critical:
        result["correlations"].append(flow.gain_row(fine, lattices))
    elif level and beta > exact.BETA_CRITICAL and L > fluctuations.LENGTHS_BELOW * temperature.correlation_length(beta):
        expected = temperature.gain_of_mass(temperature.mass(beta) / 3)
        result["correlations"].append(flow.gain_row(fine, lattices, expected))
    reports.print_rows(result["couplings"] + result["correlations"])
    if result["left_out"]:
        told = ", ".join(f"{one['name']} {one['measured']:+.4f} (z {one['z']:+.1f})" for one in result["left_out"])
        print(f"terms left out, were each to join: {told}")
    return result


def save(s, names, lattices, level, beta):
    """Write the coarse configurations of one level."""
    L = lattices[0].width
    file_format = ("bits" if L * L > 2**30 else "int8") if s.FILE_FORMAT == "auto" else s.FILE_FORMAT
    settings.check_disk(len(lattices) * L * L // (8 if file_format == "bits" else 1), s.OUTPUT_DIR, f"level {level}")
    for number, (name, lattice) in enumerate(zip(names, lattices, strict=True)):
        about = settings.provenance(s, L=L, beta=beta, seed=s.SEED, level=level, source=name)
        configurations.save_bitmap(coarse_file(s, number, level, L), lattice, about, file_format)


def measure_exponents(s, rule):
    """Make lattices, block them, print and return the exponents of every level."""
    settings.check_seed_size("LATTICE_SIZE", s.LATTICE_SIZE)
    blocking.check_size(s.LATTICE_SIZE, s.LEVELS, _SMALLEST, "LATTICE_SIZE")
    if s.NUM_LATTICES < _ENSEMBLE:
        raise UserError(f"NUM_LATTICES: found {s.NUM_LATTICES}, needed at least {_ENSEMBLE} for exponents")
    n_groups = min(_CHAINS, s.NUM_LATTICES)
    n_batches = -(-s.NUM_LATTICES // n_groups)
    settings.check_memory(12 * n_groups * s.LATTICE_SIZE**2, f"{n_groups} lattices of {s.LATTICE_SIZE}^2")
    if s.KERNEL_FILE:
        if not exact.is_critical(s.BETA):
            raise UserError(f"BETA: found {s.BETA}, needed the critical one, at which KERNEL_FILE grows lattices")
        start = s.LATTICE_SIZE // 3**s.LEVELS
        stage = upsampling.Stage(drawer.load(s.KERNEL_FILE), s.BETA, refinement.FEWEST, s.SEED)
        grown = upsampling.ensemble(start, s.LEVELS, stage, n_groups * n_batches, n_groups)
        batches, how = ((spins, np.arange(n_groups)) for spins in grown), f"grown from {start} by {s.KERNEL_FILE}"
    else:
        batches = exponents.chains(s.LATTICE_SIZE, s.BETA, n_groups, n_batches, s.SEED)
        how = f"{n_groups} chains"
    folders.claim(s.OUTPUT_DIR)
    folders.remove_older(s.OUTPUT_DIR, "flow.png")
    print(f"{n_groups * n_batches} lattices of {s.LATTICE_SIZE} x {s.LATTICE_SIZE}, {how}, {s.RULE_FILE}")
    bar = tqdm(batches, total=n_batches, unit=f" x {n_groups} lattices", leave=False, disable=None)
    sums, groups = exponents.blocked_sums(bar, rule, s.LEVELS, s.SEED)
    return print_exponents(sums, groups)


def print_exponents(sums, groups):
    """Print and return the exponents of every level for a growing number of operators."""
    print(f"\n{'level':>5} {'':>5} {'operators':>9} {'exponent':>9} {'+-':>8} {'exact':>7} {'z':>6}   subleading")
    rows = []
    for level in range(1, len(sums)):
        for sector, (names, expected) in exponents.SECTORS.items():
            for n in range(1, len(names) + 1):
                y, errors = exponents.measure(sums[level - 1][sector], sums[level][sector], groups, sector, n)
                rows.append(
                    {
                        "level": level,
                        "sector": sector,
                        "operators": names[:n],
                        **flow.row("y", y[0], expected, errors[0]),
                    }
                )
                rows[-1] |= {"exponents": y.tolist(), "errors": errors.tolist()}
                told = ", ".join(f"{a:.2f}({b:.2f})" for a, b in zip(y[1:3], errors[1:3], strict=True))
                print(
                    f"{level:5d} {sector:>5} {n:9d} {y[0]:9.5f} {errors[0]:8.5f} {expected:7.4f} {rows[-1]['z']:+6.2f}   {told}"
                )
    return rows


if __name__ == "__main__":
    settings.run(main, globals())
