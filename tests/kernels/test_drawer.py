"""A weight file's program, kept for runs that do without torch: the same as the kernel's, never an old or a broken one."""

import os
import subprocess
import sys

import numpy as np
import pytest

from ising_rg.base.errors import UserError
from ising_rg.kernels import drawer, kept_programs, models
from ising_rg.renormalization import blocking
from tests.children import ROOT
from tests.programs import same

FILES = ("models/conditional_k5_s3.pt", "models/full_conn_proj_k9_s3_2048_26_2_3.pt")


@pytest.mark.parametrize("path", FILES)
def test_the_kept_program_is_that_of_the_kernel(path, tmp_path, monkeypatch):
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
    kernel = models.load(path)
    coarse = np.where(np.arange(2 * 6 * 8).reshape(2, 6, 8) % 3, 1, -1).astype(np.int8)
    for _ in range(2):  # made, then kept
        found = drawer.load(path)
        assert found.digest == kernel.digest and same(found.program(), kernel.program())
        assert np.array_equal(found.sample(coarse, 3, 5), kernel.sample(coarse, 3, 5))
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("damage", [b"", b"PK\3\4rubbish", None])
def test_a_damaged_one_is_made_anew(damage, tmp_path, monkeypatch):
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
    whole = drawer.load(FILES[0])
    (file,) = tmp_path.iterdir()
    file.write_bytes(file.read_bytes()[:-1000] if damage is None else damage)
    assert same(drawer.load(FILES[0]).program(), whole.program())
    assert same(drawer.load(FILES[0]).program(), whole.program())


def test_other_bytes_than_the_file_beside_tells_are_refused_though_the_program_is_kept(tmp_path, monkeypatch):
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "cache"))
    os.makedirs(tmp_path / "cache")
    path = tmp_path / "kernel.pt"
    for ending in (".pt", ".json"):
        with open(os.path.join(ROOT, os.path.splitext(FILES[0])[0] + ending), "rb") as file:
            path.with_suffix(ending).write_bytes(file.read())
    drawer.load(str(path))
    path.write_bytes(path.read_bytes() + b"\0")
    with pytest.raises(UserError, match="other bytes"):
        drawer.load(str(path))
    with pytest.raises(UserError, match="kernel_training"):
        drawer.load(str(tmp_path / "none.pt"))


@pytest.mark.long
def test_growth_does_without_torch(tmp_path):
    """Two seconds of every start: a run whose functions and program are kept imports no torch."""
    run = (
        "import runpy, sys; sys.argv = ['x', '--start_size=16', '--stages=1', '--pictures=false', '--output_dir=out'];"
        f"runpy.run_path({os.path.join(ROOT, 'fast_generating_multi_stage.py')!r}, run_name='__main__');"
        "print('torch' in sys.modules)"
    )
    environment = {**os.environ, "PYTHONPATH": ROOT, "CUDA_VISIBLE_DEVICES": ""}
    said = [
        subprocess.run([sys.executable, "-c", run], capture_output=True, text=True, cwd=tmp_path, env=environment)
        for _ in range(2)
    ]
    assert all(done.returncode == 0 for done in said), said[-1].stderr
    if "numba-cuda is not installed" in said[-1].stdout:  # else torch is asked for a GPU
        assert said[-1].stdout.split()[-1] == "False"


@pytest.mark.long
def test_measuring_and_viewing_do_without_torch(tmp_path):
    """A check, blocking by a rule whose program is kept, and a page to look at, one after the other in one process."""
    blocking.program_at("models/measuring_rule_k9_s3.pt")
    np.save(tmp_path / "spins.npy", np.where(np.random.default_rng(1).random((36, 36)) < 0.5, 1, -1).astype(np.int8))
    run = (
        "import runpy, sys\n"
        "for script, *more in (('checking',), ('renormalizing', '--levels=1'), ('viewing',)):\n"
        "    sys.argv = ['x', '--input=spins.npy', f'--output_dir={script}', *more]\n"
        "    try:\n"
        f"        runpy.run_path({ROOT!r} + f'/{{script}}.py', run_name='__main__')\n"
        "    except SystemExit as end:\n"
        "        assert script == 'checking' and end.code == 1\n"
        "print('torch' in sys.modules)"
    )
    environment = {**os.environ, "PYTHONPATH": ROOT}
    done = subprocess.run([sys.executable, "-c", run], capture_output=True, text=True, cwd=tmp_path, env=environment)
    assert done.returncode == 0 and done.stdout.split()[-1] == "False", done.stdout + done.stderr
    assert {path.name for path in tmp_path.iterdir() if path.is_dir()} == {"checking", "renormalizing", "viewing"}


def test_programs_of_masses_are_kept_too_the_last_ones(tmp_path, monkeypatch):
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(kept_programs, "_MOST", 2)
    kernel = models.load(FILES[0])
    for mu in (0.03, 0.03, -0.02, 0.01):
        found = drawer.load(FILES[0]).at_mass(mu)
        assert same(found.program(), kernel.at_mass(mu).program()) and found.digest == kernel.digest
    assert drawer.load(FILES[0]).at_mass(0) is not None and len(list(tmp_path.iterdir())) == 3
    with pytest.raises(UserError, match="needed some for mass 0.5"):
        drawer.load(FILES[0]).at_mass(0.5)
    with pytest.raises(UserError, match="the critical point alone"):
        drawer.load(FILES[1]).at_mass(0.03)
