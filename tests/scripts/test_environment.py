"""Machines as people have them: read-only checkouts, broken variables, damaged caches, odd standard streams, limited memory."""

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import numpy as np
import psutil
import pytest

from ising_rg.base import environment, memory
from ising_rg.figures import pictures
from ising_rg.files import storage
from ising_rg.run import settings
from tests import children

pytestmark = pytest.mark.long

NOBODY = 65534
SCRIPT = '''"""A script that compiles one function."""
import ising_rg  # first
import numpy as np
from tqdm import tqdm
from ising_rg.figures import pictures
from ising_rg.run import settings
from ising_rg.base import threads
from ising_rg.spins import bitmaps

OUTPUT_DIR = "out"  # a folder


def main(s):
    print("width", bitmaps.from_spins(np.ones((4, 4), np.int8)).width, s.OUTPUT_DIR)
    with tqdm(total=1, disable=None) as bar:
        threads.share(lambda *_: None, 1000)
        bar.update()
    with pictures.attempt():
        figure = pictures.new_figure(1, 1)
        pictures.write_title(figure, "$")
        pictures.save(figure, "picture.png")


if __name__ == "__main__":
    settings.run(main, globals())
'''


@pytest.fixture
def open_folder():
    """A folder in which everybody may write; pytest's own are closed to other users."""
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o777)
        yield Path(folder)


@pytest.fixture
def checkout(open_folder):
    """A copy of the package, with a script that uses it."""
    folder = open_folder / "checkout"
    shutil.copytree(environment.HERE, folder / "ising_rg", ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "script.py").write_text(SCRIPT)
    for name in ("work", "home", "temporary"):
        (open_folder / name).mkdir()
        (open_folder / name).chmod(0o777)
    return folder


def run(checkout, *arguments, python=(), prefix=(), stdout=subprocess.PIPE, **variables):
    """Run the checkout's script in the folder "work" beside it."""
    dropped = ("NUMBA_CACHE_DIR", "MPLCONFIGDIR", "PYTHONPATH")
    base = {name: value for name, value in os.environ.items() if name not in dropped}
    return subprocess.run(
        [*prefix, sys.executable, *python, str(checkout / "script.py"), *arguments],
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
        cwd=checkout.parent / "work",
        env={**base, "PYTHONDONTWRITEBYTECODE": "1", **variables},
    )


def unprivileged(user=NOBODY, *more):
    """Return the command before a command that runs it as a user who may read everything; skip where that cannot be had."""
    capabilities = (
        "--inh-caps=+dac_read_search",
        "--ambient-caps=+dac_read_search",
    )  # the interpreter may be root's own
    prefix = ("setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups", *capabilities, *more)
    if not hasattr(os, "getuid") or os.getuid() or not shutil.which("setpriv"):
        pytest.skip("needs root and setpriv")
    if subprocess.run([*prefix, "true"], capture_output=True).returncode:
        pytest.skip("privileges cannot be dropped here")
    return prefix


def test_a_read_only_checkout_without_a_home_runs_and_says_where_it_compiles(checkout, open_folder):
    temporary = open_folder / "temporary"
    prefix, variables = unprivileged(), {"HOME": "/nonexistent", "TMPDIR": str(temporary)}
    for _ in range(2):
        done = run(checkout, prefix=prefix, **variables)
        assert done.returncode == 0 and done.stderr == ""
        assert "width 4" in done.stdout and done.stdout.count("compiled functions go into") == 1
    (cache,) = temporary.glob("ising_rg-*/numba-*")
    assert list(cache.rglob("*.nbc")) and cache.parent.stat().st_mode & 0o777 == 0o700


def test_compiled_code_of_an_earlier_version_never_runs(checkout, open_folder):
    """The checkout cannot be written to, the home folder can: an edit with the old time stamp and size changes what runs."""
    home = open_folder / "home"
    module = checkout / "ising_rg" / "extra" / "compiled.py"
    module.parent.mkdir()
    script = SCRIPT.replace("bitmaps.from_spins(np.ones((4, 4), np.int8)).width", "two()")
    (checkout / "script.py").write_text(
        script.replace("import numpy as np", "from ising_rg.extra.compiled import two", 1)
    )
    source = "import numba\nfrom ising_rg.extra.inlined import one\n\n@numba.njit(cache=True)\ndef two():\n    return one() * 2\n"
    module.write_text(source)
    for number in (1, 2):
        inlined = "import numba\n\n@numba.njit(inline='always')\ndef one():\n    return " + str(number) + "\n"
        (module.parent / "inlined.py").write_text(inlined)
        done = run(checkout, prefix=unprivileged(), HOME=str(home))
        assert done.returncode == 0, done.stderr
        assert f"width {2 * number}" in done.stdout
    assert len(list(home.glob(".cache/ising_rg/numba-*"))) == 2


