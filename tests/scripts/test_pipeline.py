"""Every script as a user runs it: small, as a subprocess, and with every kind of bad input."""

import glob
import json
import os
import shutil
import signal

import numpy as np
import pytest
import torch

from ising_rg.files import storage
from tests import children

pytestmark = pytest.mark.long

ROOT = children.ROOT
COLLECT = ("data_collecting.py", "--lattice_size=132", "--num_samples=5", "--warmup_sweeps=20", "--interval_sweeps=3")
MULTI = ("fast_generating_multi_stage.py", "--start_size=16", "--stages=2")
SINGLE = ("fast_generating_single_stage.py", "--low_res_size=64")
NORMAL = ("normal_fast_2d_Ising.py", "--lattice_size=64", "--num_sweeps=400", "--sample_interval=4")
TRAIN = (
    "kernel_training_pixel_shuffle.py",
    "--block_rule_steps=2",
    "--steps=4",
    "--windows=1",
    "--calibration_seeds=16",
    "--calibration_size=8",
    "--massive_samples=1",
    "--massive_size=132",
    "--report_interval=2",
)


def run(*arguments, **options):
    """Run a script; return the finished process."""
    return children.run(arguments[0].removesuffix(".py"), *arguments[1:], **options)


def succeed(*arguments, **options):
    done = run(*arguments, **options)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""  # progress bars are silent when not a terminal
    return done.stdout


def fail(*arguments, says, **options):
    done = run(*arguments, **options)
    assert done.returncode == 2, done.stdout + done.stderr
    assert "Traceback" not in done.stderr and done.stderr.count("\n") == 1
    for text in (says,) if isinstance(says, str) else says:
        assert text in done.stderr
    return done.stderr


def arrays(folder):
    return {os.path.basename(path): np.load(path) for path in glob.glob(os.path.join(folder, "*.npy"))}


def assert_same_arrays(a, b):
    assert a.keys() == b.keys() and a
    for name in a:
        assert np.array_equal(a[name], b[name]), name


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory):
    """The folder in which samples and batches have been made by the scripts, one from the other."""
    folder = tmp_path_factory.mktemp("pipeline")
    succeed(*COLLECT, f"--save_dir={folder}/samples")
    succeed("batching.py", f"--source_dir={folder}/samples", f"--output_dir={folder}/batches", "--samples_per_batch=2")
    return str(folder)


@pytest.fixture(scope="module")
def trained(pipeline):
    """The same folder with weights trained from the batches: of a conditional kernel, and of an independent one for its rule."""
    for kernel, rule in (("conditional", "fit"), ("independent", "load")):
        files = (
            f"--param_file={pipeline}/{kernel}.pt",
            f"--block_rule_file={pipeline}/rule.pt",
            f"--picture_dir={pipeline}",
            f"--checkpoint_dir={pipeline}/check",
        )
        options = (f"--kernel={kernel}", f"--block_rule={rule}", f"--data_dir={pipeline}/batches", *files)
        succeed(*TRAIN, *options, patch=children.small_fits)
    return pipeline


def test_collected_samples(pipeline):
    samples = arrays(f"{pipeline}/samples")
    assert sorted(samples) == [f"sample_{i:04d}.npy" for i in range(5)]
    for name, spins in samples.items():
        assert spins.dtype == np.int8 and spins.shape == (132, 132) and set(np.unique(spins)) == {-1, 1}
        description = json.load(open(f"{pipeline}/samples/{name[:-4]}.json"))
        assert description["L"] == 132 and abs(description["c10_z"]) < 4.5 and description["settings"]["SEED"] == 1


def test_batches_hold_the_samples_and_the_last_is_smaller(pipeline):
    batches = [torch.load(path, weights_only=True) for path in sorted(glob.glob(f"{pipeline}/batches/batch_*.pt"))]
    assert [tuple(batch.shape) for batch in batches] == [(2, 132, 132), (2, 132, 132), (1, 132, 132)]
    assert all(batch.dtype == torch.int8 for batch in batches)
    samples = [spins for _, spins in sorted(arrays(f"{pipeline}/samples").items())]
    assert np.array_equal(torch.cat(batches).numpy(), np.stack(samples))


