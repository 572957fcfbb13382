"""What is made sure before Numba and matplotlib are imported: a folder for compiled code, and variables that they can use.

`prepare` runs when the package is imported, on the standard library alone. What it had to change is said in `notes`, which
scripts print.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent  # the package

notes = []

_LAYERS = ("tbb", "omp", "workqueue")
# Variables that end a run with a traceback, or abort the process, unless their value is like this.
_USABLE = {
    "NUMBA_NUM_THREADS": (r"[1-9]\d{0,2}", "a whole number from 1 to 999"),
    "NUMBA_OPT": (r"[0-3]|max", "0, 1, 2, 3 or max"),
    "NUMBA_DISABLE_JIT": (r"0?", "0: interpreted, a run would take days"),
    "NUMBA_CPU_FEATURES": (r"([+-][^,]+(,[+-][^,]+)*)?", "names with + or - before each, separated by commas"),
    "NUMBA_THREADING_LAYER": (
        r"(?i)default|safe|threadsafe|forksafe|tbb|omp|workqueue",
        f"one of {', '.join(_LAYERS)}",
    ),
    "NUMBA_THREADING_LAYER_PRIORITY": (
        r"(?=.*\btbb\b)(?=.*\bomp\b)(?=.*\bworkqueue\b)\w+ \w+ \w+",
        f"{' '.join(_LAYERS)} in any order",
    ),
}


def prepare() -> None:
    """Set NUMBA_CACHE_DIR, and leave out what neither Numba nor matplotlib could use."""
    for name, (pattern, needed) in _USABLE.items():
        if name in os.environ and not re.fullmatch(pattern, os.environ[name].strip()):
            found = os.environ.pop(name)
            notes.append(f'{name}: found "{found}", needed {needed}; it is left out, unset it to be rid of this line')
    cache = compilation_cache()
    os.environ["NUMBA_CACHE_DIR"] = str(cache)
    if "numba" in sys.modules:  # it has read the variable before
        sys.modules["numba"].config.CACHE_DIR = str(cache)
    if not _writable(Path(os.path.expanduser("~"))):  # matplotlib would warn of it
        os.environ.setdefault("MPLCONFIGDIR", str(cache.parent / "matplotlib"))


def compilation_cache() -> Path:
    """Return a folder for Numba's compiled functions that can be written to, named by the digest of all sources.

    Numba itself looks at one file only: without the digest, a function compiled before an edit to a module it inlines from
    would still be run after it. The folder lies in NUMBA_CACHE_DIR if that is set, else beside the sources, else in the
    user's cache, else among temporary files.
    """
    digest = hashlib.sha256()
    for path in sorted(HERE.rglob("*.py")):
        digest.update(path.relative_to(HERE).as_posix().encode() + b"\0" + path.read_bytes())
    name = f"numba-{digest.hexdigest()[:16]}"
    set_by_user = re.sub(
        r"[/\\]numba-[0-9a-f]{16}$", "", os.environ.get("NUMBA_CACHE_DIR", "")
    )  # or by the parent process
    for parent in ([Path(set_by_user)] if set_by_user else []) + [HERE / "__pycache__", _user_cache()]:
        if _writable(parent / name, make=True):
            return parent / name
        if set_by_user and parent == Path(set_by_user):
            notes.append(f"NUMBA_CACHE_DIR: cannot write into {parent}; compiled functions go elsewhere")
    parent = _temporary_folder()
    notes.append(f"compiled functions go into {parent}: neither {HERE} nor {_user_cache()} can be written to")
    (parent / name).mkdir(exist_ok=True)
    return parent / name


def use_a_threading_layer() -> None:
    """Let Numba choose its threading layer if the one that is set cannot be loaded."""
    from numba import config
    from numba.np.ufunc import parallel

    if config.THREADING_LAYER == "default":
        return
    try:
        parallel._launch_threads()
    except ValueError:
        found, config.THREADING_LAYER = config.THREADING_LAYER, "default"
        parallel._launch_threads()
        notes.append(
            f'NUMBA_THREADING_LAYER: found "{found}", which cannot be loaded here; '
            f"{parallel.threading_layer()} is used instead, install {found} or unset the variable to be rid of this line"
        )


def mend_damaged_cache() -> None:
    """Make Numba compile anew what it cannot read from its cache, such as a file cut off by a full disk."""
    from numba.core import caching

    load = caching.IndexDataCacheFile.load
    if hasattr(load, "mends"):
        return

    def load_or_forget(self, key: object) -> object:
        try:
            return load(self, key)
        except Exception as error:  # whatever unpickling makes of rubbish
            if not any("damaged" in note for note in notes):
                notes.append(f"damaged files in {self._cache_path} are compiled anew ({type(error).__name__})")
                print(f"note: {notes[-1]}")
            self.flush()
            return None

    load_or_forget.mends = True
    caching.IndexDataCacheFile.load = load_or_forget


def _user_cache():
    """Return this project's folder in the user's cache."""
    if sys.platform == "darwin":
        base = "~/Library/Caches"
    elif os.name == "nt":
        base = os.environ.get("LOCALAPPDATA", "~/AppData/Local")
    else:
        base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(os.path.expanduser(base)) / "ising_rg"


def _temporary_folder():
    """Return a folder among temporary files that nobody else can write to, the same in every run where possible."""
    if hasattr(os, "getuid"):
        folder = Path(tempfile.gettempdir(), f"ising_rg-{os.getuid()}")
        try:
            folder.mkdir(mode=0o700, exist_ok=True)
            found = folder.lstat()
            # What is loaded from here is run: it must not be another user's.
            if stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid() and not found.st_mode & 0o022:
                return folder
        except OSError:
            pass
    return Path(tempfile.mkdtemp(prefix="ising_rg-"))


def _writable(folder, make=False):
    try:
        if make:
            folder.mkdir(parents=True, exist_ok=True)
        return folder.is_dir() and os.access(folder, os.W_OK | os.X_OK)
    except OSError:
        return False
