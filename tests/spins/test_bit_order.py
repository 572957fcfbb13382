"""Bits with the lowest of each byte first are told from their spins, and said; bits with the highest first never taken for them."""

import numpy as np
import pytest

from ising_rg.files import storage
from ising_rg.spins import bitmaps, configurations, spin_files
from ising_rg.theory import exact
from ising_rg.updates import swendsen_wang
from tests import children


def lowest_first(lattices, order):
    return [
        spin_files._has_lowest_first(np.packbits(spins > 0, axis=1, bitorder=order), len(spins)) for spins in lattices
    ]


def test_the_other_order_is_found_and_never_where_it_is_not():
    """The log of the likelihood ratio is .44 x 512 bonds x (C(1, 0) - C(15, 0)) at L = 64: 80 in the mean, and below the 14 needed
    where the difference is below .062, in lattices of large |m|: 4 of 1,000, measured, so at most 6 of 200 (p < 1e-3)."""
    for L, n, at_least in ((64, 200, 194), (576, 1, 1), (100, 20, 20)):
        lattices = swendsen_wang.sample(L, exact.BETA_CRITICAL, n, 3)
        assert sum(lowest_first(lattices, "little")) >= at_least
        assert not any(lowest_first(lattices, "big"))


@pytest.mark.parametrize("beta", [0.02, 0.35, 0.5, 0.8])
def test_no_temperature_is_taken_for_the_other_order(beta):
    """A likelihood ratio of 10^6 where there is none: probability below 1e-4 for 40 lattices."""
    assert not any(lowest_first(swendsen_wang.sample(64, beta, 40, 5), "big"))


def test_lattices_that_are_wrong_otherwise_are_left_as_they_are():
    random = np.random.default_rng(1)
    for spins in swendsen_wang.sample(64, exact.BETA_CRITICAL, 20, 6):
        planted = [spins[:, random.permutation(64)], spins[random.permutation(64)], random.choice([-1, 1], (64, 64))]
        planted += [-spins, np.ones_like(spins), np.indices((64, 64)).sum(0) % 2 * 2 - 1]
        assert not any(lowest_first(planted, "big"))


@pytest.mark.parametrize("L", [64, 100])
@pytest.mark.parametrize("layout", [np.ascontiguousarray, np.asfortranarray])
def test_what_is_read_are_the_same_spins_and_that_is_said_once(tmp_path, capsys, L, layout):
    spins = swendsen_wang.sample(L, exact.BETA_CRITICAL, 1, 8)[0]
    path = str(tmp_path / "little.npy")
    np.save(path, layout(np.packbits(spins > 0, axis=1, bitorder="little")))
    assert configurations.is_configuration(path) and capsys.readouterr().out == ""
    assert np.array_equal(configurations.load_spins(path), spins)
    said = capsys.readouterr().out
    assert path in said and said.count("lowest first") == said.count("\n") == 1
    _, first = next(iter(configurations.open_configurations(path)))
    assert np.array_equal(bitmaps.to_spins(first), spins)


def test_the_check_judges_the_lattice_in_its_own_order(tmp_path):
    spins = swendsen_wang.sample(64, exact.BETA_CRITICAL, 1, 8)[0]
    for order in ("big", "little"):
        np.save(tmp_path / f"{order}.npy", np.packbits(spins > 0, axis=1, bitorder=order))
    rows = []
    for order in ("big", "little"):
        paths = (f"--input={tmp_path}/{order}.npy", f"--output_dir={tmp_path}/out")
        done = children.call("checking", *paths, "--pictures=false")
        assert done.returncode == 0 and ("lowest first" in done.stdout) == (order == "little"), done
        rows.append(storage.load_json(str(tmp_path / "out" / "check_report.json"))["rows"])
    assert rows[0] == rows[1]