def test_trained_weights_generate(trained, tmp_path):
    for kernel in ("conditional", "independent"):
        assert os.path.exists(f"{trained}/training_{kernel}.png")
        assert json.load(open(f"{trained}/{kernel}.json"))["kernel"] == kernel
        succeed(*MULTI, f"--kernel_file={trained}/{kernel}.pt", f"--output_dir={tmp_path}", "--pictures=false")
    assert set(torch.load(f"{trained}/independent.pt", weights_only=True)) == {"proj.weight", "w1", "A"}
    assert not os.listdir(f"{trained}/check")


def test_more_samples_extend_the_chain_and_other_settings_are_refused(pipeline, tmp_path):
    succeed(*COLLECT, "--num_samples=2", f"--save_dir={tmp_path}")
    fail(*COLLECT, "--seed=2", f"--save_dir={tmp_path}", says=("SEED = 1 there, 2 now", "SAVE_DIR"))
    succeed(*COLLECT, f"--save_dir={tmp_path}", patch=children.one_thread)
    assert_same_arrays(arrays(tmp_path), arrays(f"{pipeline}/samples"))


@pytest.mark.slow
def test_the_measuring_rule_is_trained_and_blocks(pipeline, tmp_path):
    """From a rule that is there: written with its slopes, a picture, and what to do next; renormalizing.py takes it."""
    rule = f"{tmp_path}/measuring.pt"
    train = (*TRAIN, "--kernel=none", f"--data_dir={pipeline}/batches", f"--param_file={rule}")
    train += (f"--picture_dir={tmp_path}", f"--checkpoint_dir={tmp_path}/c", "--block_rule_steps=2")
    before = storage.sha256(f"{ROOT}/models/block_spin_rule_k9_s3.pt")
    assert f"renormalizing.py --rule_file={rule}" in succeed(*train, patch=children.small_fits)
    assert os.path.exists(tmp_path / "training_rule.png") and not os.listdir(tmp_path / "c")
    first = torch.load(rule, weights_only=True)["state_dict"]
    assert first["triple"].all() and first["triple_slopes"].any()
    succeed(*train, "--critical=load", "--seed=2", "--pictures=false", patch=children.small_fits)
    again = torch.load(rule, weights_only=True)["state_dict"]
    assert torch.equal(first["triple"], again["triple"]) and not torch.equal(
        first["triple_slopes"], again["triple_slopes"]
    )
    assert storage.sha256(f"{ROOT}/models/block_spin_rule_k9_s3.pt") == before
    spins = f"--input={pipeline}/samples", f"--rule_file={rule}", f"--output_dir={tmp_path}/back", "--levels=1"
    assert "level 1" in succeed("renormalizing.py", *spins, "--pictures=false")
    fail(*train, "--critical=load", "--massive_samples=0", says="MASSIVE_SAMPLES")


