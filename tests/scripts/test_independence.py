"""What is to be independent is: runs from other starts, lattices grown or blocked from other files, chains, copies."""

import contextlib
import itertools
import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import fast_generating_single_stage
import normal_fast_2d_Ising
import renormalizing
from ising_rg.base.errors import UserError
from ising_rg.checks import comparison
from ising_rg.growth import upsampling
from ising_rg.kernels import drawer
from ising_rg.renormalization import blocking
from ising_rg.spins import bitmaps, statistics
from ising_rg.theory import exact
from ising_rg.updates import swendsen_wang
from tests.scripts.test_pipeline import fail, run, succeed

pytestmark = pytest.mark.long

BETA = exact.BETA_CRITICAL


def settings_of(script, **more):
    constants = {name: value for name, value in vars(script).items() if name.isupper() and name[0] != "_"}
    return SimpleNamespace(**{**constants, **more})


def report(folder):
    (path,) = folder.glob("*_report.json")
    return json.loads(path.read_text())


def assert_no_overlap(lattices):
    """The mean over pairs of <s s'> is 0 within 4 errors.

    Pairs of independent lattices without a field are uncorrelated, pairs that share a lattice too (the mean of either other is 0),
    so the error is their scatter over the root of their number.
    """
    flat = np.stack([a.reshape(-1) for a in lattices]).astype(np.float64)
    overlaps = (flat @ flat.T / flat.shape[1])[np.triu_indices(len(flat), 1)]
    assert abs(overlaps.mean()) < 4 * overlaps.std(ddof=1) / np.sqrt(overlaps.size)


@pytest.mark.parametrize("update", ["metropolis", "swendsen_wang"])
def test_runs_that_go_on_draw_numbers_of_their_own(tmp_path, update):
    """Twelve in a row at L = 64, SEED the default: no two end alike, those of cluster sweeps without overlap; and the same start
    makes the same end."""
    s = settings_of(normal_fast_2d_Ising, LATTICE_SIZE=64, NUM_SWEEPS=2000, SAMPLE_INTERVAL=2000, UPDATE=update)
    ends = []
    for _ in range(12):
        ends.append(normal_fast_2d_Ising.simulate(s, normal_fast_2d_Ising.start_spins(s), "cpu")[1])
        s.START_FILE = str(tmp_path / "start.npy")
        np.save(s.START_FILE, ends[-1])
    np.save(s.START_FILE, ends[-2])
    again = normal_fast_2d_Ising.simulate(s, normal_fast_2d_Ising.start_spins(s), "cpu")[1]
    assert len({spins.tobytes() for spins in ends}) == 12 and np.array_equal(again, ends[-1])
    if update == "swendsen_wang":  # equilibrium forgets within ten sweeps
        assert_no_overlap(ends)


def test_hot_and_cold_starts_are_independent():
    """L = 64, beta = 0.42: their energies' correlation is 0 within 4 errors, and neither end is the other's, or its negative.

    r of n pairs of independent series has the variance (1 + 2 sum rho rho') / n, rho and rho' their autocorrelations: at most
    tau / n with the larger tau = 1 + 2 sum rho of the two. With the same numbers r is 1 once they have met.
    """
    energies, ends = [], []
    for start in ("hot", "cold"):
        s = settings_of(
            normal_fast_2d_Ising, LATTICE_SIZE=64, BETA=0.42, NUM_SWEEPS=30000, SAMPLE_INTERVAL=25, START=start
        )
        series, spins, _ = normal_fast_2d_Ising.simulate(s, normal_fast_2d_Ising.start_spins(s), "cpu")
        energies.append(series[100:, 2])
        ends.append(spins)
    tau = max(statistics.mean_of_series(series)[2] for series in energies)
    assert abs(np.corrcoef(energies)[0, 1]) < 4 * np.sqrt(tau / len(energies[0]))
    assert abs((ends[0] * ends[1]).mean()) < 0.5


def test_lattices_grown_from_files_with_one_seed_are_independent(tmp_path):
    """60 seeds of 64 x 64 through SEED_FILE, SEED = 1: no overlap, raw or refined, whole or beyond what the seed tells.

    Beyond: s - g S, S the seed's spin of the block and g the stage gain, which leaves short correlations and so a small error.
    """
    kernel, grown = drawer.load(fast_generating_single_stage.KERNEL_FILE), {"RG raw": [], "RG refined": []}
    seeds = swendsen_wang.sample(64, BETA, 60, seed=12)
    s = settings_of(fast_generating_single_stage, SEED_FILE=str(tmp_path / "seed.npy"))
    for spins in seeds:
        np.save(s.SEED_FILE, spins)
        made = fast_generating_single_stage.generate(s, kernel, "cpu", BETA)
        for name, several in grown.items():
            several.append(made[name])
    inherited = exact.STAGE_GAIN * upsampling.naive_copy(seeds)
    for lattices in grown.values():
        assert_no_overlap(lattices)
        assert_no_overlap(lattices - inherited)
    again = fast_generating_single_stage.generate(s, kernel, "cpu", BETA)
    assert np.array_equal(again["RG refined"], grown["RG refined"][-1])


