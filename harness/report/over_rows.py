"""What is said of several rows at once: the share for which a comparison holds, that it holds for
every one, or how two quantities go together. The interval of a share and of a correlation is over
rows, each of which counts once, by the mean of its seeds; that of "every" is over seeds.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from scipy.special import bdtr, betaincinv, ndtr, ndtri, stdtr

from harness.report.format import interval_text, signed, with_unit
from harness.report.measure import (
    Measure,
    OverRows,
    Side,
    at_worst,
    combined,
    measure_cells,
    rounding,
    side_of,
)
from harness.report.model import Judgement, Verdict
from harness.report.statistics import Interval, Summary, scatters, t_quantile
from harness.spec.claims import Comparison, Operator
from harness.spec.table import Column
from harness.text import count, number

FEWEST_FOR_A_CORRELATION = 4  # rows: with three the interval of Fisher's z has no width to speak of


def deciding_measure(
    comparison: Comparison, column: Column, *sides: Side, worst: bool = False
) -> Measure:
    """What any comparison is decided by: see `measure_cells` for cells, and this module for what is
    said of several rows.
    """
    if comparison.over is None:
        return measure_cells(comparison, column, *sides, worst=worst)
    return measure_over_rows(comparison, column, sides, worst=worst)


def measure_over_rows(
    comparison: Comparison, column: Column, sides: Sequence[Side], *, worst: bool = False
) -> Measure:
    """The quantity with its interval. Without a value of every row there is none: the rows that
    were run first would speak for all. `worst` gives failed seeds a value, row by row.
    """
    by_cell = dict(zip(comparison.cells, sides, strict=True))
    members = [(member, [by_cell[cell] for cell in member.cells]) for member in comparison.members]
    if comparison.over == "correlation":
        return _correlation(comparison, members)
    few = comparison.over == "share" and comparison.operator in ("<=", "<")
    if worst:
        members = [(member, at_worst(member, found, -1 if few else 1)) for member, found in members]
    measures = [measure_cells(member, column, *found) for member, found in members]
    if comparison.over == "share":
        return _share(comparison, column, measures)
    floors = [
        rounding(member, column, found, min(side.images for side in found))
        for member, found in members
    ]
    return _every(comparison, column, measures, floors)


def _share(comparison: Comparison, column: Column, measures: Sequence[Measure]) -> Measure:
    """Clopper and Pearson's interval, which errs at most as often as it says."""
    assert comparison.inner is not None
    n, summaries = len(measures), [one.summary for one in measures]
    quantity = f"{column.label}, share of {n} rows with {comparison.inner}{comparison.condition}"
    means = [summary.mean for summary in summaries if summary is not None]
    if len(means) < n:
        return _unknown(comparison, quantity)
    held = sum(
        side_of(comparison.inner.operator, mean, mean, one.margin) is Verdict.SUPPORTED
        for mean, one in zip(means, measures, strict=True)
    )

    def interval(level: float) -> Interval:
        low = 0.0 if held == 0 else float(betaincinv(held, n - held + 1, level / 2))
        high = 1.0 if held == n else float(betaincinv(held + 1, n - held, 1 - level / 2))
        return Interval(low=low, high=high)

    at_most = float(bdtr(held, n, comparison.offset))
    at_least = 1.0 if held == 0 else 1 - float(bdtr(held - 1, n, comparison.offset))
    return Measure(
        summary=Summary(n=n, mean=held / n, std=None, ci=None),
        margin=comparison.offset,
        quantity=quantity,
        unit="",
        decimals=2,
        over=OverRows(
            units=count(n, "row"),
            interval=interval,
            p=min(1.0, 2 * min(at_most, at_least)),
            note=f"{held} of {n}; the interval is over rows, each counted once by the mean of its "
            "seeds",
        ),
    )


def _correlation(
    comparison: Comparison, members: Sequence[tuple[Comparison, Sequence[Side]]]
) -> Measure:
    """Pearson's, with the interval of Fisher's z."""
    assert comparison.inner is not None
    n = len(members)
    quantity = f"correlation over {n} rows of {comparison.inner}{comparison.condition}"
    points = []
    for member, found in members:
        x, y = combined(member, found)
        if x.values and y is not None and y.values:
            points.append((_mean(x), _mean(y)))
    r = _pearson(points) if len(points) == n else None
    if r is None:
        constant = "one of the two is the same in all rows" if len(points) == n else ""
        return _unknown(comparison, quantity, constant)

    def interval(level: float) -> Interval | None:
        if n < FEWEST_FOR_A_CORRELATION:
            return None
        half = float(ndtri(1 - level / 2)) / math.sqrt(n - 3)
        return Interval(low=math.tanh(_z(r) - half), high=math.tanh(_z(r) + half))

    p = None
    if n >= FEWEST_FOR_A_CORRELATION:
        distance = abs(_z(r) - _z(comparison.offset)) * math.sqrt(n - 3)
        p = float(2 * ndtr(-distance))
    note = "the interval is over rows, each a point by the means of its seeds"
    return Measure(
        summary=Summary(n=n, mean=r, std=None, ci=None),
        margin=comparison.offset,
        quantity=quantity,
        unit="",
        decimals=2,
        over=OverRows(units=count(n, "row"), interval=interval, p=p, note=note),
    )


def _mean(side: Side) -> float:
    return sum(side.values.values()) / len(side.values)


def _z(r: float) -> float:
    return math.atanh(max(-1 + 1e-12, min(1 - 1e-12, r)))


