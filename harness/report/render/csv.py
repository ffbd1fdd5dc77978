"""The CSV files: one line per cell, one per claim, one per value, one per value's bits."""

from __future__ import annotations

import base64
import csv
from collections.abc import Iterable, Iterator
from dataclasses import fields
from io import StringIO
from operator import attrgetter
from typing import TYPE_CHECKING

from harness.report.format import looks_text
from harness.report.metrics_file import points
from harness.report.model import Cell, ClaimResult, Draw, FinishedRun, Machine, TableModel
from harness.text import count

if TYPE_CHECKING:
    import pandas as pd

CELLS = (
    *("table", "profile", "row", "column", "metric", "unit", "published"),
    *("mean", "std", "n", "ci_low", "ci_high", "verdict", "reason"),
)
CLAIMS = (
    *("table", "profile", "claim", "text", "estimate", "ci_low", "ci_high", "margin", "n"),
    *("verdict", "reason", "source", "looks", "images", "se_images"),
    *("adjusted_low", "adjusted_high", "p", "p_adjusted", "family"),
    *("sd", "sd_moderated", "seeds_needed"),
)
SEEDS = (
    *("table", "profile", "row", "column", "state", "seed", "epoch", "value", "ratio"),
    *("look", "images", "collapsed", "run", "commit"),
    *(field.name for field in fields(Machine)),
    "why",
)
"""One line for every value; where there is none, for every run that failed, or for what is missing.

`state`: done, failed, lost (its value was in an earlier report, and is gone), open, needs (what
stands in the way of open ones), or epoch (what a training recorded of the column's metric after so
many epochs).
"""
IMAGES = ("row", "column", "seed", "run", "images", "right")

TEXTS = {"table", "unit", "text", "reason", "cpu", "device", "why"}
"""Columns of free text; the others hold numbers, ids and verdicts."""
_AFTER_VALUE = "," * (len(SEEDS) - SEEDS.index("value") - 1)
_MACHINE = attrgetter(*(field.name for field in fields(Machine)))
FORMULA = ("=", "+", "-", "@")
NUMBERS = frozenset(
    {
        *("published", "mean", "std", "n", "ci_low", "ci_high", "estimate", "margin"),
        *("images", "se_images", "adjusted_low", "adjusted_high", "p", "p_adjusted", "family"),
        *("sd", "sd_moderated"),
    }
)


def cells_csv(model: TableModel) -> str:
    """One line for every cell that has a printed number or a run."""
    return _written(CELLS, _cell_lines(model))


def claims_csv(model: TableModel) -> str:
    """One line for every claim."""
    return _written(CLAIMS, _claim_lines(model))


def seeds_csv(model: TableModel) -> str:
    """One line for every value, and what tells it from others: from these alone the other files can
    be made again.
    """
    return _written(SEEDS, _seed_lines(model))


def images_csv(model: TableModel) -> str:
    """One line for every value whose run has kept which images it got right: packed eight a byte,
    the first one highest, in base64. Empty where none has.
    """
    lines = list(_image_lines(model))
    return _written(IMAGES, lines) if lines else ""


def cells_frame(model: TableModel) -> pd.DataFrame:
    """The lines of `cells_csv`, with numbers as numbers; NaN where there is none."""
    return _with_numbers(_frame(CELLS, _cell_lines(model)))


def claims_frame(model: TableModel) -> pd.DataFrame:
    """The lines of `claims_csv`, with numbers as numbers; NaN where there is none."""
    return _with_numbers(_frame(CLAIMS, _claim_lines(model)))


def _frame(header: tuple[str, ...], lines: Iterable[tuple[str, ...]]) -> pd.DataFrame:
    import pandas as pd

    return pd.DataFrame(lines, columns=list(header))


def _written(header: tuple[str, ...], lines: Iterable[tuple[str, ...] | str]) -> str:
    """The text of a file; lines are their fields, or as they stand there."""
    texts = [index for index, name in enumerate(header) if name in TEXTS]
    stream = StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(header)
    for line in lines:
        if isinstance(line, str):
            stream.write(f"{line}\n")
            continue
        if any(line[index].startswith(FORMULA) for index in texts):
            line = tuple(
                _no_formula(text) if index in texts else text for index, text in enumerate(line)
            )
        writer.writerow(line)
    return stream.getvalue()


