"""renormalizing.py as a user runs it: configurations back down, verdicts in words, exponents, and every mistake."""

import json

import numpy as np
import pytest

from ising_rg.spins import configurations
from ising_rg.theory import exact, temperature
from ising_rg.updates import swendsen_wang
from tests.scripts.test_pipeline import fail, succeed

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Twelve equilibrated configurations of 216 x 216, one of them bit-packed, and a smaller one."""
    path = tmp_path_factory.mktemp("fine")
    for number, spins in enumerate(swendsen_wang.sample(216, exact.BETA_CRITICAL, 12, seed=4)):
        np.save(path / f"spins_{number:02d}.npy", np.packbits(spins > 0, axis=1) if number == 3 else spins)
    np.save(path / "small.npy", swendsen_wang.sample(72, exact.BETA_CRITICAL, 1, seed=4)[0])
    return path


def report(folder):
    (path,) = folder.glob("*_report.json")
    text = path.read_text()
    assert "NaN" not in text and "Infinity" not in text
    return json.loads(text)


def test_levels_are_measured_written_and_drawn(folder, tmp_path):
    arguments = ("renormalizing.py", f"--input={folder}", "--levels=2")
    output = succeed(*arguments, f"--output_dir={tmp_path}/a")
    assert "only those of 216 x 216" in output and "level 0, L = 216: the nearest-neighbour model" in output
    content = report(tmp_path / "a")
    assert [level["L"] for level in content["levels"]] == [216, 72, 24]
    names = [row["name"] for row in content["levels"][1]["couplings"] + content["levels"][1]["correlations"]]
    assert names[:3] == ["(1,0)", "(1,1)", "(2,0)"] and names[-4:] == ["c10", "c11", "c20", "stage gain"]
    assert (tmp_path / "a/flow.png").exists()
    coarse = np.load(tmp_path / "a/spins_0003_level2_L24.npy")
    assert coarse.dtype == np.int8 and coarse.shape == (24, 24) and set(np.unique(coarse)) == {-1, 1}
    about = json.loads((tmp_path / "a/spins_0003_level2_L24.json").read_text())
    assert about["L"] == 24 and about["level"] == 2 and about["source"].endswith("spins_03.npy")
    # Again from what was written: the second level is one step from the first.
    more = ("--pictures=false", "--save_levels=none")
    output = succeed(
        "renormalizing.py",
        f"--input={tmp_path}/a/spins_*_level1_*.npy",
        "--levels=1",
        f"--compare={tmp_path}/a/spins_*_level2_*.npy",
        *more,
        f"--output_dir={tmp_path}/b",
    )
    assert "beside" in output and not list((tmp_path / "b").glob("*.npy"))
    assert len(report(tmp_path / "b")["comparison"]) == 9 + 5
    assert report(tmp_path / "b")["levels"][0]["couplings"] == content["levels"][1]["couplings"]


def keep_files_on_disk():

    configurations.IN_MEMORY_BYTES = 0


def test_a_lattice_that_stays_on_disk_gives_the_same(folder, tmp_path):
    one = (f"--input={folder}/spins_03.npy", "--levels=1", "--pictures=false")
    reports = []
    for name, patch in (("memory", None), ("disk", keep_files_on_disk)):
        succeed("renormalizing.py", *one, f"--output_dir={tmp_path}/{name}", patch=patch)
        reports.append(report(tmp_path / name)["levels"])
        reports.append((tmp_path / name / "spins_0000_level1_L72.npy").read_bytes())
    assert reports[:2] == reports[2:]


def test_a_planted_rule_is_called_by_its_couplings(folder, tmp_path):
    """Majority of 3 x 3: (1,1) +0.066 and tee +0.013 at errors of 0.006 and 0.003."""
    output = succeed(
        "renormalizing.py",
        f"--input={folder}/spins_*.npy",
        "--rule_file=majority",
        "--levels=1",
        "--pictures=false",
        f"--output_dir={tmp_path}",
    )
    assert "level 1, L = 72: not the nearest-neighbour model" in output and "(1,1) +0.0" in output
    assert report(tmp_path)["nearest_neighbour"] is False


def test_another_temperature_flows_away(folder, tmp_path):
    for number, spins in enumerate(swendsen_wang.sample(216, 0.42, 4, seed=5)):
        np.save(tmp_path / f"hot_{number}.npy", spins)
    output = succeed(
        "renormalizing.py",
        f"--input={tmp_path}/hot_*.npy",
        "--beta=0.42",
        "--levels=1",
        "--pictures=false",
        f"--output_dir={tmp_path}/out",
    )
    assert "stage gain" not in output
    level = report(tmp_path / "out")["levels"][1]
    assert temperature.mass(level["beta_exact"]) == pytest.approx(3 * temperature.mass(0.42))
    assert level["couplings"][0]["exact"] == level["beta_exact"] < 0.42


@pytest.mark.parametrize("how", [(), ("--kernel_file=models/conditional_k5_s3.pt",)])
def test_exponents_of_lattices_made_for_it(tmp_path, how):
    small = ("--num_lattices=200", "--lattice_size=36", "--levels=1", *how)
    output = succeed("renormalizing.py", *small, f"--output_dir={tmp_path}")
    assert "subleading" in output
    rows = report(tmp_path)["exponents"]
    assert {row["sector"] for row in rows} == {"even", "odd"} and rows[-1]["exact"] == 15 / 8
    assert abs(rows[-1]["measured"] - 15 / 8) < 0.05


def test_mistakes(folder, tmp_path):
    out = f"--output_dir={tmp_path}/out"
    np.save(tmp_path / "power_of_two.npy", np.ones((64, 64), np.int8))
    np.save(tmp_path / "wrong.npy", np.zeros((27, 27), np.int8))
    (tmp_path / "text.npy").write_text("hello")
    for name, says in (
        ("power_of_two.npy", "divisible by 3"),
        ("wrong.npy", "other than +1 and -1"),
        ("text.npy", "foreign"),
        ("missing.npy", "fast_generating_multi_stage.py"),
    ):
        fail("renormalizing.py", f"--input={tmp_path}/{name}", out, says=(name, says))
    small = f"--input={folder}/small.npy"
    fail("renormalizing.py", small, "--levels=3", out, says="--levels=1")
    fail("renormalizing.py", small, "--levels=0", out, says="LEVELS")
    fail("renormalizing.py", small, "--levels=1", "--rule_file=none.pt", out, says=("none.pt", "kernel_training"))
    fail("renormalizing.py", small, "--levels=1", f"--compare={folder}/small.npy", out, says="COMPARE")
    fail("renormalizing.py", small, "--levels=1", "--save_levels=some", out, says="SAVE_LEVELS")
    fail("renormalizing.py", "--num_lattices=5", out, says="NUM_LATTICES")
    fail("renormalizing.py", "--num_lattices=500", "--lattice_size=64", out, says="divisible by 3")
    grown = ("--num_lattices=500", "--lattice_size=36", "--levels=1", "--kernel_file=models/conditional_k5_s3.pt")
    fail("renormalizing.py", *grown, "--beta=0.4", out, says="BETA")
