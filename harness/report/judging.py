"""The claims of a table together: measure all, pool their spreads, adjust for their number, judge
each.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Literal

from harness.report.claims import Tested, judge_claim, judge_precondition
from harness.report.inference import (
    LEVEL,
    NO_PRIOR,
    Prior,
    fit_prior,
    holm,
    interval,
    moderated,
    non_inferiority_margin,
    two_sided_p,
)
from harness.report.measure import Measure, Side, at_every_seed, rounding
from harness.report.model import ClaimResult, PreconditionResult, RowResult
from harness.report.over_rows import deciding_measure
from harness.report.statistics import log_ratios, paired, scatters, summarise
from harness.spec.claims import CellRef, Comparison
from harness.spec.table import Claim, Column
from harness.text import number

MOST_DECIMALS = 6

Scale = Literal["value", "difference", "log ratio"]
"""What of the rows of a column varies as the deciding quantity does."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Measured:
    """A comparison and what the runs say of it."""

    comparison: Comparison
    column: Column
    sides: tuple[Side, ...]
    measure: Measure
    # with every failed seed at the value of its row that speaks most against the comparison; None:
    # none failed, or a row has no value
    at_worst: Measure | None = None
    scale: Scale | None = None  # of the rows that lend their spread; None: none can


def measured(comparison: Comparison, column: Column, sides: Sequence[Side]) -> Measured:
    """A comparison with its deciding quantity, as it is and with failed seeds at their worst."""
    sides = at_every_seed(sides)
    measure = deciding_measure(comparison, column, *sides)
    if column.evidence != "seeds":
        measure = _told_apart(measure)
    failed = any(side.failed_seeds for side in sides) and all(side.values for side in sides)
    failed = failed and comparison.over != "correlation"  # which nothing speaks against most
    return Measured(
        comparison=comparison,
        column=column,
        sides=tuple(sides),
        measure=measure,
        at_worst=deciding_measure(comparison, column, *sides, worst=True) if failed else None,
        scale=_scale(comparison, measure, column, sides),
    )


def _told_apart(measure: Measure) -> Measure:
    """With so many decimals that a value on one side of the margin does not read as the margin."""
    if measure.summary is None:
        return measure
    value, margin = measure.shown(measure.summary.mean), measure.shown(measure.margin)
    decimals = measure.decimals
    while decimals < MOST_DECIMALS and not math.isclose(value, margin, rel_tol=1e-9, abs_tol=1e-12):
        if number(value, decimals) != number(margin, decimals):
            break
        decimals += 1
    return replace(measure, decimals=decimals)


def _scale(
    comparison: Comparison, measure: Measure, column: Column, sides: Sequence[Side]
) -> Scale | None:
    """What no seed changes adds nothing to the spread, so beside it a row scatters as its values
    do; two columns of trained rows lend each other nothing.
    """
    left, right = comparison.left, comparison.right
    if comparison.over is not None or CellRef(left.column, left.row) != left:
        return None
    if right is None:
        return "value"
    if CellRef(right.column, right.row) != right:
        return None
    seeded = [c for c, side in zip((left, right), sides, strict=True) if not side.seedless]
    if len(seeded) == 1:
        plain = seeded[0].column == column.id and (seeded[0] is left or comparison.factor == 1)
        return "value" if plain and not measure.ratio else None
    if left.column != right.column:
        return None
    if measure.ratio:
        return "log ratio"
    return "difference" if comparison.factor == 1 else None


class Pools:
    """What the rows of a table say of the spread of a quantity."""

    def __init__(
        self,
        rows: Sequence[RowResult],
        runs: Mapping[tuple[str, str], Hashable],
        images: int = 0,
    ) -> None:
        """`runs` are those behind a (row, column): rows with the same runs count once. `images` is
        how many judge an accuracy; 0: not known.
        """
        self._rows, self.runs, self.images = rows, runs, images
        self._priors: dict[tuple[str, Scale], Prior] = {}

    def prior(self, column: str, scale: Scale | None) -> Prior:
        """From all distinct rows of a column, or pairs of them."""
        if scale is None:
            return NO_PRIOR
        if (column, scale) not in self._priors:
            self._priors[column, scale] = _pooled(self._values(column), scale)
        return self._priors[column, scale]

    def floor(self, one: Measured) -> float:
        """The least variance that whole images leave to the deciding quantity."""
        return rounding(one.comparison, one.column, one.sides, self.images)

    def key(self, one: Measured, margin: float) -> Hashable:
        """The hypothesis that a comparison tests: claims with the same one are one test, whichever
        side of it they claim.
        """
        comparison = one.comparison
        cells = [
            (self.runs.get((cell.row, cell.column), cell.row), one.column.metric)
            for cell in comparison.cells
        ]
        if one.scale is None:
            return tuple(cells), comparison.text, margin
        if one.scale == "difference" and str(cells[0]) > str(cells[1]):
            cells, margin = cells[::-1], -margin
        return tuple(cells), one.scale, round(margin, 9) + 0.0

    def _values(self, column: str) -> list[dict[int, float]]:
        """Of each distinct row that scatters, by seed."""
        found: dict[Hashable, dict[int, float]] = {}
        for row in self._rows:
            cell = next((cell for cell in row.cells if cell.column == column), None)
            if cell is not None and len({value for _, value in cell.values}) > 1:
                found[self.runs.get((row.id, column), row.id)] = dict(cell.values)
        return list(found.values())


