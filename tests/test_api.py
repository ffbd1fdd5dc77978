"""A notebook's way: load a table, plan it, run it, look at frames."""

from __future__ import annotations

import subprocess
import sys

import pytest

import harness
from tests.conftest import TINY_VIT, Experiments

SPEC = f"""
    paper: {{title: Costs, table: "1"}}
    columns:
      gflops: {{from: cost, metric: teacher/gmacs, decimals: 3, better: lower}}
    base:
      recipe: light
      data: {{name: fashion-mnist}}
      student: {{{TINY_VIT}}}
      teacher: {{{TINY_VIT}}}
      method: {{name: distillation, mask: {{keep: 8}}}}
    rows:
      - {{id: all, set: {{method: {{mask: {{keep: 16}}}}}}, published: {{gflops: 0.001}}}}
      - {{id: half}}
    claims:
      - {{id: cheaper, text: Half of the patches are cheaper, holds: "gflops[half] < gflops[all]"}}
    profiles:
      paper: {{}}
"""


@pytest.fixture
def table(experiments: Experiments) -> harness.Table:
    """A table of two costs, which need no training."""
    return harness.load(experiments.table("paper/costs", SPEC))


def test_a_table_is_planned_run_and_read_as_frames(table: harness.Table) -> None:
    assert (table.profiles, harness.tables()) == (["paper"], ["paper/costs"])
    assert [run.status for run in table.plan().runs] == ["todo", "todo"]
    assert len(table.run(rows="half").computed) == 1
    assert table.plan().counts["todo"] == 1
    assert len(table.run().computed) == 1

    results = table.results()
    cells = results.cells.set_index("row")
    assert list(cells.index) == ["all", "half"]
    assert cells.loc["half", "mean"] < cells.loc["all", "mean"]
    assert cells.loc["all", "published"] == 0.001
    assert results.claims["verdict"].tolist() == ["supported"]
    assert results.seeds[["row", "column", "seed"]].values.tolist() == [
        ["all", "gflops", 0],
        ["half", "gflops", 0],
    ]
    assert results.curves.empty


def test_a_report_is_written(table: harness.Table) -> None:
    files = table.report(formats=["csv", "md"])
    assert {path.suffix for path in files} == {".csv", ".md"}
    assert all(path.is_file() for path in files)


def test_the_package_is_imported_without_its_libraries() -> None:
    code = "import sys, harness.cli; print({'torch', 'pandas', 'matplotlib'} & sys.modules.keys())"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert said.stdout.strip() == "set()"