@pytest.mark.parametrize("kind", ["nbi", "nbc"])
def test_damaged_compiled_files_are_made_anew_and_that_is_said_once(checkout, kind):
    assert run(checkout).returncode == 0
    for number, path in enumerate((checkout / "ising_rg" / "__pycache__").rglob(f"*.{kind}")):
        path.write_bytes(path.read_bytes()[: 40 * (number % 2)])
    done = run(checkout)
    assert done.returncode == 0 and done.stderr == "" and done.stdout.count("damaged") == 1
    assert "damaged" not in run(checkout).stdout


@pytest.fixture
def no_temporary_folder(open_folder):
    """A folder for PYTHONPATH with which Python finds no folder for temporary files."""
    (open_folder / "site").mkdir()
    (open_folder / "site" / "sitecustomize.py").write_text(
        "import tempfile\ntempfile._candidate_tempdir_list = lambda: ['/nonexistent']\n"
    )
    return str(open_folder / "site")


def test_one_writable_folder_is_enough(checkout, open_folder, no_temporary_folder):
    """Neither the checkout, nor a home folder, nor one for temporary files: without a cache; nor is a folder named "~" made."""
    user = next(number for number in range(54321, 60000) if not known(number))
    variables = {"PYTHONPATH": no_temporary_folder, "NUMBA_CACHE_DIR": "~/cache"}
    for arguments in ((), ("--help",)):
        done = run(checkout, *arguments, prefix=unprivileged(user, "env", "-u", "HOME"), **variables)
        assert done.returncode == 0 and done.stderr == "", done.stderr
        assert done.stdout.count("compiled functions are not kept, every run compiles anew") == (not arguments)
    assert set(os.listdir(open_folder / "work")) <= {"picture.png"}


def known(number):
    import pwd

    with contextlib.suppress(KeyError):
        return pwd.getpwuid(number)


def test_a_cache_that_cannot_be_written_into_is_said_once(monkeypatch, capsys):
    """As on a full disk: what was compiled is used."""
    import numba
    from numba.core import caching

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(environment, "notes", [])
    monkeypatch.setattr(
        caching.IndexDataCacheFile, "load", full
    )  # read, and forgotten where that cannot be written either
    monkeypatch.setattr(caching.IndexDataCacheFile, "save", full)
    monkeypatch.setattr(caching.IndexDataCacheFile, "flush", full)
    environment.mend_cache()
    for function in (lambda: 1, lambda: 2):
        assert numba.njit(cache=True)(function)() == function()
    assert capsys.readouterr().out.count("compiled functions cannot be kept in ") == 1


def test_a_full_disk_keeps_no_compiled_functions(checkout, open_folder):
    (open_folder / "disk").mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=16k,mode=777", "tmpfs", str(open_folder / "disk")]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("mounting a small disk needs root")
    try:
        done = run(checkout, NUMBA_CACHE_DIR=str(open_folder / "disk"))
    finally:
        subprocess.run(["umount", "-l", open_folder / "disk"], check=True)
    assert done.returncode == 0 and done.stderr == "" and "width 4" in done.stdout
    assert done.stdout.count("note: ") == 1 and "cannot be kept in" in done.stdout and "No space left" in done.stdout


def test_few_threads_will_do(checkout, open_folder, limit=2):
    if not shutil.which("prlimit"):
        pytest.skip("needs prlimit")
    home = open_folder / "home"
    done = run(checkout, prefix=(*unprivileged(NOBODY - 1), "prlimit", f"--nproc={limit}"), HOME=str(home))
    assert done.returncode == 0 and done.stderr == "" and "width 4" in done.stdout, done.stderr
    assert done.stdout.count(f"note: {limit - 1} threads can be started here") == (
        limit - 1 < 2 * environment.n_cores()
    )


