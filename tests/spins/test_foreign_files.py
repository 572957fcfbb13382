"""Files as others have them: spins of any format mean what their int8 form means; what is none or damaged is named, exit 2."""

import json
import os
import shutil
import time

import numpy as np
import pytest
import torch
from PIL import Image

from ising_rg.base.errors import UserError
from ising_rg.checks import comparison
from ising_rg.files import foreign, storage
from ising_rg.kernels import models
from ising_rg.spins import bitfile, bitmaps, configurations, pairs, spin_files
from ising_rg.updates import swendsen_wang
from tests import children

CONDITIONAL, INDEPENDENT = "models/conditional_k5_s3.pt", "models/full_conn_proj_k9_s3_2048_26_2_3.pt"
MODELS = os.path.join(children.ROOT, "models")


def random_spins(shape, seed=0):
    return (2 * np.random.default_rng(seed).integers(0, 2, shape) - 1).astype(np.int8)


def fail(script, *arguments, says):
    """Run a script that must end with status 2 and one line of error."""
    done = children.run(script, *arguments)
    assert done.returncode == 2 and "Traceback" not in done.stderr, done.stderr
    for text in says:
        assert text in done.stderr, done.stderr


def write_all(folder, spins):
    """Write int8 spins (L, L) in every form; return {name: whether a note says how it was understood}."""
    bits, up = np.packbits(spins > 0, axis=1), (spins > 0).astype(np.uint8)
    arrays = {
        "int8": spins,
        "int8 Fortran": np.asfortranarray(spins),
        "bits": bits,
        "bits Fortran": np.asfortranarray(bits),
        "stack": spins[None],
        "stack Fortran": np.asfortranarray(np.stack([spins, -spins])),
        "bool": up.astype(bool),
        "uint8 01": up,
        "uint8 0 255": up * np.uint8(255),
        "int8 01": up.astype(np.int8),
        "(L, L, 1)": spins[:, :, None],
        "(L, L, 1) Fortran float": np.asfortranarray(spins[:, :, None].astype(float)),
    }
    arrays |= {name: spins.astype(name) for name in ("i4", "i8", ">i2", ">i4", "f2", "f4", "f8", ">f8")}
    names = dict.fromkeys(arrays, True) | dict.fromkeys(
        ("int8", "int8 Fortran", "bits", "bits Fortran", "stack", "(L, L, 1)"), False
    )
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", array)
    if spins.shape[0] % 8:
        padded = bits.copy()
        padded[:, -1] |= 1  # beyond the row anything may stand
        np.save(folder / "padded.npy", padded)
        names["padded"] = False
    written = {f"{name}.npy": note for name, note in names.items()}
    np.savez(folder / "one.npz", spins=spins, beta=np.array(0.44))
    np.savez_compressed(folder / "stack.npz", up[None])
    np.savetxt(folder / "table.txt", spins, fmt="%d")
    np.savetxt(folder / "table.csv", up, fmt="%d", delimiter=",")
    Image.fromarray(up * np.uint8(255)).save(folder / "grey.png")
    Image.fromarray(up.astype(bool)).save(folder / "two.png")
    Image.fromarray(up * np.uint8(255)).convert("RGB").save(folder / "colour.png")
    others = dict.fromkeys(("stack.npz", "table.txt", "table.csv", "grey.png", "two.png", "colour.png"), True)
    return written | others | {"one.npz": False}


@pytest.mark.parametrize("L", [4, 8, 10, 66])
@pytest.mark.parametrize("piece", [bitfile._PIECE, 20])
def test_every_form_means_the_same_spins(tmp_path, capsys, monkeypatch, L, piece):
    """Through each reader, also in parts of few rows."""
    monkeypatch.setattr(bitfile, "_PIECE", piece)
    spins = random_spins((L, L), L)
    for name, noted in write_all(tmp_path, spins).items():
        path = str(tmp_path / name)
        capsys.readouterr()
        assert configurations.is_configuration(path), name
        assert capsys.readouterr().out == ""
        loaded = configurations.load_spins(path)
        said = capsys.readouterr().out
        assert loaded.dtype == np.int8 and loaded.flags.c_contiguous and np.array_equal(loaded, spins), name
        assert said.count("\n") == noted and (not noted or path in said), said
        _, first = next(iter(configurations.open_configurations(path)))
        assert np.array_equal(bitmaps.to_spins(first), spins), name
        width, rows = configurations.open_packed_rows(path)
        parts = [np.unpackbits(rows(first, 2), axis=1, count=L) for first in range(0, L, 2)]
        assert width == L and np.array_equal(np.concatenate(parts), spins > 0), name


