"""Constants edited at random, as a hasty user would, a user's own put beside them: taken, or refused with one line.

All edits are tried up to where a script begins its work; a fixed sample of them is run to its end, a larger one with `-m slow`.
"""

import importlib
import json
import os
import random
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch

from ising_rg.base.errors import UserError
from ising_rg.run import settings
from tests import children
from tests.scripts.test_fuzz import BASE, _protect

VALUES = [
    "None",
    "True",
    "0",
    "-1",
    "3",
    "8",
    "0.5",
    "2.0",
    "10**30",
    "10**5000",
    "-1e400",
    "float('nan')",
    "1j",
    "''",
    "' '",
    "'auto'",
    "'~'",
    "'no such thing'",
    "'a\\0b'",
    "'two\\nlines'",
    "'\\udcff'",
    "'$x_{1}$'",
    "'x' * 5000",
    "b'data'",
    "[]",
    "[5]",
    "(3, 2)",
    "[[1], 2]",
    "['a']",
    "{}",
    "{5}",
    "range(3)",
    "int",
    "print",
    "lambda: 3",
    "...",
    "object()",
    "np.int64(8)",
    "np.uint8(255)",
    "np.float32(0.44)",
    "np.bool_(True)",
    "np.array(8)",
    "np.array([5, 3])",
    "np.array([])",
    "np.array('x')",
    "np.zeros((2, 2))",
    "np.nan",
    "Path('x') / 'y'",
    "Path('~')",
    "Path('')",
    "Fraction(1, 2)",
    "{missing!r}",
    "{folder!r}",
    "{text!r}",
]
CHANGES = ["str({})", "[{}]", "({}, {})", "-{}", "{} * 2", "{} + 1", "{} / 2", "not {}", "{!r}.upper()", "{!r} + ' '"]
OWN = ["MY_LIST", "N", "STEPS", "INPUT", "CHECK", "SEED", "A1"]


def base(script):
    """Return {setting: value} of a small run of a script."""
    module = vars(importlib.import_module(script))
    named = [f"--{argument}" for argument in BASE.get(script, [])]
    return settings.collect(module, named)[0]


def edits(script, n, seed):
    """Yield n dicts {name of a constant: Python expression, or None where it is deleted}."""
    generator, values = random.Random(f"{script} {seed}"), base(script)
    for _ in range(n):
        edit = {}
        for name in generator.sample(sorted(values), generator.choice((1, 1, 1, 2))):
            kind = generator.random()
            if kind < 0.03:
                edit[name] = None
            elif kind < 0.4:
                form, value = generator.choice(CHANGES), values[name]
                edit[name] = form.format(*[repr(value) if "!r" not in form else str(value)] * 2)
            else:
                edit[name] = generator.choice(VALUES)
        if generator.random() < 0.2:
            own = generator.choice([name for name in OWN if name not in values])
            edit[own] = generator.choice(VALUES)
        yield edit


def edited(module, edit, places):
    """Return a copy of a script's globals with an edit."""
    module = dict(module)
    for name, expression in edit.items():
        if expression is None:
            module.pop(name)
            continue
        for place, path in places.items():
            expression = expression.replace(f"{{{place}!r}}", repr(path))
        try:
            module[name] = eval(expression, {"np": np, "Path": Path, "Fraction": Fraction})
        except (TypeError, SyntaxError):  # not -"text": such a script does not start
            module.pop(name, None)
    return module


@pytest.mark.parametrize("script", children.SCRIPTS)
def test_every_edit_is_taken_or_refused_with_one_line(script, tmp_path):
    module, n_taken = vars(importlib.import_module(script)), 0
    for edit in edits(script, 300, seed=1):
        try:
            settings.collect(edited(module, edit, {"missing": str(tmp_path)}), [])
            n_taken += 1
        except UserError as error:
            assert "\n" not in str(error) and len(str(error)) < 500 and ": found " in str(error), edit
    assert 20 < n_taken < 270


def _edit():
    """In the child: the script's constants are those of a small run, but for the edit."""
    _protect()
    given = json.loads(os.environ["EDIT"])
    module = importlib.import_module(given["script"])
    small = edited({**vars(module), **given["small"]}, given["edit"], given["places"])
    for name in set(vars(module)) - set(small):
        delattr(module, name)
    vars(module).update(small)


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    """What the words in braces stand for."""
    folder = tmp_path_factory.mktemp("edits")
    places = {name: str(folder / name) for name in ("missing", "folder", "text", "samples", "batches")}
    for name in ("folder", "samples", "batches"):
        (folder / name).mkdir()
    (folder / "text").write_text("no spins\n")
    spins = np.where(np.random.default_rng(1).random((2, 132, 132)) < 0.5, -1, 1).astype(np.int8)
    for number in range(2):
        np.save(folder / "samples" / f"sample_{number:04d}.npy", spins[number])
    torch.save(torch.from_numpy(spins), folder / "batches" / "batch_000.pt")
    np.save(folder / "spins.npy", spins[0])
    return {**places, "spins": str(folder / "spins.npy")}


def faults(places, folder, n, seed):
    """Run n edits, as many of each script that ends; return what is wrong with those that end neither well nor with one line."""
    found = []
    for script in BASE:
        for number, edit in enumerate(edits(script, -(-n // len(BASE)), seed)):
            here = folder / f"{script}_{number}"
            here.mkdir()
            os.symlink(os.path.join(children.ROOT, "models"), here / "models")
            small = {
                name: value.format(**places, out=str(here / "out")) if isinstance(value, str) else value
                for name, value in base(script).items()
            }
            given = json.dumps({"script": script, "small": small, "edit": edit, "places": places})
            done = children.run(script, patch=_edit, cwd=str(here), environment={"EDIT": given})
            allowed = (0, 1, 2) if "verdict: bad" in done.stdout else (0, 2)
            lines = done.stderr.strip("\n").count("\n")
            if done.returncode not in allowed or "Traceback" in done.stderr or (done.returncode == 2 and lines):
                found.append(f"{script} {edit}: {done.returncode}\n{done.stdout[-200:]}\n{done.stderr[-900:]}")
    return found


@pytest.mark.long
def test_a_few_edited_scripts_end_well(places, tmp_path):
    found = faults(places, tmp_path, 9, seed=2)
    assert not found, "\n".join(found)


@pytest.mark.slow
def test_many_edited_scripts_end_well(places, tmp_path):
    found = faults(places, tmp_path, 200, seed=3)
    assert not found, "\n".join(found)
