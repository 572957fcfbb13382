"""Pictures of the documents: each is one that benchmarks/gallery.py makes, and says that its command, with this kernel, made it."""

import json
import re
from pathlib import Path

import pytest
from PIL import Image

from benchmarks import gallery
from ising_rg.figures import png
from ising_rg.files import storage
from ising_rg.run import settings
from tests.children import ROOT

SHOWN = {
    match
    for path in (Path(ROOT, "README.md"), *Path(ROOT, "docs").glob("*.md"))
    for match in re.findall(r"!\[[^]]*\]\((?:\.\./)?gallery/([^)]+)\)", path.read_text(encoding="utf-8"))
}


def test_there_is_a_command_for_every_picture():
    names = {path.name for path in Path(ROOT, "gallery").iterdir()}
    assert SHOWN <= names == set(gallery.PICTURES)


@pytest.mark.parametrize("name", [name for name in gallery.FAST if name.endswith(".png")])
def test_no_picture_is_stale(name):
    """One that takes long is compared where it says what made it: those drawn before there was such a note say nothing."""
    made_by = gallery.read(Path(ROOT, "gallery", name))
    expected = gallery.about(gallery.PICTURES[name])
    assert {key: made_by.get(key) for key in ("commands", "kernel_sha256")} == {
        key: expected[key] for key in ("commands", "kernel_sha256")
    }, f"python -m benchmarks.gallery --only={name}"


@pytest.mark.parametrize("name", [name for name in gallery.PICTURES if name not in gallery.FAST])
def test_no_slow_picture_is_known_to_be_stale(name):
    made_by = gallery.read(Path(ROOT, "gallery", name))
    assert not made_by or made_by["kernel_sha256"] == storage.sha256(gallery.KERNEL)


def test_the_film_has_the_settings_of_the_script():
    import exploring

    path = Path(ROOT, "gallery", "zoom.webp")
    with Image.open(path) as film:
        about = json.loads(film.getexif()[0x010E])
    defaults = settings.collect(vars(exploring), [])[0]
    assert len(about["settings"]) == 8 and about["settings"].items() <= defaults.items()
    assert about["kernel_sha256"] == storage.sha256(gallery.KERNEL) and path.stat().st_size <= 4 * 10**6


def test_a_stamp_is_read_back_and_changes_no_pixel(tmp_path):
    import numpy as np

    pixels = np.arange(200, dtype=np.uint8).reshape(10, 20)
    (tmp_path / "a.png").write_bytes(png.of_grey(pixels))
    gallery.stamp(str(tmp_path / "a.png"), str(tmp_path / "b.png"), {"commands": ["x"]})
    assert gallery.read(tmp_path / "b.png") == {"commands": ["x"]} and gallery.read(tmp_path / "a.png") == {}
    with Image.open(tmp_path / "b.png") as image:
        assert np.array_equal(np.asarray(image), pixels)
