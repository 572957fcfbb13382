"""What a script declares: settings it reads, others that are a user's own, and the sources that an unfinished run depends on."""

import contextlib
import importlib
import io
import linecache
import os
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from ising_rg.base import environment
from ising_rg.base.errors import UserError
from ising_rg.growth.manifest import Manifest
from ising_rg.run import scripts, settings
from ising_rg.run.processes import Processes
from tests import children

SCRIPT = """'''Print settings.'''

from ising_rg.run import settings

# ----------------------------------------
LATTICE_SIZE = 8   # sites
OUTPUT_DIR = "out"
MY_LIST = ["a"]    # the user's own, of no kind that a setting may have
STEPS = "many"     # as well, though other scripts have a setting of this name
MINE = 3
# ----------------------------------------
THRESHOLD = [1.5, 2]


def main(s):
    print(sorted(vars(s)), s.LATTICE_SIZE, helper(s), MINE, THRESHOLD[1])


def helper(s):
    return s.OUTPUT_DIR + MY_LIST[0]


if __name__ == "__main__":
    settings.run(main, globals())
"""
PRINTED = "['LATTICE_SIZE', 'OUTPUT_DIR'] 8 outa 3 2\n"


def execute(text, path, argv, monkeypatch, **more):
    """Return what a script prints whose text is executed as the main program; path: as which Python knows it."""
    monkeypatch.setattr(sys, "argv", argv)
    with contextlib.redirect_stdout(io.StringIO()) as output:
        exec(compile(text, path, "exec"), {"__name__": "__main__", **more})
    return "".join(line for line in output.getvalue().splitlines(True) if not line.startswith(("note:", "override:")))


def test_a_constant_of_the_users_own_is_left_alone(tmp_path, monkeypatch):
    path = tmp_path / "script.py"
    path.write_text(SCRIPT)
    assert execute(SCRIPT, str(path), [str(path)], monkeypatch) == PRINTED
    assert "LATTICE_SIZE = 4" not in execute(SCRIPT, str(path), [str(path), "--lattice_size=4"], monkeypatch)
    for own in ("my_list", "mine", "threshold", "steps"):
        with pytest.raises(SystemExit):
            execute(SCRIPT, str(path), [str(path), f"--{own}=1"], monkeypatch)
    assert "--lattice_size=8" in execute(SCRIPT, str(path), [str(path), "--help"], monkeypatch)


@pytest.mark.parametrize("script", children.SCRIPTS)
def test_any_constant_may_be_added_to_any_script(script):
    module = vars(importlib.import_module(script))
    own = {"MY_LIST": ["a"], "NOTES": {}, "N": 5, "NAME": None, "CUTOFF": 0.5, "A1": "x", "FIGURES": object()}
    assert settings.collect({**module, **own}, []) == settings.collect(module, [])


def test_a_notebook_executes_a_script(monkeypatch):
    """exec(open("script.py").read()) knows no file; the arguments are the kernel's; constants of an earlier script stay there."""
    kernel = ["/usr/lib/ipykernel_launcher.py", "-f", "/run/kernel-1.json"]
    left = {"START_SIZE": 64, "SEED": "of another kind", "INPUT": []}
    assert execute(SCRIPT, "<string>", kernel, monkeypatch, **left) == PRINTED
    assert execute(SCRIPT, "<string>", kernel, monkeypatch, __file__="/home/all.py") == PRINTED
    assert execute(SCRIPT, "<string>", ["-c", "--lattice_size=4"], monkeypatch) == PRINTED.replace(" 8 ", " 4 ")
    assert "Print settings." in execute(SCRIPT, "<string>", ["-c", "--help"], monkeypatch)
    cell = "/tmp/ipykernel_1/1.py"  # its source is where a notebook puts it
    monkeypatch.setitem(linecache.cache, cell, (len(SCRIPT), None, SCRIPT.splitlines(True), cell))
    assert execute(SCRIPT, cell, kernel, monkeypatch, **left) == PRINTED


@pytest.mark.parametrize("script", children.SCRIPTS)
def test_every_script_is_found_to_have_its_settings_without_its_source(script, monkeypatch):
    path = os.path.join(children.ROOT, f"{script}.py")
    module = {"__name__": "notebook", "START_SIZE": 64, "CHECK": [], "LEVELS": None}
    exec(compile(Path(path).read_text(encoding="utf-8"), "<string>", "exec"), module)
    assert settings.collect(module, []) == settings.collect(vars(importlib.import_module(script)), [])


def test_the_digest_of_sources(tmp_path, monkeypatch):
    """It changes with the package and with the script's code, not with the script's settings."""
    monkeypatch.setattr(environment, "HERE", tmp_path / "package")
    (tmp_path / "package").mkdir()
    package, path, found = tmp_path / "package" / "sweeps.py", tmp_path / "script.py", []
    package.write_text("N = 5")
    for script, sweeps in (
        (SCRIPT, 5),
        (SCRIPT.replace("LATTICE_SIZE = 8", "LATTICE_SIZE = 16"), 5),
        (SCRIPT.replace("1.5", "1.6"), 5),
        (SCRIPT.replace("import settings", "import  settings"), 5),
        (SCRIPT, 6),
    ):
        path.write_text(script)
        package.write_text(f"N = {sweeps}")
        linecache.checkcache()
        module = {"__name__": "script"}
        exec(compile(script, str(path), "exec"), module)
        found.append(scripts.digest(module["main"]))
    assert found[0] == found[1] and len(set(found)) == 4


@pytest.fixture
def edited(monkeypatch):
    """A function after which the sources are others."""
    return lambda: monkeypatch.setattr(scripts, "digest", lambda main: "edited")


def test_an_unfinished_growth_of_other_sources_is_refused(tmp_path, edited):
    import fast_generating_multi_stage as script

    s, _ = settings.collect(vars(script), [])

    def manifest():
        deciding = script.deciding(SimpleNamespace(**s), SimpleNamespace(sweeps=(5, 3), digest="a kernel"))
        return Manifest(str(tmp_path), deciding, Processes())

    manifest().add(kind="band", config=0)
    assert manifest().pieces
    edited()
    with pytest.raises(
        UserError, match=r"of other settings or sources \(sources .sha256. = \w{16} there, edited now\); .*OUTPUT_DIR"
    ):
        manifest()


def test_samples_of_other_sources_are_added_to_no_more(tmp_path, edited):
    """Nor are those of a version that recorded no sources; samples that are all there remain what they are."""
    import data_collecting as script

    s = SimpleNamespace(**settings.collect(vars(script), [])[0])
    s.SAVE_DIR = str(tmp_path)
    script.check_chains(s, 0)
    script.check_chains(s, 3)
    edited()
    script.check_chains(s, s.NUM_SAMPLES)
    with pytest.raises(UserError, match="samples of other settings or sources .*edited now"):
        script.check_chains(s, 3)
    recorded = tmp_path / "settings.json"
    recorded.write_text(recorded.read_text().replace("sources (sha256)", "CHAINS"))
    with pytest.raises(UserError, match="sources .sha256. = None there"):
        script.check_chains(s, 3)


def test_a_training_depends_on_the_sources(edited):
    import kernel_training_pixel_shuffle as script

    s = SimpleNamespace(CRITICAL="fit", BLOCK_RULE="fit", KERNEL="independent")
    there = script.fingerprint(s, [])
    edited()
    assert script.fingerprint(s, []) == {**there, "sources (sha256)": "edited"}