def _joined(*fields: str) -> str:
    """Fields as they stand in a line."""
    stream = StringIO()
    csv.writer(stream, lineterminator="").writerow(fields)
    return stream.getvalue()


def _no_formula(text: str) -> str:
    """A text that a spreadsheet would compute gets an apostrophe in front."""
    return f"'{text}" if text.startswith(FORMULA) else text


def plain(text: str) -> str:
    """A text as it was before `_no_formula`."""
    return text[1:] if text[:1] == "'" and text[1:].startswith(FORMULA) else text


def _with_numbers(frame: pd.DataFrame) -> pd.DataFrame:
    import pandas as pd

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
        images = "" if not claim.images else str(claim.images)
        looks = (looks_text(claim.look_seeds), images, _exact(claim.se_images))
        yield *about, *numbers, *outcome, *looks, *_inference(claim)


def _inference(claim: ClaimResult) -> Iterator[str]:
    """What the verdict rests on beside the interval of the claim alone."""
    adjusted = claim.adjusted
    yield from ("", "") if adjusted is None else (_exact(adjusted.low), _exact(adjusted.high))
    yield from (_exact(claim.p), _exact(claim.p_adjusted))
    yield str(claim.family or "")
    yield from (_exact(claim.std), _exact(claim.std_moderated), claim.seeds_needed)


def _seed_lines(model: TableModel) -> Iterator[tuple[str, ...] | str]:
    table = _no_formula(model.table)
    runs: dict[str, list[FinishedRun]] = {}
    for finished in model.runs:
        runs.setdefault(finished.row, []).append(finished)
    for row in model.rows:
        for column in model.columns:
            cell = row.cell(column.id)
            if cell.judgement is None:
                continue
            about = (table, model.profile, row.id, column.id)
            seeded = column.evidence == "seeds"
            for draw in cell.draws:
                collapsed = seeded and draw.seed in row.collapsed
                yield *about, *_draw(draw, seeded=seeded, collapsed=collapsed)
            for seed, run, error in cell.failures:
                yield *about, *_without_value("failed", error, str(seed) if seeded else "", run)
            for seed, run, look in cell.lost:
                yield *about, *_without_value("lost", "", str(seed), run, str(look))
            if not cell.draws and not cell.failures:
                yield *about, *_without_value("open", cell.judgement.reason)
            for need in cell.needs:
                yield *about, *_without_value("needs", need)
            if seeded:
                begin = _joined(*about, "epoch")  # once, not for each of their many lines
                for finished in runs.get(row.id, ()):
                    for epoch, value in zip(*points(finished.records, column.metric), strict=True):
                        yield f"{begin},{finished.seed},{epoch!r},{value!r}{_AFTER_VALUE}"


def _draw(draw: Draw, *, seeded: bool, collapsed: bool) -> tuple[str, ...]:
    return (
        "done",
        str(draw.seed) if seeded else "",
        "",
        repr(draw.value),
        "" if draw.ratio is None else repr(draw.ratio),
        str(draw.look) if draw.look else "",
        str(draw.images) if draw.images else "",
        "yes" if collapsed else "",
        draw.run,
        draw.commit,
        *_MACHINE(draw.machine),
        "",
    )


def _without_value(
    state: str, why: str, seed: str = "", run: str = "", look: str = ""
) -> tuple[str, ...]:
    facts = {"state": state, "seed": seed, "look": look, "run": run, "why": why}
    return tuple((dict.fromkeys(SEEDS[4:], "") | facts).values())


def _image_lines(model: TableModel) -> Iterator[str]:
    for row in model.rows:
        for cell in row.cells:
            for draw in cell.draws:
                if draw.images:
                    right = base64.b64encode(draw.right).decode()
                    about = _joined(row.id, cell.column, str(draw.seed), draw.run)
                    yield f"{about},{draw.images},{right}"


def _exact(value: float | None) -> str:
    return "" if value is None else f"{value:.10g}"