def test_a_limit_of_threads_is_kept(monkeypatch, capsys):
    """Libraries are told of it; where one more is needed, that is one line."""
    left, start = [0], threading.Thread.start

    def limited(thread):
        if left[0] == 0:
            raise RuntimeError("can't start new thread")
        left[0] -= 1
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", limited)
    monkeypatch.setattr(environment, "n_cores", lambda: 4)
    for given, n_threads, expected in (("", 0, "1"), ("", 3, "2"), ("", 7, "4"), ("2", 7, "2"), ("2", 2, "1")):
        monkeypatch.setattr(environment, "notes", [])
        monkeypatch.setattr(os, "environ", {"NUMBA_NUM_THREADS": given} if given else {})
        left[0] = n_threads
        environment._limit_threads()
        assert os.environ["NUMBA_NUM_THREADS"] == expected and os.environ["OPENBLAS_NUM_THREADS"] == "1"
        assert environment.notes[0].startswith(f"{n_threads} threads can be started")
    left[0] = 8
    monkeypatch.setattr(os, "environ", {})
    environment._limit_threads()
    assert not os.environ
    monkeypatch.undo()
    script = {}
    exec('def main(s): raise RuntimeError("can\'t start new thread")', script)
    with pytest.raises(SystemExit) as ended:
        settings.run(script["main"], script)
    told = capsys.readouterr().err
    assert ended.value.code == 2 and told.count("\n") == 1 and "can't start new thread" in told


def test_variables_of_other_programs_do_no_harm(checkout, open_folder):
    """What is malformed is named and left out, what is for another repository or a style of pictures of no effect."""
    broken = {
        "NUMBA_NUM_THREADS": "0",
        "NUMBA_OPT": "best",
        "NUMBA_CPU_FEATURES": "rubbish",
        "NUMBA_DISABLE_JIT": "1",
        "NUMBA_THREADING_LAYER_PRIORITY": "tbb",
        "NUMBA_CACHE_LOCATOR_CLASSES": "Nowhere",
        "TQDM_MININTERVAL": "often",
        "TQDM_NCOLS": "wide",
        "TQDM_POSITION": "top",
        "TQDM_MINITERS": "some",
        "TQDM_FILE": "log",
        "TQDM_LOCK_ARGS": "x",
        "TQDM_WRITE_BYTES": "1",
        "XDG_CACHE_HOME": "relative",
        "XDG_CONFIG_HOME": "relative",
    }
    ignored = {
        "NUMBA_BOUNDSCHECK": "perhaps",
        "NUMBA_THREADING_LAYER": "tbb",  # there on some machines
        "MPLBACKEND": "module://matplotlib_inline.backend_inline",
        "MATPLOTLIBRC": str(open_folder / "matplotlibrc"),
        "TQDM_DISABLE": "x",
        "TQDM_SMOOTHING": "0.5",
        "PYTHONWARNINGS": "error",
        "PYTHONOPTIMIZE": "2",
        "TORCH_LOGS": "x",
        "COLUMNS": "x",
        "TMPDIR": "/nonexistent",
        "LC_ALL": "xx_YY.foo",
    }
    (open_folder / "matplotlibrc").write_text("text.usetex: True\n")
    done = run(checkout, **broken, **ignored)
    assert done.returncode == 0 and done.stderr == "" and "width 4" in done.stdout
    for name in broken:
        assert done.stdout.count(f"note: {name}: found") == 1
    assert os.listdir(open_folder / "work") == ["picture.png"]


def test_the_commit_is_this_repositorys(tmp_path, monkeypatch):
    """Not that of another whose variables are set, as in a hook of it."""
    if not shutil.which("git"):
        pytest.skip("needs git")
    git = ["git", "-C", str(tmp_path), "-c", "user.name=x", "-c", "user.email=x"]
    for command in (["init", "-q"], ["commit", "-q", "--allow-empty", "-m", "x"]):
        subprocess.run([*git, *command], check=True)
    commit = settings._commit.__wrapped__
    expected = commit()
    for name, value in (
        ("GIT_DIR", tmp_path / ".git"),
        ("GIT_WORK_TREE", tmp_path),
        ("GIT_CEILING_DIRECTORIES", "/"),
        ("GIT_INDEX_FILE", tmp_path / "index"),
        ("GIT_CONFIG_COUNT", "x"),
    ):
        monkeypatch.setenv(name, str(value))
        assert commit() == expected


def test_an_unknown_threading_layer_is_left_out(monkeypatch):
    monkeypatch.setattr(environment, "notes", [])
    for value in ("xyz", ""):
        monkeypatch.setenv("NUMBA_THREADING_LAYER", value)
        monkeypatch.setenv("NUMBA_CACHE_DIR", os.environ["NUMBA_CACHE_DIR"])
        environment.prepare()
        assert "NUMBA_THREADING_LAYER" not in os.environ
    assert len(environment.notes) == 2 and "one of tbb, omp, workqueue" in environment.notes[0]


