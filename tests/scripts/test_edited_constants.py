"""Constants edited at the top of a script are checked as arguments are: taken for what they plainly mean, or refused by name."""

import importlib
import math
import os
import re
import sys
from pathlib import Path

import numpy as np
import pytest

from ising_rg.base.errors import UserError
from ising_rg.run import kinds, settings
from tests import children

TAKEN = [
    ("data_collecting", "NUM_SAMPLES", 1e1, 10),
    ("data_collecting", "LATTICE_SIZE", 32.0, 32),
    ("data_collecting", "LATTICE_SIZE", np.int64(32), 32),
    ("data_collecting", "CHAINS", 2.0, 2),
    ("data_collecting", "BETA", np.float32(0.5), 0.5),
    ("data_collecting", "BETA", 1, 1.0),
    ("data_collecting", "SAVE_DIR", Path("data") / "mine", os.path.join("data", "mine")),
    ("data_collecting", "SAVE_DIR", "~/samples", os.path.expanduser("~/samples")),
    ("batching", "SAMPLES_PER_BATCH", np.array(4), 4),
    ("normal_fast_2d_Ising", "NUM_SWEEPS", 1e2, 100),
    ("normal_fast_2d_Ising", "SEED", 2**64 - 1, 2**64 - 1),
    ("normal_fast_2d_Ising", "SEED", 1e19, 10**19),
    ("normal_fast_2d_Ising", "START_FILE", "", ""),
    ("normal_fast_2d_Ising", "PICTURES", np.bool_(False), False),
    ("fast_generating_single_stage", "REFINE_SWEEPS", [5], 5),
    ("fast_generating_multi_stage", "REFINE_SWEEPS", [5], 5),
    ("fast_generating_multi_stage", "REFINE_SWEEPS", [5, 3.0, 2], (5, 3, 2)),
    ("fast_generating_multi_stage", "REFINE_SWEEPS", np.array([5, 3, 2]), (5, 3, 2)),
    ("fast_generating_multi_stage", "STAGES", 1.0, 1),
    ("fast_generating_multi_stage", "MAX_MEMORY", 2**30, "1073741824"),
    ("fast_generating_multi_stage", "MAX_MEMORY", 2.0**30, "1073741824"),
    ("kernel_training_pixel_shuffle", "CHECKPOINT_SECONDS", 5, 5.0),
    ("kernel_training_pixel_shuffle", "LEARNING_RATE", 1e-3, 1e-3),
    ("viewing", "INPUT", Path("~") / "x.npy", os.path.expanduser(os.path.join("~", "x.npy"))),
]
REFUSED = [
    ("data_collecting", "LATTICE_SIZE", ["32", 33, 33.0, 2, 0, -4, 10**8, None, True, 32.5, (32,), [32, 64], 32j]),
    ("data_collecting", "NUM_SAMPLES", ["80", 0, -1, math.nan, math.inf, 1e400, 10**30, {}, "1e1"]),
    ("data_collecting", "BETA", ["0.44", None, 0, -0.4, math.nan, math.inf, 51, True, [0.44], 10**400, 0.44j]),
    ("data_collecting", "SEED", [None, 1.5, -1, 2**64, "1", True, math.nan]),
    ("data_collecting", "CHAINS", [10**30, 0, 2.5, "2"]),
    ("data_collecting", "SAVE_DIR", [None, "", "  ", 5, b"data", ["data"], "a\0b", "a\nb"]),
    ("data_collecting", "UPDATE", ["Metropolis", None, 0, "", ["metropolis"], "wolff"]),
    ("data_collecting", "WARMUP_SWEEPS", [-1, 10**9, None, 1.5]),
    ("batching", "SAMPLES_PER_BATCH", [1e20, 0, None, "20", 2.5]),
    ("kernel_training_pixel_shuffle", "LEARNING_RATE", ["0.01", 0, 1, -0.01, math.nan, None]),
    ("kernel_training_pixel_shuffle", "SCALE_FACTOR", [2, 9, "3", None]),
    ("kernel_training_pixel_shuffle", "KERNEL", ["conditional ", None, 5]),
    ("fast_generating_single_stage", "PICTURES", ["False", 0, 1, None, "no"]),
    ("fast_generating_multi_stage", "CHECK", ["false", 0, None]),
    ("fast_generating_multi_stage", "REFINE_SWEEPS", [2.5, "5", None, [], [5, None], [[5]], -1, [5, -1], {5}, True]),
    ("fast_generating_multi_stage", "STAGES", [0, 21, "3", None, 2.5]),
    ("fast_generating_multi_stage", "KERNEL_FILE", [None, 5, ["a"], True]),
    ("fast_generating_multi_stage", "MAX_MEMORY", [None, "much", -1, True, [2**30], 10**30, math.nan, "9" * 400]),
    ("fast_generating_multi_stage", "DEVICE", ["gpu", 0, None]),
    ("normal_fast_2d_Ising", "NUM_SWEEPS", [0, "100", 10**12]),
    ("checking", "INPUT", [["a.npy", "b.npy"], None, ""]),
    ("checking", "NUM_CONFIGS", [999999999, 0, None]),
    ("viewing", "TILE_SIZE", ["256", 63, 4097, None]),
    ("viewing", "COMPRESSION", [1, 10, "2"]),
]


