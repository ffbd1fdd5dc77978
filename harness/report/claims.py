"""What the evidence says of a claim: the interval of a paired difference (or ratio) against its
margin, once the claims of its table are adjusted for (`harness.report.judging`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from harness.report.format import interval_text, listed, seeds, signed, with_unit
from harness.report.inference import (
    CONFIDENCE_TEXT,
    LEVEL,
    NO_PRIOR,
    STAGES,
    Prior,
    Spread,
    interval,
    moderated,
)
from harness.report.measure import Measure, Side, side_of
from harness.report.model import ClaimResult, Judgement, PreconditionResult, Verdict
from harness.report.over_rows import judge_over_rows
from harness.report.power import MOST_SEEDS, extra_freedom, seeds_needed, std_range
from harness.report.preconditions import values
from harness.report.statistics import Interval, Summary
from harness.spec.claims import Operator
from harness.spec.table import Claim, Column, Precondition
from harness.text import count, number

DECIDED = (Verdict.SUPPORTED, Verdict.CONTRADICTED)
UNPAIRED = (
    "; no seeds are paired here: where they scatter to one side, this errs in up to 14 % of cases"
)
"""Of a row against a number. The share: tests/report/test_inference_simulation.py."""

TIMING_DRIFT = 0.05
"""How far the median of the same timings moves from one hour to the next on an idle machine."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Tested:
    """A deciding quantity with its test; without `spread` nothing scatters, or nothing is known of
    how much.
    """

    measure: Measure
    written: float | None = None  # the margin as the claim has it; an assay may leave less
    prior: Prior = NO_PRIOR
    floor: float = 0.0  # of the variance
    spread: Spread | None = None
    ci: Interval | None = None  # of this comparison alone
    p: float | None = None
    p_adjusted: float | None = None
    level: float = LEVEL  # of the adjusted interval
    family: int = 1  # comparisons that were adjusted for
    assay: Tested | None = None  # the gain that bounds the margin
    at_worst: Measure | None = None  # with failed seeds at the values that speak most against it

    @property
    def adjusted(self) -> Interval | None:
        """The interval with the adjustment."""
        if self.measure.over is not None:
            return self.measure.over.interval(self.level)
        return self._interval(self.measure.summary, self.spread)

    @property
    def is_capped(self) -> bool:
        """Whether the assay has made the margin smaller than the claim has it."""
        gain = None if self.assay is None else self.assay.ci
        return gain is not None and gain.low > 0 and abs(self.measure.margin) == gain.low / 2

    @property
    def survives(self) -> Interval | None:
        """The adjusted interval with failed seeds at their worst."""
        if self.at_worst is not None and self.at_worst.over is not None:
            return self.at_worst.over.interval(self.level)
        summary = None if self.at_worst is None else self.at_worst.summary
        if summary is None or summary.std is None or self.spread is None:
            return None
        spread = moderated(summary.std, summary.n, self.prior, floor=self.floor)
        return self._interval(summary, spread)

    def _interval(self, summary: Summary | None, spread: Spread | None) -> Interval | None:
        if summary is None or spread is None:
            return None
        return interval(summary.mean, spread, summary.n, self.level)


def judge_claim(
    claim: Claim,
    column: Column,
    sides: Sequence[Side],
    test: Tested,
    preconditions: tuple[PreconditionResult, ...] = (),
) -> ClaimResult:
    """The verdict: supported or contradicted where the whole adjusted interval lies on one side of
    the margin and the preconditions hold.
    """
    measure, operator = test.measure, claim.holds.operator
    judgement = _judge(operator, column, sides, test)
    needed = _needed(column, test) if judgement.verdict is Verdict.NOT_SETTLED else ("", "")
    judgement = _with_failures(operator, column, judgement, test, sides)
    judgement = _in_scope(_sensitive(judgement, test), measure.quantity, preconditions)
    best, between = needed if judgement.verdict is Verdict.NOT_SETTLED else ("", "")
    summary, spread = measure.summary, test.spread
    scattered = summary is not None and not measure.ratio and column.evidence == "seeds"
    return ClaimResult(
        **_outcome(column, test, judgement),
        claim=claim,
        seeds_needed=best,
        adjusted=_ends(measure, test.adjusted),
        p=test.p,
        p_adjusted=None if test.p is None else test.p_adjusted,
        std=summary.std if scattered and summary is not None else None,
        std_moderated=spread.std if scattered and spread is not None else None,
        preconditions=preconditions,
        failed_seeds=tuple(sorted({seed for side in sides for seed in side.failed_seeds})),
        seeds_needed_range=between,
        family=test.family if column.evidence == "seeds" else 0,
    )