def test_a_stage_without_a_file_is_the_first_of_a_run():
    """As before: the numbers of SEED, whatever lattice they make."""
    s = settings_of(fast_generating_single_stage, LOW_RES_SIZE=16)
    kernel = drawer.load(s.KERNEL_FILE)
    made = fast_generating_single_stage.generate(s, kernel, "cpu", BETA)
    expected = upsampling.upsample(made["seed"], kernel, BETA, 5, upsampling.stage_seed(1, 1))[0]
    assert np.array_equal(made["RG refined"], expected)


def test_files_blocked_by_themselves_are_blocked_independently(tmp_path):
    """Six lattices of 108 x 108, each in a run of its own, SEED = 1: (S - t)(S' - t') has the mean 0 within 4 errors.

    t = tanh(w*s) is the mean of S given s, so that the sum's variance is that of (1 - t^2)(1 - t'^2) summed. And what a file
    becomes does not depend on the others beside it.
    """
    spins = swendsen_wang.sample(108, BETA, 6, seed=5)
    s = settings_of(renormalizing, LEVELS=1, PICTURES=False, FILE_FORMAT="int8", OUTPUT_DIR=str(tmp_path))
    rule, programs = blocking.load(s.RULE_FILE), renormalizing.rules(s)
    padded = F.pad(torch.from_numpy(spins).float()[:, None], (rule.margin,) * 4, mode="circular")
    with torch.no_grad():
        t = torch.tanh(rule.field(padded))[:, 0].double().numpy()
    lattices, coarse = [bitmaps.from_spins(a) for a in spins], []
    for lattice in lattices:
        renormalizing.renormalize(s, programs, ["a.npy"], [lattice], [])
        coarse.append(np.load(tmp_path / "spins_0000_level1_L36.npy"))
    left, variance = coarse - t, 1 - t**2
    pairs = list(itertools.combinations(range(6), 2))
    total = sum((left[a] * left[b]).sum() for a, b in pairs)
    assert abs(total) < 4 * np.sqrt(sum((variance[a] * variance[b]).sum() for a, b in pairs))
    renormalizing.renormalize(s, programs, ["c.npy", "b.npy", "a.npy"], lattices[2::-1], [])
    for number, expected in enumerate(coarse[2::-1]):
        assert np.array_equal(np.load(tmp_path / f"spins_{number:04d}_level1_L36.npy"), expected)


def save(folder, lattices):
    folder.mkdir()
    for number, spins in enumerate(lattices):
        np.save(folder / f"sample_{number:04d}.npy", spins)


def test_a_stack_is_judged_as_its_lattices_in_files(tmp_path):
    """Twelve of 16 x 16, one of them 4.9 standard deviations off: bad by itself (4.5), not as one of twelve (5.0)."""
    off = swendsen_wang.sample(16, 0.2, 2, seed=3)[1]
    (worst,) = (row for row in comparison.configuration(bitmaps.from_spins(off), BETA)["rows"] if row["far"])
    assert 4.5 < abs(worst["z"]) < 5.0
    lattices = np.concatenate([swendsen_wang.sample(16, BETA, 11, seed=2), off[None]])
    save(tmp_path / "files", lattices)
    np.save(tmp_path / "stack.npy", lattices)
    reports = []
    for name in ("files", "stack.npy"):
        succeed("checking.py", f"--input={tmp_path}/{name}", "--pictures=false", f"--output_dir={tmp_path}/out")
        reports.append(report(tmp_path / "out"))
    files, stack = reports
    assert files["verdict"] == stack["verdict"] == "good" and files["ensembles"] == stack["ensembles"]
    for a, b in zip(files["configurations"], stack["configurations"], strict=True):
        assert a["rows"] == b["rows"]


def test_equal_lattices_are_named_and_count_once(tmp_path):
    """Twelve, each twice, one copy bit-packed; and forty of one. Batches and blocked lattices are without copies too."""
    lattices = swendsen_wang.sample(36, BETA, 12, seed=4)
    for name in ("once", "twice"):
        save(tmp_path / name, lattices)
    for number, spins in enumerate(lattices):
        np.save(tmp_path / f"twice/sample_{number:04d} (1).npy", np.packbits(spins > 0, 1) if number == 2 else spins)
    save(tmp_path / "one", np.repeat(lattices[:1], 40, 0))

    def check(name):
        done = run("checking.py", f"--input={tmp_path}/{name}", "--pictures=false", f"--output_dir={tmp_path}/out")
        assert done.returncode == 0 and all(len(word) < 80 for word in done.stdout.split() if "/" not in word)
        return done.stdout, report(tmp_path / "out")

    output, content = check("once")
    assert "the same spins" not in output and content["copies"] == {}
    twice, other = check("twice")
    assert "12 of 24 lattices hold the same spins as others" in twice and "sample_0000 (1).npy" in twice
    assert len(other["copies"]) == 12
    for key in ("verdict", "reasons", "rows"):
        assert content[key] == other[key]
    output, content = check("one")
    assert "39 of 40 lattices" in output and content["ensembles"] == [] and "1 checked" in output

    output = succeed("batching.py", f"--source_dir={tmp_path}/twice", f"--output_dir={tmp_path}/batches")
    assert "12 of 24 lattices" in output and "12 samples in 1 batches" in output
    batch = torch.load(tmp_path / "batches/batch_000.pt", weights_only=True).numpy()
    assert len(batch) == len(np.unique(batch, axis=0)) == 12
    output = succeed(
        "renormalizing.py",
        f"--input={tmp_path}/twice",
        "--levels=1",
        "--pictures=false",
        f"--output_dir={tmp_path}/back",
    )
    assert "12 of 24 lattices" in output and "level 1: 12 of 12 x 12" in output