def collect(script, name, value):
    return settings.collect({**vars(importlib.import_module(script)), name: value}, [])[0]


@pytest.mark.parametrize("script, name, value, expected", TAKEN)
def test_what_plainly_means_something_is_taken(script, name, value, expected):
    taken = collect(script, name, value)[name]
    assert taken == expected and type(taken) is type(expected)


@pytest.mark.parametrize("script, name, values", REFUSED)
def test_anything_else_is_refused_by_name_on_one_line(script, name, values):
    for value in values:
        with pytest.raises(UserError) as error:
            collect(script, name, value)
        message = str(error.value)
        assert message.startswith(f"{name}: found ") and ", needed " in message
        assert "\n" not in message and len(message) < 400


def test_no_folder_named_tilde(monkeypatch):
    """Where neither HOME nor the system names a home folder ~ stands for nothing, but may begin a name."""
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)
    for value in ("~", "~/samples", Path("~") / "samples"):
        with pytest.raises(UserError, match="SAVE_DIR: found .*; no home folder is known here for ~"):
            collect("data_collecting", "SAVE_DIR", value)
    assert collect("viewing", "INPUT", "~copy.npy")["INPUT"] == "~copy.npy"


def test_a_number_of_thousands_of_digits_is_refused():
    with pytest.raises(UserError, match="LATTICE_SIZE"):
        collect("data_collecting", "LATTICE_SIZE", 10**5000)


@pytest.mark.parametrize("script", children.SCRIPTS)
def test_every_setting_is_in_the_table_with_a_default_of_its_kind(script):
    module = vars(importlib.import_module(script))
    values, _ = settings.collect(module, [])
    assert values and not set(values) - set(kinds.KINDS)
    # The form that is documented, one constant a line: each is found in the source, with nothing of its type to be edited away.
    for name in values:
        assert re.search(rf"^{name} = ", Path(module["__file__"]).read_text(encoding="utf-8"), re.MULTILINE)


@pytest.mark.parametrize("script", children.SCRIPTS)
def test_a_constant_that_was_deleted_is_named(script):
    module = vars(importlib.import_module(script))
    for name in re.findall(r"\bs\.([A-Z_]+)\b", Path(module["__file__"]).read_text(encoding="utf-8")):
        with pytest.raises(UserError, match=f"{name}: found no such constant"):
            settings.collect({key: value for key, value in module.items() if key != name}, [])


def test_an_edited_script_exits_with_2(tmp_path):
    """The whole way, once: a copy of a script with one edit."""
    import subprocess

    source = Path(children.ROOT, "data_collecting.py").read_text(encoding="utf-8")
    (tmp_path / "edited.py").write_text(
        re.sub(r"^NUM_SAMPLES = 80", 'NUM_SAMPLES = "many"', source, flags=re.MULTILINE)
    )
    command = [sys.executable, str(tmp_path / "edited.py")]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": children.ROOT})
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == 'edited.py: error: NUM_SAMPLES: found "many", needed a whole number from 1 to 10^6\n'
