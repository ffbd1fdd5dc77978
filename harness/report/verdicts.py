"""What the evidence says of one cell: held against the printed number, or why it cannot be."""

from __future__ import annotations

import math
from dataclasses import dataclass

from harness.report.format import (
    baseline_name,
    decimals_shown,
    difference_unit,
    interval_text,
    ratio_text,
    seeds,
    signed,
    with_unit,
)
from harness.report.model import Judgement, Ratio, Verdict
from harness.report.statistics import (
    CONFIDENCE,
    Interval,
    Summary,
    equivalence_p,
    half_width,
    t_quantile,
    within,
)
from harness.spec.table import Column, Published
from harness.text import count, number

EQUIVALENCE_SEEDS = 3  # fewer cannot show equivalence: the verdict is then `indicative` at best
SIGNIFICANCE = 0.05
LONGEST_ERROR = 300  # characters
RATIO_DECIMALS = 1  # papers print 2.1x: closer than half of that digit nothing can be checked


@dataclass(frozen=True, kw_only=True, slots=True)
class CellEvidence:
    """All that is known about one cell before it is judged."""

    column: Column
    published: Published | None
    summary: Summary | None
    expected_n: int = 1  # how many values the plan asks for
    failed: tuple[str, ...] = ()  # the errors of runs that failed
    missing_reason: str = ""  # what the runs that did not happen need
    # how the profile differs from the paper; empty: it is the paper's own recipe
    profile_difference: str = ""
    ratio: Ratio | None = None


def judge_cell(evidence: CellEvidence) -> Judgement:
    """The verdict on one cell."""
    if evidence.summary is None:
        return _without_values(evidence)
    judgement = _misprinted(_with_values(evidence, evidence.summary), evidence.published)
    short = evidence.expected_n - evidence.summary.n
    if short <= 0:
        return judgement
    errors = f", {count(len(evidence.failed), 'run')} failed" if evidence.failed else ""
    have = f"{evidence.summary.n} of {seeds(evidence.expected_n)} finished{errors}"
    return Judgement(judgement.verdict, f"{judgement.reason}; {have}")


def _without_values(evidence: CellEvidence) -> Judgement:
    if evidence.failed:
        return Judgement(Verdict.FAILED, first_line(evidence.failed[0]))
    return Judgement(Verdict.MISSING, evidence.missing_reason or "not run yet")


def first_line(error: str) -> str:
    """What is shown of an error; of its own result, the same."""
    lines = error.strip().splitlines() or ["the run failed without a message"]
    return lines[0] if len(lines[0]) <= LONGEST_ERROR else f"{lines[0][:LONGEST_ERROR]}..."


def _with_values(evidence: CellEvidence, summary: Summary) -> Judgement:
    if evidence.profile_difference:
        return Judgement(Verdict.NOT_COMPARABLE, evidence.profile_difference)
    if evidence.column.is_ratio:
        return _judge_ratio(evidence)
    if evidence.published is None:
        return Judgement(Verdict.NOT_COMPARABLE, "the paper prints no number here")
    return _judge_number(evidence.column, evidence.published, summary)


def _misprinted(judgement: Judgement, published: Published | None) -> Judgement:
    """A value that agrees with what was meant shows that the printed number is a misprint."""
    misprint = published is not None and published.corrected is not None
    if not misprint or judgement.verdict is not Verdict.REPRODUCED:
        return judgement
    return Judgement(Verdict.MISPRINT, judgement.reason)


def allowed(column: Column, published: Published) -> float:
    """The tolerance at a printed number: the column's, never tighter than half of the last printed
    digit.
    """
    intended = published.intended.value
    asked = 0.0 if column.tolerance is None else column.tolerance.of(intended)
    return max(asked, _rounding(published))


def _rounding(published: Published) -> float:
    """How far the number before rounding may lie from the printed one."""
    return 0.5 * 10.0**-published.intended.decimals


def _judge_number(column: Column, published: Published, summary: Summary) -> Judgement:
    tolerance = allowed(column, published)
    distance = summary.mean - published.intended.value
    finding = _compared(column, published, summary, distance)
    reach = with_unit(
        f"±{number(tolerance, _tolerance_decimals(tolerance, column))}",
        difference_unit(column.unit),
    )
    if not within(distance, tolerance):
        return _outside(column, published, summary, tolerance, f"{finding}, outside {reach}")
    if column.evidence != "seeds":
        return Judgement(Verdict.REPRODUCED, f"{finding}, within {reach}")
    return _equivalence(summary, published, tolerance, f"{finding}, within {reach}", column)


def _compared(column: Column, published: Published, summary: Summary, distance: float) -> str:
    decimals = decimals_shown(column)
    what = "computed" if column.evidence == "exact" else f"mean of {seeds(summary.n)}"
    if column.evidence == "timing":
        what = "measured"
    value = with_unit(number(summary.mean, decimals), column.unit)
    relative = (
        f" ({signed(100 * distance / published.intended.value, 2)} %)"
        if _shows_percent(column, published)
        else ""
    )
    apart = with_unit(signed(distance, decimals), difference_unit(column.unit))
    return f"{what} {value}, printed {published}{_corrected(published)}: {apart}{relative}"


def _corrected(published: Published | None) -> str:
    if published is None or published.corrected is None:
        return ""
    return f", a misprint for {number(published.corrected.value, published.corrected.decimals)}"