def test_pairs_of_a_file_of_ones_and_zeros(tmp_path, capsys, monkeypatch):
    """Zeros in the last rows alone, where threads that read rows far apart meet them: the same pairs, and one note."""
    monkeypatch.setattr(bitmaps, "BAND_BYTES", 8 * 16 * 128)
    convention = spin_files.SpinFile.convention
    monkeypatch.setattr(spin_files.SpinFile, "convention", lambda file: time.sleep(0.2) or convention(file))
    spins = np.ones((1024, 1024), np.int8)
    spins[-140:] = random_spins((140, 1024))
    np.save(tmp_path / "spins.npy", (spins > 0).astype(np.int8))
    displacements = [(dx, dy) for dy in (200, 512) for dx in (-dy, 0, dy)]
    rows = spin_files.open_file(str(tmp_path / "spins.npy")).configuration()
    assert np.array_equal(
        pairs.correlations(rows, displacements), pairs.correlations(bitmaps.from_spins(spins), displacements)
    )
    assert capsys.readouterr().out.count("read as spins") == 1


@pytest.mark.long
def test_every_form_is_judged_alike(tmp_path):
    """checking.py, over a folder of forms of one lattice: one verdict and the same numbers to the last bit."""
    names = ("int8.npy", "bits Fortran.npy", ">f8.npy", "grey.png")
    assert len(names) < comparison.SMALLEST_ENSEMBLE  # equal lattices are no ensemble
    write_all(tmp_path, swendsen_wang.sample(64, 0.4406867935, 1, 5)[0])
    (tmp_path / "in").mkdir()
    for name in names:  # told apart by what is in them, not by name
        shutil.copy(tmp_path / name, tmp_path / "in" / f"{name}.npy")
    done = children.run("checking", f"--input={tmp_path}/in", f"--output_dir={tmp_path}/out", "--pictures=false")
    assert done.returncode in (0, 1) and "Traceback" not in done.stderr, done.stderr
    results = storage.load_json(str(tmp_path / "out" / "check_report.json"))["configurations"]
    assert len(results) == len(names) and done.stdout.count("read as spins") == 2
    assert len({json.dumps({**result, "file": None}) for result in results}) == 1


@pytest.mark.parametrize(
    "script, setting", [("fast_generating_single_stage", "seed_file"), ("normal_fast_2d_Ising", "start_file")]
)
@pytest.mark.long
@pytest.mark.parametrize("name", ["bits Fortran.npy", "f8.npy", "stack Fortran.npy"])
def test_runs_start_from_files_of_other_forms(tmp_path, script, setting, name):
    """With the same spins at their end as from int8."""
    write_all(tmp_path, random_spins((32, 32)))
    made = []
    for start in ("int8.npy", name):
        more = ("--num_sweeps=10",) if setting == "start_file" else ()
        out = tmp_path / f"from {start}"
        done = children.run(script, f"--{setting}={tmp_path / start}", *more, "--pictures=false", f"--output_dir={out}")
        assert done.returncode == 0, done.stderr
        made.append([np.load(path) for path in sorted(out.glob("*_L*.npy"))])
    assert made[0] and all(np.array_equal(*pair) for pair in zip(*made, strict=True))


def damaged(folder):
    """Write .npy files with headers that are damaged in every way; return their names."""
    np.save(folder / "good.npy", random_spins((16, 16)))
    good = (folder / "good.npy").read_bytes()
    os.remove(folder / "good.npy")
    headers = {
        "negative": b"{'descr': '|i1', 'fortran_order': False, 'shape': (-16, 16), }",
        "bracket": b"{'descr': '|i1', 'fortran_order': False, 'shape': (16, 16, }",
        "absurd": b"{'descr': '|i1', 'fortran_order': False, 'shape': (10000000000000000000000, 16), }",
        "large": b"{'descr': '|i1', 'fortran_order': False, 'shape': (4611686018427387904, 4), }",
        "number": b"{'descr': '|i1', 'fortran_order': False, 'shape': 16, }",
        "words": b"{'descr': '|i1', 'fortran_order': False, 'shape': ('a', 16), }",
        "dtype": b"{'descr': '|q9', 'fortran_order': False, 'shape': (16, 16), }",
        "quote": b"{'descr: '|i1', 'fortran_order': False, 'shape': (16, 16), }",
        "deep": b"(" * 110,
        "none": b"",
    }
    content = {name: good[:10] + header.ljust(117) + b"\n" + good[128:] for name, header in headers.items()}
    content |= {"version": good[:6] + b"\x09" + good[7:], "short": good[:9], "truncated": good[:-3], "empty": b""}
    content["magic"] = good[:5]
    content["length"] = good[:8] + b"\xff\xff" + good[10:]
    for name, data in content.items():
        (folder / f"{name}.npy").write_bytes(data)
    return sorted(f"{name}.npy" for name in content)


