"""CSV files of a report that somebody has edited, cut short or taken from elsewhere: every command
that reads them says one sentence, or believes only what a report could have written.
"""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import harness
from harness.errors import HarnessError
from harness.evaluate.right import RIGHT, write_right
from harness.report.collect import collect_finished
from harness.report.compare import compare_cells, compare_claims
from harness.report.model import TableModel, Verdict
from harness.report.seeds_file import read_seeds_file
from harness.spec.expand import expand
from harness.spec.load import load_table
from harness.spec.table import TableSpec
from harness.store import Store
from tests.conftest import Experiments
from tests.launch.counting import BatchedRun
from tests.report.results import finish
from tests.report.test_settle import TABLE

NAME = "settle.paper"
ODD = ("", "nan", "inf", "-1", "1e999", "٣", "x" * 5000, '"', "\x00", "supported", "-0", "1,2", "é")


@pytest.fixture
def results(experiments: Experiments, tmp_path: Path) -> Path:
    """The files of a report on three seeds a row, with the images that each got right."""
    assert BatchedRun.batched
    table = load_table(experiments.table("tests/settle", TABLE))
    for number, run in enumerate(expand(table, "paper", seeds=(0, 1, 2)).runs):
        finish(Store(), run, {"val/top1": 50.0 + number})
        record = Store().record(run.identity)
        assert record is not None
        write_right(record.directory / RIGHT, {"val/top1": np.arange(100) < 50 + number})
    harness.load("tests/settle").look("paper", (0, 1, 2))
    return tmp_path / "results" / "tests"


def mutated(text: str, draw: random.Random) -> str:
    """As an editor, a full disk, a merge or a spreadsheet would leave it."""
    lines = text.splitlines(keepends=True)
    at = draw.randrange(len(lines))
    how = draw.randrange(6)
    if how == 0:
        return text[: draw.randrange(len(text))]
    if how == 1:
        lines.insert(at, lines[draw.randrange(len(lines))])
    elif how == 2:
        del lines[at]
    elif how == 3:
        draw.shuffle(lines)
    else:
        fields = lines[at].split(",")
        fields[draw.randrange(len(fields))] = draw.choice(ODD)
        lines[at] = ",".join(fields)
    return "".join(lines)


def readers(table: TableSpec, own: Path, other: Path) -> list[Callable[[], object]]:
    """All that reads `other` as files of another machine, or `own` as those of this one."""
    spec = table.columns_at("paper")
    return [
        lambda: collect_finished(table, "paper", Store()),
        lambda: collect_finished(table, "paper", Store(), pools=[other.parent]),
        lambda: read_seeds_file(table, "paper", other.parent),
        lambda: compare_cells(own / f"{NAME}.csv", other / f"{NAME}.csv", spec),
        lambda: compare_claims(own / f"{NAME}.claims.csv", other / f"{NAME}.claims.csv"),
    ]


def no_verdict_without_an_interval(model: TableModel) -> None:
    for claim in model.claims:
        if claim.verdict in (Verdict.SUPPORTED, Verdict.CONTRADICTED):
            assert claim.ci is not None
            assert claim.n > 1


@pytest.mark.parametrize("which", ["seeds", "images", "claims", ""])
def test_a_damaged_file_is_one_sentence_or_harmless(results: Path, which: str) -> None:
    table = load_table("tests/settle")
    other = results.parent.parent / "elsewhere" / "tests"
    shutil.copytree(results, other)
    file = f"{NAME}.{which}.csv" if which else f"{NAME}.csv"
    whole = (other / file).read_text(encoding="utf-8")
    draw = random.Random(which)
    for _ in range(15):
        text = mutated(whole, draw)
        (other / file).write_text(text, encoding="utf-8")
        (results / file).write_text(text if which == "seeds" else whole, encoding="utf-8")
        for read in readers(table, results, other):
            said, found = "", None
            try:
                found = read()
            except HarnessError as error:
                said = str(error)
            assert "\n" not in said
            assert len(said) < 1000
            if isinstance(found, TableModel):
                no_verdict_without_an_interval(found)


def test_a_pool_of_another_table_is_refused(results: Path) -> None:
    other = results.parent.parent / "elsewhere" / "tests"
    shutil.copytree(results, other)
    path = other / f"{NAME}.seeds.csv"
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace("tests/settle", "tests/other"), encoding="utf-8")
    says = f"seeds.csv:2: is of tests/other.paper, not of tests/{NAME}$"
    with pytest.raises(HarnessError, match=says):
        collect_finished(load_table("tests/settle"), "paper", Store(), pools=[other.parent])
