"""Holds one set of results against another, cell by cell: has anything drifted?"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, TypeAlias

from scipy.special import fdtrc, stdtr

from harness.errors import HarnessError
from harness.report.format import difference_unit, with_unit
from harness.report.inference import holm
from harness.report.model import Draw, Machine
from harness.report.publish import file_name, reference_folder
from harness.report.read_csv import Line, machine_of, quoted, read_lines
from harness.report.render.csv import CELLS, CLAIMS, SEEDS
from harness.report.statistics import Interval, Summary, t_quantile, within
from harness.spec.table import Column
from harness.text import number

CellStatus: TypeAlias = Literal["same", "drifted", "changed", "not compared", "missing", "new"]
Key: TypeAlias = tuple[str, str]

NEEDED = ("row", "column", "mean", "std", "n", "ci_low", "ci_high", "verdict")  # of CELLS
EXACT = 1e-6  # relative: a computed quantity that differs by more is another quantity
NEEDED_OF_SEEDS = ("row", "column", "state", "seed", "value", "run")
SIGNIFICANT = 0.01  # adjusted p of a drift
SMALLEST_P = 1e-4  # that is written out
POWER = 0.8
OPPOSITE = {"supported": "contradicted", "contradicted": "supported"}


@dataclass(frozen=True, kw_only=True, slots=True)
class CsvCell:
    """A cell of a CSV file."""

    summary: Summary | None
    verdict: str


@dataclass(frozen=True, slots=True)
class DriftTests:
    """All trained cells of two sets of results, tested together.

    The spread is that of all cells of a column, as three seeds that happen to lie close together
    prove nothing; or the cell's own, where it is larger than chance explains (F test at 5 %).
    """

    p: dict[Key, float]  # adjusted by Holm's method
    counts: dict[Key, tuple[int, int]]
    pooled: dict[str, tuple[float, float]]  # by column: variance, and its degrees of freedom

    @classmethod
    def of(
        cls,
        pairs: Sequence[tuple[Key, Summary | None, Summary | None]],
        columns: Mapping[str, Column],
    ) -> DriftTests:
        """Of the cells that both have, and of which one at least shows a spread."""
        found = {
            key: (one, other)
            for key, one, other in pairs
            if one is not None and other is not None
            if key[1] not in columns or columns[key[1]].evidence == "seeds"
        }
        pooled = {
            column: _pooled([both for key, both in found.items() if key[1] == column])
            for column in dict.fromkeys(key[1] for key in found)
        }
        raw: dict[Key, float] = {}
        for key, (one, other) in found.items():
            variance, freedom = _pooled([(one, other)])
            all_of_it, in_all = pooled[key[1]]
            if not all_of_it or fdtrc(freedom, in_all, variance / all_of_it) > 0.05:
                variance, freedom = all_of_it, in_all
            if freedom:
                apart = abs(one.mean - other.mean)
                error = math.sqrt(variance * (1 / one.n + 1 / other.n))
                raw[key] = 2 * float(stdtr(freedom, -apart / error)) if error else float(not apart)
        adjusted = {key: one.p for key, one in zip(raw, holm(list(raw.values())), strict=True)}
        counts = {key: (one.n, other.n) for key, (one, other) in found.items()}
        return cls(adjusted, counts, pooled)

    def smallest(self) -> dict[str, tuple[int, int, float]]:
        """By column: for the usual numbers of seeds, the drift that is found four times of five."""
        sizes = {}
        for column, (variance, freedom) in self.pooled.items():
            counts = Counter(
                n for key, n in self.counts.items() if key[1] == column and key in self.p
            )
            if counts and freedom and variance:
                (n, m), _ = counts.most_common(1)[0]
                level = SIGNIFICANT / len(self.p)
                reach = t_quantile(1 - level / 2, freedom) + t_quantile(POWER, freedom)
                sizes[column] = (n, m, reach * math.sqrt(variance * (1 / n + 1 / m)))
        return sizes


def _pooled(pairs: Sequence[tuple[Summary, Summary]]) -> tuple[float, float]:
    """The variance within cells, and its degrees of freedom."""
    spread = [one for pair in pairs for one in pair if one.std is not None]
    freedom = sum(one.n - 1 for one in spread)
    total = math.fsum((one.n - 1) * (one.std or 0.0) ** 2 for one in spread)
    return (total / freedom if freedom else 0.0), freedom


@dataclass(frozen=True, kw_only=True, slots=True)
class Difference:
    """How a cell, or a claim, stands against the reference."""

    what: Key  # (row, column), or ("claim", its id)
    reference: str
    result: str
    status: CellStatus
    why: str = ""


def compare_cells(
    result: Path, reference: Path, columns: Mapping[str, Column]
) -> tuple[tuple[Difference, ...], tuple[str, ...]]:
    """Every cell that either file has a value for, in the order of the reference; and what is to be
    said of the machines, and of how small a drift could be found.

    Computed cells must be equal. Trained ones must have the same bits where the same machine has
    computed the same run; all others are tested together, with Holm's adjustment.
    """
    here, there = _cells(result), _cells(reference)
    mine, theirs = read_draws(_seeds_beside(result)), read_draws(_seeds_beside(reference))
    tests = DriftTests.of(
        [(key, one.summary, there[key].summary) for key, one in here.items() if key in there],
        columns,
    )
    differences = []
    for key in dict.fromkeys([*there, *here]):
        measured = here[key].summary if key in here else None
        expected = there[key].summary if key in there else None
        if measured is not None or expected is not None:
            one = _compare(key, measured, expected, columns.get(key[1]), tests)
            bits = _other_bits(mine.get(key, {}), theirs.get(key, {}))
            if bits and one.status in ("same", "drifted", "not compared"):
                one = replace(one, status="drifted", why=bits)
            differences.append(one)
    return tuple(differences), _notes(mine, theirs, tests, columns)


def _seeds_beside(cells: Path) -> Path:
    return cells.with_name(f"{cells.name.removesuffix('.csv')}.seeds.csv")


def read_draws(path: Path, name: str = "") -> dict[Key, dict[int, Draw]]:
    """The values of a per-seed file by cell and seed; nothing where there is none. HarnessError
    where it is of another table at a profile than `name`.
    """
    draws: dict[Key, dict[int, Draw]] = {}
    for line in read_lines(path, SEEDS, NEEDED_OF_SEEDS) if path.is_file() else []:
        of = file_name(line.get("table", ""), line.get("profile", ""))
        if name and of != name:
            raise HarnessError(f"{line.place}: is of {quoted(of)}, not of {name}")
        if line["state"] == "done":
            draw = Draw(
                seed=line.whole("seed"),
                value=line.number("value"),
                run=line["run"],
                machine=machine_of(line),
            )
            cell = draws.setdefault((line["row"], line["column"]), {})
            if draw.seed in cell:
                what = f"seed {draw.seed} of this row and column is there twice"
                raise HarnessError(f"{line.place}: {what}")
            cell[draw.seed] = draw
    return draws


def _other_bits(mine: Mapping[int, Draw], theirs: Mapping[int, Draw]) -> str:
    """How the same run on the same machine gave another value; empty where none did."""
    for seed, draw in mine.items():
        other = theirs.get(seed)
        same = other is not None and (draw.run, draw.machine) == (other.run, other.machine)
        if other is not None and same and draw.machine.cpu and draw.value != other.value:
            values = f"seed {seed} was {other.value!r}, is {draw.value!r}"
            return f"the same machine with other bits: {values}"
    return ""


def _notes(
    mine: Mapping[Key, Mapping[int, Draw]],
    theirs: Mapping[Key, Mapping[int, Draw]],
    tests: DriftTests,
    columns: Mapping[str, Column],
) -> tuple[str, ...]:
    if not tests.p:
        return ()
    machines = [
        list(dict.fromkeys(draw.machine for key in tests.p for draw in draws.get(key, {}).values()))
        for draws in (mine, theirs)
    ]
    if not all(machines):
        who = "your results keep" if not machines[0] else "the reference keeps"
        what = (
            f"{who} no per-seed values (an older version wrote them): nothing tells whether this "
        )
        what += "is another machine, on which the same seeds would be new draws"
    elif machines[0] == machines[1]:
        what = "the same machine"
    else:
        what = f"{_other(machines[0][0], machines[1][0])}: the same seeds are new draws"
    found = [
        f"{n} against {m} seeds can find in {columns[column].label} is a drift of "
        f"{with_unit(number(size, 2), difference_unit(columns[column].unit))}"
        for column, (n, m, size) in tests.smallest().items()
    ]
    rule = f"in four of five cases, by p < {SIGNIFICANT:g} after adjusting for {len(tests.p)} cells"
    return (f"{what}; what {', '.join(found)} ({rule})" if found else what,)


def _other(mine: Machine, theirs: Machine) -> str:
    """What is not the same, the most telling thing first."""
    names = {
        "cpu": "another CPU",
        "device": "another device",
        "instructions": "other instructions of the CPU",
        "torch": "another PyTorch",
        "threads": "another number of threads",
        "processes": "another number of processes",
    }
    for name, text in names.items():
        here, there = getattr(mine, name), getattr(theirs, name)
        if here != there:
            return f"{text} ({here or 'unknown'} here, {there or 'unknown'} there)"
    return "several machines"


def compare_claims(result: Path, reference: Path) -> tuple[Difference, ...]:
    """Every claim of both; a verdict is no measurement, so it can change but not drift."""
    here, there = _verdicts(result), _verdicts(reference)
    differences = []
    for claim, verdict in there.items():
        verdict_now = here.get(claim)
        if verdict_now is None:
            continue
        status: CellStatus = "same" if verdict_now == verdict else "changed"
        why = "the opposite" if OPPOSITE.get(verdict) == verdict_now else ""
        differences.append(
            Difference(
                what=("claim", claim),
                reference=verdict,
                result=verdict_now,
                status=status,
                why=why,
            )
        )
    return tuple(differences)


def _compare(
    key: Key,
    result: Summary | None,
    reference: Summary | None,
    column: Column | None,
    tests: DriftTests,
) -> Difference:
    decimals = 2 if column is None else column.decimals + 1
    texts = {"reference": _text(reference, decimals), "result": _text(result, decimals)}
    if result is None or reference is None:
        status: CellStatus = "new" if reference is None else "missing"
        return Difference(what=key, status=status, **texts)
    evidence = "seeds" if column is None else column.evidence
    if evidence == "timing":
        why = "a timing: it depends on the hardware"
        return Difference(what=key, status="not compared", why=why, **texts)
    equal = within(result.mean - reference.mean, EXACT * abs(reference.mean))
    if evidence == "exact":
        status = "same" if equal else "drifted"
        return Difference(what=key, status=status, why="computed: must be equal", **texts)
    p = tests.p.get(key)
    if equal or p is None:
        status = "same" if equal else "not compared"
        why = "equal" if equal else "one seed each: nothing tells how far two may lie apart"
        return Difference(what=key, status=status, why=why, **texts)
    status = "drifted" if p < SIGNIFICANT else "same"
    shown = f"p < {SMALLEST_P:g}" if p < SMALLEST_P else f"p = {p:.2g}"
    return Difference(what=key, status=status, why=f"{shown}, adjusted", **texts)


def _text(summary: Summary | None, decimals: int) -> str:
    if summary is None:
        return "–"
    text = number(summary.mean, decimals) if abs(summary.mean) >= 0.1 else f"{summary.mean:.4g}"
    if summary.ci is not None:
        text += f" ± {number(summary.ci.half_width, decimals)}"
    return f"{text} (n={summary.n})"


def _cells(path: Path) -> dict[Key, CsvCell]:
    cells: dict[Key, CsvCell] = {}
    for line in read_lines(path, CELLS, NEEDED):
        key = line["row"], line["column"]
        if key in cells:
            raise HarnessError(f"{line.place}: a second line for row {key[0]}, column {key[1]}")
        cells[key] = CsvCell(summary=_summary(line), verdict=line["verdict"])
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


def references(table: str, profile: str) -> list[Path]:
    """Those of its folders that have results of this table at this profile."""
    name = f"{file_name(table, profile)}.csv"
    return sorted(path for path in reference_folder().glob("*") if (path / name).is_file())
