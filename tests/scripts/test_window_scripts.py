"""Windows from script to script: what the multi-stage run writes and checks, checking.py judges, and the others refuse."""

import json
import os

import numpy as np
import pytest

from tests import children
from tests.scripts.test_pipeline import fail, run, succeed

pytestmark = pytest.mark.long
GROW = (
    "fast_generating_multi_stage.py",
    "--start_size=64",
    "--stages=7",
    "--window=50000,7,80,101",
    "--pictures=false",
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with one window of 80 x 101 sites, and what the run printed."""
    path = tmp_path_factory.mktemp("window")
    return path, succeed(*GROW, f"--output_dir={path}")


def window_file(folder):
    (name,) = (name for name in os.listdir(folder) if name.endswith(".npy"))
    return folder / name


def test_a_run_checks_its_window_and_describes_it(folder):
    path, printed = folder
    assert (
        "checked against exact theory" in printed and ": good" in printed and "note: a window: C(r) beyond" in printed
    )
    (checked,) = json.loads((path / "growth_report.json").read_text())["checks"]
    assert checked["verdict"] == "good" and checked["window"] == [50000, 7, 80, 101] and checked["L"] == 64 * 3**7
    spins = np.load(window_file(path)).astype(int)
    about = json.loads(window_file(path).with_suffix(".json").read_text())
    c10 = (np.mean(spins[1:] * spins[:-1]) + np.mean(spins[:, 1:] * spins[:, :-1])) / 2
    c11 = (np.mean(spins[1:, 1:] * spins[:-1, :-1]) + np.mean(spins[1:, :-1] * spins[:-1, 1:])) / 2
    assert about["c10"] == pytest.approx(c10) and about["c11"] == pytest.approx(c11)
    assert about["m"] == pytest.approx(spins.mean()) and abs(about["c10_z"]) < 4.5
    rows = {row["name"]: row for row in checked["rows"]}
    assert rows["c10"]["measured"] == about["c10"] and rows["c10"]["z"] == about["c10_z"]


def test_checking_judges_a_window_as_one(folder, tmp_path):
    path, _ = folder
    printed = succeed("checking.py", f"--input={path}", f"--output_dir={tmp_path}")
    assert "a window, 80 x 101 sites of 139968 x 139968, from row 50000 and column 7 on" in printed
    assert "verdict: good" in printed and "no picture" in printed
    (again,) = json.loads((tmp_path / "check_report.json").read_text())["configurations"]
    (checked,) = json.loads((path / "growth_report.json").read_text())["checks"]
    assert again["rows"] == checked["rows"]
    spins = np.load(window_file(path))
    np.save(tmp_path / "shuffled.npy", spins[np.random.default_rng(1).permutation(80)])
    (tmp_path / "shuffled.json").write_text(window_file(path).with_suffix(".json").read_text())
    done = run("checking.py", f"--input={tmp_path}/shuffled.npy", f"--output_dir={tmp_path}")
    assert done.returncode == 1 and "rows out of place" in done.stdout


def test_others_refuse_windows_by_name(folder, tmp_path):
    name, says = window_file(folder[0]), "found a window, 80 x 101 sites of 139968 x 139968"
    for script, setting in (
        ("renormalizing.py", "input"),
        ("viewing.py", "input"),
        ("fast_generating_single_stage.py", "seed_file"),
        ("normal_fast_2d_Ising.py", "start_file"),
    ):
        fail(script, f"--{setting}={name}", f"--output_dir={tmp_path}/out", says=(says, "needed a whole lattice"))
    (tmp_path / "sample_0000.npy").write_bytes(name.read_bytes())
    (tmp_path / "sample_0000.json").write_text(name.with_suffix(".json").read_text())
    fail("batching.py", f"--source_dir={tmp_path}", f"--output_dir={tmp_path}/out", says=says)


def test_windows_too_small_to_be_judged(tmp_path):
    printed = succeed(*GROW, "--window=0,0,4,300", f"--output_dir={tmp_path}")
    assert "a window of 4 x 300 sites is not checked" in printed
    about = json.loads(window_file(tmp_path).with_suffix(".json").read_text())
    assert -1 <= about["c10"] <= 1 and about["c10_z"] is None
    fail("checking.py", f"--input={tmp_path}", f"--output_dir={tmp_path}/out", says="needed at least 16 x 16")
    succeed(*GROW, "--window=5,5,1,1", f"--output_dir={tmp_path}/one")
    about = json.loads(window_file(tmp_path / "one").with_suffix(".json").read_text())
    assert about["c10"] is None and abs(about["m"]) == 1


def test_two_processes_make_and_check_the_same_window(folder, tmp_path):
    done = children.run_together(2, GROW[0].removesuffix(".py"), *GROW[1:], f"--output_dir={tmp_path}")
    assert done.returncode == 0, done.stdout
    assert children.files(tmp_path) == children.files(folder[0])
