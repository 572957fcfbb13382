"""Files of windows: told by the JSON beside them, read as rectangles, refused where a whole lattice is needed."""

import json

import numpy as np
import pytest

from ising_rg.base.errors import UserError
from ising_rg.spins import bitmaps, configurations, window_files
from ising_rg.spins.window_files import Window


def spins_of(height, width):
    return np.random.default_rng(1).choice(np.array([-1, 1], np.int8), (height, width))


def write(path, array, **described):
    np.save(path, array)
    path.with_suffix(".json").write_text(json.dumps(described))
    return str(path)


@pytest.mark.parametrize("size", [(5, 9), (64, 512), (40, 40), (1, 1)])  # bits of 64 x 512 are 64 x 64 bytes
@pytest.mark.parametrize("packed", [False, True])
def test_windows_are_read_as_windows(tmp_path, size, packed):
    spins = spins_of(*size)
    array = np.packbits(spins > 0, axis=1) if packed else spins
    path = write(tmp_path / "w.npy", array, window=[3, 4, *size], torus=1000)
    assert window_files.described(path) == Window(3, 4, *size, 1000)
    ((name, bitmap),) = configurations.open_configurations(path, windows=True)
    assert name == path and np.array_equal(bitmaps.to_spins(bitmap), spins)
    assert configurations.is_configuration(path)
    for read in (configurations.load_spins, configurations.open_packed_rows, configurations.open_configurations):
        with pytest.raises(UserError, match=rf"found a window, {size[0]} x {size[1]} sites of 1000 x 1000"):
            list(read(path))


def test_a_whole_lattice_is_no_window(tmp_path):
    path = write(tmp_path / "whole.npy", spins_of(8, 8), L=8)
    assert window_files.described(path) is None and configurations.load_spins(path).shape == (8, 8)


@pytest.mark.parametrize(
    "described, says",
    [
        ({"window": [0, 0, 6, 9], "torus": 20}, "found int8 of shape (5, 9), needed a window of 6 x 9 spins"),
        ({"window": [0, 0, 5], "torus": 20}, "found window = [0, 0, 5]"),
        ({"window": "all", "torus": 20}, "found window = 'all'"),
        ({"window": [0, 0, 5, 9]}, "torus = None"),
        ({"window": [0, -1, 5, 9], "torus": 20}, "found window = [0, -1, 5, 9]"),
        ({"window": [0, 0, 5, 9], "torus": 8}, "torus = 8"),
        ({"window": [0, True, 5, 9], "torus": 20}, "found window"),
    ],
)
def test_descriptions_that_cannot_be_are_named(tmp_path, described, says):
    path = write(tmp_path / "w.npy", spins_of(5, 9), **described)
    with pytest.raises(UserError) as error:
        list(configurations.open_configurations(path, windows=True))
    assert says in str(error.value)
