"""What the evidence says of a claim: the interval of a paired difference (or ratio) against its
margin.
"""

from __future__ import annotations

from collections.abc import Sequence

from harness.report.format import interval_text, listed, seeds, signed, with_unit
from harness.report.measure import Measure, Side, deciding_measure
from harness.report.model import ClaimResult, Judgement, Verdict
from harness.report.over_rows import judge_over_rows
from harness.report.statistics import (
    CONFIDENCE,
    MOST_SEEDS,
    Interval,
    Summary,
    exponentiated,
    seeds_needed,
)
from harness.spec.claims import Operator
from harness.spec.table import Claim, Column
from harness.text import number


def judge_claim(claim: Claim, column: Column, *sides: Side) -> ClaimResult:
    """The verdict: supported or contradicted where the whole 95 % interval lies on one side of the
    margin. `sides` are the cells of its comparison.
    """
    measure = deciding_measure(claim.holds, column, *sides)
    summary = measure.summary
    shown = None if summary is None else (exponentiated(summary) if measure.ratio else summary)
    ci = None if shown is None else shown.ci
    if measure.over is not None:
        ci = measure.over.interval(1 - CONFIDENCE)
    if ci is None and shown is not None and column.evidence == "exact":
        ci = Interval(low=shown.mean, high=shown.mean)
    judgement, needed = _judge(claim.holds.operator, column, measure, sides)
    return ClaimResult(
        claim=claim,
        quantity=measure.quantity,
        unit=measure.unit,
        decimals=measure.decimals,
        margin=measure.shown(measure.margin),
        n=0 if shown is None else shown.n,
        estimate=None if shown is None else shown.mean,
        ci=ci,
        verdict=judgement.verdict,
        reason=judgement.reason,
        seeds_needed=needed,
    )


def _judge(
    operator: Operator, column: Column, measure: Measure, sides: Sequence[Side]
) -> tuple[Judgement, str]:
    """With the number of seeds that would settle it, where it is not."""
    summary = measure.summary
    if summary is None:
        reason = f"not tested: {_why_untested(sides)}"
        failed = any(side.failed and not side.values for side in sides)
        return Judgement(verdict=Verdict.FAILED if failed else Verdict.NOT_RUN, reason=reason), ""
    if measure.over is not None and column.evidence == "seeds":
        return judge_over_rows(operator, measure, 1 - CONFIDENCE), ""
    if column.evidence == "seeds":
        return _judge_scattered(operator, measure, summary, paired=len(sides) > 1)
    verdict = _side(operator, summary.mean, summary.mean, measure.margin)
    how = (
        "computed exactly"
        if column.evidence == "exact"
        else "median of timings on this machine, no interval"
    )
    stands = f"{_stands(operator, verdict)} {_margin(measure)}"
    reason = f"{_value(measure, summary.mean)}, {stands}; {how}"
    return Judgement(verdict=verdict, reason=reason), ""


def _why_untested(sides: Sequence[Side]) -> str:
    lacking = [side for side in sides if not side.values]
    if not lacking:
        return f"{listed([side.label for side in sides])} have no finished seed in common"
    names = " and ".join(dict.fromkeys(side.label for side in lacking))
    why = "; ".join(dict.fromkeys(side.missing_reason for side in lacking if side.missing_reason))
    return f"no result for {names} ({why})" if why else f"no result for {names}"


def _judge_scattered(
    operator: Operator, measure: Measure, summary: Summary, *, paired: bool
) -> tuple[Judgement, str]:
    value, margin = _value(measure, summary.mean), _margin(measure)
    if summary.ci is None:
        reason = (
            f"{value} in one seed: single runs give no interval to hold against {margin}; "
            "at least 2 seeds are needed, 3 or more are advisable"
        )
        return Judgement(verdict=Verdict.NOT_SETTLED, reason=reason), "2 or more"
    pairs = f"{summary.n} paired seeds" if paired else seeds(summary.n)
    ends = Interval(low=measure.shown(summary.ci.low), high=measure.shown(summary.ci.high))
    interval = interval_text(ends, measure.decimals, sign=measure.difference)
    finding = f"{value} on average over {pairs} (95 % CI {interval})"
    verdict = _side(operator, summary.ci.low, summary.ci.high, measure.margin)
    if verdict is not Verdict.NOT_SETTLED:
        return Judgement(
            verdict=verdict,
            reason=f"{finding}, all of it {_stands(operator, verdict)} {margin}",
        ), ""
    needed = _needed(summary, measure.margin)
    spread = (
        ""
        if measure.ratio or summary.std is None
        else f" (sd {with_unit(number(summary.std, measure.decimals), measure.unit)})"
    )
    outlook = f"if the spread{spread} stays as it is, {_would_settle(needed)}"
    reason = f"{finding}, which reaches across {margin}; {outlook}"
    return Judgement(verdict=Verdict.NOT_SETTLED, reason=reason), needed


def _needed(summary: Summary, margin: float) -> str:
    assert summary.std is not None
    needed = seeds_needed(summary.std, summary.mean - margin)
    return f"> {MOST_SEEDS}" if needed is None else str(max(needed, summary.n + 1))


def _would_settle(needed: str) -> str:
    if needed.startswith(">"):
        return f"more than {MOST_SEEDS} seeds would be needed to settle it"
    return f"about {needed} seeds would settle it"


def _side(operator: Operator, low: float, high: float, margin: float) -> Verdict:
    """Where the interval lies; equality, up to the last bits of decimal fractions, belongs to >=
    and <=.
    """
    slack = 1e-9 * max(1.0, abs(margin))
    if operator in ("<=", "<"):
        low, high, margin = -high, -low, -margin
    closed = operator in (">=", "<=")
    bound = margin - slack if closed else margin + slack
    if low > bound:
        return Verdict.SUPPORTED
    return Verdict.CONTRADICTED if high < bound else Verdict.NOT_SETTLED


def _stands(operator: Operator, verdict: Verdict) -> str:
    upward = operator in (">=", ">")
    held = {">=": "at or above", ">": "above", "<=": "at or below", "<": "below"}[operator]
    return held if verdict is Verdict.SUPPORTED else ("below" if upward else "above")


def _value(measure: Measure, value: float) -> str:
    write = signed if measure.difference else number
    return f"{measure.quantity}: {_amount(measure, write(measure.shown(value), measure.decimals))}"


def _margin(measure: Measure) -> str:
    text = number(measure.shown(measure.margin), measure.decimals)
    return f"the margin of {_amount(measure, text)}"


def _amount(measure: Measure, text: str) -> str:
    return f"{text}×" if measure.ratio else with_unit(text, measure.unit)