def test_multi_stage_writes_what_it_says(tmp_path):
    output = succeed(*MULTI, "--num_configs=3", "--save_stages=all", "--refine_sweeps=4,2", f"--output_dir={tmp_path}")
    files = arrays(tmp_path)
    assert sorted(files) == sorted(
        f"spins_{c:04d}_stage{stage}_L{16 * 3**stage}.npy" for c in range(3) for stage in range(3)
    )
    assert all(spins.dtype == np.int8 and set(np.unique(spins)) <= {-1, 1} for spins in files.values())
    report = json.load(open(tmp_path / "growth_report.json"))
    rows = report["rows"]
    assert [(row["config"], row["stage"], row["kind"], row["L"]) for row in rows[:5]] == [
        (0, 0, "seed", 16), (0, 1, "raw", 48), (0, 1, "refined", 48), (0, 2, "raw", 144), (0, 2, "refined", 144),
    ]  # fmt: skip
    assert len(rows) == 15
    for row in rows:
        assert {"c10", "c10_exact", "c11", "r21", "m", "seconds"} <= set(row)
        if row["kind"] != "raw":
            spins = files[f"spins_{row['config']:04d}_stage{row['stage']}_L{row['L']}.npy"]
            assert row["m"] == pytest.approx(spins.mean())
            assert row["c10"] == pytest.approx(
                ((spins * np.roll(spins, 1, 0)).mean() + (spins * np.roll(spins, 1, 1)).mean()) / 2
            )
        assert ("stage_gain" in row) == (row["kind"] != "seed")
    fine, coarse = ([r["m"] for r in rows if r["stage"] == stage and r["kind"] == "refined"] for stage in (2, 1))
    gain = next(row["stage_gain"] for row in rows if row["stage"] == 2 and row["kind"] == "refined")
    assert gain == pytest.approx(np.dot(fine, coarse) / np.dot(coarse, coarse))
    assert report["settings"]["REFINE_SWEEPS"] == [4, 2]
    assert (tmp_path / "full_comparison.png").stat().st_size > 10_000 and (
        tmp_path / "tracking.png"
    ).stat().st_size > 5_000
    assert "reached L = 144" in output and "ns per spin" in output


@pytest.mark.parametrize("save, count", [("last", 2), ("none", 0)])
def test_multi_stage_saves_what_was_asked(tmp_path, save, count):
    succeed(*MULTI, "--num_configs=2", f"--save_stages={save}", "--pictures=false", f"--output_dir={tmp_path}")
    assert len(arrays(tmp_path)) == count
    assert (tmp_path / "growth_report.json").exists() and not list(tmp_path.glob("*.png"))


def test_one_thread_and_two_write_the_same_files(tmp_path):
    """START_SIZE = 200 is large enough for the cluster sweeps to be cut into strips and the sweeps into bands."""
    for name, script in (
        ("multi", (*MULTI[:1], "--start_size=200", "--stages=2")),
        ("normal", (*NORMAL, "--lattice_size=512")),
        ("single", SINGLE),
    ):
        for threads, patch in ((1, children.one_thread), (2, children.two_threads)):
            succeed(*script, "--pictures=false", f"--output_dir={tmp_path}/{name}{threads}", patch=patch)
        assert_same_arrays(arrays(tmp_path / f"{name}1"), arrays(tmp_path / f"{name}2"))


def test_single_stage(pipeline, tmp_path):
    output = succeed(*SINGLE, f"--output_dir={tmp_path}/a")
    assert sorted(arrays(tmp_path / "a")) == [
        "RG_raw_L192.npy", "RG_refined_L192.npy", "naive_copy_raw_L192.npy", "naive_copy_refined_L192.npy", "seed_L64.npy",
    ]  # fmt: skip
    assert (tmp_path / "a/single_stage.png").stat().st_size > 10_000
    rows = {row["name"]: row for row in json.load(open(tmp_path / "a/single_stage_report.json"))["rows"]}
    assert (
        "every 3 x 3 block are equal" in rows["naive copy raw"]["diagnosis"]
        and "agrees with exact theory" in rows["RG refined"]["diagnosis"]
    )
    assert all(f"{name}: " in output for name in rows)
    succeed(
        SINGLE[0], f"--seed_file={pipeline}/samples/sample_0000.npy", "--pictures=false", f"--output_dir={tmp_path}/b"
    )
    assert np.array_equal(arrays(tmp_path / "b")["seed_L132.npy"], np.load(f"{pipeline}/samples/sample_0000.npy"))