def judge_precondition(
    given: Precondition, column: Column, sides: Sequence[Side], test: Tested
) -> PreconditionResult:
    """Whether it holds, by the same rules."""
    operator = given.holds.operator
    judgement = _judge(operator, column, sides, test)
    judgement = _with_failures(operator, column, judgement, test, sides)
    outcome = _outcome(column, test, judgement)
    return PreconditionResult(**outcome, text=given.text, operator=operator)


def _outcome(column: Column, test: Tested, judgement: Judgement) -> dict[str, Any]:
    """The fields of an `Outcome`, on the scale that people read."""
    measure = test.measure
    summary = measure.summary
    return {
        "quantity": measure.quantity,
        "unit": measure.unit,
        "decimals": measure.decimals,
        "margin": measure.shown(measure.margin),
        "n": 0 if summary is None else summary.n,
        "estimate": None if summary is None else measure.shown(summary.mean),
        "ci": _ends(measure, _raw(column, test)),
        "verdict": judgement.verdict,
        "reason": judgement.reason,
    }


def _raw(column: Column, test: Tested) -> Interval | None:
    """The interval of the comparison by itself; what is computed is a point."""
    summary = test.measure.summary
    if summary is not None and column.evidence == "exact":
        return Interval(low=summary.mean, high=summary.mean)
    return test.ci


def _ends(measure: Measure, ci: Interval | None) -> Interval | None:
    """An interval on the scale that people read."""
    return None if ci is None else Interval(low=measure.shown(ci.low), high=measure.shown(ci.high))


def _in_scope(
    judgement: Judgement, quantity: str, preconditions: Sequence[PreconditionResult]
) -> Judgement:
    """Where a precondition fails, the comparison says nothing of the paper; where one is open,
    nothing of it is settled.
    """
    failed = [one for one in preconditions if one.verdict is Verdict.CONTRADICTED]
    by_itself = f"by itself it is {judgement.verdict} ({quantity})"
    if failed:
        reason = f"a precondition does not hold here ({_told(failed)})"
        measured = (*DECIDED, Verdict.LEANING, Verdict.NOT_SETTLED)
        told = by_itself if judgement.verdict in measured else judgement.reason
        return Judgement(Verdict.OUT_OF_SCOPE, f"{reason}; {told}")
    unshown = [one for one in preconditions if one.verdict is not Verdict.SUPPORTED]
    if not unshown or judgement.verdict not in (*DECIDED, Verdict.LEANING):
        return judgement
    reason = f"a precondition is not shown here ({_told(unshown)}); {by_itself}"
    return Judgement(Verdict.NOT_SETTLED, reason)


def _told(preconditions: Sequence[PreconditionResult]) -> str:
    texts = [" ".join(one.text.split()).rstrip(".") for one in preconditions]
    return "; ".join(
        f"{text}: {one.reason if one.estimate is None else values(one)}"
        for text, one in zip(texts, preconditions, strict=True)
    )


def _sensitive(judgement: Judgement, test: Tested) -> Judgement:
    """A claim that something costs nothing, where the gain that could be lost is not shown."""
    if test.assay is None or judgement.verdict not in (*DECIDED, Verdict.LEANING):
        return judgement
    gain = test.assay
    if gain.ci is not None and gain.ci.low > 0:
        return judgement
    shown = "has no interval yet"
    if gain.ci is not None and gain.measure.summary is not None:
        shown = f"is {_mean(gain.measure, gain.measure.summary)} ({_ci(gain)})"
    reason = (
        f"the gain ({gain.measure.quantity}) is not shown in these runs, so no loss of it could "
        f"show: it {shown}; by itself the claim is {judgement.verdict} ({test.measure.quantity})"
    )
    return Judgement(Verdict.NOT_SETTLED, reason)


