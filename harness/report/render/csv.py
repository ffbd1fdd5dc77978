"""The CSV files: one line per cell, and one per claim."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import pandas as pd

from harness.report.model import Cell, TableModel
from harness.text import count

CELLS = (
    "table",
    "profile",
    "row",
    "column",
    "metric",
    "unit",
    "published",
    "mean",
    "std",
    "n",
    "ci_low",
    "ci_high",
    "verdict",
    "reason",
)
CLAIMS = (
    "table",
    "profile",
    "claim",
    "says",
    "estimate",
    "ci_low",
    "ci_high",
    "margin",
    "n",
    "verdict",
    "reason",
    "source",
)
TEXTS = {"table", "unit", "says", "reason"}
"""Columns of free text; the others hold numbers, ids and verdicts."""
FORMULA = ("=", "+", "-", "@")


def cells_csv(model: TableModel) -> str:
    """One line for every cell that has a printed number or a run."""
    return _written(CELLS, _cell_lines(model))


def claims_csv(model: TableModel) -> str:
    """One line for every claim."""
    return _written(CLAIMS, _claim_lines(model))


def _written(header: tuple[str, ...], lines: Iterable[tuple[str, ...]]) -> str:
    table = pd.DataFrame(lines, columns=list(header))
    for column in TEXTS & set(header):
        table[column] = [_no_formula(text) for text in table[column]]
    return table.to_csv(index=False, lineterminator="\n")


def _no_formula(text: str) -> str:
    """A text that a spreadsheet would compute gets an apostrophe in front."""
    return f"'{text}" if text.startswith(FORMULA) else text


def _cell_lines(model: TableModel) -> Iterator[tuple[str, ...]]:
    for row in model.rows:
        for column in model.columns:
            cell = row.cell(column.id)
            if cell.judgement is None:
                continue
            published = "" if cell.published is None else str(cell.published)
            about = (row.id, column.id, column.metric, column.unit, published)
            verdict, reason = cell.judgement.verdict, cell.judgement.reason
            if row.has_collapsed(column):
                reason += f"; collapsed: {count(len(row.collapsed), 'seed')}"
            yield model.table, model.profile, *about, *_numbers(cell), str(verdict), reason


def _numbers(cell: Cell) -> tuple[str, ...]:
    summary = cell.summary
    if summary is None:
        return "", "", "0", "", ""
    ends = (None, None) if summary.ci is None else (summary.ci.low, summary.ci.high)
    mean, std, low, high = (_exact(value) for value in (summary.mean, summary.std, *ends))
    return mean, std, str(summary.n), low, high


def _claim_lines(model: TableModel) -> Iterator[tuple[str, ...]]:
    for claim in model.claims:
        ends = (None, None) if claim.ci is None else (claim.ci.low, claim.ci.high)
        numbers = (_exact(value) for value in (claim.estimate, *ends, claim.margin))
        verdict, reason = claim.judgement.verdict, claim.judgement.reason
        about = (model.table, model.profile, claim.id, claim.says)
        yield *about, *numbers, str(claim.n), str(verdict), reason, claim.source


def _exact(value: float | None) -> str:
    return "" if value is None else f"{value:.10g}"
