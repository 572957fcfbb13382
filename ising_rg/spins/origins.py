"""Where the lattices of an ensemble are from: which files hold the same one, and which follow one another in a Markov chain.

Errors of means rest on both. Equal lattices count once; whether samples are correlated, a file's JSON tells.
"""

from __future__ import annotations

import json
import math
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from ising_rg.base.errors import UserError
from ising_rg.files import storage
from ising_rg.spins import bitmaps, configurations, spin_files, window_files
from ising_rg.spins.bitfile import Rows
from ising_rg.spins.bitmaps import Bitmap
from ising_rg.spins.window_files import Window
from ising_rg.theory import exact

# What a sample of data_collecting.py depends on, beside its number.
CHAIN_SETTINGS = ("LATTICE_SIZE", "BETA", "UPDATE", "WARMUP_SWEEPS", "INTERVAL_SWEEPS", "SEED", "CHAINS")
_BEGINNING = 2**20  # sites that are compared first: large lattices are read as a whole only where these are equal
_CHANCE = (
    1e-5  # that independent lattices are equal somewhere, beyond which equal ones are no copies: once in 10^5 ensembles
)


class Lattice(NamedTuple):
    """One lattice of a file."""

    name: str  # as `configurations.open_configurations` tells it
    path: str
    index: int  # in its file
    L: int  # sites per side; of a window, of a square of as many sites
    chain: str | None = None  # names the chain that it is of, or itself if it is independent; None: nobody tells
    time: int = 0  # its place in the chain
    window: Window | None = None  # what it is of a lattice, if not the whole


def distinct(paths: Sequence[str], beta: float, windows: bool = False) -> tuple[list[Lattice], dict[str, str]]:
    """Return (lattices, copies): the lattices of files in their order, of equal ones one; a dict of the others, to that one.

    Files of windows are refused unless `windows` are wanted.

    Of equal ones that is kept whose origin is known, or else the first. Where independent lattices at beta may well be equal (small
    ones, or nearly all in order) none is a copy. Copies are named in a note.

    Raises:
        UserError: as `spin_files.open_file` and `Rows.rows`.
    """
    found, beginnings, kept, copies = [], {}, {}, {}
    for path in paths:
        if not windows:
            window_files.refuse(path)
        file = spin_files.open_file(path)
        chain, time = _origin(path) if len(file) == 1 else (None, 0)
        for index in range(len(file)):
            rows = file.configuration(index)
            found.append(Lattice(rows.name, path, index, math.isqrt(rows.n_sites), chain, time, file.window))
            beginnings[rows.name] = bitmaps.digest(rows, min(rows.height, max(1, _BEGINNING // rows.width)))
    times = Counter(beginnings.values())
    for lattice in sorted(found, key=lambda one: one.chain is None):
        digest = beginnings[lattice.name]
        if times[digest] > 1 and (lattice.L + 1) ** 2 > _BEGINNING:
            digest = bitmaps.digest(spin_files.open_file(lattice.path).configuration(lattice.index))
        first = kept.setdefault(digest, lattice)
        if first is not lattice and not _equal_by_chance(len(found), lattice.L, beta):
            copies[lattice.name] = first.name
    if copies:
        shown = [f"{os.path.basename(name)} (as {os.path.basename(of)})" for name, of in list(copies.items())[:5]]
        more = f", and {len(copies) - 5} more" if len(copies) > 5 else ""
        print(
            f"note: {len(copies)} of {len(found)} lattices hold the same spins as others and are not counted again: "
            f"{', '.join(shown)}{more}"
        )
    return [lattice for lattice in found if lattice.name not in copies], copies


def opened(lattices: Sequence[Lattice]) -> Iterator[tuple[Lattice, Bitmap | Rows]]:
    """Yield each lattice and its spins, as `configurations.open_configurations` does; a file is read once."""
    wanted = {(lattice.path, lattice.index): lattice for lattice in lattices}
    for path in dict.fromkeys(lattice.path for lattice in lattices):
        for index, (_, bitmap) in enumerate(configurations.open_configurations(path, windows=True)):
            if (path, index) in wanted:
                yield wanted[path, index], bitmap


def chains(lattices: Sequence[Lattice]) -> list[list[int]] | None:
    """Return the places of lattices in each chain, in the order of time, as `comparison.ensemble` takes them; None: nobody tells.

    Those that tell nothing are together a chain in the order given.
    """
    found = {}
    for place, lattice in enumerate(lattices):
        found.setdefault(lattice.chain, []).append(place)
    if None in found and len(found) > 1:
        print(f"note: {len(found[None])} of {len(lattices)} files tell of no chain; their order is taken for time")
    return (
        None if set(found) == {None} else [sorted(of_one, key=lambda i: lattices[i].time) for of_one in found.values()]
    )


def _origin(path):
    """Return (chain, time) of a file's lattice, as the JSON beside it tells."""
    try:
        about = storage.description(path)
    except UserError:  # whoever takes beta from it says so
        return None, 0
    settings, sample = about.get("settings"), about.get("sample")
    if isinstance(settings, dict) and isinstance(sample, int):  # of data_collecting.py
        n_chains = settings.get("CHAINS", 1)
        number = sample % n_chains if isinstance(n_chains, int) and n_chains > 0 else 0
        return json.dumps([number, *(settings.get(name) for name in CHAIN_SETTINGS)]), sample
    if "config" in about and "stage" in about:  # grown, each from a seed of its own
        return path, 0
    return None, 0


def _equal_by_chance(n, L, beta):
    """Tell whether some of n independent L x L lattices at beta may well be equal.

    Two are with probability sum p^2 = Z(2 beta) / Z(beta)^2, p Boltzmann's of a state.
    """
    beta = min(max(beta, 1e-6), 50.0)  # as far as Kaufman's sums go; beyond, all are equal, or no two
    if L < 2:
        return True
    log_pair = exact.log_partition(L, 2 * beta) - 2 * exact.log_partition(L, beta)
    return math.log(n * (n - 1) / 2) + log_pair > math.log(_CHANCE)
