"""Labels of all sites, and the table of all clusters, in a second pass over the rows.

Clusters are numbered 0, 1, ... by their first sites in raster order. The first pass keeps, for every node, the node that it was
joined to; the second counts the same strips again and knows by that which cluster each piece is of. Pieces within a strip need
none.
"""

from __future__ import annotations

from collections.abc import Iterator

import numba
import numpy as np

from ising_rg.base.compiling import njit
from ising_rg.base.threads import share
from ising_rg.files import storage
from ising_rg.geometry import clusters, records, survey
from ising_rg.geometry.survey import Pass, Task
from ising_rg.spins.lattice import ONE

BYTES_PER_CLUSTER = 150  # of the table, while it is put together
_INSIDE, _ELSEWHERE = -1, -2
TABLE = ("size", "first", "columns", "rows", "winds", "winding")


class Labelling:
    """The labels of a lattice's clusters, after the first pass; `n_clusters` says how many there are.

    Raises:
        UserError: rows of a file cannot be read.
    """

    def __init__(self, lattice: object, task: Task, max_memory: int | None = None):
        n_rows = min(survey.rows_of_strips(lattice.width, max_memory), lattice.height)
        self._strips = min(numba.get_num_threads(), -(-lattice.height // n_rows)), n_rows
        self._lattice, self._pass = lattice, Pass(task, lattice, *self._strips, links=True)
        for band in survey.bands(lattice, *self._strips):
            survey.count_band(self._pass, band)
            for k, (words, first) in enumerate(band):
                self._pass.absorb(k, len(words) - 1, first)
        counted = self._pass.finish()
        self.n_clusters = int(counted.tally[..., records.COUNT].sum()) + len(counted.kept)

    def strips(self, dtype: type) -> Iterator[tuple[np.ndarray, tuple]]:
        """Yield, strip by strip, its labels (n, W) and its part of the columns of TABLE."""
        roots, complete = self._pass.links, np.concatenate(self._pass.complete)
        _follow(roots)
        place = np.empty(len(roots), np.int64)  # of a root: its record among the complete ones
        place[complete[:, records.ID]] = np.arange(len(complete))
        label_of_root = np.full(len(roots), -1)
        next_label, first_id = 0, 0
        for band in survey.bands(self._lattice, *self._strips):
            survey.count_band(self._pass, band, walls=False)
            numbered = []
            for one in self._pass.strips[: len(band)]:
                n = one.counts[clusters.N_CLUSTERS]
                number, record = np.empty(n, np.int64), np.full(n, _ELSEWHERE)
                begin = first_id, next_label
                next_label = _number(one, begin, (roots, place), label_of_root, number, record)
                first_id += int(one.counts[clusters.N_NODES])
                numbered.append((one, number, record))
            for (words, _), (one, number, record) in zip(band, numbered, strict=True):
                rows = np.empty((len(words) - 1, self._lattice.width), dtype)
                share(_write, len(rows), rows, number, one.runs)
                yield rows, _table(one, record, complete, (self._lattice.height, self._lattice.width))


def write(labelling: Labelling, path: str, table_path: str, description: dict) -> None:
    """Write the labels of all sites, .npy int32 or int64 (H, W), with a JSON beside it, and the table of clusters, .npz.

    The table has, by label: size; first, the first site, y W + x; columns and rows of the smallest rectangle around the cluster, on
    the plane that covers the torus, all where it winds; winds, 0 to 2, in how many ways; winding, int16 (n, 2), how often around
    along rows and columns, if in one way. Both files are written whole or not at all. Memory: BYTES_PER_CLUSTER.

    Raises:
        UserError: a file cannot be written, or rows cannot be read.
    """
    lattice, parts = labelling._lattice, []
    dtype = np.int32 if labelling.n_clusters <= np.iinfo(np.int32).max else np.int64
    header = {"descr": np.dtype(dtype).str, "fortran_order": False, "shape": (lattice.height, lattice.width)}
    storage.drop_description(path)
    with storage.written_whole(path) as file:
        np.lib.format.write_array_header_1_0(file, header)
        for rows, part in labelling.strips(dtype):
            file.write(rows.data)
            parts.append(part)
        table = [np.concatenate(columns) for columns in zip(*parts, strict=True)]
        with storage.written_whole(table_path) as table_file:
            np.savez(table_file, **dict(zip(TABLE, table, strict=True)))
    storage.save_json(storage.sidecar(path), description)


def of_memory(lattice: object, task: Task) -> tuple[np.ndarray, np.ndarray]:
    """Return (labels, int32 (H, W), and the sizes of clusters, int64) of a lattice that memory holds."""
    parts = list(Labelling(lattice, task).strips(np.int32))
    return np.concatenate([rows for rows, _ in parts]), np.concatenate([table[0] for _, table in parts])


@njit(cache=True)
def _follow(links):
    """Let every link lead to its root."""
    for i in range(links.size):
        root = links[i]
        while links[root] != root:
            root = links[root]
        while links[i] != root:
            links[i], i = root, links[i]


@njit(cache=True)
def _number(one, begin, joined, label_of_root, number, record):
    """Set the label of each cluster of a strip; return the next label.

    begin: (ID of the strip's first node, next label). joined: (roots of nodes, their places among the complete records). record: of
    clusters whose first site is in the strip that place, or _INSIDE if it is all in the strip and has none; _ELSEWHERE for others.
    """
    first_id, label = begin
    roots, place = joined
    for i in range(number.size):
        if one.node_of[i] < 0:
            number[i], record[i] = label, _INSIDE
            label += 1
            continue
        root = roots[first_id + one.node_of[i]]
        if label_of_root[root] < 0:  # strips and clusters come in raster order
            label_of_root[root] = label
            record[i] = place[root]
            label += 1
        number[i] = label_of_root[root]
    return label


@njit(nogil=True, cache=True)
def _write(first, last, rows, number, runs):
    width = rows.shape[1]
    for y in range(first, last):
        run, label = runs.first_runs[y] - 1, number[0]
        for x in range(width):
            if (runs.starts[y, x >> 6] >> np.uint64(x & 63)) & ONE:
                run += 1
                label = number[runs.parent[run]]
            rows[y, x] = label


def _table(one, record, complete, shape):
    """Return the columns of TABLE of the clusters whose first sites are in a strip."""
    mine = record != _ELSEWHERE
    inside = record[mine] == _INSIDE
    size, *_, first, left, right, bottom = one.clusters[: len(record)].T
    top = first // shape[1]
    here = np.stack([size, first, right - left + 1, bottom + top[0] - top + 1], 1)[mine]
    of = complete[np.maximum(record[mine], 0)]
    extent = of[:, [records.RIGHT, records.BOTTOM]] - of[:, [records.LEFT, records.TOP]] + 1
    there = np.concatenate([of[:, [records.SIZE, records.FIRST]], extent], 1)
    size, first, columns, rows = np.where(inside[:, None], here, there).T
    winding = np.where(inside[:, None], 0, of[:, [records.WX, records.WY]])
    cross = ~inside & (of[:, records.FLAGS] & records.CROSS > 0)
    columns = np.where(cross | (winding[:, 0] != 0), shape[1], columns)
    rows = np.where(cross | (winding[:, 1] != 0), shape[0], rows)
    winds = (winding != 0).any(1).astype(np.int8) + cross
    winding[cross] = 0
    kinds = np.int64, np.int64, np.int32, np.int32, np.int8, np.int16
    return tuple(a.astype(kind) for a, kind in zip((size, first, columns, rows, winds, winding), kinds, strict=True))
