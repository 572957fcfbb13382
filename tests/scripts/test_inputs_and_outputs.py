"""What scripts hand to each other: folders, patterns, reports; no input is overwritten, no older picture stands beside a report."""

import importlib
import os
import re
import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from ising_rg.base.errors import UserError
from ising_rg.files import storage
from ising_rg.run import kinds, settings
from ising_rg.spins import configurations
from tests import children

NORMAL = ("normal_fast_2d_Ising", "--num_sweeps=4", "--pictures=false")
GROW = ("fast_generating_multi_stage", "--start_size=8", "--stages=1", "--check=false", "--pictures=false")


def random_spins(shape, seed=0):
    return (2 * np.random.default_rng(seed).integers(0, 2, shape) - 1).astype(np.int8)


def succeed(script, *arguments, status=0):
    done = children.call(script, *arguments)
    assert done.returncode == status and done.stderr == "", done
    return done.stdout


def fail(script, *arguments, says):
    done = children.call(script, *arguments)
    assert done.returncode == 2 and done.stderr.count("\n") == 1, done
    for text in says:
        assert text in done.stderr, done.stderr


def contents(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("script", children.SCRIPTS)
def test_no_default_folder_states_a_size(script):
    """A size is a setting, and may be edited; names of weights (models/) tell the sizes of the kernel."""
    values, _ = settings.collect(vars(importlib.import_module(script)), [])
    folders = [value for name, value in values.items() if isinstance(kinds.KINDS[name], kinds.FileName)]
    assert not [value for value in folders if re.search(r"\d", value) and not value.startswith("models/")]


def test_scripts_in_order_work_after_one_edited_constant(tmp_path, monkeypatch):
    """LATTICE_SIZE = 12 alone; then 16, which no script mixes with the others."""
    monkeypatch.chdir(tmp_path)
    few = ("--num_samples=3", "--warmup_sweeps=1", "--interval_sweeps=1")
    monkeypatch.setattr("data_collecting.LATTICE_SIZE", 12)
    assert "12 x 12 in data/samples" in succeed("data_collecting", *few)
    assert "3 samples of 12 x 12" in succeed("batching")
    fail("kernel_training_pixel_shuffle", says=("found lattices of 12 x 12",))
    before = contents(tmp_path / "data")
    monkeypatch.setattr("data_collecting.LATTICE_SIZE", 16)
    fail("data_collecting", *few, says=("LATTICE_SIZE = 12 there, 16 now", "SAVE_DIR"))
    succeed("data_collecting", *few, "--save_dir=data/others")
    fail("batching", "--source_dir=data/others", says=("data/batches/batch_000.pt is of L = 12", "samples of L = 16"))
    succeed("data_collecting", *few, "--save_dir=data/hot", "--lattice_size=12", "--beta=0.3")
    fail("batching", "--source_dir=data/hot", says=("beta = 0.44", "beta = 0.3"))
    after = contents(tmp_path / "data")
    assert {name: after[name] for name in before} == before
    succeed(*GROW, "--output_dir=results/multi_stage")  # STAGES = 1
    assert "spins_0000_stage1_L24" in succeed("viewing")


def test_the_largest_lattice_of_a_folder_is_viewed(tmp_path):
    for name, L in (("a", 8), ("b", 16), ("c", 16)):
        np.save(tmp_path / f"{name}.npy", random_spins((L, L)))
    assert f"{tmp_path}/b.npy: 16 x 16" in succeed("viewing", f"--input={tmp_path}", f"--output_dir={tmp_path}/out")


def test_two_stars_stand_for_any_folders(tmp_path):
    for place in (".", "a", "a/b", "a/b/c"):
        (tmp_path / place).mkdir(exist_ok=True)
        np.save(tmp_path / place / "spins.npy", random_spins((8, 8)))
    paths = configurations.find(f"{tmp_path}/**/*.npy")
    assert [os.path.relpath(path, tmp_path) for path in paths] == [
        "a/b/c/spins.npy", "a/b/spins.npy", "a/spins.npy", "spins.npy",
    ]  # fmt: skip
    assert configurations.find(f"{tmp_path}/**") == paths  # no folders
    assert configurations.find(f"{tmp_path}/*/*.npy") == [f"{tmp_path}/a/spins.npy"]
    found = succeed("checking", f"--input={tmp_path}/a/**/*.npy", "--pictures=false", f"--output_dir={tmp_path}/out")
    assert "3 checked" in found


def test_reports_of_several_scripts_live_in_one_folder(tmp_path):
    out = f"--output_dir={tmp_path}"
    succeed(*GROW, out)
    grown = contents(tmp_path)
    succeed("checking", f"--input={tmp_path}", "--pictures=false", out)
    np.save(tmp_path / "fine.npy", np.ones((36, 36), np.int8))
    blocked = ("--levels=1", "--save_levels=none", "--pictures=false")
    succeed("renormalizing", f"--input={tmp_path}/fine.npy", *blocked, out)
    succeed(*NORMAL, "--lattice_size=8", out)
    succeed("fast_generating_single_stage", "--low_res_size=8", "--pictures=false", out)
    assert sorted(path.name for path in tmp_path.glob("*report.json")) == [
        f"{name}_report.json" for name in ("blocking", "check", "growth", "simulation", "single_stage")
    ]
    after = contents(tmp_path)
    assert {name: after[name] for name in grown} == grown
    listed = [storage.load_json(str(tmp_path / f"{name}_report.json"))["files"] for name in ("growth", "simulation")]
    assert listed == [["spins_0000_stage1_L24.npy"], ["series.npy", "spins_L8.npy"]]


def test_files_of_earlier_runs_are_left_out_whatever_their_report_is_called(tmp_path, capsys):
    for name in ("old", "new"):
        np.save(tmp_path / f"{name}.npy", random_spins((8, 8)))
    for report in ("report.json", "growth_report.json"):
        storage.save_json(str(tmp_path / report), {"files": ["new.npy"], "settings": {}})
        storage.save_json(str(tmp_path / "check_report.json"), {"rows": [], "settings": {}})
        (tmp_path / "my_report.json").write_text('{"files": [{}]}')
        assert configurations.find(str(tmp_path)) == [str(tmp_path / "new.npy")]
        assert f"{report} is of: old.npy" in capsys.readouterr().out
    storage.save_json(str(tmp_path / "report.json"), {"files": ["old.npy"], "settings": {}})
    assert configurations.find(str(tmp_path)) == [str(tmp_path / "new.npy")]


def test_no_input_is_overwritten(tmp_path):
    """By whatever name it is given; and the run ends before it has written anything."""
    out, spins = f"--output_dir={tmp_path}", random_spins((8, 8))
    (tmp_path / "link").symlink_to(tmp_path)
    for name in ("spins_L8", "seed_L8", "other", "spins_0000_level1_L12"):
        np.save(tmp_path / f"{name}.npy", random_spins((12, 12)) if name.endswith("12") else spins)
    np.save(tmp_path / "fine.npy", random_spins((36, 36)))
    np.savetxt(tmp_path / "text.html", spins, fmt="%d")
    np.savetxt(tmp_path / "series.txt", spins, fmt="%d")
    (tmp_path / "series.json").write_text('{"beta": 0.44, "settings": {}}')
    Image.fromarray((spins > 0) * np.uint8(255)).save(tmp_path / "check_L8.png")
    (tmp_path / "other_files").mkdir()
    np.save(tmp_path / "other_files" / "own.npy", spins)
    shutil.copy(f"{children.ROOT}/models/conditional_k5_s3.pt", tmp_path / "spins_0000_stage1_L24.npy")
    shutil.copy(f"{children.ROOT}/models/block_spin_rule_k9_s3.pt", tmp_path / "rule.pt")
    torch.save(torch.from_numpy(random_spins((1, 132, 132))), tmp_path / "batch_000.pt")
    train = ("kernel_training_pixel_shuffle", f"--data_dir={tmp_path}", f"--checkpoint_dir={tmp_path}/checkpoint")
    train += (f"--picture_dir={tmp_path}", f"--block_rule_file={tmp_path}/rule.pt")
    before = contents(tmp_path)
    for arguments, name in (
        ((*NORMAL, f"--start_file={tmp_path}/spins_L8.npy", out), "spins_L8.npy"),
        ((*NORMAL, f"--start_file={tmp_path}/link/spins_L8.npy", out), "spins_L8.npy"),
        ((*NORMAL, f"--start_file={tmp_path}/series.txt", out), "series.json"),
        (("fast_generating_single_stage", f"--seed_file={tmp_path}/seed_L8.npy", out), "seed_L8.npy"),
        ((*GROW, f"--kernel_file={tmp_path}/spins_0000_stage1_L24.npy", out), "stage1_L24.npy"),
        (("checking", f"--input={tmp_path}/check_L8.png", out), "check_L8.png"),
        (("viewing", f"--input={tmp_path}/text.html", out), "text.html"),
        (("viewing", f"--input={tmp_path}/other.npy", out), "other_files"),
        (
            ("renormalizing", f"--input={tmp_path}/fine.npy", f"--compare={tmp_path}/*_L12.npy", "--levels=1", out),
            "spins_0000_level1_L12.npy",
        ),
        ((*train, f"--param_file={tmp_path}/batch_000.pt"), "batch_000.pt"),
        ((*train, "--block_rule=load", f"--param_file={tmp_path}/rule.pt"), "rule.pt"),
        ((*train, "--kernel=none", f"--param_file={tmp_path}/rule.pt"), "rule.pt"),
    ):
        fail(*arguments, says=(name,))
        assert contents(tmp_path) == before, arguments
    elsewhere = f"--output_dir={tmp_path}/out"
    succeed(*NORMAL, f"--start_file={tmp_path}/spins_L8.npy", elsewhere)
    succeed(*NORMAL, f"--start_file={tmp_path}/other.npy", elsewhere)  # what a run has written is no input


def test_batches_never_replace_their_samples(tmp_path):
    np.save(tmp_path / "sample_0000.npy", random_spins((8, 8)))
    os.link(tmp_path / "sample_0000.npy", tmp_path / "batch_000.pt")
    fail(
        "batching", f"--source_dir={tmp_path}", f"--output_dir={tmp_path}", says=("batch_000.pt: would be overwritten",)
    )


def test_an_output_that_is_not_there_cannot_be_an_input(tmp_path):
    storage.keep_inputs([str(tmp_path / "a.npy"), ""], [str(tmp_path / "a.npy")])
    (tmp_path / "a.json").write_text("{}")
    with pytest.raises(
        UserError, match=r"a.json: would be overwritten, found a JSON that this project has not written"
    ):
        storage.keep_inputs([], [str(tmp_path / "a.npy")])
    storage.keep_inputs([], [str(tmp_path / "a.png")])


@pytest.mark.parametrize(
    "script, options, pictures",
    [
        ("checking", ("--input={spins}",), ["check.png"]),
        ("normal_fast_2d_Ising", ("--lattice_size=8", "--num_sweeps=4"), ["simulation.png"]),
        ("fast_generating_single_stage", ("--low_res_size=8",), ["single_stage.png"]),
        ("fast_generating_multi_stage", GROW[1:-1], ["full_comparison.png", "tracking.png"]),
        ("renormalizing", ("--input={spins}", "--levels=1"), ["flow.png"]),
        ("cluster_geometry", ("--input={spins}",), ["geometry.png"]),
    ],
)
def test_no_picture_of_an_earlier_run_stays_beside_a_report(tmp_path, script, options, pictures):
    """Nor does a picture of the user's own go."""
    np.save(tmp_path / "spins.npy", np.ones((36, 36), np.int8))
    out = tmp_path / "out"
    out.mkdir()
    for name in (*pictures, "checkerboard.png", *(["check_L8.png"] if script == "checking" else [])):
        (out / name).write_bytes(b"older")
    options = [option.format(spins=tmp_path / "spins.npy") for option in options]
    done = children.call(script, *options, "--pictures=false", f"--output_dir={out}")
    assert done.returncode in (0, 1) and list(out.glob("*_report.json")), done
    assert [path.name for path in out.glob("*.png")] == ["checkerboard.png"]
