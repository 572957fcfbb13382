"""Files as other programs, other systems and people leave them: read as what they are, or refused with the real cause."""

import os
import random
import shutil
import sys

import numpy as np
import pytest
import torch

from ising_rg.base.errors import UserError
from ising_rg.files import foreign, storage
from ising_rg.spins import configurations
from ising_rg.theory import exact
from ising_rg.updates import swendsen_wang
from tests import children, odd_files


def random_spins(shape, seed=0):
    return (2 * np.random.default_rng(seed).integers(0, 2, shape) - 1).astype(np.int8)


def refused(path, *says, read=foreign.read):
    with pytest.raises(UserError) as error:
        read(str(path))
    for text in (os.path.basename(path), *says):
        assert text in str(error.value), error.value


def append(path, *arrays):
    with open(path, "wb") as file:
        for array in arrays:
            np.save(file, array)


def test_arrays_saved_one_after_the_other_into_one_npy_are_a_stack(tmp_path, capsys):
    spins, path = random_spins((5, 8, 8)), tmp_path / "spins.npy"
    for arrays in (list(spins), [spins[:2], spins[2:4], spins[4]]):
        append(path, *arrays)
        assert np.array_equal(foreign.read(str(path)), spins)
    assert [name for name, _ in configurations.open_configurations(str(path))] == [f"{path}[{i}]" for i in range(5)]
    assert np.array_equal(configurations.load_spins(str(path)), spins[0])
    assert "5 configurations" in capsys.readouterr().out


def test_what_is_left_behind_an_array_is_told(tmp_path):
    spins, path = random_spins((8, 8)), tmp_path / "spins.npy"
    append(path, spins, np.zeros(3))
    refused(path, f"{path.stat().st_size - 128 - 64} bytes are left")
    append(path, spins, spins)
    whole = path.read_bytes()
    for content in (whole[:-1], whole[:200], whole[:192] + b"x", whole + b"\x93NUMPY"):
        path.write_bytes(content)
        refused(path, f"{len(content) - 192} bytes are left")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
@pytest.mark.parametrize("minus", ["-", "\u2212", "\u2013"])
def test_text_of_other_systems_is_read(tmp_path, encoding, minus):
    spins, path = random_spins((8, 8)), tmp_path / "spins.csv"
    for separator, newline in ((",", "\r\n"), (";", "\n"), (" \t", "\r")):
        rows = newline.join(separator.join(map(str, row)) for row in spins.tolist())
        path.write_bytes(rows.replace("-", minus).encode(encoding))
        assert np.array_equal(configurations.load_spins(str(path)), spins)


def test_text_of_another_encoding_is_named(tmp_path):
    path = tmp_path / "spins.txt"
    for encoding in ("utf-16-le", "utf-16-be", "cp1252"):
        path.write_bytes("\u20131 1\n1 \u20131\n".encode(encoding))
        refused(path, "nor text in UTF-8 (or UTF-16 with a byte-order mark)")
    path.write_bytes(b"1 -1 " * 2000 + "\u2013".encode("cp1252"))  # beyond what is looked at first
    refused(path, "UnicodeDecodeError")


def test_batches_are_read_and_other_pt_files_named(tmp_path):
    spins = random_spins((3, 8, 8))
    storage.save_batch(str(tmp_path / "batch_000.pt"), spins, {"settings": {}})
    torch.save({"spins": torch.from_numpy(spins).float(), "beta": torch.tensor(0.4)}, tmp_path / "named.pt")
    for name in ("batch_000.pt", "named.pt"):
        assert np.array_equal(foreign.read(str(tmp_path / name)), spins)
    assert configurations.find(str(tmp_path)) == [str(tmp_path / "batch_000.pt")]
    torch.save(torch.nn.Linear(2, 2), tmp_path / "module.pt")
    refused(tmp_path / "module.pt", "pickled Python object")
    shutil.copy(f"{children.ROOT}/models/conditional_k5_s3.pt", tmp_path / "weights.pt")
    refused(tmp_path / "weights.pt", "weights perhaps", "0 arrays")
    (tmp_path / "short.pt").write_bytes((tmp_path / "batch_000.pt").read_bytes()[:-30])
    refused(tmp_path / "short.pt", "damaged")
    shutil.make_archive(str(tmp_path / "words"), "zip", tmp_path, "batch_000.json")
    refused(tmp_path / "words.zip", "0 arrays")
    done = children.call("checking", f"--input={tmp_path}", f"--output_dir={tmp_path}/out", "--pictures=false")
    assert done.returncode == 1 and "3 checked" in done.stdout, done


def test_files_of_matlab_are_read_or_scipy_asked_for(tmp_path, monkeypatch):
    path, spins = str(tmp_path / "spins.mat"), random_spins((3, 8, 8))
    (tmp_path / "damaged.mat").write_bytes(b"MATLAB 5.0 MAT-file, Platform: GLNXA64".ljust(126, b"\0") + b"IM")
    with monkeypatch.context() as without:
        without.setitem(sys.modules, "scipy.io", None)
        refused(tmp_path / "damaged.mat", "a file of MATLAB; run pip install scipy")
    io = pytest.importorskip("scipy.io")
    refused(tmp_path / "damaged.mat", "damaged")
    for stored, expected in ((spins[0].astype(float), spins[0]), (np.moveaxis(spins, 0, 2), spins), (spins, spins)):
        io.savemat(path, {"spins": stored, "beta": 0.44, "energies": np.zeros(9)}, do_compression=True)
        assert np.array_equal(foreign.read(path), expected)
    h5py = pytest.importorskip("h5py")
    for stored in (np.swapaxes(spins, 1, 2), spins.T):  # MATLAB's (L, L, n) and (n, L, L), the first index last
        with h5py.File(path, "w", userblock_size=512) as file:
            file["spins"], file["beta"] = stored, [[0.44]]
        with open(path, "r+b") as file:
            file.write(b"MATLAB 7.3 MAT-file, Platform: GLNXA64")
        assert np.array_equal(foreign.read(path), spins)


