"""Growth in memory and from file to file: the same files, whatever is to be kept; what MAX_MEMORY may be."""

import json
import os

import numpy as np
import pytest

from ising_rg.base.errors import UserError
from ising_rg.growth import bands
from ising_rg.run import settings
from tests import children
from tests.growth.test_kills import end
from tests.growth.test_windows import run_of

pytestmark = pytest.mark.long

GROW = ("--start_size=32", "--stages=2", "--num_configs=2", "--refine_sweeps=3,2")


@pytest.mark.parametrize("save, file_format", [("last", "int8"), ("none", "int8"), ("all", "bits")])
def test_both_ways_make_the_same_files(tmp_path, save, file_format):
    """Whole in memory and in bands of rows, with pictures; of an unfinished run's files none is left."""
    check = save != "none"
    arguments = (*GROW, f"--save_stages={save}", f"--file_format={file_format}", f"--check={str(check).lower()}")
    budgets = {"memory": "auto", "bands": bands.memory(30, 288, run_of(32, 2))}
    found, reports = [], []
    for name, budget in budgets.items():
        output = end(
            "fast_generating_multi_stage",
            [*arguments, f"--max_memory={budget}", f"--output_dir={tmp_path}/{name}"],
            tmp_path / "log",
        )
        assert ("in bands of rows" in output) == (name == "bands")
        assert ("checked against exact theory" in output) == check
        files = children.files(tmp_path / name)
        assert {"full_comparison.png", "tracking.png", "growth_report.json"} <= files.keys()
        found.append(files)
        assert not [key for key in files if key.startswith(("manifest", ".")) or ".npy." in key]
        reports.append(json.loads((tmp_path / name / "growth_report.json").read_text()))
    assert found[0] == found[1]
    assert len(found[0]) == 3 + 2 * 2 * {"last": 1, "none": 0, "all": 3}[save]
    assert len(reports[1]["checks"]) == 2 * check
    for row in reports[1]["rows"]:
        assert row["seconds"] >= 0 and np.isfinite(row["c10"])


def test_memory_budgets():
    import psutil

    assert settings.memory_budget("512MiB") == 2**29 and settings.memory_budget("1.5 GB") == 3 * 2**29
    assert settings.memory_budget("75543616") == 75543616
    assert settings.memory_budget("auto", 2) == pytest.approx(psutil.virtual_memory().available / 4, rel=0.2)
    for wrong, says in (("much", "needed auto, or bytes such as 512MiB"), ("900TiB", "which is free")):
        with pytest.raises(UserError, match=says):
            settings.memory_budget(wrong)


def test_a_budget_that_holds_no_band_is_refused(tmp_path):
    """Before anything is promised or removed: what an earlier run reported stays."""
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "growth_report.json").write_text('{"settings": {}}')
    process = children.start(
        "fast_generating_multi_stage", [*GROW, "--max_memory=1MiB", f"--output_dir={tmp_path}/out"], tmp_path / "log"
    )
    process.join()
    said = (tmp_path / "log").read_text()
    assert process.exitcode == 2 and "Traceback" not in said
    assert "MAX_MEMORY: found 1 MiB, needed at least" in said and "for growing 96 to 288" in said
    assert "it takes at most" not in said and os.listdir(tmp_path / "out") == ["growth_report.json"]
