"""A configuration as a pyramid of tiles, Deep Zoom format, and a page that zooms from the whole lattice to single spins.

    <name>_files/<level>/<column>_<row>.png    levels 0 (one pixel) ... n (one pixel a spin); black: up, white: down
    <name>.dzi                                 size, tile size and format, for any other viewer
    <name>.html                                the page, viewer included; opens from disk without a server

Every level holds the averages of 2 x 2 pixels of the next finer one, rounded to whole grey levels (halves up: a few levels
are a grey level or so too bright at most); a last odd row or column stands for the missing one beside it too.

The lattice is read once, from top to bottom, in bands of a tile's height. Each level averages what it is given (Pillow's `reduce`),
and holds one row of tiles. Tiles are compressed by several threads.
"""

from __future__ import annotations

import contextlib
import html
import os
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import quote

import numpy as np
from PIL import Image

from ising_rg.base import environment
from ising_rg.base.errors import UserError
from ising_rg.figures import pages, png
from ising_rg.files import storage

_WORST_BYTES_PER_SITE = 0.36  # all levels at compression 2: random spins take 0.34, critical ones 0.26
_BLOCK = 4096  # bytes by which a file system rounds up a file
_DZI = """<?xml version="1.0" encoding="UTF-8"?>
<Image xmlns="http://schemas.microsoft.com/deepzoom/2008" Format="png" Overlap="0" TileSize="{tile_size}">
  <Size Height="{L}" Width="{L}"/>
</Image>
"""


