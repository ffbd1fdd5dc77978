"""`--until-settled`: stages of seeds for open claims, and the looks that a report notes."""

from __future__ import annotations

import csv
import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest

import harness
from harness.cli import main
from harness.errors import HarnessError
from harness.report.claim_tables import basis_table
from harness.report.model import TableModel, Verdict
from harness.report.settle import SeedBatch, stage_seeds, until_settled
from harness.spec.expand import expand
from harness.spec.load import load_table
from harness.spec.table import TableSpec
from harness.store import Store
from tests.conftest import TINY_VIT, Experiments
from tests.launch.counting import BatchedRun
from tests.launch.processes import harness as command
from tests.report.results import fail, finish

TABLE = f"""
paper: {{title: Counting}}
columns:
  value: {{label: Value, from: counting-batched, metric: val/top1, unit: "%", better: higher}}
seeds: [0, 1]
base:
  data: {{name: fashion-mnist}}
  student: {{{TINY_VIT}}}
  method: supervised
  recipe: {{epochs: 12, batch_size: 64, lr: 1e-3}}
rows:
  - {{id: a, label: A}}
  - {{id: b, label: B, set: {{recipe: {{epochs: 13}}}}}}
  - {{id: c, label: C, set: {{recipe: {{epochs: 14}}}}}}
  - {{id: d, label: D, set: {{recipe: {{epochs: 10}}}}}}
claims:
  - {{id: clear, text: It is clear, holds: "value[a] > -900"}}
  - {{id: open, text: It is open, holds: "value[b] > value[c]"}}
  - {{id: later, text: It takes a while, holds: "value[d] > value[a]"}}
profiles:
  paper: {{}}
"""


@pytest.fixture
def table(experiments: Experiments) -> TableSpec:
    assert BatchedRun.batched
    return load_table(experiments.table("tests/settle", TABLE))


def test_stages_go_on_after_the_seeds_of_the_profile(table: TableSpec) -> None:
    profile = table.profile("paper")
    assert [stage_seeds(profile.seeds, n) for n in (3, 6)] == [(0, 1, 2), (0, 1, 2, 3, 4, 5)]


def test_open_claims_get_more_seeds_cheapest_first_and_settled_ones_none(table: TableSpec) -> None:
    batches: list[SeedBatch] = []
    at_stage: list[TableModel] = []

    def compute(batch: SeedBatch) -> bool:
        """`later` is settled by its sixth seed; `open` never."""
        batches.append(batch)
        for run in expand(table, "paper", rows=batch.rows, seeds=batch.seeds).runs:
            seed = run.title.seed or 0
            noise = (0.3, -0.3, 0.1, -0.1, 0.2, -0.2)[seed % 6]
            value = {"a": 50.0, "b": 50 + noise, "c": 50 - noise, "d": 50.5 + 0.5 * noise}
            if Store().record(run.identity) is None:
                finish(Store(), run, {"val/top1": value[run.title.row]})
        return True

    def judge(seeds: Sequence[int]) -> TableModel:
        at_stage.append(harness.load("tests/settle").look("paper", seeds))
        return at_stage[-1]

    def cost(batch: SeedBatch) -> float:
        return {"b,c": 2.0, "d,a": 1.0}[batch.rows or ""]

    told = until_settled(table, "paper", compute, judge, cost)
    assert [(batch.rows, len(batch.seeds)) for batch in batches] == [
        (None, 3),
        *[("d,a", 6), ("b,c", 6)],
        ("b,c", 12),
    ]
    assert told == "1 claim not settled with 12 seeds: open."
    claims = [{claim.claim.id: claim for claim in model.claims} for model in at_stage]
    assert [one["later"].verdict is Verdict.SUPPORTED for one in claims] == [False, True, True]
    assert claims[-1]["open"].looks == (3, 6, 12)
    assert claims[-1]["open"].reason.endswith("seeds 0-11, judged before with 3, 6")
    assert claims[-1]["later"].looks == (3, 6)
    # one row of `clear` got three more for the other claim's sake
    assert claims[-1]["clear"].looks == (3, 6)
    cells = {(row.id, len(row.cell("value").values)) for row in at_stage[-1].rows}
    assert cells == {("a", 6), ("b", 12), ("c", 12), ("d", 6)}


def test_an_interruption_in_a_stage_makes_no_look(table: TableSpec) -> None:
    """With 5 of the 6 seeds there, the command goes on, and no claim was judged with 5."""
    interrupted = 4

    def compute(batch: SeedBatch) -> bool:
        for run in expand(table, "paper", rows=batch.rows, seeds=batch.seeds).runs:
            seed = run.title.seed or 0
            if seed > interrupted:
                return False
            if Store().record(run.identity) is None:
                noise = (-1) ** seed if run.title.row in "bd" else 0.0
                finish(Store(), run, {"val/top1": 50 + noise})
        return True

    def judge(seeds: Sequence[int]) -> TableModel:
        return harness.load("tests/settle").look("paper", seeds)

    def settle() -> str:
        return until_settled(table, "paper", compute, judge, lambda batch: 0.0)

    assert settle() == ""
    interrupted = 11
    assert settle() == "2 claims not settled with 12 seeds: open, later."
    model = harness.load("tests/settle").results("paper").model
    assert {claim.looks for claim in model.claims} == {(3, 6, 12)}
    assert settle() == "2 claims not settled with 12 seeds: open, later."