def test_damaged_headers_are_named(tmp_path):
    for name in damaged(tmp_path):
        for read in (
            configurations.load_spins,
            configurations.open_packed_rows,
            configurations.is_configuration,
            lambda path: bitfile.RowFile(path, 8),
        ):
            with pytest.raises(UserError, match=name):
                read(str(tmp_path / name))


@pytest.mark.parametrize(
    "script, setting",
    [
        ("checking", "input"),
        ("viewing", "input"),
        ("fast_generating_single_stage", "seed_file"),
        ("normal_fast_2d_Ising", "start_file"),
    ],
)
@pytest.mark.long
def test_a_damaged_header_ends_a_script_with_status_2(tmp_path, script, setting):
    damaged(tmp_path)
    for name in ("negative.npy", "bracket.npy"):
        fail(script, f"--{setting}={tmp_path}/{name}", f"--output_dir={tmp_path}/out", says=(name, "damaged"))
    if script == "checking":
        fail(script, f"--{setting}={tmp_path}", f"--output_dir={tmp_path}/out", says=("absurd.npy", "damaged"))


def test_what_is_no_array_of_spins_is_said(tmp_path):
    contents = {
        "words.npy": (b"hello, world\n", "foreign"),
        "spins.npy.gz": (b"\x1f\x8b\x08\x00 and so on", "gunzip"),
        "photo.npy": (b"\xff\xd8\xff\xe0 and so on", "JPEG"),
        "pickle.npy": (b"\x80\x04 and so on", "pickle"),
        "picture.npy": (b"\x89PNG\r\n\x1a\n and so on", "damaged"),
        "archive.npy": (b"PK\x03\x04 and so on", "damaged"),
        "noise.npy": (bytes(range(256)), "no array"),
        "ragged.csv": (b"1,-1\n1\n", "damaged"),
    }
    for name, (content, _) in contents.items():
        (tmp_path / name).write_bytes(content)
    arrays = {
        "half.npy": (np.full((4, 4), 0.5), "other than"),
        "nan.npy": (np.where(np.eye(4) > 0, np.nan, 1.0), "other than"),
        "three.npy": (np.arange(16).reshape(4, 4) % 3 - 1, "other than"),
        "zeros.npy": (np.zeros((4, 4), np.int8), "other than"),
        "mixed.npy": (np.array([[-1, 255], [1, 1]], np.int16), "other than"),
        "flat.npy": (np.ones((4, 6), np.int8), r"\(4, 6\)"),
        "line.npy": (np.ones(16, np.int8), r"\(16,\)"),
        "point.npy": (np.ones((), np.int8), "shape"),
        "text.npy": (np.full((4, 4), "up"), "<U2"),
        "complex.npy": (np.ones((4, 4), complex), "complex128"),
        "record.npy": (np.ones((4, 4), [("spin", "i1")]), "spin"),
    }
    for name, (array, _) in arrays.items():
        np.save(tmp_path / name, array)
    np.save(tmp_path / "objects.npy", np.array([{}], dtype=object), allow_pickle=True)
    np.savez(tmp_path / "two.npz", a=np.ones((4, 4)), b=np.ones((4, 4)))
    expected = {name: says for name, (_, says) in (contents | arrays).items()}
    expected |= {"objects.npy": "damaged", "two.npz": r"2 arrays .*\(a, b\)"}
    for name, says in expected.items():
        with pytest.raises(UserError, match=says) as error:
            configurations.load_spins(str(tmp_path / name))
        assert name in str(error.value) and "astype(np.int8)" in str(error.value)


