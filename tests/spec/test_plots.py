"""The x of each row in the plots that a spec declares."""

from __future__ import annotations

from harness.spec.expand import expand
from harness.spec.load import load_table
from tests.conftest import Experiments
from tests.spec.specs import GOOD, changed

PLOTS = """\
plots:
  - {id: patches, x: {setting: [method.mask.keep, recipe.epochs]}, y: [acc]}
  - {id: cost, x: pflops, y: [acc]}
claims:
"""
ROWS = """\
    rows: [none, {id: "few{keep}", set: {method: distillation}, grid: {method.mask.keep: [2, 4]}}]
"""
OLD_ROWS = """\
    rows: [none, {id: logit, set: {recipe: {lr: 1e-2}}}]
"""


def test_the_first_setting_that_a_row_gives_is_its_place(experiments: Experiments) -> None:
    text = changed("claims:\n", PLOTS, changed(OLD_ROWS, ROWS))
    table = load_table(experiments.table("paper/good", text))
    patches, cost = table.profile("tiny").plots
    assert patches.at == {"none": 2.0, "few2": 2.0, "few4": 4.0}  # epochs of the profile's base
    assert (cost.x.column, cost.at) == ("pflops", {})
    paper, _ = table.profile("paper").plots
    assert paper.at["logit"] == 8.0


def test_plots_change_no_identity(experiments: Experiments) -> None:
    before = load_table(experiments.table("paper/good", GOOD))
    after = load_table(experiments.table("paper/drawn", changed("claims:\n", PLOTS)))
    for profile in before.profiles:
        runs = [{run.identity for run in expand(table, profile).runs} for table in (before, after)]
        assert runs[0] == runs[1]
