"""Settings from the command line, and files that are whole or not there."""

import os
from types import SimpleNamespace

import numpy as np
import pytest

from ising_rg.base.errors import UserError
from ising_rg.files import storage
from ising_rg.run import settings
from ising_rg.spins import bitmaps, configurations

SCRIPT = '''"""A script.

    python script.py
"""
from ising_rg.run import settings

SIZE = 10                 # an integer
RATE = 0.5                # a number
NAME = "a=b"              # a text
DRAW = True               # yes or no
REFINE_SWEEPS = 5         # one or several
_PRIVATE = 3              # not a setting


def main(s):
    read = {"DRAW": s.DRAW, "NAME": s.NAME, "RATE": s.RATE, "REFINE_SWEEPS": s.REFINE_SWEEPS, "SIZE": s.SIZE}
    assert read == vars(s)
    print(read)


if __name__ == "__main__":
    settings.run(main, globals())
'''


@pytest.fixture
def script(tmp_path):
    path = tmp_path / "script.py"
    path.write_text(SCRIPT)

    def run(*arguments):
        import subprocess
        import sys

        environment = {**os.environ, "PYTHONPATH": os.getcwd()}
        return subprocess.run([sys.executable, str(path), *arguments], capture_output=True, text=True, env=environment)

    return run


def test_defaults_and_overrides(script):
    assert script().stdout == "{'DRAW': True, 'NAME': 'a=b', 'RATE': 0.5, 'REFINE_SWEEPS': 5, 'SIZE': 10}\n"
    done = script("--size=-3", "--rate=1e-3", "--name=x=y z", "--draw=false", "--refine_sweeps=5,3,2")
    assert done.returncode == 0
    assert "override: SIZE = -3" in done.stdout
    assert (
        done.stdout.splitlines()[-1]
        == "{'DRAW': False, 'NAME': 'x=y z', 'RATE': 0.001, 'REFINE_SWEEPS': (5, 3, 2), 'SIZE': -3}"
    )
    assert "'REFINE_SWEEPS': 7," in script("--refine_sweeps=7").stdout.splitlines()[-1]


@pytest.mark.parametrize(
    "argument",
    [
        "--size=1.5",
        "--size=",
        "--rate=fast",
        "--draw=maybe",
        "--refine_sweeps=1,x",
        "--sizes=3",
        "--SIZE=3",
        "size=3",
        "--size",
        "-x",
    ],
)
def test_bad_arguments_are_refused_with_the_names(script, argument):
    done = script(argument)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr and done.stderr.count("\n") == 1
    assert argument.split("=")[0].lower().strip("-") in done.stderr.lower()


def test_help_lists_every_setting_with_its_comment(script):
    done = script("--help")
    assert done.returncode == 0
    for text in ("python script.py", "--size=10", "an integer", "--refine_sweeps=5", "--draw=true", "yes or no"):
        assert text in done.stdout
    assert "private" not in done.stdout.lower()


def test_a_correlation_length_takes_the_place_of_beta():
    """On the command line, or as a constant; the command line comes first, and two that contradict each other are refused."""
    import normal_fast_2d_Ising as script
    from ising_rg.theory import exact, temperature

    def collected(arguments=(), **constants):
        values, _ = settings.collect({**vars(script), **constants}, list(arguments))
        return values["BETA"], values["XI"]

    thirty = temperature.beta_of_xi(30)
    assert collected() == (exact.BETA_CRITICAL, "")
    assert collected(["--xi=30"]) == collected(["--xi=30"], BETA=0.5) == collected(XI=30) == (thirty, 30.0)
    assert collected(["--xi=-30"])[0] == temperature.beta_of_xi(-30) > exact.BETA_CRITICAL
    assert collected(["--xi=critical"], BETA=0.5) == (exact.BETA_CRITICAL, "critical")
    assert collected(["--beta=0.5"], XI=30) == (0.5, "")
    for arguments, constants in ((["--beta=0.5", "--xi=30"], {}), ([], {"BETA": 0.5, "XI": 30})):
        with pytest.raises(UserError, match="needed one of them"):
            collected(arguments, **constants)


