"""checking.py as a user runs it: files, folders, patterns, packed or not, good and bad, and every mistake."""

import json

import numpy as np
import pytest

from ising_rg.theory import exact
from ising_rg.updates import swendsen_wang
from tests.scripts.test_pipeline import MULTI, fail, run, succeed

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with twelve equilibrated configurations of 96 x 96, one of them bit-packed."""
    path = tmp_path_factory.mktemp("good")
    for number, spins in enumerate(swendsen_wang.sample(96, exact.BETA_CRITICAL, 12, seed=4)):
        np.save(path / f"spins_{number:02d}.npy", np.packbits(spins > 0, axis=1) if number == 3 else spins)
    return path


def report(folder):
    (path,) = folder.glob("*_report.json")
    text = path.read_text()
    assert "NaN" not in text and "Infinity" not in text
    return json.loads(text)


def test_one_file_int8_or_packed(folder, tmp_path):
    spins = swendsen_wang.sample(96, exact.BETA_CRITICAL, 12, seed=4)[3]
    np.save(tmp_path / "same.npy", spins)
    rows = []
    for name in (folder / "spins_03.npy", tmp_path / "same.npy"):
        output = succeed("checking.py", f"--input={name}", f"--output_dir={tmp_path}/out")
        assert "verdict: good" in output and "C(48,0)" in output
        content = report(tmp_path / "out")
        assert content["verdict"] == "good" and content["reasons"] == []
        rows.append(content["rows"])
    assert rows[0] == rows[1]
    for row in rows[0]:
        assert {"name", "measured", "exact", "error", "z"} <= set(row)
    assert {"c10", "c11", "C(48,0)", "m2", "local_beta_black"} <= {row["name"] for row in rows[0]}
    assert (tmp_path / "out/check.png").exists()


def test_folder_and_pattern_are_an_ensemble(folder, tmp_path):
    np.save(folder / "series.npy", np.zeros((5, 3)))
    output = succeed("checking.py", f"--input={folder}", f"--output_dir={tmp_path}/a")
    assert "left out, no configurations: series.npy" in output and "ensemble: 12" in output
    content = report(tmp_path / "a")
    assert len(content["configurations"]) == 12 and content["rows"] == content["ensembles"][0]["rows"]
    assert {"U4", "xi/L", "var(E)/L^2"} <= {row["name"] for row in content["rows"]}
    output = succeed(
        "checking.py", f"--input={folder}/spins_0[0-4].npy", "--pictures=false", f"--output_dir={tmp_path}/b"
    )
    assert "5 checked" in output and not (tmp_path / "b/check.png").exists()


def test_bad_ones_end_with_status_1_and_say_why(folder, tmp_path):
    spins = np.load(folder / "spins_00.npy")
    np.save(tmp_path / "shuffled.npy", spins[np.random.default_rng(1).permutation(96)])
    done = run("checking.py", f"--input={tmp_path}/shuffled.npy", f"--output_dir={tmp_path}/out")
    assert done.returncode == 1 and done.stderr == "" and "verdict: bad" in done.stdout
    content = report(tmp_path / "out")
    assert content["verdict"] == "bad" and "rows out of place" in content["reasons"][0]
    done = run("checking.py", f"--input={folder}/spins_01.npy", "--beta=0.3", f"--output_dir={tmp_path}/out")
    assert done.returncode == 1 and "another temperature" in done.stdout


def test_what_a_run_wrote_is_checked(tmp_path):
    output = succeed(*MULTI, f"--output_dir={tmp_path}", "--pictures=false")
    assert "checked against exact theory" in output
    check = report(tmp_path)["checks"][0]
    assert check["L"] == 144 and {"name", "measured", "exact", "error", "z"} <= set(check["rows"][0])
    succeed("checking.py", f"--input={tmp_path}", f"--output_dir={tmp_path}/out", "--pictures=false")
    assert report(tmp_path / "out")["configurations"][0]["rows"] == check["rows"]


def test_a_configuration_of_another_temperature_is_noticed(tmp_path):
    (tmp_path / "spins.json").write_text('{"beta": 0.5}')
    np.save(tmp_path / "spins.npy", swendsen_wang.sample(64, 0.5, 1, seed=4)[0])
    output = run("checking.py", f"--input={tmp_path}/spins.npy", f"--output_dir={tmp_path}/out").stdout
    assert "says beta = 0.5" in output
    output = succeed("checking.py", f"--input={tmp_path}/spins.npy", "--beta=0.5", f"--output_dir={tmp_path}/out")
    assert "not critical" in output


def measure_with_fewer_seeds():
    import checking

    checking._SHARES = {8: (6, 8)}
    checking._ESS_SIZES, checking._ESS_CONFIGS = (8,), 100


def test_a_kernel_is_measured(tmp_path):
    output = succeed(
        "checking.py",
        "--kernel_file=models/conditional_k5_s3.pt",
        "--start_size=8",
        "--num_configs=40",
        f"--output_dir={tmp_path}",
        patch=measure_with_fewer_seeds,
    )
    assert "KL(generated || true)" in output and "KL(true || generated)" in output and "shares" in output
    assert "kernel_report.json" in output
    content = report(tmp_path)
    assert {"kl_per_site", "kl_per_site_error", "gain", "kl_true_per_site", "shares"} <= set(content)
    assert abs(content["kl_per_site"]) < 0.002 and content["rows"][0]["name"] == "gain"
    fail("checking.py", f"--kernel_file={tmp_path}/none.pt", says=("none.pt", "kernel_training_pixel_shuffle.py"))
    fail("checking.py", "--kernel_file=models/conditional_k5_s3.pt", "--start_size=7", says="START_SIZE")


def test_mistakes(folder, tmp_path):
    out = f"--output_dir={tmp_path}/out"
    np.save(tmp_path / "wrong.npy", np.zeros((8, 8), np.int8))
    np.save(tmp_path / "odd.npy", np.ones((9, 9), np.int8))
    np.save(tmp_path / "float.npy", np.full((8, 8), 0.5))
    (tmp_path / "truncated.npy").write_bytes((folder / "spins_00.npy").read_bytes()[:-9])
    (tmp_path / "text.npy").write_text("hello")
    for name, says in (
        ("wrong.npy", "other than +1 and -1"),
        ("odd.npy", "even"),
        ("float.npy", "other than +1 and -1"),
        ("truncated.npy", "truncated"),
        ("text.npy", "foreign"),
        ("missing.npy", "fast_generating_multi_stage.py"),
    ):
        fail("checking.py", f"--input={tmp_path}/{name}", out, says=(name, says))
    fail("checking.py", f"--input={tmp_path}", out, says="text.npy")
    fail("checking.py", "--beta=nan", out, says="BETA")
    fail("checking.py", "--seeed=1", out, says="settings are")


def warnings_are_errors():
    import warnings

    warnings.simplefilter("error")


@pytest.mark.parametrize("L", [4, pytest.param(6, marks=pytest.mark.slow), 64])
def test_perfect_order_is_checked_without_a_warning(tmp_path, L):
    """All up is a likely state of a small critical lattice, not of 64 x 64; a chess board of none."""
    y, x = np.mgrid[:L, :L]
    for name, spins in (("up", np.ones((L, L), np.int8)), ("chess", (1 - 2 * ((x + y) % 2)).astype(np.int8))):
        np.save(tmp_path / f"{name}.npy", spins)
        arguments = (f"--input={tmp_path}/{name}.npy", f"--output_dir={tmp_path}/out")
        done = run("checking.py", *arguments, patch=warnings_are_errors)
        good = name == "up" and L < 64
        assert done.returncode == (0 if good else 1) and done.stderr == "" and "nan" not in done.stdout
        assert f"verdict: {'good' if good else 'bad'}" in done.stdout
        if name == "chess":
            assert "antiferromagnet" in done.stdout
        report(tmp_path / "out")


def test_a_run_frozen_into_stripes_is_bad(tmp_path):
    """Hot start at beta = 0.5: its report and checking.py agree, and say what it is."""
    simulate = ("--lattice_size=256", "--beta=0.5", "--num_sweeps=20000", "--sample_interval=50", "--seed=7")
    output = succeed("normal_fast_2d_Ising.py", *simulate, "--pictures=false", f"--output_dir={tmp_path}")
    content = report(tmp_path)["check"]
    assert content["verdict"] == "bad" and "two domains" in content["reasons"][0] and "two domains" in output
    assert "mean energy" in content["reasons"][1] and "--start=cold" in content["reasons"][1]
    done = run("checking.py", f"--input={tmp_path}/spins_L256.npy", "--beta=0.5", f"--output_dir={tmp_path}/out")
    assert done.returncode == 1 and "two domains separated by straight walls" in done.stdout


@pytest.mark.parametrize(
    "arguments, verdict, says",
    [
        (("--beta=2", "--lattice_size=4", "--seed=8"), "bad", "two domains"),  # stripes from a random start
        (("--beta=2", "--lattice_size=4", "--start=cold"), "good", "no variance"),
        (("--beta=50", "--lattice_size=64", "--start=cold"), "good", "the same in every sample, no variance"),
        (("--beta=50", "--lattice_size=32", "--seed=5"), "bad", "z = -"),  # stripes again
        (("--beta=1e-5", "--lattice_size=64", "--start=cold"), "bad", "30000 sweeps"),
        (("--beta=1e-5", "--lattice_size=64", "--update=swendsen_wang"), "good", "Kaufman"),
        (("--beta=0.6", "--lattice_size=64", "--start=cold"), "good", "Kaufman"),
    ],
)
def test_runs_at_the_ends_of_the_scale(tmp_path, arguments, verdict, says):
    options = ("--num_sweeps=400", "--sample_interval=4", "--pictures=false", f"--output_dir={tmp_path}")
    output = succeed("normal_fast_2d_Ising.py", *options, *arguments, patch=warnings_are_errors)
    assert says in output and "nan" not in output
    assert report(tmp_path)["check"]["verdict"] == verdict


@pytest.mark.parametrize("beta", ["-0.4", "0", "nan", "inf", "1e-7", "51", "1e300"])
def test_betas_out_of_reach_are_refused(tmp_path, beta):
    for script in ("normal_fast_2d_Ising.py", "checking.py"):
        fail(script, f"--beta={beta}", f"--output_dir={tmp_path}", says="BETA")