def test_a_threading_layer_that_cannot_be_loaded_is_replaced(monkeypatch):
    from numba import config
    from numba.np.ufunc import parallel

    monkeypatch.setattr(environment, "notes", [])
    monkeypatch.setattr(config, "THREADING_LAYER", "tbb")
    launched = []

    def launch():
        launched.append(config.THREADING_LAYER)
        if config.THREADING_LAYER == "tbb":
            raise ValueError("No threading layer could be loaded.")

    monkeypatch.setattr(parallel, "_launch_threads", launch)
    monkeypatch.setattr(parallel, "threading_layer", lambda: "omp")
    environment.use_a_threading_layer()
    assert launched == ["tbb", "default"] and "omp is used instead" in environment.notes[0]


def test_the_compilation_cache_is_named_by_all_sources_wherever_it_lies(monkeypatch, tmp_path):
    monkeypatch.setattr(environment, "HERE", tmp_path / "package")
    monkeypatch.setattr(environment, "notes", [])
    monkeypatch.delenv("NUMBA_CACHE_DIR")
    inner = tmp_path / "package" / "part"
    inner.mkdir(parents=True)
    (inner / "module.py").write_text("a = 1")
    first = environment.compilation_cache()
    assert first.parent == tmp_path / "package" / "__pycache__"
    (inner / "module.py").write_text("a = 2")
    second = environment.compilation_cache()
    assert second != first
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "own"))
    assert environment.compilation_cache() == tmp_path / "own" / second.name
    monkeypatch.setenv(
        "NUMBA_CACHE_DIR", str(tmp_path / "own" / first.name)
    )  # inherited from another version's process
    assert environment.compilation_cache() == tmp_path / "own" / second.name
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "file"))
    assert environment.compilation_cache() == second and "NUMBA_CACHE_DIR" in environment.notes[0]


def test_a_temporary_folder_of_another_user_is_not_used(monkeypatch, tmp_path):
    monkeypatch.setattr(environment.tempfile, "tempdir", str(tmp_path))
    own = environment._temporary_folder()
    assert own == tmp_path / f"ising_rg-{os.getuid()}" == environment._temporary_folder()
    own.chmod(0o777)
    assert environment._temporary_folder() != own


@pytest.mark.parametrize("how", ["closed", "-OO", "cp1252"])
def test_any_standard_output_will_do(checkout, how):
    if how == "closed":
        command = f'exec "{sys.executable}" "{checkout / "script.py"}" >&-'
        done = subprocess.run(["sh", "-c", command], cwd=checkout.parent / "work", capture_output=True, text=True)
        assert done.returncode == 0 and done.stderr == ""
        return
    options = {"python": ("-OO",)} if how == "-OO" else {"PYTHONIOENCODING": "cp1252"}
    done = run(checkout, "--output_dir=\u0434\u0430\u043d\u043d\u044b\u0435", **options)
    assert done.returncode == 0 and done.stderr == "" and "override: OUTPUT_DIR" in done.stdout
    done = run(checkout, "--help", **options)
    assert done.returncode == 0 and "A script that compiles" in done.stdout and "a folder" in done.stdout


def test_a_notebook_runs_scripts(checkout):
    """IPython's standard output has no `reconfigure`, and its %run executes a script in the notebook's process."""
    (checkout / "notebook.py").write_text(
        "import io, runpy, sys\n"
        "class Output(io.StringIO):\n    reconfigure = property()\n"
        "sys.argv, real, sys.stdout = ['script.py', '--output_dir=o'], sys.stdout, Output()\n"
        f"runpy.run_path({str(checkout / 'script.py')!r}, run_name='__main__')\n"
        "real.write(sys.stdout.getvalue())\n"
    )
    done = subprocess.run([sys.executable, "notebook.py"], cwd=checkout, capture_output=True, text=True)
    assert done.returncode == 0 and "width 4 o" in done.stdout, done.stderr


def test_a_failing_picture_is_a_note(capsys):
    with pictures.attempt():
        raise RuntimeError("no\nfont")
    assert capsys.readouterr().out == "note: no picture was drawn (RuntimeError: no font)\n"


def _no_pictures():
    def fail(*_):
        raise RuntimeError("no font")

    pictures.new_figure = fail


