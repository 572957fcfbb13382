"""Equal lattices among files, and the chains that files are of."""

import json

import numpy as np
import pytest

from ising_rg.spins import origins
from ising_rg.theory import exact
from ising_rg.updates import swendsen_wang

BETA = exact.BETA_CRITICAL


def write(folder, name, spins, **about):
    np.save(folder / f"{name}.npy", spins)
    if about:
        (folder / f"{name}.json").write_text(json.dumps(about))
    return str(folder / f"{name}.npy")


@pytest.mark.parametrize("beginning", [2**20, 100])
def test_copies_are_found_by_all_their_spins(tmp_path, monkeypatch, beginning):
    """In files of any form and in stacks; one spin makes another lattice; of equal ones that is kept which tells its origin."""
    monkeypatch.setattr(origins, "_BEGINNING", beginning)
    a, b = swendsen_wang.sample(32, BETA, 2, seed=1)
    other = a.copy()
    other[-1, -1] *= -1
    paths = [
        write(tmp_path, "a (1)", a),
        write(tmp_path, "a", a, sample=3, settings={"CHAINS": 2}),
        write(tmp_path, "bits", np.packbits(b > 0, 1)),
        write(tmp_path, "other", other),
        write(tmp_path, "stack", np.stack([b, -a])),
    ]
    lattices, copies = origins.distinct(paths, BETA)
    assert copies == {paths[0]: paths[1], f"{paths[4]}[0]": paths[2]}
    assert [lattice.name for lattice in lattices] == [*paths[1:4], f"{paths[4]}[1]"]
    spins = [bitmap.words for _, bitmap in origins.opened(lattices)]
    assert len(spins) == len(np.unique(spins, axis=0)) == 4


def test_equal_lattices_are_no_copies_where_chance_makes_them(tmp_path):
    """All up at beta = 2, where every second lattice of 32 x 32 is; at criticality no two of that size are ever equal."""
    paths = [write(tmp_path, str(number), np.ones((32, 32), np.int8)) for number in range(3)]
    for beta, n_copies in ((2.0, 0), (1e300, 0), (BETA, 2), (1e-300, 2)):
        assert len(origins.distinct(paths, beta)[1]) == n_copies


def test_chains_are_told_by_the_jsons(tmp_path, capsys):
    """Sample i is of chain i modulo CHAINS, in the order of i; another SEED, another chain; a grown lattice is by itself."""
    spins = swendsen_wang.sample(32, BETA, 8, seed=1)
    about = [{"sample": i, "settings": {"SEED": 1, "CHAINS": 2}} for i in (10, 9, 4, 3)]
    about += [{"sample": 4, "settings": {"SEED": 2, "CHAINS": 2}}, {"config": 0, "stage": 3}, {}, {}]
    paths = [write(tmp_path, str(number), a, **more) for number, (a, more) in enumerate(zip(spins, about, strict=True))]
    lattices, _ = origins.distinct(paths, BETA)
    assert origins.chains(lattices[:6]) == [[2, 0], [3, 1], [4], [5]] and capsys.readouterr().out == ""
    assert origins.chains(lattices)[-1] == [6, 7] and "2 of 8 files tell of no chain" in capsys.readouterr().out
    assert origins.chains(lattices[6:]) is None