def disk_bytes(L: int, tile_size: int) -> int:
    """Return the bytes of disk that the pyramid of L x L spins takes at most."""
    tiles = 0
    side = L
    while True:
        tiles += (-(-side // tile_size)) ** 2
        if side == 1:
            return int(_WORST_BYTES_PER_SITE * L * L) + tiles * _BLOCK + 2**20
        side = (side + 1) // 2


def write(
    L: int,
    rows: Callable[[int, int], np.ndarray],
    folder: str,
    name: str,
    tile_size: int,
    compression: int,
    page: str,
    progress: Callable[[int], object] = lambda n_rows: None,
) -> tuple[int, int]:
    """Write the pyramid of a configuration and its page into `folder`, the page last; older ones of that name are replaced.

    Until it is whole, the pyramid grows in a hidden folder, which is removed if anything goes wrong, and by the next run if
    this one is killed.

    Args:
        L: sites per side.
        rows: rows(first, n) -> bit-packed spins, uint8 (n, ceil(L / 8)), as `configurations.open_packed_rows` returns.
        name: of the files, without extension.
        tile_size: pixels per side of a tile.
        compression: zlib's, 2 ... 9.
        page: text of the .html, as `page` returns.
        progress: called with the number of rows that were read.

    Returns:
        (number of tiles, bytes of all files).

    Raises:
        UserError: the files cannot be written, a folder <name>_files is no pyramid, or what `rows` raises.
    """
    hidden = os.path.join(folder, f".{name}.tmp")
    target = os.path.join(folder, name)
    if os.path.exists(target + "_files") and not all(level.isdigit() for level in os.listdir(target + "_files")):
        raise UserError(
            f"{target}_files: found a folder that is no pyramid of tiles, which would replace it; choose another"
        )
    shutil.rmtree(hidden, ignore_errors=True)
    try:
        os.makedirs(hidden)
        with ThreadPoolExecutor(environment.n_cores()) as pool:
            pyramid = _Pyramid(L, tile_size, compression, os.path.join(hidden, "pyramid_files"), pool)
            for first in range(0, L, tile_size):
                n = min(tile_size, L - first)
                bits = np.unpackbits(rows(first, n), axis=1, count=L)
                pyramid.add(bits - np.uint8(1))  # up is 0, black; down 255, white
                progress(n)
        dzi = _DZI.format(L=L, tile_size=tile_size).encode()
        with storage.written_whole(os.path.join(hidden, "pyramid.dzi")) as file:
            file.write(dzi)
        _remove(target + ".html", target + ".dzi")
        shutil.rmtree(target + "_files", ignore_errors=True)
        os.rename(os.path.join(hidden, "pyramid_files"), target + "_files")
        os.rename(os.path.join(hidden, "pyramid.dzi"), target + ".dzi")
    except OSError as error:
        raise UserError(f"{target}: cannot be written ({error.strerror or error}); is the disk full?") from None
    finally:
        shutil.rmtree(hidden, ignore_errors=True)
    text = page.encode(errors="replace")  # a JSON may hold half a surrogate pair
    with storage.written_whole(target + ".html") as file:
        file.write(text)
    return pyramid.n_tiles, pyramid.n_bytes + len(dzi) + len(text)


class _Pyramid:
    """Levels of tiles below `folder`, made of rows of the finest one; n_tiles and n_bytes of their files."""

    def __init__(self, L, tile_size, compression, folder, pool):
        self.L, self.tile_size, self.compression, self.folder, self.pool = L, tile_size, compression, folder, pool
        self.finest = (L - 1).bit_length()
        self.sides = [-(-L // 2 ** (self.finest - number)) for number in range(self.finest + 1)]
        self.held = [[] for _ in self.sides]  # rows of each level that fill no tile yet
        self.rows = [0] * len(self.sides)  # of each level that were written
        self.n_tiles = self.n_bytes = 0
        for number in range(len(self.sides)):
            os.makedirs(os.path.join(folder, str(number)))

    def add(self, pixels):
        """Take the next rows of the finest level, uint8 (n, L)."""
        self._add(self.finest, pixels)

    def _add(self, number, pixels):
        held, side, size = self.held[number], self.sides[number], self.tile_size
        held.append(pixels)
        n_held = sum(map(len, held))
        # An even number of rows, so that none is averaged by itself but the last.
        n_rows = size if size % 2 == 0 else 2 * size
        while n_held >= n_rows or n_held and self.rows[number] + n_held == side:
            band = held[0] if len(held) == 1 else np.concatenate(held)
            band, rest = band[:n_rows], band[n_rows:]
            self._write(number, band)
            if number:
                self._add(number - 1, np.asarray(Image.fromarray(band).reduce(2)))
            held[:] = [rest] if len(rest) else []
            n_held = len(rest)

    def _write(self, number, band):
        first_row, size = self.rows[number] // self.tile_size, self.tile_size
        tiles = [
            (f"{column // size}_{first_row + y // size}.png", band[y : y + size, column : column + size])
            for y in range(0, len(band), size)
            for column in range(0, self.sides[number], size)
        ]
        sizes = list(self.pool.map(lambda tile: self._tile(number, *tile), tiles))
        self.rows[number] += len(band)
        self.n_tiles, self.n_bytes = self.n_tiles + len(sizes), self.n_bytes + sum(sizes)

    def _tile(self, number, name, pixels):
        """Write one tile, of one bit a pixel where pixels are spins; return its bytes."""
        if number == self.finest:
            content = png.of_bits(np.packbits(pixels == png.BLACK, axis=1), pixels.shape[1], self.compression)
        else:
            content = png.of_grey(pixels, self.compression)
        with open(os.path.join(self.folder, str(number), name), "wb") as file:
            file.write(content)
        return len(content)


def readable(name: str) -> str:
    """Return a file name as browsers take it: bytes that are no UTF-8 as %FF."""
    if name.isprintable():  # what stands for such bytes is not
        return name
    return os.fsencode(name).decode("utf-8", "backslashreplace").replace("\\x", "%")


def page(L: int, name: str, tile_size: int, description: dict, provenance: object) -> str:
    """Return the text of the page that shows the pyramid `name` beside it.

    Args:
        description: dict of the JSON beside the configuration; L, beta, seed (or SEED among its settings), stage are shown.
        provenance: JSON-ready; kept in the page.
    """
    parts = {
        "title": html.escape(_title(L, description)),
        "name": html.escape(name),
        "settings": pages.script_json({"L": L, "tileSize": tile_size, "url": quote(name) + "_files/"}),
        "provenance": pages.script_json(provenance),
        "style": pages.text("figures/viewer.css"),
        "shared": pages.text("figures/viewer.js"),
        "licence": pages.text(pages.LICENCE).replace("*/", ""),
        "viewer": pages.text(pages.VIEWER),
    }
    return pages.filled("figures/deep_zoom.html", parts)


def _title(L, description):
    own_settings = description.get("settings") if isinstance(description.get("settings"), dict) else {}
    beta = description.get("beta", own_settings.get("BETA"))
    seed = description.get("seed", own_settings.get("SEED"))
    parts = [f"L = {L}"]
    parts += [f"β = {beta:.6g}"] if isinstance(beta, float) else []
    parts += [f"seed {seed}"] if seed is not None else []
    parts += [f"stage {description['stage']}"] if description.get("stage") is not None else []
    return ", ".join(parts)


def _remove(*paths):
    for path in paths:
        with contextlib.suppress(FileNotFoundError):
            os.remove(path)
