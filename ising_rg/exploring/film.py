"""A film from the whole lattice to single spins at a place: .webp and .gif by pillow, .mp4 by ffmpeg where that is there.

The scale falls by the same factor from frame to frame. A frame between two stages blends their levels, the coarser one enlarged and
the finer one averaged: the finer one's weight is 1 where its pixels are the frame's, 0 where three are one. No frame shows a jump.
"""

from __future__ import annotations

import json
import math
import os
import shutil
import subprocess
from collections.abc import Iterator

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from ising_rg.base.errors import UserError
from ising_rg.exploring.atlas import Atlas
from ising_rg.figures import png
from ising_rg.files import storage
from ising_rg.sampler.sampling import SCALE

_CLOSEST = 16  # pixels a site at the end
_BLOCK = 32  # sites per side, of each stage, where a place is looked for
_HOLD = 1.0  # s that the last frame stays
_RATES = {".webp": 15, ".gif": 12.5, ".mp4": 30}  # frames a second; a GIF counts hundredths of a second
_QUALITY = 36  # of WebP: 320 x 320 pixels of critical spins in some 25 kB
_GREYS = 16  # of a GIF, whose size goes with them


def check(path: str) -> None:
    """Raise UserError unless such a film can be made here."""
    ending = os.path.splitext(path)[1].lower()
    if ending not in _RATES:
        raise UserError(f'FILM: found "{path}", needed a name that ends in {", ".join(_RATES)}')
    if ending == ".mp4" and not shutil.which("ffmpeg"):
        raise UserError(
            f'FILM: found "{path}" and no ffmpeg on PATH, needed it for .mp4; install it, or take .webp or .gif'
        )


def write(path: str, atlas: Atlas, place: tuple[int, int], seconds: float, size: int, provenance: dict) -> int:
    """Write a film; return its number of frames.

    Args:
        place: (x, y), the site that it ends at.
        seconds: its length; size: pixels per side of a frame.
        provenance: JSON-ready; kept in a .webp and a .gif as a comment.
    """
    ending = os.path.splitext(path)[1].lower()
    rate = _RATES[ending]
    n = max(2, round(seconds * rate))
    shown = frames(atlas, place, n, size)
    with storage.written_whole(path) as file:
        if ending == ".mp4":
            _encode(path, shown, rate, size, round(_HOLD * rate))
            with open(_part(path), "rb") as made:
                shutil.copyfileobj(made, file)
            os.remove(_part(path))
            return n
        about = json.dumps(provenance)
        durations = [round(1000 / rate)] * (n - 1) + [round(1000 * _HOLD)]
        more = {"save_all": True, "duration": durations, "loop": 0}
        if ending == ".webp":
            exif = Image.Exif()
            exif[0x010E] = about  # ImageDescription
            more |= {"quality": _QUALITY, "method": 4, "exif": exif.tobytes(), "format": "WEBP"}
        else:
            shown = (frame.quantize(_GREYS) for frame in shown)
            more |= {"comment": about.encode(), "optimize": False, "format": "GIF"}
        first = next(shown)
        first.save(file, append_images=shown, **more)
    return n