def _judge(operator: Operator, column: Column, sides: Sequence[Side], test: Tested) -> Judgement:
    """As if no seed had failed."""
    measure = test.measure
    summary = measure.summary
    if summary is None and measure.undefined:
        reason = f"{measure.quantity} means nothing: {measure.undefined}"
        return Judgement(Verdict.NOT_SETTLED, reason)
    if summary is None:
        reason = f"not tested: {_why_untested(sides)}"
        failed = any(side.failed and not side.values for side in sides)
        verdict = Verdict.FAILED if failed else Verdict.NOT_RUN
        return Judgement(verdict, reason)
    if measure.over is not None and column.evidence == "seeds":
        return judge_over_rows(operator, measure, test.level)
    if column.evidence == "seeds":
        return _judge_scattered(operator, test, summary, sides)
    exact = column.evidence == "exact"
    drift = 0.0 if exact else _drift(measure, sides)
    verdict = side_of(operator, summary.mean - drift, summary.mean + drift, measure.margin)
    where = f"{_stands(operator, verdict)} {_margin(test)}"
    if verdict is Verdict.NOT_SETTLED and drift:
        near = f"within {100 * TIMING_DRIFT:g} % of {_margin(test)}"
        where = f"{near}, as far as such a median drifts"
    how = "computed exactly" if exact else "median of timings on this machine, no interval"
    return Judgement(verdict, f"{_value(measure, summary.mean)}, {where}; {how}")


def _drift(measure: Measure, sides: Sequence[Side]) -> float:
    """How far the median of timings may move by itself, on the scale of judging."""
    if measure.over is not None:  # a share of rows, or a correlation: no time
        return 0.0
    if measure.ratio:
        return math.log1p(TIMING_DRIFT)
    return TIMING_DRIFT * max(abs(value) for side in sides for value in side.values.values())


def _why_untested(sides: Sequence[Side]) -> str:
    lacking = [side for side in sides if not side.values]
    if not lacking:
        return f"{listed([side.label for side in sides])} have no finished seed in common"
    names = " and ".join(dict.fromkeys(side.label for side in lacking))
    why = "; ".join(dict.fromkeys(side.missing_reason for side in lacking if side.missing_reason))
    return f"no result for {names} ({why})" if why else f"no result for {names}"


def _judge_scattered(
    operator: Operator, test: Tested, summary: Summary, sides: Sequence[Side]
) -> Judgement:
    measure, margin = test.measure, _margin(test)
    value = _value(measure, summary.mean)
    if summary.n == 1:
        return Judgement(Verdict.NOT_SETTLED, f"{value} in one seed: no interval")
    pairs = f"{summary.n} paired seeds" if len(sides) > 1 else seeds(summary.n)
    if test.ci is None or test.adjusted is None:
        reason = (
            f"{value} in each of {pairs}: what never scatters does not tell how far another seed "
            f"would lie, so there is no interval to hold against {margin}"
        )
        return Judgement(Verdict.NOT_SETTLED, reason)
    finding = f"{measure.quantity}: {_mean(measure, summary)}, {_ci(test)}"
    if test.family > 1:
        finding += f", adjusted for {test.family} comparisons {_interval(measure, test.adjusted)}"
    verdict = _side_of_claim(operator, test.adjusted, test)
    if verdict in DECIDED:
        reason = f"{finding}: all of it {_stands(operator, verdict)} {margin}"
        reason += UNPAIRED if len(sides) == 1 else ""
        return Judgement(verdict, reason)
    alone = _side_of_claim(operator, test.ci, test)
    if alone in DECIDED:
        stands = _stands(operator, alone)
        reason = f"{finding}: alone it is {stands} {margin}, adjusted it reaches across"
        return Judgement(Verdict.LEANING, reason)
    reason = f"{finding}: it reaches across {margin}"
    beyond = side_of(operator, test.adjusted.low, test.adjusted.high, measure.margin)
    if beyond is Verdict.CONTRADICTED:
        own = _amount(measure, number(measure.shown(test.written or 0.0), measure.decimals))
        reason = (
            f"{finding}: it is {_stands(operator, beyond)} {margin}, not beyond the claim's {own}"
        )
    return Judgement(Verdict.NOT_SETTLED, reason)


