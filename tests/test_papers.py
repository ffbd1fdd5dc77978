"""What the papers print, and what of it is here: docs/papers.md, and every cost of MaskedKD."""

from __future__ import annotations

import importlib
import re
import shutil
from functools import cache
from pathlib import Path
from types import ModuleType

import pytest

from harness.run import TASKS, Resources
from harness.spec.expand import ResolvedRow, expand
from harness.spec.load import list_tables, load_table
from harness.spec.table import Column, TableSpec

ROOT = Path(__file__).parents[1]
PRINTED_ROWS = {
    "table2": 50,
    "table3": 4,
    "table4": 5,
    "table5": 2,
    "table6": 8,
    "table7": 7,
    "table8": 14,
    "table9": 6,
    "table10": 6,
    "table11": 2,
    "table12-detection": 2,
    "table12-segmentation": 2,
}
"""Rows of MaskedKD's tables with a number; of Table 10 three networks with all patches and half."""
PRINTED_COSTS = {"2": 37, "3": 3, "4": 5, "7": 7, "8": 12, "9": 4, "10": 24, "Fig. 6": 15}
"""Printed counts of multiply-adds."""
ANOTHER_NETWORK = {"deit_ti.convvit_b.logit", "deit_ti.convvit_b.logit.keep50"}
"""Rows whose network the paper does not name so that it can be found: Table 2's ConvViT-B."""


@cache
def tables() -> dict[str, TableSpec]:
    """The specs of MaskedKD, by name."""
    return {name: load_table(name) for name in list_tables() if name.startswith("maskedkd/")}


def numbered(number: str) -> list[TableSpec]:
    """The specs that are this table: of Table 12 one for each task."""
    return [table for table in tables().values() if table.paper.table == number]


def costs(number: str) -> list[tuple[Column, ResolvedRow]]:
    """Column and row of every printed cost in the specs of this table."""
    return [
        (column, row)
        for table in numbered(number)
        for row in expand(table, "paper").rows
        for column in table.columns.values()
        if column.task.name == "cost" and column.id in row.row.published
    ]


class Nothing:
    """The context of a run that needs nothing of it."""

    resources = Resources(device="cpu")


@pytest.mark.parametrize("number", PRINTED_COSTS)
def test_every_printed_cost_of_maskedkd_is_computed(number: str) -> None:
    """Within the column's tolerance, or half of the last printed digit."""
    if not numbered(number):
        pytest.skip(f"no spec of Table {number} is here yet")
    cells = costs(number)
    assert len(cells) == PRINTED_COSTS[number]
    found: dict[int, dict[str, float]] = {}
    for column, row in cells:
        if row.row.id in ANOTHER_NETWORK:
            continue
        run = TASKS.get("cost").of(row.config)
        assert run is not None
        if id(row) not in found:
            found[id(row)] = run.execute(Nothing())  # type: ignore[arg-type]
        value, printed = found[id(row)][column.metric], row.row.published[column.id]
        meant = printed.intended.value
        assert column.tolerance is not None
        # a plot is read to a percent
        assert column.tolerance.of(1.0) <= (0.01 if number.startswith("Fig") else 0.005)
        allowed = max(column.tolerance.of(meant), 0.5 * 10**-printed.decimals) * (1 + 1e-9)
        assert value == pytest.approx(meant, abs=allowed), (row.row.id, column.id)


@pytest.mark.parametrize("name", PRINTED_ROWS)
def test_every_printed_row_of_maskedkd_is_in_a_spec(name: str) -> None:
    """But for rows that are not the paper's: their numbers name another source."""
    if f"maskedkd/{name}" not in tables():
        pytest.skip(f"{name} is not here yet")
    rows = [
        row
        for row in tables()[f"maskedkd/{name}"].rows
        if any(not cell.source for cell in row.published.values())
    ]
    assert len(rows) == PRINTED_ROWS[name]


def test_no_other_table_prints_a_cost() -> None:
    found = {
        table.paper.table
        for table in tables().values()
        for column in table.columns.values()
        if column.task.name == "cost"
        if any(column.id in row.published for row in table.rows)
    }
    assert found <= PRINTED_COSTS.keys()


@pytest.fixture
def writer(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(ROOT / "docs")
    return importlib.import_module("write_papers")


def test_the_page_of_the_papers_is_up_to_date(writer: ModuleType) -> None:
    assert (ROOT / "docs/papers.md").read_text() == writer.page(), "run `make docs`"


def test_every_spec_stands_on_the_page(writer: ModuleType) -> None:
    told = {
        spec
        for paper in writer.PAPERS
        for one in paper.items
        for name in one.specs
        for spec in writer.found(name)
    }
    assert told == {name for name in list_tables() if not name.startswith("teachers/")}


def test_every_table_and_figure_of_maskedkd_stands_on_the_page(writer: ModuleType) -> None:
    names = [one.name for one in writer.PAPERS[0].items]
    printed = [f"Table {number}" for number in range(1, 13)]
    printed += [f"Figure {number}" for number in range(1, 10)]
    assert names == [*printed, "beyond it"]
    ours = {table.paper.table for table in tables().values()}
    for number in {re.sub(r"\D+", " ", one or "").strip() for one in ours} - {""}:
        for part in number.split():
            assert f"Table {part}" in names or f"Figure {part}" in names


def test_what_has_no_spec_says_why(writer: ModuleType) -> None:
    """Those alone may be silent that another change brings."""
    silent = {
        one.name
        for paper in writer.PAPERS
        for one in paper.items
        if not one.note and not any(writer.found(name) for name in one.specs)
    }
    assert silent <= {"Table 3", "Table 12", "Figure 8"}


def test_what_has_been_run_is_read_from_the_results(writer: ModuleType, tmp_path: Path) -> None:
    one = writer.item("Figure 6", "masks", "maskedkd/fig6", note="a plot")
    assert writer.state(one, tmp_path) == "not here: a plot"
    assert writer.state(writer.item("Figure 8", "later", "maskedkd/fig8"), tmp_path) == (
        "not here yet"
    )
    (tmp_path / "experiments").symlink_to(ROOT / "experiments")
    assert writer.state(one, tmp_path) == "here, not run (a plot)"
    results = tmp_path / "results/reference/box/maskedkd"
    results.mkdir(parents=True)
    shutil.copy(ROOT / "tests/conftest.py", results / "fig6.paper.claims.csv")  # never opened
    (results / "fig6.paper.csv").write_text("row,column,mean\na,gflops,2.7\na,acc,\n")
    trained = "row,column,mean\na,gflops,2.7\na,acc,80\n"
    (results / "fig6.fashion-mnist.csv").write_text(trained)
    folder = "../reports/reference/box/maskedkd"
    small, whole = (f"[`{p}`]({folder}/fig6.{p}.md)" for p in ("fashion-mnist", "paper"))
    # a single trained row is compared with nothing
    assert writer.state(one, tmp_path) == f"computed at {small}, {whole} (a plot)"
    (results / "fig6.fashion-mnist.csv").write_text(f"{trained}b,acc,81\n")
    assert writer.state(one, tmp_path) == f"run at {small}; computed at {whole} (a plot)"
    of_training = writer.item("Table 2", "accuracies alone", "maskedkd/fig6", costs=False)
    assert writer.state(of_training, tmp_path) == f"run at {small}"
