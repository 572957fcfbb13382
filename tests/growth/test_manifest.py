"""What a run records of its work, taken up again as kills may leave it."""

import json

from ising_rg.growth.manifest import Manifest
from ising_rg.processes import Processes


def write(path, *pieces):
    path.write_text(json.dumps({"settings": {"L": 9}, "pieces": pieces}))


def test_a_piece_in_two_manifests_is_taken_up_once(tmp_path):
    """Process 0 has gathered a piece of process 1, whose own manifest still holds it: a kill then leaves it twice."""
    part, other, band = {"kind": "counted", "first": 448}, {"kind": "counted", "first": 0}, {"kind": "band", "first": 0}
    write(tmp_path / "manifest.json", other, part)
    write(tmp_path / "manifest.1.json", part, band)
    manifest = Manifest(str(tmp_path), {"L": 9}, Processes())
    assert manifest.pieces == [part, band, other]
    assert json.loads((tmp_path / "manifest.json").read_text())["pieces"] == manifest.pieces
    assert not (tmp_path / "manifest.1.json").exists()
    manifest.gather()
    assert len(manifest.pieces) == 3
