"""A notebook's way: load a table, plan it, run it, look at frames."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import harness
from harness.cli import main
from harness.errors import HarnessError
from harness.launch.slurm import SlurmExecutor
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
    assert [f"all-cost-{results.seeds['run'][0][:8]}"] == [
        path.name for path in Path("results/runs").glob("all-*")
    ]
    assert results.seeds[["row", "column", "seed"]].values.tolist() == [
        ["all", "gflops", 0],
        ["half", "gflops", 0],
    ]
    assert results.curves.empty


def test_what_a_notebook_shows_is_a_line(table: harness.Table) -> None:
    assert repr(table) == "<Table paper/costs: 2 rows, paper>"
    plan = repr(table.plan(device="cpu", jobs=1))
    assert plan.startswith("<Plan paper/costs, profile paper: 2 runs (2 todo); about ")
    assert repr(table.results()) == (
        "<Results paper/costs, profile paper: 2 rows, 1 claim; "
        "frames: cells, claims, seeds, curves>"
    )


def test_a_report_is_written(table: harness.Table) -> None:
    files = table.report(formats=["csv", "md"])
    assert {path.suffix for path in files} == {".csv", ".md"}
    assert all(path.is_file() for path in files)


def test_the_package_is_imported_without_its_libraries() -> None:
    code = "import sys, harness.cli; print({'torch', 'pandas', 'matplotlib'} & sys.modules.keys())"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert said.stdout.strip() == "set()"


def test_a_notebook_gets_what_the_command_gets(
    table: harness.Table, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(HarnessError, match=r"^threads must be at least 1, got 0"):
        table.plan(threads=0)
    with pytest.raises(HarnessError, match=r"^cluster needs executor='slurm'$"):
        table.run(cluster="cluster.yaml")
    with pytest.raises(HarnessError, match=r"^executor='slurm' needs a description .* cluster,"):
        table.run(executor="slurm")
    with pytest.raises(TypeError, match=r"^unknown option 'row'; did you mean 'rows'"):
        table.run(row="half")  # type: ignore[call-arg]
    with pytest.raises(TypeError, match=r"^unknown option 'executor'"):
        table.plan(executor="local")  # type: ignore[call-arg]
    with pytest.raises(HarnessError, match="there is no cluster description"):
        table.run(executor="slurm", cluster="none.yaml", offline=True)
    assert "HARNESS_OFFLINE" not in os.environ
    with pytest.raises(HarnessError, match="unknown task 'flop'"):
        table.run(tasks=["flop"])

    table.run()
    (first, second) = table.plan(recompute="changed").runs
    assert (first.status, second.status) == ("cached", "cached")
    assert len(table.run().computed) == 0
    assert "2 runs at once" not in capsys.readouterr().err
    table.plan(threads=4096)
    assert "slow each other down" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"jobs": -2}, "jobs must be a whole number of at least 1, got -2"),
        ({"jobs": 0}, "jobs must be a whole number of at least 1, got 0"),
        ({"jobs": "2"}, "jobs must be a whole number of at least 1, got '2'"),
        ({"executor": "slrum"}, "unknown executor 'slrum'; did you mean 'slurm'"),
        ({"recompute": "foo"}, "unknown recompute 'foo' .valid: changed, damaged"),
        ({"seeds": 3}, r"seeds must be whole numbers, as \[0, 1, 2\] or range.3., got 3$"),
        ({"seeds": [1.0]}, "seeds must be whole numbers"),
        ({"seeds": ["0"]}, "seeds must be whole numbers"),
        ({"seeds": "0-2"}, "seeds must be whole numbers"),
        ({"seeds": []}, "seeds must be different whole numbers from 0 up, at least one"),
        ({"rows": 3}, "rows must be a text or a list of texts, got 3"),
        ({"rows": [3]}, "rows must be a text or a list of texts"),
        ({"tasks": [None]}, "tasks must be a text or a list of texts"),
        ({"tasks": "flop"}, "unknown task 'flop'"),
        ({"threads": 1.5}, "threads must be a whole number, got 1.5"),
        ({"threads": None}, "threads must be a whole number, got None"),
        ({"micro_batch": "8"}, "micro_batch must be a whole number, got '8'"),
        ({"device": 1}, "device must be auto, cpu, cuda or cuda:NUMBER, got '1'"),
    ],
)
def test_options_of_another_kind_are_one_sentence(
    table: harness.Table, options: dict[str, Any], says: str
) -> None:
    with pytest.raises(HarnessError, match=f"^{says}"):
        table.run(**options)


def test_rows_tasks_and_seeds_as_python_has_them(table: harness.Table) -> None:
    both = [run.identity for run in table.plan().expansion.runs]
    for part in ({"rows": ["all", "half"]}, {"tasks": "cost"}, {"seeds": np.arange(2)}):
        assert [run.identity for run in table.expand(**part).runs] == both  # type: ignore[arg-type]


def test_a_task_that_no_column_asks_for_is_told_which_do(
    table: harness.Table, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", "paper/costs", "--tasks", "knn"]) == 0
    said = capsys.readouterr().out
    assert said.endswith("Nothing to run: the columns of paper/costs ask for cost.\n")


def test_job_scripts_are_made_without_a_cluster(table: harness.Table, tmp_path: Path) -> None:
    (tmp_path / "cluster.yaml").write_text("node: {cpus: 8}\npartition: short\n")
    executor = table.prepare(
        executor="slurm", cluster="cluster.yaml", dry_run=True, device="cpu", jobs=3
    )
    assert executor.plan.jobs == 3
    assert isinstance(executor, SlurmExecutor)
    (script,) = executor.scripts()
    assert "--partition=short" in script