def test_a_single_seed_is_no_look(table: TableSpec) -> None:
    for run in expand(table, "paper", seeds=[0]).runs:
        finish(Store(), run, {"val/top1": 50.0})
    model = harness.load("tests/settle").results("paper").model
    for claim in model.claims:
        assert claim.reason.endswith(" in one seed: no interval")
        assert claim.seeds_needed == "3"
    basis = basis_table(model.claims)
    assert basis is not None
    texts = [cell.text for row in basis.rows if isinstance(row, tuple) for cell in row]
    assert texts.count("1 seed") == len(model.claims)


def test_blocked_rows_and_claims_without_training_are_told(
    table: TableSpec, experiments: Experiments
) -> None:
    def judge(seeds: Sequence[int]) -> TableModel:
        return harness.load("tests/settle").look("paper", seeds)

    told = until_settled(table, "paper", lambda batch: True, judge, lambda batch: 0.0)
    assert told == "3 claims without a result: clear, open, later."
    batches: list[SeedBatch] = []

    def compute(batch: SeedBatch) -> bool:
        batches.append(batch)
        return True

    bare = TABLE.partition("claims:")[0] + "profiles: {paper: {}}"
    other = load_table(experiments.table("tests/bare", bare))
    told = until_settled(other, "paper", compute, judge, lambda batch: 0.0)
    assert told == "No claim here is decided by training: there is nothing to settle."
    assert [batch.seeds for batch in batches] == [(0, 1)]


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        (",3,", ",9,", "seeds.csv:2: look: 9 is no number from 1 to the 3 values of this row"),
        (",3,", ",0,", "seeds.csv:2: look: 0 is no number from 1 to the 3 values of this row"),
        ("tests/settle", "other/one", "seeds.csv:2: is of other/one, profile paper, not of tests"),
    ],
)
def test_edited_looks_are_never_believed(
    table: TableSpec, tmp_path: Path, old: str, new: str, says: str
) -> None:
    for run in expand(table, "paper", seeds=(0, 1, 2)).runs:
        finish(Store(), run, {"val/top1": 50.0 + (run.title.seed or 0)})
    harness.load("tests/settle").look("paper", (0, 1, 2))
    path = tmp_path / "results/tests/settle.paper.seeds.csv"
    header, first, *rest = path.read_text(encoding="utf-8").splitlines()
    with path.open() as file:
        (line, *_) = csv.DictReader(file)
    fields = dict(line)
    key = "look" if old == ",3," else "table"
    fields[key] = new.strip(",")
    assert first
    path.write_text("\n".join([header, ",".join(fields.values()), *rest, ""]), encoding="utf-8")
    (told,) = harness.load("tests/settle").results("paper").model.unreadable
    assert says in told
    path.write_text("\n".join([header, first, first, *rest]), encoding="utf-8")
    (told,) = harness.load("tests/settle").results("paper").model.unreadable
    assert "seed 0 of this row and column is there twice" in told
    path.unlink()
    (told,) = harness.load("tests/settle").results("paper").model.unreadable
    assert f"{path} is missing: how often the claims of settle.paper.csv were judged" in told


