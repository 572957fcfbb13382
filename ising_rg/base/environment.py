"""What is made sure before Numba and matplotlib are imported: a folder for compiled code, and variables that they can use.

`prepare` runs when the package is imported, on the standard library alone. What it had to change is said in `notes`, which
scripts print.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import stat
import sys
import tempfile
import threading
import warnings
from pathlib import Path

HERE = Path(__file__).resolve().parents[1]  # the package

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
    "NUMBA_CACHE_LOCATOR_CLASSES": ("", "nothing: where compiled functions are kept is told by NUMBA_CACHE_DIR"),
    **{f"TQDM_{name}": (r"-?\d{1,9}", "a whole number") for name in ("NCOLS", "NROWS", "POSITION", "INITIAL")},
    **{
        f"TQDM_{name}": (r"\d{1,9}(\.\d*)?", "a number")
        for name in ("MININTERVAL", "MAXINTERVAL", "MINITERS", "SMOOTHING", "DELAY", "UNIT_DIVISOR")
    },
    **{name: (r"(/|\w:).*", "an absolute path") for name in ("XDG_CACHE_HOME", "XDG_CONFIG_HOME")},
    **{f"TQDM_{name}": ("(?!)", "nothing: bars go to the terminal") for name in ("FILE", "WRITE_BYTES", "LOCK_ARGS")},
}


def prepare() -> None:
    """Set NUMBA_CACHE_DIR, and leave out what neither Numba nor tqdm nor matplotlib could use."""
    for name, (pattern, needed) in _USABLE.items():
        if name in os.environ and not re.fullmatch(pattern, os.environ[name].strip()):
            found = os.environ.pop(name)
            notes.append(f'{name}: found "{found}", needed {needed}; it is left out, unset it to be rid of this line')
    # Of all others that are no numbers Numba warns with a traceback, and goes on without.
    warnings.filterwarnings("ignore", "Environment variable 'NUMBA_", RuntimeWarning)
    _limit_threads()
    cache = compilation_cache()
    os.environ.pop("NUMBA_CACHE_DIR", None)
    if cache:
        os.environ["NUMBA_CACHE_DIR"] = str(cache)
    if "numba" in sys.modules:  # it has read the variable before
        sys.modules["numba"].config.CACHE_DIR = str(cache or "")
    if cache and not _writable(home() or Path(os.devnull)):  # matplotlib would warn of it
        os.environ.setdefault("MPLCONFIGDIR", str(cache.parent / "matplotlib"))


def n_cores() -> int:
    """Return how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):  # Linux only
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _limit_threads():
    """Make libraries do with the threads that can be started, which a user's or a container's limit may make fewer than cores."""
    wanted = 2 * n_cores()  # ours, and those that NumPy starts when it is imported
    n_threads = startable_threads(wanted)
    if n_threads < wanted:
        notes.append(f"{n_threads} threads can be started here (ulimit -u, or a container's limit); fewer are used")
        n_ours = min(n_threads - 1, n_cores(), int(os.environ.get("NUMBA_NUM_THREADS", wanted)))  # one is tqdm's
        others = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
        os.environ |= {"NUMBA_NUM_THREADS": str(max(1, n_ours)), **dict.fromkeys(others, "1")}
        warnings.filterwarnings("ignore", "tqdm:disabling monitor")


def startable_threads(n: int) -> int:
    """Return how many of n threads can be there at once, beside those that are."""
    end, threads = threading.Event(), []
    try:
        for _ in range(n):
            thread = threading.Thread(target=end.wait)
            thread.start()
            threads.append(thread)
    except RuntimeError:
        pass
    end.set()
    for thread in threads:
        thread.join()
    return len(threads)


def digest() -> str:
    """Return the SHA-256 of the package's sources."""
    found = hashlib.sha256()
    for path in sorted(HERE.rglob("*.py")):
        found.update(path.relative_to(HERE).as_posix().encode() + b"\0" + path.read_bytes())
    return found.hexdigest()


def compilation_cache() -> Path | None:
    """Return a folder for Numba's compiled functions that can be written to, named by the digest of all sources.

    Numba itself looks at one file only: without the digest, a function compiled before an edit to a module it inlines from
    would still be run after it. The folder lies in NUMBA_CACHE_DIR if that is set, else beside the sources, else in the
    user's cache, else among temporary files; None if none of these can be written to.
    """
    name = f"numba-{digest()[:16]}"
    set_by_user = re.sub(
        r"[/\\]numba-[0-9a-f]{16}$", "", os.path.expanduser(os.environ.get("NUMBA_CACHE_DIR", ""))
    )  # or by the parent process
    own = [HERE / "__pycache__"] + ([_user_cache()] if _user_cache() else [])
    for parent in ([Path(set_by_user)] if set_by_user else []) + own:
        if _writable(parent / name, make=True):
            return parent / name
        if set_by_user and parent == Path(set_by_user):
            notes.append(f"NUMBA_CACHE_DIR: cannot write into {parent}; compiled functions go elsewhere")
    cannot = f"{' and '.join(map(str, own))} cannot be written to"
    try:
        parent = _temporary_folder()
        (parent / name).mkdir(exist_ok=True)
    except OSError as error:
        notes.append(f"compiled functions are not kept, every run compiles anew: {cannot}, and {error.strerror}")
        return None
    notes.append(f"compiled functions go into {parent}: {cannot}")
    return parent / name


def kept() -> bool:
    """Tell whether there is a folder for compiled functions."""
    return "NUMBA_CACHE_DIR" in os.environ


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


def mend_cache() -> None:
    """Make Numba compile anew what it cannot read from its cache, such as a damaged file, and go on if it cannot write there."""
    from numba.core import caching

    load, save = caching.IndexDataCacheFile.load, caching.IndexDataCacheFile.save
    if hasattr(load, "mends"):
        return

    def load_or_forget(self, key: object) -> object:
        try:
            return load(self, key)
        except Exception as error:  # whatever unpickling makes of rubbish
            _say_once(f"damaged files in {self._cache_path} are compiled anew", type(error).__name__)
            with contextlib.suppress(OSError):
                self.flush()
            return None

    def save_or_not(self, key: object, data: object) -> None:
        try:
            save(self, key, data)
        except OSError as error:  # a full disk
            _say_once(f"compiled functions cannot be kept in {os.environ['NUMBA_CACHE_DIR']}", error.strerror)

    load_or_forget.mends = True
    caching.IndexDataCacheFile.load, caching.IndexDataCacheFile.save = load_or_forget, save_or_not


def _say_once(what, why):
    if not any(note.split(" ")[0] == what.split(" ")[0] for note in notes):
        notes.append(f"{what} ({why})")
        print(f"note: {notes[-1]}")


def home() -> Path | None:
    """Return the user's home folder, or None where neither HOME nor the system names one."""
    found = os.path.expanduser("~")
    return Path(found) if os.path.isabs(found) and os.environ.get("HOME") != "" else None


def _user_cache():
    """Return this project's folder in the user's cache, or None if there is none."""
    if sys.platform == "darwin":
        name, inner = "", "Library/Caches"
    elif os.name == "nt":
        name, inner = "LOCALAPPDATA", "AppData/Local"
    else:
        name, inner = "XDG_CACHE_HOME", ".cache"
    base = os.environ.get(name) or home() and home() / inner
    return Path(base, "ising_rg") if base else None


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
        if make and folder.parts[0] != "~":  # of a home that nobody knows
            folder.mkdir(parents=True, exist_ok=True)
        return folder.is_dir() and os.access(folder, os.W_OK | os.X_OK)
    except OSError:
        return False