def test_an_hdf5_file_that_another_program_holds_is_not_called_damaged(tmp_path, monkeypatch):
    fcntl, h5py = pytest.importorskip("fcntl"), pytest.importorskip("h5py")
    monkeypatch.delenv("HDF5_USE_FILE_LOCKING", raising=False)
    with h5py.File(tmp_path / "spins.h5", "w") as file:
        file["spins"] = random_spins((8, 8))
    with open(tmp_path / "spins.h5", "r+b") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        refused(tmp_path / "spins.h5", "another program holds open")
    assert foreign.read(str(tmp_path / "spins.h5")).shape == (8, 8)


@pytest.mark.parametrize("content", ["[1, 2]", "3", "null", '"words"'])
def test_a_json_that_is_somebody_elses_is_left_alone(tmp_path, content):
    """Beside what is read it tells nothing; a run that would overwrite it is refused."""
    path = tmp_path / "spins_L8.npy"
    np.save(path, random_spins((8, 8)))
    path.with_suffix(".json").write_text(content)
    assert storage.description(str(path)) == {} and storage.described_beta(str(path)) is None
    os.remove(path)
    small = ("--lattice_size=8", "--num_sweeps=1", "--pictures=false", f"--output_dir={tmp_path}")
    done = children.call("normal_fast_2d_Ising", *small)
    assert done.returncode == 2 and "spins_L8.json: would be overwritten" in done.stderr, done
    assert path.with_suffix(".json").read_text() == content and not path.exists()


def test_a_file_whose_name_is_no_text_is_viewed(tmp_path):
    path = os.fsdecode(os.fsencode(tmp_path) + b"/spins \xff.npy")
    np.save(path, random_spins((8, 8)))
    storage.save_json(storage.sidecar(path), {"seed": "\ud800", "settings": {}})
    done = children.call("viewing", f"--input={path}", f"--output_dir={tmp_path}/out")
    assert done.returncode == 0 and "spins %ff.html" in done.stdout, done
    assert sorted(os.listdir(tmp_path / "out")) == ["spins %ff.dzi", "spins %ff.html", "spins %ff_files"]
    assert '"url": "spins%20%25ff_files/"' in (tmp_path / "out" / "spins %ff.html").read_text()


OTHERS = [
    ("viewing", "input"),
    ("fast_generating_single_stage", "seed_file", "--pictures=false"),
    ("normal_fast_2d_Ising", "start_file", "--pictures=false", "--num_sweeps=2"),
    ("renormalizing", "input", "--pictures=false", "--levels=1"),
    ("batching", "source_dir"),
]


def fault(number, place, name, content):
    """Run checking.py on a file, or every third time another script; return (exit status, what is wrong with that, or None)."""
    script, setting, *options = (
        OTHERS[number // 3 % 5] if number % 3 == 0 else ("checking", "input", "--pictures=false")
    )
    path = os.path.join(place, "sample_0000.npy" if script == "batching" else name)
    with open(path, "wb") as file:
        file.write(content)
    given = place if script == "batching" else path
    done = children.call(script, f"--{setting}={given}", f"--output_dir={place}/out", *options)
    refused = done.returncode == 2 and done.stderr.count("\n") == 1 and "error: " in done.stderr
    judged = done.returncode == 1 and done.stderr == "" and "verdict: bad" in done.stdout
    with open(path, "rb") as file:
        kept = file.read() == content
    fine = kept and (refused or judged or done.returncode == 0 and done.stderr == "")
    return done.returncode, None if fine else f"{number} {script} {name!r} {content[:80]!r}: {done}"


def check_odd_files(n, folder, seed=1):
    """Status 0 or 2, or 1 with a verdict; no traceback; one line of error; the file as it was. Return the statuses met."""
    generator, faults, statuses = random.Random(seed), [], set()
    lattices = [swendsen_wang.sample(L, exact.BETA_CRITICAL, 1, 1)[0] for L in (4, 8, 12, 16, 36, 64)]
    lattices.append(random_spins((64, 64)))
    for number in range(n):
        place = folder / str(number)
        place.mkdir()
        status, wrong = fault(number, str(place), *odd_files.make(generator, lattices))
        statuses.add(status)
        faults += [wrong] if wrong else []
        shutil.rmtree(place)
    assert not faults, "\n".join(faults)
    return statuses


def test_a_sample_of_odd_files_is_read_or_refused(tmp_path):
    assert check_odd_files(45, tmp_path) == {0, 1, 2}


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(5))
def test_odd_files_are_read_or_refused(tmp_path, seed):
    assert check_odd_files(500, tmp_path, seed) == {0, 1, 2}