def _shows_percent(column: Column, published: Published) -> bool:
    return column.unit != "%" and published.intended.value != 0


def _tolerance_decimals(tolerance: float, column: Column) -> int:
    decimals = decimals_shown(column)
    return decimals if within(round(tolerance, decimals) - tolerance, 0) else decimals + 1


def _outside(
    column: Column, published: Published, summary: Summary, tolerance: float, finding: str
) -> Judgement:
    """Above or below where the whole interval of the difference is outside: less is no proof.

    The printed number is a mean of few seeds too, and rounded: SE^2 = s^2 / n + s^2 / m + u^2 / 12
    for m seeds and the last digit u. Unless the paper prints its own, their spread is taken to be
    ours.
    """
    distance = summary.mean - published.intended.value
    verdict = Verdict.ABOVE if distance > 0 else Verdict.BELOW
    if column.evidence != "seeds":
        return Judgement(verdict, finding)
    if not summary.std:
        why = "one seed shows" if summary.n == 1 else "equal seeds show"
        reason = f"{finding}; {why} no spread: no proof that it is {verdict}"
        return Judgement(Verdict.INDICATIVE, reason)
    half = t_quantile((1 + CONFIDENCE) / 2, summary.n - 1) * _error(
        summary.std, summary.n, published
    )
    ci = interval_text(
        Interval(low=distance - half, high=distance + half), decimals_shown(column), sign=True
    )
    finding += f"; 95 % CI of the difference {ci}, the printed number taken for {_mean(published)}"
    if within(max(0.0, abs(distance) - half), tolerance):
        reason = f"{finding}, reaches back within it: no proof that it is {verdict}"
        return Judgement(Verdict.INDICATIVE, reason)
    return Judgement(verdict, finding)


def _error(std: float, n: int, published: Published) -> float:
    """The standard error of the difference to a printed mean."""
    printed = std if published.sd is None else published.sd
    digit = 10.0**-published.intended.decimals
    return math.sqrt(std**2 / n + printed**2 / published.n + digit**2 / 12)


def _mean(published: Published) -> str:
    what = f"the mean of {seeds(published.n)}" if published.n > 1 else "one seed"
    return what if published.sd is None else f"{what} with the printed sd of {published.sd:g}"


def _equivalence(
    summary: Summary, published: Published, tolerance: float, finding: str, column: Column
) -> Judgement:
    if summary.n < EQUIVALENCE_SEEDS:
        reason = (
            f"{finding}, but {seeds(summary.n)} cannot show equivalence ({EQUIVALENCE_SEEDS} can)"
        )
        return Judgement(Verdict.INDICATIVE, reason)
    if not summary.std:
        reason = f"{finding}, but equal seeds show no spread: equivalence not shown"
        return Judgement(Verdict.INDICATIVE, reason)
    p = equivalence_p(summary, published.intended.value, tolerance)
    if p <= SIGNIFICANCE:
        reason = f"{finding}; equivalent (TOST p = {p:.3f}, {seeds(summary.n)})"
        return Judgement(Verdict.REPRODUCED, reason)
    interval = interval_text(_ninety(summary), decimals_shown(column))
    test = f"(TOST p = {p:.2f}, {seeds(summary.n)})"
    reason = (
        f"{finding}, but the 90 % CI {interval} reaches beyond it {test}: equivalence not shown"
    )
    return Judgement(Verdict.INDICATIVE, reason)


def _ninety(summary: Summary) -> Interval:
    assert summary.std is not None
    half = half_width(summary.std, summary.n, 1 - 2 * (1 - CONFIDENCE))
    return Interval(low=summary.mean - half, high=summary.mean + half)


def _judge_ratio(evidence: CellEvidence) -> Judgement:
    ratio, name = evidence.ratio, baseline_name(evidence.column)
    if ratio is None:
        return _incomparable(
            "absolute speed depends on the hardware, and the paper prints no "
            f"{name} to compare with"
        )
    if ratio.measured is None:
        return Judgement(Verdict.MISSING, f"needs the {name}'s value ({ratio.baseline})")
    if ratio.baseline == "":
        return _incomparable(
            f"the {name}: others are compared with it; absolute speed depends on the hardware"
        )
    if ratio.published is None:
        return _incomparable("the paper prints no number here")
    return _ratios_apart(evidence.column, ratio.measured, ratio.published, evidence.published)


def _incomparable(reason: str) -> Judgement:
    return Judgement(Verdict.NOT_COMPARABLE, reason)


def _ratios_apart(
    column: Column, measured: float, published: float, cell: Published | None
) -> Judgement:
    asked = 0.0 if column.tolerance is None else column.tolerance.of(published)
    tolerance = max(asked, 0.5 * 10.0**-RATIO_DECIMALS)
    distance = measured - published
    finding = (
        f"{ratio_text(measured)} the {baseline_name(column)}, {ratio_text(published)} in the paper"
    )
    if cell is not None and cell.corrected is not None:
        finding += f" (printed {cell}{_corrected(cell)})"
    reach = f"±{ratio_text(tolerance)}"
    if within(distance, tolerance):
        return Judgement(Verdict.REPRODUCED, f"{finding}, within {reach}")
    verdict = Verdict.ABOVE if distance > 0 else Verdict.BELOW
    return Judgement(verdict, f"{finding}, outside {reach}")