@pytest.mark.parametrize("content", [b"", b"\xff", b"table,row\n", b"a\n\n\x00", b"a;b\n1;2\n"])
def test_per_seed_values_that_cannot_be_read_are_kept_aside(
    table: TableSpec, tmp_path: Path, content: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    for run in expand(table, "paper", seeds=(0, 1, 2)).runs:
        finish(Store(), run, {"val/top1": 50.0 + (run.title.seed or 0)})
    path = tmp_path / "results/tests/settle.paper.seeds.csv"
    harness.load("tests/settle").look("paper", (0, 1, 2))
    whole = path.read_bytes()
    for number in (1, 2):
        path.write_bytes(content)
        assert main(["report", "tests/settle", "--format", "csv"]) == 1
        aside = path.with_name(f"settle.paper.seeds.damaged.{number}.csv")
        note, error = capsys.readouterr().err.splitlines()
        assert note.endswith(f"so looks begin anew: it is kept as {aside}")
        assert error.startswith(f"error: {path}")
        assert aside.read_bytes() == content
        assert path.read_bytes() == whole
        assert main(["report", "tests/settle", "--format", "csv"]) == 0
        capsys.readouterr()


def test_looks_at_values_that_are_gone_are_told_until_the_row_is_configured_anew(
    table: TableSpec, experiments: Experiments, tmp_path: Path
) -> None:
    """A deleted run takes no look back, and computed again it makes none."""

    def look(seeds: int = 4, *, without: int | None = None) -> str:
        for run in expand(load_table("tests/settle"), "paper", rows="b,c", seeds=range(4)).runs:
            seed, record = run.title.seed or 0, Store().record(run.identity)
            if seed == without:
                assert record is not None
                shutil.rmtree(record.directory)
            elif seed < seeds and record is None:
                finish(Store(), run, {"val/top1": 50.0 + (seed if run.title.row == "b" else 0)})
        assert main(["report", "tests/settle", "--format", "csv"]) == 0
        model = harness.load("tests/settle").results("paper").model
        return next(one for one in model.claims if one.claim.id == "open").reason

    assert "judged before" not in look(3)
    grown = "seeds 0-3, judged before with 3 (4 is no planned number: 3, 6, 12)"
    assert grown in look()
    lost = "seeds 0, 2-3, judged before with 3, 4 (4 is no planned number: 3, 6, 12)"
    assert lost in look(without=1)
    assert grown in look()
    assert "seeds 0-2, judged before with 3, 4" in look(without=3)
    path = tmp_path / "results/tests/settle.paper.seeds.csv"
    lines = csv.DictReader(path.read_text(encoding="utf-8").splitlines())
    gone = [line for line in lines if line["state"] == "lost"]
    assert [(line["row"], line["seed"], line["look"]) for line in gone] == [
        ("b", "3", "4"),
        ("c", "3", "4"),
    ]
    experiments.table("tests/settle", TABLE.replace("epochs: 13", "epochs: 15"))
    assert "judged before" not in look()


def test_the_command_follows_the_stages_and_notes_the_looks(
    table: TableSpec, tmp_path: Path
) -> None:
    done = command("run", "tests/settle", "--until-settled", "--jobs", "2")
    assert done.returncode == 0, done.stderr
    with (tmp_path / "results/tests/settle.paper.claims.csv").open() as file:
        looks = {line["claim"]: line["looks"] for line in csv.DictReader(file)}
    assert looks["clear"].startswith("3 (0-2)")
    assert looks["open"] == "3 (0-2); 6 (0-5); 12 (0-11)"
    assert "stage of 6 seeds: open (not settled)" in done.stdout
    assert done.stdout.splitlines()[-1].startswith("2 claims not settled with 12 seeds")
    again = harness.load("tests/settle").run(until_settled=True)
    assert again.computed == ()


def test_rows_and_seeds_are_not_to_be_chosen(table: TableSpec) -> None:
    done = command("run", "tests/settle", "--until-settled", "--seeds", "0-9")
    assert done.returncode == 1
    assert done.stderr == ("error: --until-settled chooses rows and seeds: leave --seeds out\n")
    with pytest.raises(HarnessError, match="chooses rows by itself: leave rows out"):
        harness.load("tests/settle").run(rows="a", until_settled=True)


def test_a_look_between_the_stages_and_seeds_of_one_row_alone_are_told(table: TableSpec) -> None:
    values = {"b": 50.0, "c": 40.0}
    for count, rows in ((2, "b,c"), (4, "b,c"), (6, "b")):
        for run in expand(table, "paper", rows=rows, seeds=range(count)).runs:
            if Store().record(run.identity) is None:
                value = values[run.title.row] + 0.1 * ((run.title.seed or 0) % 3)
                finish(Store(), run, {"val/top1": value + 0.01 * len(run.title.row)})
        model = harness.load("tests/settle").look("paper", range(6))
    claim = next(one for one in model.claims if one.claim.id == "open")
    assert claim.looks == (2, 4)
    assert "seeds 0-3, judged before with 2 (2, 4 are no planned number: 3, 6, 12)" in claim.reason
    assert claim.reason.endswith("seeds 4-5 of B alone do not count")


def test_a_failed_seed_is_told_once_and_what_is_planned_not_at_all(table: TableSpec) -> None:
    for run in expand(table, "paper", rows="b,c", seeds=range(3)).runs:
        if (run.title.row, run.title.seed) == ("c", 1):
            fail(Store(), run, "the loss is nan")
        else:
            value = {"b": 50.0, "c": 40.0}[run.title.row] + 7 * ((run.title.seed or 0) % 2)
            finish(Store(), run, {"val/top1": value + (run.title.seed or 0)})
    model = harness.load("tests/settle").look("paper", range(3))
    claim = next(one for one in model.claims if one.claim.id == "open")
    assert (claim.n, claim.looks, claim.failed_seeds) == (2, (2,), (1,))
    assert "1 seed of C failed" in claim.reason
    assert "planned" not in claim.reason  # 3 seeds were
    assert "alone" not in claim.reason.rpartition("failed")[2]
