"""Benchmarks, which the documents quote: each can begin."""

import importlib
from pathlib import Path

import pytest

from ising_rg.run import settings
from tests.children import ROOT

NAMES = sorted(path.stem for path in (Path(ROOT) / "benchmarks").glob("*.py"))


@pytest.mark.parametrize("name", NAMES)
def test_settings_are_of_their_kinds(name):
    """A name means the same in every script: one that is taken for something else is refused when the benchmark begins."""
    module = importlib.import_module(f"benchmarks.{name}")
    if hasattr(module, "main"):
        settings.collect(vars(module), [])