def test_checks():
    for bad in (3, 2, 0, -4, 1001):
        with pytest.raises(UserError, match="even"):
            settings.check_even_size("L", bad)
    with pytest.raises(UserError, match="GiB"):
        settings.check_memory(2**60, "a huge lattice")


def test_provenance_is_reproducible():
    s = SimpleNamespace(SEED=1, SIZE=4)
    assert settings.provenance(s, L=4) == settings.provenance(s, L=4)
    assert {"settings", "versions", "commit", "L"} == set(settings.provenance(s, L=4))


def random_spins(L, seed=0):
    return (2 * np.random.default_rng(seed).integers(0, 2, (L, L)) - 1).astype(np.int8)


@pytest.mark.parametrize("L", [4, 10, 16, 30])
def test_spins_survive_plain_and_packed(tmp_path, L):
    spins, path = random_spins(L), str(tmp_path / "spins.npy")
    storage.save_array(path, spins, {"L": L})
    assert np.array_equal(configurations.load_spins(path), spins)
    assert storage.load_json(str(tmp_path / "spins.json")) == {"L": L}
    storage.save_array(path, np.packbits(spins > 0, axis=1))
    assert np.array_equal(configurations.load_spins(path), spins)


@pytest.mark.parametrize("L", [10, 64, 130])
def test_a_bitmap_becomes_the_file_that_numpy_writes(tmp_path, monkeypatch, L):
    spins = random_spins(L)
    expected = {"int8": spins, "bits": np.packbits(spins > 0, axis=1)}
    for pieces in (1, 3):
        for file_format, array in expected.items():
            monkeypatch.setattr(configurations, "PIECE_BYTES", -(-array.nbytes // pieces))
            path = tmp_path / f"{file_format}.npy"
            configurations.save_bitmap(str(path), bitmaps.from_spins(spins), {}, file_format)
            np.save(tmp_path / "numpy.npy", array)
            assert path.read_bytes() == (tmp_path / "numpy.npy").read_bytes()


def test_bad_configuration_files_are_named(tmp_path):
    good = str(tmp_path / "good.npy")
    storage.save_array(good, random_spins(16))
    content = open(good, "rb").read()
    cases = {"truncated.npy": content[:-20], "empty.npy": b"", "foreign.npy": b"not an array" * 20}
    for name, data in cases.items():
        (tmp_path / name).write_bytes(data)
    for name, array in {
        "float.npy": np.full((4, 4), 0.5),
        "long.npy": np.ones((4, 6), np.int8),
        "values.npy": np.zeros((4, 4), np.int8),
    }.items():
        np.save(tmp_path / name, array)
    np.save(tmp_path / "pickle.npy", np.array([{}], dtype=object), allow_pickle=True)
    for name in [*cases, "float.npy", "long.npy", "values.npy", "pickle.npy", "missing.npy"]:
        with pytest.raises(UserError, match=name):
            configurations.load_spins(str(tmp_path / name))


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path):
    path = str(tmp_path / "file.npy")
    storage.save_array(path, np.ones(3))
    with pytest.raises(RuntimeError), storage.written_whole(path) as file:
        file.write(b"half")
        raise RuntimeError
    assert np.array_equal(np.load(path), np.ones(3))
    assert os.listdir(tmp_path) == ["file.npy"]


def test_any_memory_order_is_read(tmp_path):
    spins = random_spins(6)
    np.save(tmp_path / "fortran.npy", np.asfortranarray(spins))
    loaded = configurations.load_spins(str(tmp_path / "fortran.npy"))
    assert np.array_equal(loaded, spins) and loaded.flags.c_contiguous


def test_a_description_never_outlives_what_it_describes(tmp_path, monkeypatch):
    path = str(tmp_path / "spins.npy")
    storage.save_array(path, random_spins(4), {"seed": 1})
    monkeypatch.setattr(storage, "save_json", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        storage.save_array(path, random_spins(4, 1), {"seed": 2})
    assert os.listdir(tmp_path) == ["spins.npy"]
