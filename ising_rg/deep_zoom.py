"""A configuration as a pyramid of tiles, Deep Zoom format, and a page that zooms from the whole lattice to single spins.

    <name>_files/<level>/<column>_<row>.png    levels 0 (one pixel) ... n (one pixel a spin), 8-bit grey, black: up, white: down
    <name>.dzi                                 size, tile size and format, for any other viewer
    <name>.html                                the page, viewer included; opens from disk without a server

Every level holds the averages of 2 x 2 pixels of the next finer one, rounded to whole grey levels (halves up: a few levels
are a grey level or so too bright at most); a last odd row or column stands for the missing one beside it too.

libvips writes the pyramid from a stream, from top to bottom, and holds a few rows of tiles of each level. What it is given is
the bits of the file: a 1-bit PNG has the very rows of a bit-packed configuration, and in stored (uncompressed) blocks it costs a
checksum to make. (PBM, which has them too, is not among the formats of the libvips that pip installs.)
"""

from __future__ import annotations

import contextlib
import html
import os
import shutil
import time
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from types import ModuleType
from urllib.parse import quote

import numpy as np

from ising_rg import environment, pages, png, storage
from ising_rg.errors import UserError

_BAND_BYTES = 2**20  # of bits read at a time
_WORST_BYTES_PER_SITE = 0.36  # all levels at compression 2: random spins take 0.34, critical ones 0.26
_THREADS = 12  # of libvips beside one a core; without them it may crash
_BLOCK = 4096  # bytes by which a file system rounds up a file


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
        UserError: no pyvips, a name that libvips does not take, the files cannot be written, a folder <name>_files that is no
            pyramid, or what `rows` raises.
    """
    pyvips = import_pyvips()
    if any(
        "\udc80" <= character <= "\udcff" for character in f"{folder}{name}"
    ):  # bytes of a file name that are no text
        raise UserError(
            f"{os.path.join(folder, name)}: found a name that is not UTF-8, needed one: libvips takes no other"
        )
    hidden = os.path.join(folder, f".{name}.tmp")
    target = os.path.join(folder, name)
    if os.path.exists(target + "_files") and not all(level.isdigit() for level in os.listdir(target + "_files")):
        raise UserError(
            f"{target}_files: found a folder that is no pyramid of tiles, which would replace it; choose another"
        )
    shutil.rmtree(hidden, ignore_errors=True)
    try:
        os.makedirs(hidden)
        _save(pyvips, _PngStream(L, rows, progress), os.path.join(hidden, "pyramid"), tile_size, compression)
        _remove(
            os.path.join(hidden, "pyramid_files", "vips-properties.xml")
        )  # has the date: the same spins, the same files
        sizes = [
            os.path.getsize(os.path.join(place, file)) for place, _, files in os.walk(hidden) for file in files
        ]  # the .dzi is among them
        _remove(target + ".html", target + ".dzi")
        shutil.rmtree(target + "_files", ignore_errors=True)
        os.rename(os.path.join(hidden, "pyramid_files"), target + "_files")
        os.rename(os.path.join(hidden, "pyramid.dzi"), target + ".dzi")
    except OSError as error:
        raise UserError(f"{target}: cannot be written ({error.strerror or error}); is the disk full?") from None
    finally:
        _remove_folder(hidden)
    text = page.encode(errors="replace")  # a JSON may hold half a surrogate pair
    with storage.written_whole(target + ".html") as file:
        file.write(text)
    return len(sizes) - 1, sum(sizes) + len(text)


def readable(name: str) -> str:
    """Return a file name as libvips and browsers take it: bytes that are no UTF-8 as %FF."""
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
        "style": pages.text("viewer.css"),
        "shared": pages.text("viewer.js"),
        "licence": pages.text(pages.LICENCE).replace("*/", ""),
        "viewer": pages.text(pages.VIEWER),
    }
    return pages.filled("deep_zoom.html", parts)


def import_pyvips() -> ModuleType:
    """Return the module pyvips; raise UserError if it, or the libvips that it calls, is missing, or the threads that it takes."""
    needed = _THREADS + environment.n_cores()
    if (found := environment.startable_threads(needed)) < needed:
        raise UserError(
            f"libvips: found {found} threads that can be started, needed {needed}; raise the limit (ulimit -u, or a container's)"
        )
    try:
        import pyvips
    except (ImportError, OSError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(
            f'pyvips: cannot be imported ({reason}), needed to write tiles; run pip install "pyvips[binary]"'
        ) from None
    return pyvips


class _PngStream:
    """A 1-bit PNG of the spins, made as it is read; `error` holds what stopped it, and `finished` tells whether all was read."""

    def __init__(self, L, rows, progress):
        self.error, self.finished = None, False
        self._parts, self._rest = self._encode(L, rows, progress), memoryview(b"")

    def stop(self, error: BaseException) -> None:
        self.error = self.error or error

    def read(self, n_bytes: int) -> bytes:
        """Return up to n_bytes more, none at the end or after an error: it is called from C, through which none can be raised."""
        try:
            while not self._rest and not self.error and not self.finished:
                self._rest = memoryview(next(self._parts, b""))
                self.finished = not self._rest
        except BaseException as error:
            self.stop(error)
        if self.error:
            return b""
        piece, self._rest = self._rest[:n_bytes], self._rest[n_bytes:]
        return bytes(piece)

    @staticmethod
    def _encode(L, rows, progress):
        yield png.start(L, L, 1)
        stored = zlib.compressobj(0)
        row_bytes = (L + 7) // 8
        n_rows = max(1, _BAND_BYTES // row_bytes)
        for first in range(0, L, n_rows):
            n = min(n_rows, L - first)
            lines = png.unfiltered(np.invert(rows(first, n)))  # 1 is white, and an up spin is black
            progress(n)
            yield png.chunk(b"IDAT", stored.compress(lines.data))
        yield png.chunk(b"IDAT", stored.flush()) + png.chunk(b"IEND", b"")


def _save(pyvips, stream, path, tile_size, compression):
    """Write <path>_files and <path>.dzi from the stream."""

    def save() -> None:
        source = pyvips.SourceCustom()
        source.on_read(stream.read)
        image = pyvips.Image.new_from_source(source, "", access="sequential", unlimited=True, fail_on="truncated")
        image.dzsave(
            path,
            layout="dz",
            depth="onepixel",
            overlap=0,
            tile_size=tile_size,
            region_shrink="mean",
            suffix=f".png[compression={compression},filter=none]",
        )

    # libvips runs in a thread of its own, so that Ctrl-C reaches this one, which then ends the stream.
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(save)
        try:
            running.result()
        except pyvips.Error as error:
            if not stream.error:
                reason = " ".join(str(error).split())
                raise UserError(f"{path}: cannot be written ({reason}); is the disk full?") from None
        except BaseException as error:
            stream.stop(error)
            raise
    if stream.error:
        raise stream.error


def _title(L, description):
    own_settings = description.get("settings") if isinstance(description.get("settings"), dict) else {}
    beta = description.get("beta", own_settings.get("BETA"))
    seed = description.get("seed", own_settings.get("SEED"))
    parts = [f"L = {L}"]
    parts += [f"β = {beta:.6g}"] if isinstance(beta, float) else []
    parts += [f"seed {seed}"] if seed is not None else []
    parts += [f"stage {description['stage']}"] if description.get("stage") is not None else []
    return ", ".join(parts)


def _remove_folder(path):
    """Remove a folder into which libvips, stopped halfway, may be writing a last tile from a thread of its own."""
    for _ in range(50):
        shutil.rmtree(path, ignore_errors=True)
        if not os.path.exists(path):
            return
        time.sleep(0.1)


def _remove(*paths):
    for path in paths:
        with contextlib.suppress(FileNotFoundError):
            os.remove(path)
