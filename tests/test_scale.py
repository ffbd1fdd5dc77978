"""Planning and showing runs is work in proportion to their number.

Counted in calls, not seconds: `benchmarks/many_runs.py` measures how long ten thousand runs take.
"""

from __future__ import annotations

import json
import os

import pytest

from harness.cli import main
from harness.spec.expand import expand
from harness.spec.load import load_table
from harness.store import DONE, Store, read_record
from tests.conftest import TINY_VIT, Experiments
from tests.spec.specs import GOOD
from tests.work import calls, calls_of

FEW, MANY = 200, 800
MOST = 4000
"""Calls for each run; about 1,400 when this was written."""
RATES = 20
TABLE = f"""
paper: {{{{title: Large}}}}
columns:
  acc: {{{{label: Top-1, from: train, metric: val/top1, unit: "%"}}}}
seeds: [0, 1, 2, 3, 4]
base:
  data: {{{{name: fashion-mnist}}}}
  student: {{{{{TINY_VIT}}}}}
  teacher: {{{{{TINY_VIT}}}}}
  method: {{{{name: distillation, mask: {{{{keep: 8}}}}}}}}
  recipe: {{{{epochs: 1, batch_size: 64, lr: 1e-3}}}}
rows:
  - id: "r{{{{lr}}}}.{{{{weight_decay}}}}"
    label: "{{{{lr}}}} {{{{weight_decay}}}}"
    grid: {{{{recipe.lr: [{{rates}}], recipe.weight_decay: [{{decays}}]}}}}
profiles:
  paper: {{{{}}}}
"""


def large(experiments: Experiments, runs: int) -> str:
    """A table of so many runs."""
    rates = ", ".join(f"{1e-4 * (1 + index / 100):.6f}" for index in range(RATES))
    count = runs // RATES // 5
    decays = ", ".join(f"{0.01 * (1 + index / 10):.3f}" for index in range(count))
    return experiments.table(f"tests/large{runs}", TABLE.format(rates=rates, decays=decays))


def fill(table: str) -> None:
    """A store with all runs of the table: 8 in 10 done, the rest failed or without a live owner."""
    store = Store()
    expansion = expand(load_table(table), "paper")
    store.create(expansion.runs[0])
    about = json.loads((store.runs / expansion.runs[0].name / "run.json").read_text())
    result: dict[str, object] = {
        "metrics": {"val/top1": 90.0},
        "seconds": 9.0,
        "attempt": 1,
        "device": "cpu",
    }
    result["finished"] = "2025-01-01T00:00:00+00:00"
    for index, run in enumerate(expansion.runs):
        directory = store.runs / run.name
        directory.mkdir(exist_ok=True)
        title = {**about["title"], "row": run.title.row, "seed": run.title.seed}
        content = {**about, "identity": run.identity, "title": title, "config": run.plain}
        (directory / "run.json").write_text(json.dumps(content))
        if index % 10 < 8:
            (directory / "result.json").write_text(json.dumps(result))
        else:
            (directory / "attempts").mkdir()
            (directory / "attempts" / "0001.json").write_text("{}")
            os.utime(directory / "attempts" / "0001.json", (1, 1))
        state = DONE if index % 10 < 8 else "failed" if index % 10 == 8 else "running"
        (directory / "state.json").write_text(json.dumps({"state": state, "attempt": 1}))


def test_four_times_the_runs_are_four_times_the_work(
    experiments: Experiments, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    spent: list[list[int]] = []
    for runs in (FEW, MANY):
        monkeypatch.setenv("HARNESS_RESULTS", str(experiments.root / f"results{runs}"))
        table = large(experiments, runs)
        main(["plan", table])  # what is loaded once is no work of the second time
        said = capsys.readouterr().out
        assert f"{runs} runs ({runs} todo)" in said or f"{runs} blocked" in said
        work = [calls(lambda: main(["plan", table]))]  # noqa: B023
        fill(table)
        capsys.readouterr()
        work.append(calls(lambda: main(["plan", table, "--json"])))  # noqa: B023
        assert json.loads(capsys.readouterr().out)["counts"]["cached"] == runs * 8 // 10
        work.append(calls(lambda: main(["status", table])))  # noqa: B023
        said = capsys.readouterr().out
        tenth = runs // 10
        assert f"{runs} runs ({tenth} interrupted, {8 * tenth} done, {tenth} failed)" in said
        spent.append(work)
    for few, many in zip(*spent, strict=True):
        assert few < many < 1.1 * few * MANY / FEW
        assert many / MANY < MOST


def test_a_table_that_others_start_from_is_read_once(
    experiments: Experiments, capsys: pytest.CaptureFixture[str]
) -> None:
    teachers = large(experiments, FEW)
    text = (experiments.root / "experiments" / f"{teachers}.yaml").read_text()
    head, _, rows = text.partition("rows:\n")
    first = f"r{1e-4:.6f}.{0.01:.3f}"
    head = head.replace("teacher: {", f"teacher: {{weights: {{run: {teachers}#{first}}}, ")
    student = f"{head}rows:\n  - id: one\n{rows[rows.index('profiles:') :]}"
    for count in (1, 2):
        experiments.table(f"tests/student{count}", student)
    main(["list"])  # what is loaded once is no work of the second time
    two = calls(lambda: main(["list"]))
    for count in (3, 4):
        experiments.table(f"tests/student{count}", student)
    four = calls(lambda: main(["list"]))
    assert capsys.readouterr().out.count("paper") == 3 + 3 + 5
    assert (four - two) / 2 < calls(lambda: load_table(teachers)) / 2


def test_the_claims_of_all_tables_read_the_store_once(
    experiments: Experiments, capsys: pytest.CaptureFixture[str]
) -> None:
    names = [experiments.table(f"tests/{name}", GOOD) for name in ("one", "two")]
    runs = expand(load_table(names[0]), "paper").runs
    for run in runs:
        Store().create(run)
    assert calls_of(read_record, lambda: main(["claims", "--profile", "paper"])) == len(runs)
    assert "tests/two" in capsys.readouterr().out
