"""Every picture that the documents show, drawn again, each with what made it in its metadata.

    python -m benchmarks.gallery                            # those that take less than a minute each
    python -m benchmarks.gallery --only=single_stage.png
    python -m benchmarks.gallery --slow=true                # all: half an hour and more, and trainings

PICTURES says which command makes which picture. A picture's metadata holds that command, the SHA-256 of the kernel's file, so that
a picture of another kernel's lattices is known as such, and the versions of what computed; not the commit, not the clock.
`tests/scripts/test_gallery.py` compares them. The last line is JSON.
"""

import json
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from types import SimpleNamespace
from typing import NamedTuple

from PIL import Image

from ising_rg.base.errors import UserError
from ising_rg.figures import png
from ising_rg.files import storage
from ising_rg.run import settings

# fmt: off
# ---------------------------------------------------------------------------------------------------------------------
SLOW = False                         # those that take more than a minute, too
ONLY = ""                            # one picture
FOLDER = "gallery"                   # where pictures go
# ---------------------------------------------------------------------------------------------------------------------
# fmt: on

KERNEL = "models/conditional_k5_s3.pt"
KEY = "made by"  # of the metadata, JSON


class Picture(NamedTuple):
    """How one picture is made."""

    commands: tuple[str, ...]  # python's arguments, {to}: a folder of its own
    made: str  # file in that folder
    seconds: int  # that it takes on two cores, about, once compiled


_GROW = "fast_generating_multi_stage.py --output_dir={to}/grown"
_CHECK = "checking.py --input={to}/grown --output_dir={to}"
_TRAIN = "kernel_training_pixel_shuffle.py --param_file={to}/kernel.pt --picture_dir={to}"
PICTURES = {
    "check_L13824.png": Picture((_GROW, _CHECK), "check.png", 15),
    "check_L41472.png": Picture((f"{_GROW} --stages=4 --check=false --pictures=false", _CHECK), "check.png", 70),
    "deep_zoom.png": Picture(
        (
            _GROW,
            "viewing.py --input={to}/grown --output_dir={to}",
            "-m benchmarks.deep_zoom --input={to} --picture={to}/it.png",
        ),
        "it.png",
        45,
    ),
    "ensemble.png": Picture(("-m benchmarks.ensemble --picture={to}/it.png --output={to}/it.json",), "it.png", 700),
    "flow.png": Picture(
        (f"{_GROW} --pictures=false", "renormalizing.py --input={to}/grown --output_dir={to}"), "flow.png", 60
    ),
    "full_comparison.png": Picture((_GROW,), "grown/full_comparison.png", 8),
    "kernel_comparison.png": Picture(("-m benchmarks.compare_kernels --picture={to}/it.png",), "it.png", 600),
    "lengths.png": Picture(("-m benchmarks.lengths --picture={to}/it.png",), "it.png", 90),
    "simulation.png": Picture(("normal_fast_2d_Ising.py --output_dir={to}",), "simulation.png", 15),
    "single_stage.png": Picture(("fast_generating_single_stage.py --output_dir={to}",), "single_stage.png", 15),
    "tracking.png": Picture((_GROW,), "grown/tracking.png", 8),
    "training_conditional.png": Picture((_TRAIN,), "training_conditional.png", 1500),
    "training_independent.png": Picture((f"{_TRAIN} --kernel=independent",), "training_independent.png", 900),
    "training_rule.png": Picture((f"{_TRAIN} --kernel=none",), "training_rule.png", 300),
    "zoom.webp": Picture(("exploring.py --film={to}/zoom.webp",), "zoom.webp", 30),
}
FAST = [name for name, picture in PICTURES.items() if picture.seconds <= 50]


def main(s):
    if s.ONLY and s.ONLY not in PICTURES:
        raise UserError(f'ONLY: found "{s.ONLY}", needed one of {", ".join(PICTURES)}')
    chosen = [s.ONLY] if s.ONLY else list(PICTURES) if s.SLOW else FAST
    os.makedirs(s.FOLDER, exist_ok=True)
    made, seconds = {}, {}
    with tempfile.TemporaryDirectory() as folder:
        for name in chosen:
            start, picture = time.perf_counter(), PICTURES[name]
            if picture.commands not in made:  # two pictures of one run
                made[picture.commands] = run(picture.commands, os.path.join(folder, str(len(made))))
            stamp(os.path.join(made[picture.commands], picture.made), os.path.join(s.FOLDER, name), about(picture))
            seconds[name] = round(time.perf_counter() - start, 1)
            print(f"{name}: {seconds[name]} s", flush=True)
    if left := [name for name in PICTURES if name not in chosen]:
        print("not drawn: " + ", ".join(f"{name} ({PICTURES[name].seconds} s)" for name in left))
    print(json.dumps(seconds))


def run(commands, folder):
    """Run commands that write into a folder; return it."""
    os.makedirs(folder)
    for command in commands:
        done = subprocess.run(
            [sys.executable, *shlex.split(command.replace("{to}", folder))], capture_output=True, text=True
        )
        if done.returncode:
            raise UserError(f"{command}: ended with {done.returncode}: {done.stderr.strip()[-300:]}")
    return folder


def about(picture):
    """Return what decides a picture, and the versions of what computed it."""
    known = settings.provenance(SimpleNamespace())
    commands = [f"python {command}" for command in picture.commands]
    return {"commands": commands, "kernel_sha256": storage.sha256(KERNEL), "versions": known["versions"]}


def stamp(source, target, content):
    """Copy a picture, with what made it in its metadata."""
    text = json.dumps(content)
    if source.endswith(".webp"):
        shutil.copyfile(source, target)  # the film holds its settings by itself
        return
    with open(source, "rb") as file:
        data = file.read()
    end = 33  # of the signature and the header
    note = png.chunk(b"tEXt", KEY.encode("latin-1") + b"\0" + text.encode("ascii"))
    with storage.written_whole(target) as file:
        file.write(data[:end] + note + data[end:])


def read(path):
    """Return what a picture says made it, a dict; empty if it says nothing."""
    with Image.open(path) as image:
        return json.loads(getattr(image, "text", {}).get(KEY, "{}"))


if __name__ == "__main__":
    settings.run(main, globals())