@pytest.mark.parametrize("update, start", [("metropolis", "hot"), ("metropolis", "cold"), ("swendsen_wang", "hot")])
def test_normal_reaches_the_exact_energy(tmp_path, update, start):
    """At beta = 0.3 400 sweeps of 64 x 64 equilibrate at once: the energy lies within 4.5 of its own errors of Kaufman's."""
    output = succeed(*NORMAL, "--beta=0.3", f"--update={update}", f"--start={start}", f"--output_dir={tmp_path}")
    report = json.load(open(tmp_path / "simulation_report.json"))
    assert abs(report["z"]) < 4.5 and "flips/ns" in output and "Onsager" in output and "temperature" in output
    series, spins = np.load(tmp_path / "series.npy"), np.load(tmp_path / "spins_L64.npy")
    assert series.shape == (100, 3) and series[-1, 0] == 400
    assert series[-1, 1] == pytest.approx(spins.mean())
    assert (tmp_path / "simulation.png").exists()


def test_normal_starts_from_a_file(tmp_path):
    np.save(tmp_path / "start.npy", np.ones((32, 32), np.int8))
    succeed(*NORMAL, f"--start_file={tmp_path}/start.npy", "--pictures=false", f"--output_dir={tmp_path}/out")
    assert np.load(tmp_path / "out/spins_L32.npy").shape == (32, 32)


GENERATING = {
    "data_collecting.py": ("save_dir", "lattice_size"),
    "fast_generating_multi_stage.py": ("output_dir", "start_size"),
    "fast_generating_single_stage.py": ("output_dir", "low_res_size"),
    "normal_fast_2d_Ising.py": ("output_dir", "lattice_size"),
}


@pytest.mark.parametrize("script", GENERATING)
def test_bad_numbers_are_refused(script, tmp_path):
    folder, size = GENERATING[script]
    out = f"--{folder}={tmp_path}/out"
    fail(script, out, f"--{size}=65", says=(size.upper(), "even"))
    fail(script, out, f"--{size}=4000000", says=size.upper() if script != "normal_fast_2d_Ising.py" else "GiB")
    for beta in ("nan", "inf", "0", "-0.44"):
        fail(script, out, f"--beta={beta}", says="BETA")
    fail(script, out, "--device=abacus", says="DEVICE")
    for xi in ("0", "nan", "1e12", "long"):
        fail(script, out, f"--xi={xi}", says=("XI", "a correlation length"))
    fail(script, out, "--xi=30", "--beta=0.43", says=("BETA, XI", "one of them"))
    if script.startswith("fast_generating"):
        critical = "--kernel_file=models/full_conn_proj_k9_s3_2048_26_2_3.pt"
        fail(script, out, "--xi=100", critical, says=("the critical point alone", "kernel_training_pixel_shuffle.py"))
    if "single" in script:  # a stage is drawn, or there is none: what else serves is said
        plain = "normal_fast_2d_Ising.py --beta=0.5"
        fail(script, out, "--beta=0.5", says=("BETA", "2.19 sites", "at least 10", plain, "--start=cold"))
        fail(script, out, "--beta=0.35", says=("2.57 sites", "--start=hot"))
    assert not os.path.exists(tmp_path / "out")


@pytest.mark.parametrize("script", [*GENERATING, "batching.py", "kernel_training_pixel_shuffle.py"])
def test_unknown_and_ill_typed_settings_and_unwritable_folders_are_refused(script, tmp_path, pipeline):
    fail(script, "--no_such_setting=1", says=("no_such_setting", "settings are"))
    number = {"batching.py": "samples_per_batch", "kernel_training_pixel_shuffle.py": "steps"}.get(script, "seed")
    fail(script, f"--{number}=many", says=(number, "whole number"))
    (tmp_path / "file").write_text("not a folder")
    folder = {"batching.py": "output_dir", "kernel_training_pixel_shuffle.py": "checkpoint_dir"}.get(
        script
    ) or GENERATING[script][0]
    inputs = {
        "batching.py": (f"--source_dir={pipeline}/samples",),
        "kernel_training_pixel_shuffle.py": (f"--data_dir={pipeline}/batches",),
    }
    fail(script, *inputs.get(script, ()), f"--{folder}={tmp_path}/file/out", says="cannot write")