def balanced(atlas: Atlas) -> tuple[int, int]:
    """Return a site, (x, y), around which up and down meet at every depth: of nine blocks near by always the one with least |m|."""
    x = y = atlas.levels[0].side // 2
    for number, level in enumerate(atlas.levels):
        block = min(_BLOCK, level.side // 3)
        near = atlas.grey(
            number, (y - 3 * block // 2) % level.side, (x - 3 * block // 2) % level.side, 3 * block, 3 * block
        )
        greys = near.reshape(3, block, 3, block).mean((1, 3))
        down, right = np.unravel_index(np.argmin(np.abs(greys - png.WHITE / 2)), greys.shape)
        x, y = (int(place + (step - 1) * block) % level.side for place, step in ((x, right), (y, down)))
        if number + 1 < len(atlas.levels):
            x, y = (SCALE * place + SCALE // 2 for place in (x, y))
    return x, y


def frames(atlas: Atlas, place: tuple[int, int], n: int, size: int) -> Iterator[Image.Image]:
    """Yield n frames, grey pictures of size x size pixels."""
    L = atlas.levels[-1].side
    x, y = place
    for i in range(n):
        scale = (size / L) ** (1 - i / (n - 1)) * _CLOSEST ** (i / (n - 1))  # pixels a site
        # From the whole lattice, whose middle is the place: it is a torus.
        yield _labelled(picture(atlas, (x + 0.5, y + 0.5), scale, size), atlas, scale)


def picture(atlas: Atlas, centre: tuple[float, float], scale: float, size: int) -> np.ndarray:
    """Return grey levels, float32 (size, size), around a place of the last stage at so many pixels a site."""
    finest = len(atlas.levels) - 1
    depth = finest + math.log(scale, 3)  # of the level, maybe between two, whose pixels are the frame's
    finer = min(finest, max(0, math.ceil(depth - 1e-9)))
    weight = 1.0 if finer == 0 else min(1.0, 1 - (finer - depth))
    shown = weight * _level(atlas, finer, centre, scale, size)
    if weight < 1:
        shown += (1 - weight) * _level(atlas, finer - 1, centre, scale, size)
    return shown


def _level(atlas, number, centre, scale, size):
    """Return what one level shows, float32 (size, size): averages of its pixels, or enlarged ones."""
    side = atlas.levels[number].side
    pixel = 3.0 ** (number - len(atlas.levels) + 1)  # its pixels a site
    reach = size / scale * pixel / 2
    edges = [centre[i] * pixel - reach for i in (0, 1)]
    column, row = (math.floor(edge) for edge in edges)
    n = math.ceil(2 * reach) + 1
    if n > side:  # the whole lattice, and a little of it again
        grey = np.take(
            np.take(atlas.grey(number, 0, 0, side, side), range(row, row + n), 0, mode="wrap"),
            range(column, column + n),
            1,
            mode="wrap",
        )
    else:
        grey = atlas.grey(number, row % side, column % side, n, n)
    left, top = edges[0] - column, edges[1] - row
    box = (left, top, min(n, left + 2 * reach), min(n, top + 2 * reach))
    how = Image.Resampling.BOX if 2 * reach >= size else Image.Resampling.NEAREST
    return np.asarray(Image.fromarray(grey).resize((size, size), how, box), np.float32)


def _labelled(grey, atlas, scale):
    """Return a frame with its scale bar and stage."""
    frame = Image.fromarray(np.rint(grey).astype(np.uint8))
    size, pen = frame.width, ImageDraw.Draw(frame)
    font = ImageFont.load_default(max(10, size // 24))
    number = min(len(atlas.levels) - 1, max(0, round(len(atlas.levels) - 1 + math.log(scale, 3))))
    level = atlas.levels[number]
    name = f"stage {level.stage}" if level.stage else "start lattice"
    longest = 10 ** math.floor(math.log10(max(1, size / 3 / scale)))
    longest *= max(factor for factor in (1, 2, 5) if factor * longest <= max(1, size / 3 / scale))
    lines = (f"{longest:,} site{'s' if longest > 1 else ''}", f"{name}, L = {level.side:,}")
    height, margin = font.size + 4, size // 40
    top = size - margin - 2 * height - 10
    width = max(pen.textlength(line, font) for line in lines)
    pen.rectangle((margin, top - 4, margin + max(width, longest * scale) + 12, size - margin), fill=255)
    pen.text((margin + 6, top - 2), lines[0], 0, font)
    pen.rectangle((margin + 6, top + height, margin + 6 + longest * scale, top + height + 3), fill=0)
    pen.text((margin + 6, top + height + 6), lines[1], 0, font)
    return frame


def _part(path):
    return f"{path}.{os.getpid()}.part.mp4"


def _encode(path, shown, rate, size, n_held):
    """Let ffmpeg make a film of grey frames, the last one held."""
    command = f"ffmpeg -loglevel error -y -f rawvideo -pix_fmt gray -s {size}x{size} -r {rate} -i - -an -pix_fmt yuv420p".split()
    with subprocess.Popen([*command, _part(path)], stdin=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        try:
            for frame in shown:
                process.stdin.write(frame.tobytes())
            for _ in range(n_held):
                process.stdin.write(frame.tobytes())
            process.stdin.close()
        except BrokenPipeError:
            pass
        said = process.stderr.read().decode(errors="replace").strip()
    if process.returncode:
        raise UserError(
            f"{path}: ffmpeg made no film ({said.splitlines()[-1] if said else process.returncode}); take .webp or .gif"
        )
