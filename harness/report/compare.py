"""Holds one set of results against another, cell by cell: has anything drifted?"""

from __future__ import annotations

import csv
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Literal, TypeAlias

from harness.errors import HarnessError
from harness.paths import project_root
from harness.report.inert import inert
from harness.report.publish import file_name
from harness.report.render.csv import CELLS, CLAIMS
from harness.report.statistics import Interval, Summary, welch_half_width, within
from harness.spec.table import Column
from harness.text import number

Status: TypeAlias = Literal["same", "drifted", "changed", "not compared", "missing", "new"]
Key: TypeAlias = tuple[str, str]

NEEDED = ("row", "column", "mean", "std", "n", "ci_low", "ci_high", "verdict")  # of CELLS
EXACT = 1e-6  # relative: a computed quantity that differs by more is another quantity
OLD_NAMES = {"says": "text"}
"""Columns that earlier files call otherwise."""
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
    result: str
    status: Status
    why: str = ""


def compare_cells(
    result: Path, reference: Path, columns: Mapping[str, Column]
) -> tuple[Difference, ...]:
    """Every cell that either file has a value for, in the order of the reference."""
    here, there = _cells(result), _cells(reference)
    differences = []
    for key in dict.fromkeys([*there, *here]):
        measured = here[key].summary if key in here else None
        expected = there[key].summary if key in there else None
        if measured is not None or expected is not None:
            differences.append(_compare(key, measured, expected, columns.get(key[1])))
    return tuple(differences)


def compare_claims(result: Path, reference: Path) -> tuple[Difference, ...]:
    """Every claim of both: only a verdict that turned into its opposite has drifted."""
    here, there = _verdicts(result), _verdicts(reference)
    differences = []
    for claim, verdict in there.items():
        verdict_now = here.get(claim)
        if verdict_now is None:
            continue
        status: Status = "same" if verdict_now == verdict else "changed"
        if OPPOSITE.get(verdict) == verdict_now:
            status = "drifted"
        differences.append(
            Difference(what=("claim", claim), reference=verdict, result=verdict_now, status=status)
        )
    return tuple(differences)


def _compare(
    key: Key, result: Summary | None, reference: Summary | None, column: Column | None
) -> Difference:
    decimals = 2 if column is None else column.decimals + 1
    texts = {"reference": _text(reference, decimals), "result": _text(result, decimals)}
    if result is None or reference is None:
        status: Status = "new" if reference is None else "missing"
        return Difference(what=key, status=status, **texts)
    evidence = "seeds" if column is None else column.evidence
    if evidence == "timing":
        why = "a timing: it depends on the hardware"
        return Difference(what=key, status="not compared", why=why, **texts)
    distance = result.mean - reference.mean
    allowed, why = _allowed(result, reference, column, seeded=evidence == "seeds")
    same = within(distance, allowed)
    return Difference(what=key, status="same" if same else "drifted", why=why, **texts)


def _allowed(
    result: Summary, reference: Summary, column: Column | None, *, seeded: bool
) -> tuple[float, str]:
    """How far apart the means may be: by the scatter of both, or the tolerance of the column."""
    exact = EXACT * abs(reference.mean)
    if not seeded:
        return exact, "computed: must be equal"
    scatter = welch_half_width(result, reference) or 0.0
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
    cells: dict[Key, Measured] = {}
    for line in read_lines(path, CELLS, NEEDED):
        key = line["row"], line["column"]
        if key in cells:
            raise HarnessError(f"{line.place}: a second line for row {key[0]}, column {key[1]}")
        cells[key] = Measured(summary=_summary(line), verdict=line["verdict"])
    return cells


def _verdicts(path: Path) -> dict[str, str]:
    return {
        line["claim"]: line["verdict"] for line in read_lines(path, CLAIMS, ("claim", "verdict"))
    }


def _summary(line: Line) -> Summary | None:
    if not line["mean"]:
        return None
    n = line.number("n")
    if n < 1 or n != int(n):
        raise HarnessError(f"{line.place}: n: '{line['n']}' is no number of values, 1 or more")
    ends = [line.number(name) for name in ("ci_low", "ci_high") if line[name]]
    if len(ends) == 1 or ends != sorted(ends):
        both_ends = f"'{line['ci_low']}' and '{line['ci_high']}'"
        raise HarnessError(f"{line.place}: ci_low and ci_high: {both_ends} are no interval")
    return Summary(
        n=int(n),
        mean=line.number("mean"),
        std=line.number("std") if line["std"] else None,
        ci=Interval(low=ends[0], high=ends[1]) if ends else None,
    )


class Line(dict[str, str]):
    """A line of a CSV file, and where it stands."""

    def __init__(self, fields: Mapping[str, str], place: str) -> None:
        super().__init__(fields)
        self.place = place

    def number(self, name: str) -> float:
        """A field that must be a finite number."""
        try:
            value = float(self[name])
        except ValueError:
            value = math.nan
        if not math.isfinite(value):
            raise HarnessError(f"{self.place}: {name}: '{inert(self[name])}' is no finite number")
        return value


def read_lines(path: Path, usual: Sequence[str], needed: Sequence[str]) -> list[Line]:
    """The lines of a CSV file that has these columns, in any order, perhaps among others."""
    text = _content(path)
    reader = csv.DictReader(StringIO(text, newline=""), strict=True)
    try:
        header = [OLD_NAMES.get(n, n) for n in (name.strip() for name in reader.fieldnames or ())]
        reader.fieldnames = header
        _check_header(path, text.splitlines()[0] if text else "", header, usual, needed)
        lines = []
        for fields in reader:
            place = f"{path}:{reader.line_num}"
            if None in fields or None in fields.values():
                raise HarnessError(f"{place}: not {len(header)} fields")
            lines.append(Line({key: inert(value) for key, value in fields.items()}, place))
        return lines
    except csv.Error as error:
        raise HarnessError(f"{path}:{reader.line_num}: no CSV: {error}") from None


def _content(path: Path) -> str:
    """The text of a file, without the byte order mark that spreadsheets put before it."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise HarnessError(f"{path} does not exist") from None
    except OSError as error:
        raise HarnessError(f"{path} cannot be read: {error.strerror}") from None
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise HarnessError(
            f"{path}:{line}: not UTF-8 (byte {error.start}): save the file as CSV in UTF-8"
        ) from None


def _check_header(
    path: Path, first: str, header: Sequence[str], usual: Sequence[str], needed: Sequence[str]
) -> None:
    if not header:
        raise HarnessError(f"{path} is empty: `harness report --format csv` writes it anew")
    twice = [name for name, n in Counter(header).items() if n > 1]
    if twice:
        raise HarnessError(f"{path}:1: the column {inert(twice[0])} is there twice")
    lacking = [name for name in needed if name not in header]
    if not lacking:
        return
    other = next((sign for sign in ";\t|" if first.count(sign) >= len(needed) - 1), None)
    if other is not None:
        sign = "tabs" if other == "\t" else f"'{other}'"
        raise HarnessError(f"{path}:1: columns are separated by {sign}: write commas")
    raise HarnessError(
        f"{path}:1: the columns {', '.join(lacking)} are missing "
        f"(the first line must be {','.join(usual)})"
    )


def reference_folder() -> Path:
    """Where the results lie that come with the project, a folder for each machine."""
    return project_root() / "results" / "reference"


def references(table: str, profile: str) -> list[Path]:
    """Those of its folders that have results of this table at this profile."""
    name = f"{file_name(table, profile)}.csv"
    return sorted(path for path in reference_folder().glob("*") if (path / name).is_file())