def test_multi_stage_too_large_for_memory(tmp_path):
    fail(*MULTI[:1], "--start_size=512", "--stages=7", f"--output_dir={tmp_path}", says="GiB")


@pytest.mark.parametrize("script", ["fast_generating_multi_stage.py", "fast_generating_single_stage.py"])
def test_missing_foreign_and_truncated_weights_are_refused(script, tmp_path):
    (tmp_path / "truncated.pt").write_bytes(open(f"{ROOT}/models/conditional_k5_s3.pt", "rb").read()[:500])
    (tmp_path / "foreign.pt").write_text("hello")
    torch.save({"layer.weight": torch.zeros(2)}, tmp_path / "other.pt")
    for name in ("missing.pt", "truncated.pt", "foreign.pt", "other.pt"):
        fail(
            script,
            f"--kernel_file={tmp_path}/{name}",
            f"--output_dir={tmp_path}/out",
            says=(name, "kernel_training_pixel_shuffle.py"),
        )


@pytest.mark.parametrize(
    "script, setting", [("fast_generating_single_stage.py", "seed_file"), ("normal_fast_2d_Ising.py", "start_file")]
)
def test_bad_start_files_are_refused(script, setting, tmp_path):
    np.save(tmp_path / "good.npy", np.ones((8, 8), np.int8))
    (tmp_path / "truncated.npy").write_bytes((tmp_path / "good.npy").read_bytes()[:-9])
    (tmp_path / "foreign.npy").write_text("hello")
    np.save(tmp_path / "odd.npy", np.ones((9, 9), np.int8))
    for name in ("missing.npy", "truncated.npy", "foreign.npy", "odd.npy"):
        fail(script, f"--{setting}={tmp_path}/{name}", f"--output_dir={tmp_path}/out", says=name)


def test_batching_refuses_bad_samples_and_keeps_everything(pipeline, tmp_path):
    def batch(source):
        return ("batching.py", f"--source_dir={source}", f"--output_dir={tmp_path}/out", "--samples_per_batch=2")

    fail(*batch(tmp_path / "nowhere"), says=("nowhere", "data_collecting.py"))
    source = tmp_path / "samples"
    source.mkdir()
    fail(*batch(source), says="data_collecting.py")
    good = np.load(f"{pipeline}/samples/sample_0000.npy")
    bad = {"damaged": None, "differently_sized": good[:130, :130], "foreign": good * 0.5}
    for kind, content in bad.items():
        np.save(source / "sample_0000.npy", good)
        path = source / "sample_0001.npy"
        if content is None:
            path.write_bytes((source / "sample_0000.npy").read_bytes()[:-100])
        else:
            np.save(path, content)
        fail(*batch(source), says="sample_0001.npy")
        assert sorted(os.listdir(source)) == ["sample_0000.npy", "sample_0001.npy"], kind
    np.save(source / "sample_0001.npy", good.T)
    np.save(source / "sample_0002.npy", -good)
    succeed(*batch(source))
    os.remove(source / "sample_0002.npy")
    fail(*batch(source), says="batch_001.pt")


def test_training_refuses_bad_data(pipeline, tmp_path):
    def train(data, *more):
        return (
            *TRAIN,
            f"--data_dir={data}",
            f"--param_file={tmp_path}/k.pt",
            f"--block_rule_file={tmp_path}/r.pt",
            f"--checkpoint_dir={tmp_path}/c",
            *more,
        )

    fail(*train(tmp_path / "nowhere"), says=("nowhere", "batching.py"))
    data = tmp_path / "data"
    data.mkdir()
    (data / "batch_000.pt").write_text("hello")
    fail(*train(data), says="batch_000.pt")
    torch.save(torch.ones(2, 8, 8), data / "batch_000.pt")
    fail(*train(data), says=("batch_000.pt", "int8"))
    torch.save(torch.ones((2, 60, 60), dtype=torch.int8), data / "batch_000.pt")
    fail(*train(data), says="126")
    batches = f"{pipeline}/batches"
    fail(*train(batches, "--scale_factor=2"), says="SCALE_FACTOR")
    fail(*train(batches, "--kernel=quantum"), says="KERNEL")
    fail(*train(batches, "--kernel_size=4"), says="KERNEL_SIZE")
    fail(*train(batches, "--block_rule=load"), says="r.pt")
    fail(*train(batches, "--learning_rate=nan"), says="LEARNING_RATE")
    assert not os.path.exists(tmp_path / "k.pt")


