"""A configuration to look at in a browser: from the whole lattice to single spins, as a pyramid of tiles and one page.

    python viewing.py
    python viewing.py --input=results/multi_stage/spins_0000_stage3_L13824.npy
    python viewing.py --input=data/samples/sample_0000.npy --output_dir=results/viewing

INPUT is an int8 .npy (L, L) or a bit-packed one, uint8 (L, L/8); it is read row by row, never as a whole. Of a folder or a quoted
pattern the first of the largest lattices is taken. Writes <name>.html, which opens from disk without a server, <name>_files/ (the
tiles, which the page needs beside it) and <name>.dzi (Deep Zoom, for other viewers) into OUTPUT_DIR. A place is shared by the
page's address, which ends in #x=..&y=..&zoom=.. (pixels a site).
"""

import os
import time

import ising_rg  # noqa: F401, first: it leaves out variables that the libraries could not use  # isort: skip
from tqdm import tqdm

from ising_rg.figures import deep_zoom
from ising_rg.files import storage
from ising_rg.run import folders, settings
from ising_rg.spins import configurations, spin_files

# fmt: off
# ---------------------------------------------------------------------------------------------------------------------
INPUT = "results/multi_stage"        # a configuration, .npy; or a folder or pattern (quoted) of them
TILE_SIZE = 512                      # pixels per side of a tile
COMPRESSION = 2                      # of the tiles, 2 ... 9; 6 takes twice the time of 2 for a sixth less disk
OUTPUT_DIR = "results/viewing"       # where the page and the tiles go
# ---------------------------------------------------------------------------------------------------------------------
# fmt: on


def main(s):
    paths = configurations.find(s.INPUT)
    path = max(paths, key=lambda path: spin_files.open_file(path).L)
    L, rows = configurations.open_packed_rows(path)
    description = storage.description(path)
    name = deep_zoom.readable(os.path.splitext(os.path.basename(path))[0])
    storage.keep_inputs([path], [os.path.join(s.OUTPUT_DIR, name + end) for end in (".html", ".dzi")])
    folders.claim(s.OUTPUT_DIR, name)
    settings.check_disk(deep_zoom.disk_bytes(L, s.TILE_SIZE), s.OUTPUT_DIR, f"a pyramid of {L} x {L} spins")

    start = time.perf_counter()
    print(f"{path}: {L} x {L} spins, into tiles of {s.TILE_SIZE} x {s.TILE_SIZE} pixels")
    page = deep_zoom.page(L, name, s.TILE_SIZE, description, settings.provenance(s, source=description))
    with tqdm(total=L, desc="tiles", unit="row", leave=False, disable=None) as bar:
        n_tiles, n_bytes = deep_zoom.write(
            L, rows, s.OUTPUT_DIR, name, s.TILE_SIZE, s.COMPRESSION, page, progress=bar.update
        )
    print(
        f"written: {n_tiles} tiles and the page, {n_bytes / 1e6:.1f} MB, in {time.perf_counter() - start:.1f} s; open "
        f"{os.path.join(s.OUTPUT_DIR, name)}.html"
    )


if __name__ == "__main__":
    settings.run(main, globals())
