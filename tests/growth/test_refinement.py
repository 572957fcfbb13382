"""REFINE_SWEEPS = "auto": the least work that keeps the bias of c10 below a third of one lattice's scatter."""

import json
import math

import pytest

from ising_rg.base.errors import UserError
from ising_rg.growth import refinement
from ising_rg.growth.refinement import Ledger

LEDGER = Ledger((5, 8, 12, 20, 35), (8e-5, 4e-5, 2e-5, 1e-5, 4e-6))


def cost(sweeps):
    return sum(n * 9**j for j, n in enumerate(sweeps))


@pytest.mark.parametrize("start, stages", [(64, 1), (512, 2), (512, 3), (512, 4), (512, 5)])
def test_the_plan_is_the_cheapest_that_keeps_the_bias(start, stages):
    sweeps = refinement.plan(LEDGER, start, stages)
    limit = refinement.scatter(start * 3**stages) / 3
    assert len(sweeps) == stages and refinement.expected_bias(LEDGER, sweeps) <= limit
    for j in (stages - 1, stages - 2):  # one step less at either of the last stages would not do, or was not possible
        if j >= 0 and sweeps[j] > LEDGER.sweeps[0]:
            fewer = LEDGER.sweeps[LEDGER.sweeps.index(sweeps[j]) - 1]
            assert refinement.expected_bias(LEDGER, sweeps[:j] + (fewer,) + sweeps[j + 1 :]) > limit
    larger = refinement.plan(LEDGER, start, stages + 1)
    assert larger[-1] >= sweeps[-1]  # the larger a lattice, the less it scatters


def test_where_nothing_suffices_the_most_is_done():
    assert refinement.plan(LEDGER, 512, 8) == (35,) * 8
    words, numbers = refinement.told(LEDGER, (35,) * 8, 512)
    assert "may show in a single one" in words and numbers["lattices_until_it_shows"] < 1


def test_no_sweeps_are_spent_on_the_ledgers_own_errors():
    """Bounds that are all noise from 8 sweeps on: large lattices take 8 a stage, not 35."""
    ledger = Ledger((5, 8, 12, 20, 35), (8e-5, 3.1e-5, 3.1e-5, 2.9e-5, 2.9e-5))
    assert refinement.plan(ledger, 512, 5) == (8,) * 5
    assert refinement.plan(ledger, 512, 1) == (5,)


def test_bias_adds_up_over_stages():
    """8e-5 a stage: 8e-5 (1 + 1/3 + 1/9)."""
    assert math.isclose(refinement.expected_bias(LEDGER, (5, 5, 5)), 8e-5 * 13 / 9)
    assert math.isclose(refinement.expected_bias(LEDGER, (7, 9)), 8e-5 / 3 + 4e-5)
    assert refinement.expected_bias(LEDGER, (5, 2)) == math.inf


def test_a_ledger_belongs_to_its_weights(tmp_path):
    kernel_file = str(tmp_path / "kernel.pt")
    assert refinement.load(kernel_file, "abc") is None
    content = {"kernel_sha256": "abc", "sweeps": [0, 2, 5, 8], "bounds": [3e-4, 2e-4, 5e-5, 3e-5]}
    (tmp_path / "kernel_bias.json").write_text(json.dumps(content))
    assert refinement.load(kernel_file, "abd") is None
    assert refinement.load(kernel_file, "abc") == Ledger((5, 8), (5e-5, 3e-5))


def test_what_the_setting_asks_for():
    assert refinement.sweeps(3, LEDGER, 512, 2) == (3, 3) and refinement.sweeps((3, 4), None, 512, 2) == (3, 4)
    assert refinement.sweeps("auto", None, 512, 2) == (5, 5)
    assert refinement.sweeps("auto", LEDGER, 512, 2) == refinement.plan(LEDGER, 512, 2)
    with pytest.raises(UserError, match="each of the 2 stages"):
        refinement.sweeps((1, 2, 3), LEDGER, 512, 2)
    assert refinement.told(LEDGER, (2, 2), 512)[1] == {} and "no ledger" in refinement.told(None, (5, 5), 512)[0]