@pytest.mark.parametrize("sweeps", ["-1", "5,3,2", "5,-3"])
def test_bad_sweeps_are_refused(sweeps, tmp_path):
    fail(*MULTI, f"--refine_sweeps={sweeps}", f"--output_dir={tmp_path}/out", says="REFINE_SWEEPS")


@pytest.mark.parametrize("script", [*GENERATING, "batching.py", "kernel_training_pixel_shuffle.py"])
def test_help(script):
    output = succeed(script, "--help")
    assert f"python {script}" in output


def test_a_missing_sample_is_made_again(pipeline, tmp_path):
    succeed(*COLLECT, f"--save_dir={tmp_path}")
    os.remove(tmp_path / "sample_0002.npy")
    succeed(*COLLECT, f"--save_dir={tmp_path}")
    assert_same_arrays(arrays(tmp_path), arrays(f"{pipeline}/samples"))


def interrupted_after_a_step():
    from ising_rg.training.regression import KernelFit

    children.small_fits()
    advance = KernelFit.advance

    def interrupted(self, stop=False):
        if self.step == 2:
            signal.raise_signal(signal.SIGINT)
        return advance(self, stop)

    KernelFit.advance = interrupted


def test_training_stopped_by_ctrl_c_goes_on_with_the_same_settings_and_data_alone(pipeline, tmp_path):
    """It ends with the weights of a run that was not stopped; other settings or data, or such as are not critical, are refused."""
    shutil.copytree(f"{pipeline}/batches", tmp_path / "batches")
    train = (*TRAIN, "--kernel=independent", "--pictures=false", f"--data_dir={tmp_path}/batches")
    train += (f"--param_file={tmp_path}/k.pt", f"--block_rule_file={tmp_path}/r.pt", f"--checkpoint_dir={tmp_path}/c")
    whole = (*train, f"--param_file={tmp_path}/whole.pt", f"--checkpoint_dir={tmp_path}/whole")
    succeed(*whole, patch=children.small_fits)
    done = run(*train, patch=interrupted_after_a_step)
    assert done.returncode == 130 and "Traceback" not in done.stderr and "interrupted" in done.stderr
    fail(*train, "--windows=5", says="WINDOWS = 1 there, 5 now")
    path = tmp_path / "batches/batch_000.pt"
    batch = torch.load(path, weights_only=True)
    torch.save(-batch, path)
    fail(*train, says="data = ")
    torch.save(batch, path)
    assert "going on" in succeed(*train, patch=children.small_fits)
    a, b = (torch.load(f"{tmp_path}/{name}.pt", weights_only=True) for name in ("whole", "k"))
    assert all(torch.equal(a[key], b[key]) for key in a)
    description = json.load(open(tmp_path / "batches/batch_000.json"))
    assert description["n_batches"] == 3
    os.remove(tmp_path / "batches/batch_002.pt")
    fail(*train, says="2 of 3 batches")
    (tmp_path / "batches/batch_000.json").write_text(json.dumps({**description, "n_batches": 2, "beta": 0.6}))
    fail(*train, says="beta = 0.6")


@pytest.mark.parametrize("seed", ["-1", "18446744073709551616"])
def test_seeds_beyond_64_bits_are_refused(seed, tmp_path):
    fail(*NORMAL, f"--seed={seed}", f"--output_dir={tmp_path}/out", says="SEED")
