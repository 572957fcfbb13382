"""The proof on a GPU: that it starts, in Numba's simulator, and what it says where there is nothing to measure."""

import json
import os
import subprocess
import sys

import pytest

from benchmarks import gpu_memory, gpu_proof
from ising_rg.sampler import devices
from tests.children import ROOT


def run(*arguments, **variables):
    """Run the benchmark in a process of its own: the simulator is chosen when Numba is imported."""
    environment = {key: value for key, value in os.environ.items() if key != "NUMBA_ENABLE_CUDASIM"}
    return subprocess.run(
        [sys.executable, "-m", "benchmarks.gpu_proof", *arguments],
        capture_output=True,
        text=True,
        env={**environment, **variables},
        cwd=ROOT,
    )


@pytest.mark.slow
def test_every_part_runs_in_the_simulator(tmp_path):
    """All sizes are tiny there; both ways to sweep, drawing, a run and the test runner are reached, and all bits the same."""
    path = tmp_path / "proof.json"
    done = run(f"--output={path}", NUMBA_ENABLE_CUDASIM="1")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "those of a simulator" in done.stdout and "the same bits as on the CPU in all 5 comparisons" in done.stdout
    proof = json.loads(path.read_text())
    assert proof["simulated"] and proof["failed"] == {}
    assert [case["outcome"] for case in proof["tests"]] == ["skipped"]
    assert [row["L"] for row in proof["sweeps"]] == [8, 24]
    assert [row["L"] for row in proof["stages"]] == [row["L"] for row in proof["run"]] == [24]
    assert all(row["same"] for _, row in gpu_proof.compared(proof))
    assert proof["run"][0]["seconds"]["cuda"].keys() >= {"seed", "raw", "refine", "observables", "files", "in all"}
    assert proof["memory"]["largest_swept"] > proof["memory"]["largest_drawn"] > 0


@pytest.mark.long
def test_without_a_gpu_it_says_so_in_one_line(tmp_path):
    if devices.gpu_obstacle() is None:
        pytest.skip("a GPU is here, or the simulator is on")
    done = run(f"--output={tmp_path / 'proof.json'}")
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert done.stderr.count("\n") == 1 and "found no GPU" in done.stderr and "NUMBA_ENABLE_CUDASIM=1" in done.stderr
    assert not (tmp_path / "proof.json").exists()


def test_faults_are_told():
    good = {"tests": [{"test": "a", "outcome": "passed"}], "sweeps": [{"L": 8, "same": True}], "failed": {}}
    assert gpu_proof.faults(good) == []
    bad = {
        "tests": [{"test": "a", "outcome": "failed"}],
        "sweeps": [{"L": 8, "same": True}, {"L": 16, "same": False}, {"L": 32, "left_out": "too large"}],
        "failed": {"run": "Traceback"},
    }
    assert gpu_proof.faults(bad) == ["test a failed", "sweeps: different bits at L = 16", "run did not finish"]


def test_the_largest_lattice_that_fits():
    """It fits, and the next even size does not."""
    for limit in (10**6, 10**10):
        L = gpu_memory.largest(gpu_memory.packed_bytes, limit)
        assert L % 2 == 0 and gpu_memory.packed_bytes(L) <= limit < gpu_memory.packed_bytes(L + 2)
    assert gpu_memory.largest(gpu_memory.packed_bytes, 0) == 0