def test_lattices_equal_by_chance_all_count(tmp_path):
    """At L = 4 two independent critical lattices are equal as often as not one in eight times: Z(2 beta) / Z(beta)^2."""
    save(tmp_path / "small", swendsen_wang.sample(4, BETA, 30, seed=4))
    output = run("checking.py", f"--input={tmp_path}/small", f"--output_dir={tmp_path}/out", "--pictures=false").stdout
    assert "the same spins" not in output and "ensemble: 30" in output


def test_one_lattice_shifted_about_is_no_ensemble(tmp_path):
    """No two are equal, but the magnetization of all is: said, and no z of hundreds of digits."""
    spins = swendsen_wang.sample(24, BETA, 1, seed=4)[0]
    save(tmp_path / "shifted", [np.roll(spins, number, 1) for number in range(12)])
    done = run("checking.py", f"--input={tmp_path}/shifted", f"--output_dir={tmp_path}/out", "--pictures=false")
    assert done.returncode == 1 and "shifted, turned or reversed" in done.stdout
    assert all(len(word) < 80 for word in done.stdout.split() if "/" not in word)


def test_times_are_of_chains_where_the_files_tell_them(tmp_path):
    """Three chains of 20 at L = 16, a sweep between samples: tau is that of the chains, sample i being of chain i modulo 3.

    The same spins without their JSONs are one series in the order of the files, and that is said.
    """
    collect = ("--lattice_size=16", "--chains=3", "--num_samples=60", "--warmup_sweeps=60", "--interval_sweeps=1")
    succeed("data_collecting.py", *collect, f"--save_dir={tmp_path}/samples")
    told = [json.loads(path.read_text()) for path in sorted((tmp_path / "samples").glob("sample_*.json"))]
    series = [np.array([row["c10"] for row in told]), np.array([row["m"] ** 2 for row in told])]
    for known in (True, False):
        if not known:
            for path in (tmp_path / "samples").glob("*.json"):
                path.unlink()
        run("checking.py", f"--input={tmp_path}/samples", "--pictures=false", f"--output_dir={tmp_path}/out")
        (ensemble,) = report(tmp_path / "out")["ensembles"]
        n_chains, words = (3, "in 3 chains") if known else (1, "file order taken for time")
        tau = max(statistics.autocorrelation_time([a[i::n_chains] for i in range(n_chains)]) for a in series)
        assert ensemble["note"] == f"autocorrelation time {tau:.1f} samples, {words}"
        c10 = ensemble["rows"][0]
        assert c10["error"] == pytest.approx(exact.c10_noise(16) * np.sqrt(tau / 60))


def test_metropolis_that_never_moves_is_refused(tmp_path):
    """Columns in turn, 2 x 2 blocks, and one random start of 1,820 at L = 4: no spin has a field, so that all flip for ever."""
    says = ("never moves: a cycle", "--update=swendsen_wang")
    stuck = ("--lattice_size=4", "--seed=693")
    fail("normal_fast_2d_Ising.py", *stuck, f"--output_dir={tmp_path}/out", says=("SEED = 693", *says))
    fail("data_collecting.py", *stuck, "--update=metropolis", f"--save_dir={tmp_path}/data", says=("SEED = 693", *says))
    y, x = np.mgrid[:8, :8]
    columns, blocks = 1 - 2 * (x % 2), 1 - 2 * ((x // 2 + y // 2) % 2)
    nearly = np.where((x == 3) & (y == 4), -blocks, blocks)
    s = settings_of(normal_fast_2d_Ising, START_FILE=str(tmp_path / "start.npy"))
    for spins, update, refused in (
        (columns, "metropolis", True),
        (blocks, "metropolis", True),
        (nearly, "metropolis", False),
        (blocks, "swendsen_wang", False),
    ):
        np.save(s.START_FILE, spins.astype(np.int8))
        s.UPDATE = update
        with pytest.raises(UserError, match=f"start.npy.*{says[0]}") if refused else contextlib.nullcontext():
            normal_fast_2d_Ising.start_spins(s)
