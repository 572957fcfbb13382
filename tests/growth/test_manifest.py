"""What a run records of its work, taken up again as kills may leave it."""

import json
import math
import os

import pytest

from ising_rg.base.errors import UserError
from ising_rg.growth.manifest import Manifest, read
from ising_rg.run.processes import Processes


def write(path, *pieces):
    path.write_text(json.dumps({"settings": {"L": 9}, "pieces": pieces}) + "\n")


def test_a_piece_in_two_manifests_is_taken_up_once(tmp_path):
    """Process 0 has gathered a piece of process 1, whose own manifest still holds it: a kill then leaves it twice."""
    part, other, band = {"kind": "counted", "first": 448}, {"kind": "counted", "first": 0}, {"kind": "band", "first": 0}
    write(tmp_path / "manifest.json", other, part)
    write(tmp_path / "manifest.1.json", part, band)
    manifest = Manifest(str(tmp_path), {"L": 9}, Processes())
    assert manifest.pieces == [part, band, other]
    assert read(tmp_path / "manifest.json") == ({"L": 9}, manifest.pieces)
    assert not (tmp_path / "manifest.1.json").exists()
    manifest.gather()
    assert len(manifest.pieces) == 3


def test_a_change_is_a_line_and_the_length_of_a_run_is_no_burden(tmp_path):
    """What is written for one configuration does not depend on how many were before; what is read is what was recorded."""
    manifest, sizes = Manifest(str(tmp_path), {"L": 9}, Processes()), []
    for config in range(100):
        for stage in range(2):
            manifest.add(kind="stage", config=config, stage=stage, z=math.nan)
        manifest.replace(manifest.find(config=config), [{"kind": "configuration", "config": config, "z": math.nan}])
        sizes.append(os.path.getsize(manifest.path))
    assert max(b - a for a, b in zip(sizes[9:], sizes[10:], strict=False)) < 1.1 * (sizes[10] - sizes[9])
    assert [piece["config"] for piece in manifest.find(kind="configuration")] == list(range(100)) and not manifest.find(
        kind="stage"
    )
    assert repr(read(manifest.path)) == repr(({"L": 9}, manifest.pieces))


def test_a_line_cut_off_does_not_count_and_damage_is_named(tmp_path):
    first = Manifest(str(tmp_path), {"L": 9}, Processes())
    for config in range(3):
        first.add(kind="configuration", config=config)
    content = open(first.path, "rb").read()
    with open(first.path, "wb") as file:
        file.write(content[:-5])
    again = Manifest(str(tmp_path), {"L": 9}, Processes())
    assert [piece["config"] for piece in again.pieces] == [0, 1]
    again.add(kind="configuration", config=2)
    assert read(again.path)[1] == first.pieces
    for damaged in (
        content.replace(b"config", b"\xffonfi"),
        content[20:],
        b"",
        b'{\n "settings": {},\n "pieces": []\n}\n',
    ):
        with open(first.path, "wb") as file:
            file.write(damaged)
        with pytest.raises(UserError, match="manifest.json: found a damaged record"):
            Manifest(str(tmp_path), {"L": 9}, Processes())


def test_a_disk_that_is_full_is_told(tmp_path, monkeypatch):
    manifest = Manifest(str(tmp_path), {"L": 9}, Processes())
    manifest.add(kind="band", config=0)

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UserError, match="manifest.json: cannot be written .No space left on device.; make room"):
        manifest.add(kind="band", config=1)
