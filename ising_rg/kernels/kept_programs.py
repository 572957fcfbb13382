"""Programs made from weight files, kept from one run to the next: torch, which takes two seconds to import, is needed once only."""

from __future__ import annotations

import contextlib
import glob
import os
import zipfile
from collections.abc import Callable, Mapping

import numpy as np

from ising_rg.base.errors import UserError
from ising_rg.files import storage

_MOST = 100  # programs off criticality, of 30 kB each


def program(
    digest: str,
    mu: float,
    make: Callable[[], object],
    to_arrays: Callable[[object], dict[str, np.ndarray]],
    from_arrays: Callable[[Mapping[str, np.ndarray]], object],
) -> object:
    """Return what make() makes of a weight file of this SHA-256 at mass mu, or what an earlier call has made and kept.

    It is kept beside the functions that Numba has compiled, as the arrays that to_arrays tells.
    """
    folder = os.environ.get("NUMBA_CACHE_DIR", os.devnull)
    path = os.path.join(folder, f"program_{digest}{f'_{mu.hex()}' if mu else ''}.npz")
    try:
        with np.load(path) as arrays:
            return from_arrays(arrays)
    except (OSError, EOFError, ValueError, TypeError, KeyError, zipfile.BadZipFile):  # not there, or not whole
        pass
    made = make()
    with contextlib.suppress(UserError), storage.written_whole(path) as file:  # on a full disk nothing but time is lost
        np.savez(file, **to_arrays(made))
    _remove_oldest(folder)
    return made


def _remove_oldest(folder):
    """Remove the programs off criticality that were kept first, but _MOST of them."""
    with contextlib.suppress(OSError):  # another process does the same
        found = glob.glob(os.path.join(glob.escape(folder), "program_*_*.npz"))
        for name in sorted(found, key=os.path.getmtime)[:-_MOST]:
            os.remove(name)
