"""cluster_geometry.py as a user runs it: reports, labels, windows, lattices that stay on disk, and every mistake."""

import json

import numpy as np
import pytest

from ising_rg.spins import configurations
from ising_rg.theory import exact
from ising_rg.updates import swendsen_wang
from tests.scripts.test_pipeline import fail, run, succeed

pytestmark = pytest.mark.long
NAME = "cluster_geometry.py"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Twelve equilibrated configurations of 128 x 128, one of them bit-packed."""
    path = tmp_path_factory.mktemp("geometry")
    for number, spins in enumerate(swendsen_wang.sample(128, exact.BETA_CRITICAL, 12, seed=4)):
        np.save(path / f"spins_{number:02d}.npy", np.packbits(spins > 0, axis=1) if number == 3 else spins)
    return path


def report(folder):
    text = (folder / "geometry_report.json").read_text()
    assert "NaN" not in text and "Infinity" not in text
    return json.loads(text)


def keep_files_on_disk():
    configurations.IN_MEMORY_BYTES = 0


def test_an_ensemble(folder, tmp_path):
    printed = succeed(NAME, f"--input={folder}", f"--output_dir={tmp_path}")
    assert (
        "verdict: good" in printed and "means of 12 configurations" in printed and "winding around the torus" in printed
    )
    assert (tmp_path / "geometry.png").read_bytes()[:4] == b"\x89PNG"
    content = report(tmp_path)
    (means,) = content["ensembles"]
    names = {row["name"] for row in means["rows"] + means["told"]}
    assert {"FK bonds", "FK clusters a site", "FK sum s^2 / N^2", "FK winding: cross"} <= names
    one = content["configurations"][3]
    assert sum(row[0] for row in one["spin"]["clusters_sites_radii_by_size"]) <= one["spin"]["clusters"]
    assert one["fk"]["clusters"] > one["spin"]["clusters"] > 0


def test_labels_in_memory_and_from_disk(folder, tmp_path):
    """The same files; sites of a spin cluster have one spin, and labels are in raster order of first sites."""
    arguments = (NAME, f"--input={folder}/spins_03.npy", "--labels=true", "--pictures=false")
    for name, patch in (("memory", None), ("disk", keep_files_on_disk)):
        succeed(*arguments, f"--output_dir={tmp_path}/{name}", patch=patch)
    names = sorted(path.name for path in (tmp_path / "memory").iterdir() if path.suffix in (".npy", ".npz"))
    assert len(names) == 4
    for name in names:
        assert (tmp_path / "memory" / name).read_bytes() == (tmp_path / "disk" / name).read_bytes()
    labels = np.load(tmp_path / "memory" / "labels_spin_0000.npy")
    table = np.load(tmp_path / "memory" / "clusters_spin_0000.npz")
    spins = np.unpackbits(np.load(folder / "spins_03.npy"), axis=1)
    _, first, size = np.unique(labels, return_index=True, return_counts=True)
    assert np.array_equal(first, table["first"]) and np.array_equal(size, table["size"]) and (np.diff(first) > 0).all()
    assert np.array_equal(spins.reshape(-1)[first][labels], spins)
    assert json.loads((tmp_path / "memory" / "labels_fk_0000.json").read_text())["kind"] == "fk"


def test_windows_are_counted_not_judged(folder, tmp_path):
    np.save(tmp_path / "part.npy", np.load(folder / "spins_00.npy")[:50, :30])
    (tmp_path / "part.json").write_text(json.dumps({"window": [3, 4, 50, 30], "torus": 128, "settings": {}}))
    printed = succeed(NAME, f"--input={tmp_path}/part.npy", f"--output_dir={tmp_path}/out")
    assert "touch the edges" in printed and "verdict: not judged" in printed
    (one,) = report(tmp_path / "out")["configurations"]
    assert not one["spin"]["loops_that_wind"] and one["spin"]["at_edges"] > 0 and one["shape"] == [50, 30]


def test_wrong_lattices_are_bad(tmp_path):
    """Random spins have too few FK bonds; so has a lattice of another temperature, off criticality as well."""
    np.save(tmp_path / "hot.npy", swendsen_wang.sample(128, 0.40, 1, seed=1)[0])
    out = f"--output_dir={tmp_path}/out"
    done = run(NAME, f"--input={tmp_path}/hot.npy", "--pictures=false", out)
    assert done.returncode == 1 and "FK bonds" in done.stdout and "verdict: bad" in done.stdout
    assert "verdict: good" in succeed(NAME, f"--input={tmp_path}/hot.npy", "--beta=0.40", "--kind=fk", out)


def test_mistakes(folder, tmp_path):
    out, one = f"--output_dir={tmp_path}/out", f"--input={folder}/spins_00.npy"
    np.save(tmp_path / "wrong.npy", np.zeros((27, 27), np.int8))
    (tmp_path / "text.npy").write_text("hello")
    for name, says in (
        ("wrong.npy", "other than +1 and -1"),
        ("text.npy", "foreign"),
        ("missing.npy", "fast_generating"),
    ):
        fail(NAME, f"--input={tmp_path}/{name}", out, says=(name, says))
    fail(NAME, one, out, "--kind=walls", says="KIND")
    fail(NAME, one, out, "--max_memory=9TiB", says="MAX_MEMORY")
    fail(NAME, one, out, "--beta=0.4", "--xi=30", says="BETA, XI")
    np.save(tmp_path / "labels_spin_0000.npy", np.load(folder / "spins_00.npy"))
    before = (tmp_path / "labels_spin_0000.npy").read_bytes()
    fail(
        NAME,
        f"--input={tmp_path}/labels_spin_0000.npy",
        "--labels=true",
        f"--output_dir={tmp_path}",
        says="labels_spin_0000.npy",
    )
    assert (tmp_path / "labels_spin_0000.npy").read_bytes() == before