def _pooled(rows: Sequence[Mapping[int, float]], scale: Scale) -> Prior:
    """The prior of values, or of differences (log ratios) of pairs. Pairs that share a row do not
    tell as much as others: together they are worth one row less than there are.
    """
    if scale == "value":
        drawn = [list(row.values()) for row in rows]
    elif scale == "difference":
        drawn = [paired(left, right) for left, right in combinations(rows, 2)]
    else:
        drawn = [log_ratios(left, right) or [] for left, right in combinations(rows, 2)]
    summaries = [s for s in map(summarise, drawn) if s is not None and scatters(s)]
    freedoms = [len(row) - 1 for row in rows]
    total = sum(freedoms) - (max(freedoms, default=0) if scale != "value" else 0)
    return fit_prior(
        [s.std**2 for s in summaries if s.std is not None], [s.n - 1 for s in summaries], total
    )


def judge_claims(
    claims: Sequence[Claim], measure: Callable[[Comparison], Measured], pools: Pools
) -> tuple[ClaimResult, ...]:
    """The verdicts on the claims of a table. Claims of the paper and our own checks are adjusted
    apart: ours must not cost the paper's their proof.
    """
    found = [measure(claim.holds) for claim in claims]
    tests = [
        _tested(one, pools, gain=None if claim.assay is None else measure(claim.assay))
        for claim, one in zip(claims, found, strict=True)
    ]
    tests = _adjusted(claims, found, tests, pools)
    preconditions = [_preconditions(claim, measure, pools) for claim in claims]
    return tuple(
        judge_claim(claim, one.column, one.sides, test, given)
        for claim, one, test, given in zip(claims, found, tests, preconditions, strict=True)
    )


def _tested(one: Measured, pools: Pools, *, gain: Measured | None = None) -> Tested:
    """The interval and the p of one comparison, by itself; the margin that its assay leaves."""
    measure, assay = one.measure, None
    if gain is not None:
        assay = _tested(gain, pools)
        if assay.ci is not None:
            margin = non_inferiority_margin(measure.margin, assay.ci)
            measure = measure if margin is None else replace(measure, margin=margin)
    written = one.measure.margin
    test = Tested(measure=measure, written=written, assay=assay, at_worst=one.at_worst)
    if one.column.evidence == "seeds" and measure.over is not None:
        return replace(test, ci=measure.over.interval(LEVEL), p=measure.over.p)
    summary = measure.summary
    if one.column.evidence != "seeds" or summary is None or summary.std is None:
        return test
    prior, floor = pools.prior(one.column.id, one.scale), pools.floor(one)
    if not scatters(summary) and prior.variance == 0:
        return test  # equal in all seeds: nothing tells how far another seed would lie
    spread = moderated(summary.std, summary.n, prior, floor=floor)
    return replace(
        test,
        prior=prior,
        floor=floor,
        spread=spread,
        ci=interval(summary.mean, spread, summary.n),
        p=two_sided_p(summary.mean - measure.margin, spread, summary.n),
    )


def _adjusted(
    claims: Sequence[Claim], found: Sequence[Measured], tests: Sequence[Tested], pools: Pools
) -> list[Tested]:
    """With Holm's adjustment over the distinct trained comparisons of the paper, and over ours:
    those that are not run yet count too, so that no verdict weakens when they are.
    """
    adjusted = list(tests)
    for ours in (False, True):
        by_key: dict[Hashable, list[int]] = {}
        for index, (claim, one) in enumerate(zip(claims, found, strict=True)):
            if claim.added_by_us is ours and one.column.evidence == "seeds":
                key = pools.key(one, tests[index].measure.margin)
                by_key.setdefault(key, []).append(index)
        p_values = [_p(tests, alike) for alike in by_key.values()]
        for alike, after in zip(by_key.values(), holm(p_values), strict=True):
            for index in alike:
                adjusted[index] = replace(
                    tests[index], p_adjusted=after.p, level=after.level, family=len(by_key)
                )
    return adjusted


def _p(tests: Sequence[Tested], alike: Collection[int]) -> float:
    known = [p for index in alike if (p := tests[index].p) is not None]
    return min(known, default=1.0)


def _preconditions(
    claim: Claim, measure: Callable[[Comparison], Measured], pools: Pools
) -> tuple[PreconditionResult, ...]:
    """Each by its own interval: a claim stands only where all of them and the claim itself do, so
    they add nothing to its error.
    """
    found = []
    for given in claim.given:
        one = measure(given.holds)
        found.append(judge_precondition(given, one.column, one.sides, _tested(one, pools)))
    return tuple(found)
