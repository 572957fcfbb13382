"""Labels and tables against breadth-first search; the same in strips of any height."""

import numpy as np
import pytest

from ising_rg.geometry import labels, survey
from ising_rg.geometry.survey import Task
from ising_rg.spins import bitmaps
from ising_rg.theory import exact
from ising_rg.updates import swendsen_wang
from tests.geometry import reference
from tests.geometry.test_survey import drawn_bonds, spin_bonds


def written(lattice, task, folder):
    labelling = labels.Labelling(lattice, task)
    labels.write(labelling, str(folder / "labels.npy"), str(folder / "clusters.npz"), {})
    table = np.load(folder / "clusters.npz")
    assert len(table["size"]) == labelling.n_clusters
    return np.load(folder / "labels.npy"), {name: table[name] for name in labels.TABLE}


@pytest.mark.parametrize("n_rows", [2, 3, 64])
def test_labels(n_rows, tmp_path, monkeypatch):
    monkeypatch.setattr(survey, "rows_of_strips", lambda *_: n_rows)
    rng = np.random.default_rng(3)
    for number in range(12):
        height, width = rng.integers(2, 40, 2) * 2
        spins = np.where(rng.random((height, width)) < 0.3 + 0.4 * rng.random(), 1, -1).astype(np.int8)
        if number % 3 == 0 and min(spins.shape) >= 4:
            swendsen_wang.sweep(spins, 0.44, 9, number)
        torus, kind = number % 4 > 0, ("spin", "fk")[number % 2]
        task = Task(kind, exact.BETA_CRITICAL, 7, torus, walls=False)
        right, down = spin_bonds(spins, torus) if kind == "spin" else drawn_bonds(spins, task)
        found, expected = reference.clusters(right, down, torus)
        got, table = written(bitmaps.from_spins(spins), task, tmp_path)
        assert got.dtype == np.int32 and np.array_equal(got, expected)
        assert table["size"].tolist() == [one["size"] for one in found]
        assert table["first"].tolist() == [one["first"] for one in found]
        for label, one in enumerate(found):
            assert table["winds"][label] == (2 if one["cross"] else len(one["winding"]))
            winding = (0, 0) if one["cross"] else next(iter(one["winding"]), (0, 0))
            assert tuple(table["winding"][label]) == winding
            pairs = zip(one["extent"], winding, (width, height), strict=True)
            extent = [b if w or one["cross"] else a for a, w, b in pairs]
            assert [table["columns"][label], table["rows"][label]] == extent