@pytest.mark.parametrize(
    "script, arguments, files",
    [
        ("normal_fast_2d_Ising", ("--lattice_size=36", "--num_sweeps=40"), ("spins_L36.npy", "series.npy")),
        ("fast_generating_single_stage", ("--low_res_size=16",), ("seed_L16.npy",)),
        ("fast_generating_multi_stage", ("--start_size=16", "--stages=1"), ("spins_0000_stage1_L48.npy",)),
    ],
)
def test_what_was_computed_is_written_where_no_picture_can_be(tmp_path, script, arguments, files):
    done = children.run(script, *arguments, f"--output_dir={tmp_path}", patch=_no_pictures)
    assert done.returncode == 0 and "no picture was drawn" in done.stdout
    for name in (*files, "*_report.json"):
        assert list(tmp_path.glob(name))
    there = f"--input={tmp_path / files[0]}"
    done = children.run("checking", there, f"--output_dir={tmp_path}/check", patch=_no_pictures)
    assert done.returncode == ("verdict: bad" in done.stdout) and "no picture was drawn" in done.stdout
    if script == "normal_fast_2d_Ising":
        blocked = ("--levels=1", "--rule_file=majority", f"--output_dir={tmp_path}/blocked")
        done = children.run("renormalizing", there, *blocked, patch=_no_pictures)
        assert done.returncode == 0 and done.stdout.count("no picture was drawn") == 1
        assert {"blocking_report.json", "spins_0000_level1_L12.npy"} <= set(os.listdir(tmp_path / "blocked"))


def test_weights_are_written_where_no_picture_can_be(tmp_path):
    spins = np.where(np.random.default_rng(1).random((2, 126, 126)) < 0.5, -1, 1).astype(np.int8)
    storage.save_batch(str(tmp_path / "batch_000.pt"), spins, {})
    folders = [f"--{name}={tmp_path}" for name in ("data_dir", "picture_dir", "checkpoint_dir")]
    small = ("--kernel=independent", "--block_rule=load", "--steps=1", f"--param_file={tmp_path}/kernel.pt")
    done = children.run("kernel_training_pixel_shuffle", *folders, *small, patch=_no_pictures)
    assert done.returncode == 0 and "no picture was drawn" in done.stdout and "next: python" in done.stdout
    assert {"kernel.pt", "kernel.json"} <= set(os.listdir(tmp_path)) and not list(tmp_path.glob("*checkpoint.pt"))


def test_a_title_is_no_formula_and_no_users_style_counts(tmp_path, capsys):
    """usetex calls LaTeX; a $ begins a formula; a file's name may hold letters that no font has, or no letters at all."""
    import matplotlib

    with matplotlib.rc_context({"text.usetex": True, "font.family": "none"}):
        for name in (r"a$\nonsense$.npy", "\udcff\udcfe.npy", "\u4e2d\n\x01.npy"):
            with pictures.attempt():
                figure = pictures.new_figure(1, 1)
                pictures.write_title(figure, name)
                pictures.save(figure, str(tmp_path / "picture.png"))
            assert capsys.readouterr().out == "" and (tmp_path / "picture.png").exists()
            os.remove(tmp_path / "picture.png")
        assert matplotlib.rcParams["text.usetex"]


def write(folder, **contents):
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in contents.items():
        (folder / name.replace("__", ".")).write_text(content)


def test_a_containers_limit_counts(tmp_path):
    """Of nested limits the narrowest; the cache of files is given back; no limit, or no control groups, leave the machine's."""
    host = psutil.virtual_memory().available
    membership = tmp_path / "membership"
    membership.write_text("0::/outer/inner\n")
    two = tmp_path / "two"
    write(two, **{"memory__stat": "inactive_file 7\n"})
    write(
        two / "outer",
        memory__max="5000000\n",
        memory__current="3000000\n",
        memory__stat="inactive_file 500000\nactive_file 500000\nanon 1\n",
    )
    write(two / "outer" / "inner", memory__max="max\n", memory__current="1000\n", memory__stat="")
    assert memory.available(two, membership) == 3000000
    membership.write_text("3:cpu:/x\n4:hugetlb,memory:/docker/abc\n0::/\n")
    one = tmp_path / "one"
    stat = "cache 9\ntotal_inactive_file 100000\ntotal_active_file 0\n"
    # In the container the mount begins at its own group: the path that the host knows is not there.
    write(one / "memory", memory__limit_in_bytes="2000000", memory__usage_in_bytes="500000", memory__stat=stat)
    assert memory.available(one, membership) == 1600000
    write(one / "memory", memory__limit_in_bytes=str(2**63 - 4096))
    assert memory.available(one, membership) == pytest.approx(host, rel=0.2)
    assert memory.available(tmp_path / "none", tmp_path / "missing") == pytest.approx(host, rel=0.2)


def test_provenance_and_help_from_another_folder(tmp_path):
    from ising_rg.run import settings

    done = children.run("checking", "--help", cwd=str(tmp_path))
    assert done.returncode == 0 and "--input=" in done.stdout
    here = Path(settings.environment.HERE)
    assert here.name == "ising_rg" and (here.parent / "checking.py").exists()
