"""exploring.py as a user runs it: it serves until Ctrl-C, opens a browser, writes films; mistakes end with one line."""

import json
import os
import re
import signal
import time
import urllib.request

import numpy as np
import pytest
from PIL import Image

from ising_rg import Lattice
from tests import children

pytestmark = pytest.mark.long
SMALL = ("--start_size=32", "--stages=6", "--open_browser=false")
FILM = ("--start_size=32", "--stages=6", "--film_length=0.5", "--film_size=128")


def open_into_a_file():
    """In the child: the browser is a file that takes the address."""
    import webbrowser

    def write(url):
        with open("opened", "w", encoding="utf-8") as file:
            file.write(url)

    webbrowser.open = write


def test_it_serves_until_ctrl_c(tmp_path):
    arguments = (*SMALL[:2], "--seed=4", f"--kernel_file={children.ROOT}/models/conditional_k5_s3.pt")
    process = children.start("exploring", arguments, tmp_path / "said", patch=open_into_a_file, cwd=str(tmp_path))
    end = time.monotonic() + 120
    while not (tmp_path / "opened").exists() or not (tmp_path / "opened").read_text().endswith("/"):
        assert process.is_alive() and time.monotonic() < end, (tmp_path / "said").read_text()
        time.sleep(0.02)
    url = (tmp_path / "opened").read_text()
    with urllib.request.urlopen(f"{url}spins.npy?level=6&row=1&column=2&height=3&width=50") as answer:
        spins = np.frombuffer(answer.read()[-150:], np.int8).reshape(3, 50)
    assert np.array_equal(spins, Lattice(4, 6, 32)[1:4, 2:52])
    os.kill(process.pid, signal.SIGINT)
    process.join()
    said = (tmp_path / "said").read_text()
    assert process.exitcode == 0 and said.endswith("\nended\n") and "Traceback" not in said
    assert re.search(rf"23328 x 23328 sites, 6 stages; open {url}", said)


@pytest.mark.parametrize("ending, n_frames", [("webp", 8), ("gif", 6)])
def test_a_film(tmp_path, ending, n_frames):
    """Frames have the size and number that are set; the last shows single spins at the place, the first the whole lattice."""
    path = tmp_path / f"zoom.{ending}"
    done = children.call("exploring", *FILM, f"--film={path}", "--film_place=100,23327", "--seed=2")
    assert done.returncode == 0 and done.stderr == "" and f"{n_frames} frames" in done.stdout, done
    assert sorted(os.listdir(tmp_path)) == [path.name]
    with Image.open(path) as film:
        assert film.size == (128, 128) and film.n_frames == n_frames
        about = film.getexif().get(0x010E) if ending == "webp" else film.info["comment"].decode()
        assert json.loads(about)["settings"]["FILM_PLACE"] == [100, 23327]
        film.seek(n_frames - 1)
        last = np.asarray(film.convert("L"), int)
    lattice = Lattice(2, 6, 32)
    # 16 pixels a site, the middle of the site in the middle of the frame: squares are 56 ... 72 and their neighbours
    for dy, dx in ((-1, -1), (-1, 0), (-1, 1), (0, 0), (0, 1)):
        up = lattice[(23327 + dy) % 23328, 100 + dx] > 0
        block = last[64 + 16 * dy - 4 : 64 + 16 * dy + 4, 64 + 16 * dx - 4 : 64 + 16 * dx + 4]
        assert block.mean() < 60 if up else block.mean() > 195, (dy, dx, block.mean())


def test_a_film_by_ffmpeg(tmp_path, monkeypatch):
    """Of a program that stands for it: it is given every frame and those that hold the last one; what it says is told."""
    program = tmp_path / "ffmpeg"
    program.write_text('#!/bin/sh\nfor last; do :; done\nwc -c > "$last"\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    done = children.call("exploring", *FILM, f"--film={tmp_path}/out/zoom.mp4")
    assert done.returncode == 0, done
    assert int((tmp_path / "out" / "zoom.mp4").read_text()) == (15 + 30) * 128 * 128
    program.write_text("#!/bin/sh\ncat > /dev/null\necho no such codec >&2\nexit 1\n")
    done = children.call("exploring", *FILM, f"--film={tmp_path}/out/zoom.mp4")
    assert done.returncode == 2 and "no such codec" in done.stderr and done.stderr.count("\n") == 1
    assert sorted(os.listdir(tmp_path / "out")) == ["zoom.mp4"]


@pytest.mark.parametrize(
    "argument, says",
    [
        ("--start_size=8192", "at most 4096"),
        ("--start_size=5", "even number"),
        ("--stages=16", "STAGES: found 16"),
        ("--cache=1MiB", "CACHE: found 1MiB, needed at least 16.0 MiB"),
        ("--cache=9000TiB", "CACHE: found"),
        ("--port=70000", "from 0 to 65535"),
        ("--listen=", "needed an IP address"),
        ("--listen=example.com", "needed an IP address"),
        ("--listen=192.0.2.1", "where it cannot listen"),
        ("--film=zoom.avi", ".webp, .gif, .mp4"),
        ("--kernel_file=models/none.pt", "kernel_training_pixel_shuffle.py"),
        ("--xi=0", "XI: found"),
    ],
)
def test_mistakes(argument, says):
    done = children.call("exploring", argument, "--open_browser=false")
    assert done.returncode == 2 and says in done.stderr and done.stderr.count("\n") == 1, done


def test_mistakes_of_films(monkeypatch, tmp_path):
    for place in ("23328,0", "5", "1,2,3"):
        done = children.call("exploring", *FILM, f"--film={tmp_path}/a.webp", f"--film_place={place}")
        assert done.returncode == 2 and "x,y below 23328" in done.stderr, done
    monkeypatch.setenv("PATH", str(tmp_path))
    done = children.call("exploring", *FILM, f"--film={tmp_path}/a.mp4")
    assert done.returncode == 2 and "no ffmpeg on PATH" in done.stderr
    assert os.listdir(tmp_path) == []