def _side_of_claim(operator: Operator, ci: Interval, test: Tested) -> Verdict:
    """Where an interval lies. A claim is supported by the margin that its assay leaves; only what
    lies beyond the margin that the claim itself allows contradicts it.
    """
    verdict = side_of(operator, ci.low, ci.high, test.measure.margin)
    if verdict is not Verdict.CONTRADICTED or test.written is None:
        return verdict
    beyond = side_of(operator, ci.low, ci.high, test.written) is Verdict.CONTRADICTED
    return verdict if beyond else Verdict.NOT_SETTLED


def _mean(measure: Measure, summary: Summary) -> str:
    write = signed if measure.difference else number
    mean = _amount(measure, write(measure.shown(summary.mean), measure.decimals))
    pairs = f"{summary.n} paired seeds" if measure.difference or measure.ratio else seeds(summary.n)
    return f"{mean} over {pairs}"


def _ci(test: Tested) -> str:
    return f"{CONFIDENCE_TEXT} CI {_interval(test.measure, test.ci)}"


def _interval(measure: Measure, ci: Interval | None) -> str:
    ends = _ends(measure, ci)
    assert ends is not None
    return interval_text(ends, measure.decimals, sign=measure.difference)


def _with_failures(
    operator: Operator, column: Column, judgement: Judgement, test: Tested, sides: Sequence[Side]
) -> Judgement:
    """Failed seeds are told, and what is supported must be so with each at the value of its row
    that speaks most against the claim. A correlation has no such value: there they are told alone.
    """
    failed = list(
        dict.fromkeys(
            f"{count(len(side.failed_seeds), 'seed')} of {side.label} failed"
            for side in sides
            if side.failed_seeds
        )
    )
    if not failed or test.measure.summary is None or column.evidence != "seeds":
        return judgement
    told = f"{judgement.reason}; {' and '.join(failed)}"
    has_worst = test.measure.over is None or test.at_worst is not None
    if judgement.verdict is not Verdict.SUPPORTED or not has_worst:
        return Judgement(judgement.verdict, told)
    survives = test.survives
    if (
        survives is None
        or side_of(operator, survives.low, survives.high, test.measure.margin)
        is not judgement.verdict
    ):
        reason = f"{told}: with each at the worst value of its row the claim is not supported"
        return Judgement(Verdict.NOT_SETTLED, reason)
    reason = f"{told}: supported too with each at the worst value of its row"
    return Judgement(Verdict.SUPPORTED, reason)


def _needed(column: Column, test: Tested) -> tuple[str, str]:
    """How many seeds find the present distance with a power of 80 %, and the range of that number
    for the ends of the interval of the spread; empty where seeds are not what decides.
    """
    summary = test.measure.summary
    if summary is None or test.measure.over is not None or column.evidence != "seeds":
        return "", ""
    if summary.n == 1:
        return str(STAGES[0]), ""  # the first look that is planned
    if test.spread is None:
        return "", ""
    extra = extra_freedom(test.prior, summary.n)
    ends = [
        seeds_needed(std, summary.mean - test.measure.margin, level=test.level, extra=extra)
        for std in (test.spread.std, *std_range(test.spread))
    ]
    best, low, high = (
        f"> {MOST_SEEDS}" if needed is None else str(max(needed, summary.n + 1)) for needed in ends
    )
    return best, "" if low == high else f"{low} to {high}"


def _stands(operator: Operator, verdict: Verdict) -> str:
    upward = operator in (">=", ">")
    held = {">=": "at or above", ">": "above", "<=": "at or below", "<": "below"}[operator]
    return held if verdict is Verdict.SUPPORTED else ("below" if upward else "above")


def _value(measure: Measure, value: float) -> str:
    write = signed if measure.difference else number
    return f"{measure.quantity}: {_amount(measure, write(measure.shown(value), measure.decimals))}"


def _margin(test: Tested) -> str:
    measure = test.measure
    text = number(measure.shown(measure.margin), measure.decimals)
    said = f"the margin of {_amount(measure, text)}"
    return f"{said} (half of the gain that these runs surely show)" if test.is_capped else said


def _amount(measure: Measure, text: str) -> str:
    return f"{text}×" if measure.ratio else with_unit(text, measure.unit)
