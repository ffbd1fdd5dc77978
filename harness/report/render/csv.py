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
    "text",
    "estimate",
    "ci_low",
    "ci_high",
    "margin",
    "n",
    "verdict",
    "reason",
    "source",
)

TEXTS = {"table", "unit", "text", "reason"}
"""Columns of free text; the others hold numbers, ids and verdicts."""
FORMULA = ("=", "+", "-", "@")
NUMBERS = frozenset({"published", "mean", "std", "n", "ci_low", "ci_high", "estimate", "margin"})


def cells_csv(model: TableModel) -> str:
    """One line for every cell that has a printed number or a run."""
    return _written(_frame(CELLS, _cell_lines(model)))


def claims_csv(model: TableModel) -> str:
    """One line for every claim."""
    return _written(_frame(CLAIMS, _claim_lines(model)))


def cells_frame(model: TableModel) -> pd.DataFrame:
    """The lines of `cells_csv`, with numbers as numbers; NaN where there is none."""
    return _with_numbers(_frame(CELLS, _cell_lines(model)))


def claims_frame(model: TableModel) -> pd.DataFrame:
    """The lines of `claims_csv`, with numbers as numbers; NaN where there is none."""
    return _with_numbers(_frame(CLAIMS, _claim_lines(model)))


def _frame(header: tuple[str, ...], lines: Iterable[tuple[str, ...]]) -> pd.DataFrame:
    return pd.DataFrame(lines, columns=list(header))


def _written(frame: pd.DataFrame) -> str:
    for column in TEXTS.intersection(frame.columns):
        frame[column] = [_no_formula(text) for text in frame[column]]
    return frame.to_csv(index=False, lineterminator="\n")


def _no_formula(text: str) -> str:
    """A text that a spreadsheet would compute gets an apostrophe in front."""
    return f"'{text}" if text.startswith(FORMULA) else text


def _with_numbers(frame: pd.DataFrame) -> pd.DataFrame:
    for name in NUMBERS.intersection(frame.columns):
        frame[name] = pd.to_numeric(frame[name])
    return frame


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
        about = (model.table, model.profile, claim.claim.id, claim.claim.text)
        outcome = (str(claim.n), str(claim.verdict), claim.reason, claim.source)
        yield *about, *numbers, *outcome


def _exact(value: float | None) -> str:
    return "" if value is None else f"{value:.10g}"
