"""Holds one set of results against another, cell by cell: has anything drifted?"""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

from harness.errors import HarnessError
from harness.report.render.csv import CELLS, CLAIMS
from harness.report.statistics import Interval, Summary, welch_half_width, within
from harness.run import KINDS
from harness.spec.table import Column
from harness.text import number

Status: TypeAlias = Literal["same", "drifted", "changed", "not compared", "missing", "new"]
Key: TypeAlias = tuple[str, str]

UNSOURCED = CLAIMS[:-1]  # files from before claims had a source
EXACT = 1e-6  # relative: a computed quantity that differs by more is another quantity
OPPOSITE = {"supported": "contradicted", "contradicted": "supported"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Measured:
    """A cell of a CSV file."""

    summary: Summary | None
    verdict: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Difference:
    """How a cell, or a claim, stands against the reference."""

    what: Key  # (row, column), or ("claim", its id)
    reference: str
    mine: str
    status: Status
    why: str = ""


def compare_cells(
    mine: Path, reference: Path, columns: Mapping[str, Column]
) -> tuple[Difference, ...]:
    """Every cell that either file has a value for, in the order of the reference."""
    here, there = _cells(mine), _cells(reference)
    found = []
    for key in dict.fromkeys([*there, *here]):
        one, other = here.get(key), there.get(key)
        own = None if one is None else one.summary
        known = None if other is None else other.summary
        if own is not None or known is not None:
            found.append(_compare(key, own, known, columns.get(key[1])))
    return tuple(found)


def compare_claims(mine: Path, reference: Path) -> tuple[Difference, ...]:
    """Every claim of both: only a verdict that turned into its opposite has drifted."""
    here, there = _verdicts(mine), _verdicts(reference)
    found = []
    for claim, verdict in there.items():
        own = here.get(claim)
        if own is None:
            continue
        status: Status = "same" if own == verdict else "changed"
        if OPPOSITE.get(verdict) == own:
            status = "drifted"
        found.append(Difference(what=("claim", claim), reference=verdict, mine=own, status=status))
    return tuple(found)


def _compare(
    key: Key, mine: Summary | None, reference: Summary | None, column: Column | None
) -> Difference:
    decimals = 2 if column is None else column.decimals + 1
    texts = {"reference": _text(reference, decimals), "mine": _text(mine, decimals)}
    if mine is None or reference is None:
        status: Status = "new" if reference is None else "missing"
        return Difference(what=key, status=status, **texts)
    kind = None if column is None else KINDS.get(column.kind)
    if kind is not None and kind.exclusive:
        why = "a timing: it depends on the hardware"
        return Difference(what=key, status="not compared", why=why, **texts)
    distance = mine.mean - reference.mean
    allowed, why = _allowed(mine, reference, column, seeded=kind is None or kind.seeded)
    same = within(distance, allowed)
    return Difference(what=key, status="same" if same else "drifted", why=why, **texts)


def _allowed(
    mine: Summary, reference: Summary, column: Column | None, *, seeded: bool
) -> tuple[float, str]:
    """How far apart the means may be: by the scatter of both, or the tolerance of the column."""
    exact = EXACT * abs(reference.mean)
    if not seeded:
        return exact, "computed: must be equal"
    scatter = welch_half_width(mine, reference) or 0.0
    tolerance = column.tolerance if column is not None else None
    asked = 0.0 if tolerance is None else tolerance.of(reference.mean)
    widest = max(scatter, asked, exact)
    which = "95 % CI of the difference" if widest == scatter and scatter else "tolerance"
    return widest, f"{which} ±{number(widest, 2)}"


def _text(summary: Summary | None, decimals: int) -> str:
    if summary is None:
        return "–"
    text = number(summary.mean, decimals) if abs(summary.mean) >= 0.1 else f"{summary.mean:.4g}"
    if summary.ci is not None:
        text += f" ± {number(summary.ci.half_width, decimals)}"
    return f"{text} (n={summary.n})"


def _cells(path: Path) -> dict[Key, Measured]:
    return {
        (line["row"], line["column"]): Measured(summary=_summary(line), verdict=line["verdict"])
        for line in _read(path, CELLS)
    }


def _verdicts(path: Path) -> dict[str, str]:
    return {line["claim"]: line["verdict"] for line in _read(path, CLAIMS, UNSOURCED)}


def _summary(line: Mapping[str, str]) -> Summary | None:
    if not line["mean"]:
        return None
    ci = None
    if line["ci_low"]:
        ci = Interval(low=float(line["ci_low"]), high=float(line["ci_high"]))
    std = float(line["std"]) if line["std"] else None
    return Summary(n=int(line["n"]), mean=float(line["mean"]), std=std, ci=ci)


def _read(path: Path, *headers: tuple[str, ...]) -> list[dict[str, str]]:
    """The lines of a CSV file whose header is one of these, today's first."""
    try:
        with path.open(encoding="utf-8", newline="") as file:
            reader = csv.DictReader(file)
            header = tuple(reader.fieldnames or ())
            if header not in headers:
                raise HarnessError(f"{path}: the first line must be {','.join(headers[0])}")
            lines = list(reader)
            for line in lines:
                if None in line or None in line.values():
                    raise HarnessError(f"{path}:{reader.line_num}: not {len(header)} fields")
            return lines
    except FileNotFoundError:
        raise HarnessError(f"{path} does not exist") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise HarnessError(f"{path} is no CSV file: {error}") from None
