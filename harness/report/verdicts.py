"""What the evidence says of one cell: held against the printed number, or why it cannot be."""

from __future__ import annotations

from dataclasses import dataclass

from harness.report.model import Column, Judgement, Ratio, Verdict
from harness.report.statistics import (
    CONFIDENCE,
    Interval,
    Summary,
    equivalence_p,
    half_width,
    within,
)
from harness.report.wording import (
    difference_unit,
    fine,
    seeds,
    signed,
    span,
    times,
    with_unit,
)
from harness.spec.table import Published
from harness.text import count, number

EQUIVALENCE_SEEDS = 3  # fewer cannot show equivalence: the verdict is then `indicative` at best
SIGNIFICANCE = 0.05
LONGEST_ERROR = 300  # characters
RATIO_DECIMALS = (
    1  # the paper prints speed-ups as 2.1x: closer than half of that digit nothing can be checked
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Facts:
    """All that is known about one cell before it is judged."""

    column: Column
    published: Published | None
    summary: Summary | None
    wanted: int = 1  # how many values the plan asks for
    failed: tuple[str, ...] = ()  # the errors of runs that failed
    lacks: str = ""  # what the runs that did not happen need
    differs: str = ""  # how the profile differs from the paper; empty: it is the paper's own recipe
    ratio: Ratio | None = None


def judge_cell(facts: Facts) -> Judgement:
    """The verdict on one cell."""
    if facts.summary is None:
        return _without_values(facts)
    judgement = _misprinted(_with_values(facts, facts.summary), facts.published)
    short = facts.wanted - facts.summary.n
    if short <= 0:
        return judgement
    errors = f", {count(len(facts.failed), 'run')} failed" if facts.failed else ""
    have = f"{facts.summary.n} of {seeds(facts.wanted)} finished{errors}"
    return Judgement(verdict=judgement.verdict, reason=f"{judgement.reason}; {have}")


def _without_values(facts: Facts) -> Judgement:
    if facts.failed:
        return Judgement(verdict=Verdict.FAILED, reason=_first_line(facts.failed[0]))
    return Judgement(verdict=Verdict.MISSING, reason=facts.lacks or "not run yet")


def _first_line(error: str) -> str:
    lines = error.strip().splitlines() or ["the run failed without a message"]
    return lines[0] if len(lines[0]) <= LONGEST_ERROR else f"{lines[0][:LONGEST_ERROR]}..."


def _with_values(facts: Facts, summary: Summary) -> Judgement:
    if facts.differs:
        return Judgement(verdict=Verdict.NOT_COMPARABLE, reason=facts.differs)
    if facts.column.ratio:
        return _judge_ratio(facts)
    if facts.published is None:
        reason = "the paper prints no number here"
        return Judgement(verdict=Verdict.NOT_COMPARABLE, reason=reason)
    return _judge_number(facts.column, facts.published, summary)


def _misprinted(judgement: Judgement, published: Published | None) -> Judgement:
    """A value that agrees with what was meant shows that the printed number is a misprint."""
    misprint = published is not None and published.corrected is not None
    if not misprint or judgement.verdict is not Verdict.REPRODUCED:
        return judgement
    return Judgement(verdict=Verdict.MISPRINT, reason=judgement.reason)


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
    seen = _compared(column, published, summary, distance)
    reach = with_unit(
        f"±{number(tolerance, _tolerance_decimals(tolerance, column))}",
        difference_unit(column.unit),
    )
    if not within(distance, tolerance):
        return _outside(column, published, summary, tolerance, f"{seen}, outside {reach}")
    if column.evidence != "seeds":
        return Judgement(verdict=Verdict.REPRODUCED, reason=f"{seen}, within {reach}")
    return _equivalence(summary, published, tolerance, f"{seen}, within {reach}", column)


def _compared(column: Column, published: Published, summary: Summary, distance: float) -> str:
    decimals = fine(column)
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
    decimals = fine(column)
    return decimals if within(round(tolerance, decimals) - tolerance, 0) else decimals + 1


def _outside(
    column: Column, published: Published, summary: Summary, tolerance: float, seen: str
) -> Judgement:
    """Above or below where the whole interval of the mean is outside: less is no proof."""
    distance = summary.mean - published.intended.value
    verdict = Verdict.ABOVE if distance > 0 else Verdict.BELOW
    if column.evidence != "seeds":
        return Judgement(verdict=verdict, reason=seen)
    if summary.ci is None:
        reason = f"{seen}; one seed shows no spread: no proof that it is {verdict}"
        return Judgement(verdict=Verdict.INDICATIVE, reason=reason)
    seen += f"; 95 % CI {span(summary.ci, fine(column))}"
    nearest = summary.ci.low if distance > 0 else summary.ci.high
    apart = nearest - published.intended.value
    if within(apart, tolerance) or apart * distance < 0:
        reason = f"{seen} reaches back within it: no proof that it is {verdict}"
        return Judgement(verdict=Verdict.INDICATIVE, reason=reason)
    return Judgement(verdict=verdict, reason=seen)


def _equivalence(
    summary: Summary, published: Published, tolerance: float, seen: str, column: Column
) -> Judgement:
    if summary.n < EQUIVALENCE_SEEDS:
        reason = f"{seen}, but {seeds(summary.n)} cannot show equivalence ({EQUIVALENCE_SEEDS} can)"
        return Judgement(verdict=Verdict.INDICATIVE, reason=reason)
    p = equivalence_p(summary, published.intended.value, tolerance)
    if p <= SIGNIFICANCE:
        reason = f"{seen}; equivalent (TOST p = {p:.3f}, {seeds(summary.n)})"
        return Judgement(verdict=Verdict.REPRODUCED, reason=reason)
    interval = span(_ninety(summary), fine(column))
    test = f"(TOST p = {p:.2f}, {seeds(summary.n)})"
    reason = f"{seen}, but the 90 % CI {interval} reaches beyond it {test}: equivalence not shown"
    return Judgement(verdict=Verdict.INDICATIVE, reason=reason)


def _ninety(summary: Summary) -> Interval:
    assert summary.std is not None
    half = half_width(summary.std, summary.n, 1 - 2 * (1 - CONFIDENCE))
    return Interval(low=summary.mean - half, high=summary.mean + half)


def _judge_ratio(facts: Facts) -> Judgement:
    ratio = facts.ratio
    if ratio is None:
        return _incomparable(
            "absolute speed depends on the hardware, and the paper prints no unmasked teacher to "
            "compare with"
        )
    if ratio.measured is None:
        return Judgement(
            verdict=Verdict.MISSING, reason=f"needs the unmasked teacher's value ({ratio.baseline})"
        )
    if ratio.baseline == "":
        return _incomparable(
            "the unmasked teacher: others are compared with it; absolute speed depends on the "
            "hardware"
        )
    if ratio.published is None:
        return _incomparable("the paper prints no number here")
    return _ratios_apart(facts.column, ratio.measured, ratio.published, facts.published)


def _incomparable(reason: str) -> Judgement:
    return Judgement(verdict=Verdict.NOT_COMPARABLE, reason=reason)


def _ratios_apart(
    column: Column, measured: float, published: float, cell: Published | None
) -> Judgement:
    asked = 0.0 if column.tolerance is None else column.tolerance.of(published)
    tolerance = max(asked, 0.5 * 10.0**-RATIO_DECIMALS)
    distance = measured - published
    seen = f"{times(measured)} the unmasked teacher, {times(published)} in the paper"
    if cell is not None and cell.corrected is not None:
        seen += f" (printed {cell}{_corrected(cell)})"
    reach = f"±{times(tolerance)}"
    if within(distance, tolerance):
        return Judgement(verdict=Verdict.REPRODUCED, reason=f"{seen}, within {reach}")
    verdict = Verdict.ABOVE if distance > 0 else Verdict.BELOW
    return Judgement(verdict=verdict, reason=f"{seen}, outside {reach}")
