"""A lattice as an array, and WINDOW: the spins of the whole lattice; what is beyond it is refused by name."""

import json

import numpy as np
import pytest

from ising_rg import Lattice
from ising_rg.base.errors import UserError
from ising_rg.growth import array
from tests import children
from tests.growth.test_windows import run_of, torus_part, whole_stages


@pytest.fixture(scope="module")
def lattice():
    return Lattice(seed=7, stages=2, start_size=50)


@pytest.fixture(scope="module")
def whole():
    return whole_stages(run_of(50, 2))


def test_slices_are_those_of_the_whole_array(lattice, whole, monkeypatch):
    assert lattice.shape == whole[2].shape == (450, 450) and lattice.stage(1).shape == (150, 150)
    monkeypatch.setattr(array, "_TOGETHER", 3000)  # in bands
    for places in (
        np.s_[3:40, 17:200],
        np.s_[-5:, :7],
        np.s_[:, 449],
        np.s_[-1, -450:-440],
        np.s_[2, 3],
        np.s_[9:9, 5:8],
    ):
        found = lattice[places]
        assert found.dtype == np.int8 and np.array_equal(found, whole[2][places])
        assert np.array_equal(lattice.stage(0)[:20, 4:6], whole[0][:20, 4:6])
    bits = np.packbits(whole[2][5:30, 11:100] > 0, axis=1)
    assert np.array_equal(lattice.bits(slice(5, 30), slice(11, 100)), bits)


def test_places_that_are_none(lattice):
    for places, says in (
        (np.s_[0:4:2, 0:4], "row: found a step of 2"),
        (np.s_[0:4, 0:451], "column: found 451, needed at most 450: the lattice has 450"),
        (np.s_[450, 0], "row: found 450"),
        (np.s_[-451:, 0], "row: found -451"),
        (np.s_[3], "needed two slices"),
        (np.s_[0, 0, 0], "needed two slices"),
    ):
        with pytest.raises(IndexError, match=says):
            lattice[places]
    with pytest.raises(IndexError, match="stage: found 3, needed 0 to 2"):
        lattice.stage(3)
    with pytest.raises(TypeError):
        lattice[0.5:3, 0:1]
    with pytest.raises(UserError, match="of memory, found"):
        Lattice(stages=15)[:, :]
    with pytest.raises(UserError, match="STAGES: found 16, needed at most 15 with START_SIZE = 512"):
        Lattice(stages=16)


SMALL = ("--start_size=50", "--stages=2", "--seed=7", "--num_configs=2", "--pictures=false")


def test_windows_of_the_script_are_parts_of_the_lattice(tmp_path, whole):
    """Of two configurations, across a band's end; their JSON tells what they are."""
    pieces = []
    for name, window in (("a", "40,60,300,133"), ("b", "340,60,110,133")):
        done = children.run(
            "fast_generating_multi_stage",
            *SMALL,
            f"--window={window}",
            f"--output_dir={tmp_path}/{name}",
            "--check=false",
        )
        assert done.returncode == 0, done.stderr
        row, column, height, width = map(int, window.split(","))
        stem = tmp_path / name / f"spins_0000_stage2_L450_y{row}_x{column}"
        pieces.append(np.load(f"{stem}.npy"))
        described = json.loads(stem.with_suffix(".json").read_text())
        assert described["window"] == [row, column, height, width] and described["torus"] == 450
        assert pieces[-1].shape == np.load(str(stem).replace("0000", "0001") + ".npy").shape == (height, width)
        assert not list((tmp_path / name).glob("*.part"))
    assert np.array_equal(np.concatenate(pieces), torus_part(whole[2], 40, 60, 410, 133))


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--window=0,0,451,10",), "WINDOW: found .0, 0, 451, 10., needed rows and columns below 450"),
        (("--window=0,450,1,1",), "needed rows and columns below 450"),
        (("--window=0,0,0,10",), "needed four whole numbers"),
        (("--window=-1,0,10,10",), "needed four whole numbers"),
        (("--window=1,2,3",), "needed four whole numbers"),
        (("--window=0,0,1e30,10",), "needed four whole numbers"),
        (("--window=0,0,10,10", "--save_stages=all"), "SAVE_STAGES, WINDOW"),
        (("--stages=20",), "STAGES: found 20, needed at most"),
        (("--stages=12", "--max_memory=1GiB"), "a part of it with WINDOW"),
    ],
)
def test_windows_that_are_none(tmp_path, arguments, says):
    import re

    done = children.run("fast_generating_multi_stage", *SMALL, *arguments, f"--output_dir={tmp_path}/out")
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert re.search(says, done.stderr), done.stderr
