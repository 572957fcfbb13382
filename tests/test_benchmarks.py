"""Benchmarks, which the documents quote: each can begin."""

import importlib
import re
from pathlib import Path

import pytest

from ising_rg.run import settings
from tests.children import ROOT

NAMES = sorted(path.stem for path in (Path(ROOT) / "benchmarks").glob("*.py"))


@pytest.mark.parametrize("name", NAMES)
def test_settings_are_of_their_kinds(name):
    """A name means the same in every script: one that is taken for something else is refused when the benchmark begins."""
    module = importlib.import_module(f"benchmarks.{name}")
    if not hasattr(module, "main"):
        return
    values, _ = settings.collect(vars(module), [])
    block = re.split(r"(?m)^# -{20,}$", Path(module.__file__).read_text(encoding="utf-8"))[1]
    assert set(re.findall(r"(?m)^([A-Z][A-Z0-9_]*)\b[^=\n]*=", block)) == values.keys()