def _pearson(points: Sequence[tuple[float, float]]) -> float | None:
    n = len(points)
    mean_x, mean_y = (sum(values) / n for values in zip(*points, strict=True))
    xx = sum((x - mean_x) ** 2 for x, _ in points)
    yy = sum((y - mean_y) ** 2 for _, y in points)
    if any(
        spread <= n * (1e-9 * max(1.0, abs(mean))) ** 2
        for spread, mean in ((xx, mean_x), (yy, mean_y))
    ):
        return None  # nothing varies, but for the last bits
    xy: float = sum((x - mean_x) * (y - mean_y) for x, y in points)
    return xy / math.sqrt(xx * yy)


@dataclass(frozen=True, slots=True)
class _Member:
    """A row of "every", turned so that the comparison says it is at least 0."""

    mean: float
    error: float | None  # None: one seed, or seeds that do not scatter
    freedom: int

    def end(self, level: float, sign: int) -> float:
        assert self.error
        return self.mean + sign * t_quantile(1 - level / 2, self.freedom) * self.error

    def p(self, sign: int) -> float:
        """One-sided, that it is not on that side of 0."""
        assert self.error
        return float(stdtr(self.freedom, -sign * self.mean / self.error))


def _every(
    comparison: Comparison, column: Column, measures: Sequence[Measure], floors: Sequence[float]
) -> Measure:
    """The row that is nearest to breaking it; `floors` are the least variances of their values.
    That all hold needs each to be shown at the level (an intersection-union test); that one does
    not must survive Bonferroni's adjustment for the choice.
    """
    n = len(measures)
    quantity = (
        f"{column.label}, the weakest of {n} rows in {comparison.inner}{comparison.condition}"
    )
    turn = 1 if comparison.operator in (">=", ">") else -1
    found = [_turned(one, turn, floor) for one, floor in zip(measures, floors, strict=True)]
    known = [one for one in found if one is not None]
    if len(known) < n:
        return _unknown(comparison, quantity)
    weakest = min(range(n), key=lambda index: known[index].mean)

    def interval(level: float) -> Interval | None:
        if any(one.error is None for one in known):
            return None
        low = min(one.end(level, -1) for one in known)
        high = min(one.end(level / n, +1) for one in known)
        ends = sorted((turn * low + margin, turn * high + margin))
        return Interval(low=ends[0], high=ends[1])

    margin = measures[weakest].margin
    scattered = all(one.error is not None for one in known)
    all_hold = max(one.p(+1) for one in known) if scattered else None
    one_fails = min(1.0, n * min(one.p(-1) for one in known)) if scattered else None
    p = None
    if all_hold is not None and one_fails is not None:
        p = min(1.0, 2 * min(all_hold, one_fails))
    first = measures[weakest]
    mean = turn * known[weakest].mean + margin
    return Measure(
        summary=Summary(n=n, mean=first.shown(mean) if first.ratio else mean, std=None, ci=None),
        margin=first.shown(margin) if first.ratio else margin,
        quantity=quantity,
        unit=first.unit,
        decimals=first.decimals,
        difference=first.difference,
        over=OverRows(
            units=count(n, "row"),
            interval=_shown(interval, first),
            p=p,
            note=f"the weakest is {first.quantity}; the interval is over the seeds of the rows",
        ),
    )


def _shown(
    interval: Callable[[float], Interval | None], measure: Measure
) -> Callable[[float], Interval | None]:
    """Of ratios, as people read them."""

    def shown(level: float) -> Interval | None:
        ends = interval(level)
        if ends is None or not measure.ratio:
            return ends
        return Interval(low=measure.shown(ends.low), high=measure.shown(ends.high))

    return shown


def _turned(measure: Measure, turn: int, floor: float) -> _Member | None:
    summary = measure.summary
    if summary is None:
        return None
    error = None
    if summary.std is not None and (floor or scatters(summary)):
        error = math.sqrt(max(summary.std**2, floor) / summary.n)
    return _Member(turn * (summary.mean - measure.margin), error, summary.n - 1)


def _unknown(comparison: Comparison, quantity: str, undefined: str = "") -> Measure:
    return Measure(
        summary=None,
        margin=comparison.offset,
        quantity=quantity,
        unit="",
        decimals=2,
        undefined=undefined,
    )


def judge_over_rows(operator: Operator, measure: Measure, level: float) -> Judgement:
    """Supported or contradicted where the whole interval lies on one side."""
    assert measure.over is not None
    assert measure.summary is not None
    write = signed if measure.difference else number
    value = with_unit(write(measure.summary.mean, measure.decimals), measure.unit)
    margin = with_unit(number(measure.margin, measure.decimals), measure.unit)
    ci = measure.over.interval(level)
    told = f"{measure.quantity}: {value} ({measure.over.note}"
    if ci is None:
        why = "too few, or equal in all seeds: there is no interval to hold against"
        return Judgement(Verdict.NOT_SETTLED, f"{told}): {why} {margin}")
    ends = interval_text(ci, measure.decimals, sign=measure.difference)
    told = f"{told}; {100 * (1 - level):.4g} % CI {ends})"
    verdict = side_of(operator, ci.low, ci.high, measure.margin)
    stands = {
        Verdict.SUPPORTED: "all of it where it is claimed to be",
        Verdict.NOT_SETTLED: "which reaches across",
        Verdict.CONTRADICTED: "all of it on the other side of",
    }[verdict]
    against = "" if verdict is Verdict.SUPPORTED else f" {margin}"
    return Judgement(verdict, f"{told}, {stands}{against}")