def test_hdf5_is_read_or_h5py_asked_for(tmp_path):
    (tmp_path / "foreign.h5").write_bytes(b"\x89HDF\r\n\x1a\n and so on")
    with pytest.raises(UserError, match="h5py|damaged"):
        configurations.load_spins(str(tmp_path / "foreign.h5"))
    h5py = pytest.importorskip("h5py")
    spins = random_spins((8, 8))
    with h5py.File(tmp_path / "spins.h5", "w") as file:
        file["run/configurations"], file["run/energies"] = spins[None], np.zeros(5)
    assert np.array_equal(configurations.load_spins(str(tmp_path / "spins.h5")), spins)


def test_what_is_no_file_is_said(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    os.symlink("nowhere", tmp_path / "link")
    for name, says in (("pipe", "pipe or device"), ("link", "nowhere"), ("", "a folder"), ("none", "no such file")):
        for read in (foreign.read, storage.load_pt):
            with pytest.raises(UserError, match=says):
                read(str(tmp_path / name))


@pytest.mark.parametrize("beta", ["hot", None, [0.44], float("nan"), True, -1, {}])
def test_a_sample_whose_json_tells_no_temperature_is_refused(tmp_path, beta):
    path = str(tmp_path / "sample_0000.npy")
    storage.save_array(path, random_spins((8, 8)), {"beta": beta})
    with pytest.raises(UserError, match=r"sample_0000.json: found beta"):
        storage.described_beta(path)
    if beta == "hot":
        fail("batching", f"--source_dir={tmp_path}", f"--output_dir={tmp_path}/out", says=("sample_0000.json", "'hot'"))
        fail("checking", f"--input={path}", f"--output_dir={tmp_path}/out", says=("sample_0000.json", "'hot'"))


@pytest.mark.parametrize("content", [b"\xff\xfe", b"{", b"[" * 100_000, b""])
def test_a_damaged_json_is_named(tmp_path, content):
    path = str(tmp_path / "sample_0000.npy")
    storage.save_array(path, random_spins((8, 8)))
    (tmp_path / "sample_0000.json").write_bytes(content)
    with pytest.raises(UserError, match=r"sample_0000.json"):
        storage.description(path)


def contents_of(name):
    return torch.load(os.path.join(MODELS, name), weights_only=True)


def changed(name, **values):
    return contents_of(os.path.basename(name)) | values


def with_weights(change):
    content = changed(CONDITIONAL)
    state = content["state_dict"]
    changed_state = {name: change(w) if w.is_floating_point() else w for name, w in state.items()}
    return content | {"state_dict": changed_state}


def with_last_tap(change):
    """Return the content of the conditional kernel's file with the last tap of its last step changed."""
    content = changed(CONDITIONAL)
    taps, products = content["form"]
    return content | {"form": [[*taps[:-1], change(taps[-1].clone())], products]}


def moved(tap):
    tap[-1, 1] = 50
    return tap


def later(tap):
    tap[-1, 0] = 9  # what it is to draw itself
    return tap


class Module(torch.nn.Linear):
    """A module that someone has pickled whole."""


REFUSED = {
    "order 4": (lambda: changed(CONDITIONAL, drawing_order=4), "drawing_order 4"),
    "order None": (lambda: changed(CONDITIONAL, drawing_order=None), "drawing_order None"),
    "size True": (lambda: changed(CONDITIONAL, kernel_size=True), "kernel_size True"),
    "size huge": (lambda: changed(CONDITIONAL, kernel_size=99999), "kernel_size 99999"),
    "form short": (lambda: with_last_tap(lambda tap: tap[:-1]), "do not fit"),
    "form far": (lambda: with_last_tap(moved), "50 blocks away"),
    "form later": (lambda: with_last_tap(later), "a form that does not fit"),
    "form no list": (lambda: changed(CONDITIONAL, form=5), "a form that does not fit"),
    "radius nan": (lambda: changed(CONDITIONAL, radius=float("nan")), "radius nan"),
    "radius -1": (lambda: changed(CONDITIONAL, radius=-1.0), "radius -1.0"),
    "no state": (lambda: changed(CONDITIONAL, state_dict=None), "state_dict NoneType"),
    "no tensor": (
        lambda: changed(CONDITIONAL, state_dict=dict.fromkeys(changed(CONDITIONAL)["state_dict"], 1)),
        "rule.weight of shape ()",
    ),
    "int8": (lambda: with_weights(lambda w: w.to(torch.int8)), "torch.int8"),
    "complex": (lambda: with_weights(lambda w: w.to(torch.complex64)), "torch.complex64"),
    "sparse": (lambda: with_weights(lambda w: w.to_sparse()), "a dense tensor"),
    "zero": (lambda: with_weights(lambda w: 0 * w), "all zero"),
    "huge": (lambda: with_weights(lambda w: 1e6 * w), "weights up to 1000"),
    "infinite": (lambda: with_weights(lambda w: w / 0), "not finite"),
    "A 0": (lambda: changed(INDEPENDENT, A=torch.zeros(1)), "A = 0"),
    "A 5": (lambda: changed(INDEPENDENT, A=torch.tensor([5.0])), "A = 5"),
    "A negative": (lambda: changed(INDEPENDENT, A=torch.tensor([-0.9])), "A = -0.9"),
    "extra": (lambda: changed(INDEPENDENT, bias=torch.zeros(9)), "['bias'] too many"),
    "nested": (lambda: {"epoch": 3, "model": changed(INDEPENDENT)}, "torch.save(model.state_dict(), path)"),
    "module": (lambda: Module(2, 2), "torch.save(model.state_dict(), path)"),
    "list": (lambda: [1], "list"),
    "number keys": (lambda: {1: 2}, "keys ['1']"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_weights_that_no_training_gives_are_refused(tmp_path, name):
    make, says = REFUSED[name]
    path = str(tmp_path / "kernel.pt")
    torch.save(make(), path)
    with pytest.raises(UserError) as error:
        models.load(path)
    assert says in str(error.value) and "kernel.pt" in str(error.value), error.value
    assert "kernel_training_pixel_shuffle.py" in str(error.value)


def test_a_safetensors_file_is_named(tmp_path):
    header = json.dumps({"w1": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}).encode()
    (tmp_path / "kernel.pt").write_bytes(len(header).to_bytes(8, "little") + header + bytes(4))
    with pytest.raises(UserError, match=r"safetensors.*torch.save"):
        models.load(str(tmp_path / "kernel.pt"))


@pytest.mark.parametrize("name", [CONDITIONAL, INDEPENDENT])
def test_prefixes_of_wrapped_modules_are_taken_off(tmp_path, name):
    content = contents_of(os.path.basename(name))
    state = content.get("state_dict", content)
    wrapped = {f"module._orig_mod.{key}": tensor for key, tensor in state.items()}
    torch.save(content | {"state_dict": wrapped} if "state_dict" in content else wrapped, tmp_path / "kernel.pt")
    expected, loaded = (models.load(path).state_dict() for path in (name, str(tmp_path / "kernel.pt")))
    assert all(torch.equal(loaded[key], expected[key]) for key in loaded)


def test_one_changed_byte_of_a_weight_file_is_noticed(tmp_path):
    """By the SHA-256 in the JSON beside it, which shipped and trained files have; a user's own file needs no JSON."""
    path = tmp_path / "kernel.pt"
    for name in sorted(os.listdir(MODELS)):
        if name.endswith(".pt"):
            load = models.load_rule if "rule" in name else models.load
            good = open(os.path.join(MODELS, name), "rb").read()
            shutil.copy(os.path.join(MODELS, name.replace(".pt", ".json")), tmp_path / "kernel.json")
            path.write_bytes(good)
            assert load(str(path)).digest == storage.load_json(str(tmp_path / "kernel.json"))["sha256"]
            for place in np.random.default_rng(0).integers(0, len(good), 10):
                path.write_bytes(good[:place] + bytes([good[place] ^ 1]) + good[place + 1 :])
                with pytest.raises(UserError, match="SHA-256"):
                    load(str(path))
            path.write_bytes(good)
            for description in ("{}", None):
                os.remove(tmp_path / "kernel.json")
                if description:
                    (tmp_path / "kernel.json").write_text(description)
                    load(str(path))
            load(str(path))


@pytest.mark.long
def test_shipped_files_are_found_from_any_folder(tmp_path, monkeypatch):
    """And what a run makes goes into the folder that it was started in."""
    grow = ("--start_size=8", "--pictures=false", "--check=false", "--output_dir=out", "--stages=1")
    done = children.run("fast_generating_multi_stage", *grow, cwd=tmp_path)
    assert done.returncode == 0 and (tmp_path / "out" / "growth_report.json").exists(), done.stderr
    assert os.listdir(tmp_path) == ["out"]
    monkeypatch.chdir(tmp_path)
    assert models.load(CONDITIONAL).digest
    assert models.load(INDEPENDENT).rule.digest == models.load_rule("models/block_spin_rule_k9_s3.pt").digest
    with pytest.raises(UserError, match="models/none.pt"):
        models.load("models/none.pt")
