"""What is said of a cell, case by case."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from harness.report.format import signed
from harness.report.model import Ratio, Verdict
from harness.report.statistics import summarise
from harness.report.verdicts import CellEvidence, allowed, judge_cell
from harness.spec.table import Column, Printed, Published, Tolerance
from tests.report.models import ACC, PFLOPS, SPEED, printed

CLOSE = (75.0, 75.05, 74.95)
WIDE = (74.5, 75.0, 75.5)


def judged(
    column: Column, published: Published | None, values: tuple[float, ...], **facts: object
) -> tuple[Verdict, str]:
    about = CellEvidence(
        column=column,
        published=published,
        summary=summarise(values),
        expected_n=len(values) or 3,
    )
    judgement = judge_cell(replace(about, **facts))  # type: ignore[arg-type]
    return judgement.verdict, judgement.reason


@pytest.mark.parametrize(
    ("column", "published", "values", "verdict", "says"),
    [
        (ACC, printed(75.0), CLOSE, Verdict.REPRODUCED, "equivalent (TOST p = 0.005, 3 seeds)"),
        (ACC, printed(75.0), WIDE, Verdict.INDICATIVE, "90 % CI 74.16 to 75.84 reaches beyond"),
        (ACC, printed(75.0), (75.2,), Verdict.INDICATIVE, "1 seed cannot show equivalence"),
        (ACC, printed(75.0), (75.1, 75.2), Verdict.INDICATIVE, "2 seeds cannot show equivalence"),
        (ACC, printed(75.0), (75.3,), Verdict.INDICATIVE, "within ±0.30 points"),
        (ACC, printed(75.0), (75.31,), Verdict.INDICATIVE, "+0.31 points, outside ±0.30 points"),
        (ACC, printed(75.0), (70.0,), Verdict.INDICATIVE, "one seed shows no spread: no proof"),
        (ACC, printed(75.0), (74.0, 74.6), Verdict.INDICATIVE, "no proof that it is below"),
        (ACC, printed(75.0), (74.6, 74.6, 74.6), Verdict.INDICATIVE, "equal seeds show no spread"),
        (ACC, printed(75.0), (75.0, 75.0, 75.0), Verdict.INDICATIVE, "equal seeds show no spread"),
        # 2 sd of 0.4 for three seeds here and one there
        (ACC, printed(75.0), (76.0, 76.4, 76.8), Verdict.INDICATIVE, "−0.59 to +3.39"),
        (ACC, printed(75.0), (77.0, 77.4, 77.8), Verdict.ABOVE, "difference +0.41 to +4.39"),
        (ACC, printed(75.0), (73.9, 74.0, 74.1), Verdict.BELOW, "taken for one seed"),
        (PFLOPS, printed(1770, 0), (1767.6,), Verdict.REPRODUCED, "computed 1768 PFLOPs"),
        (PFLOPS, printed(1770, 0), (1767.6,), Verdict.REPRODUCED, "−2 PFLOPs (−0.14 %)"),
        (PFLOPS, printed(1770, 0), (1780.0,), Verdict.ABOVE, "(+0.56 %)"),
        (PFLOPS, printed(1770, 0), (1760.0,), Verdict.BELOW, "(−0.56 %)"),
        (PFLOPS, None, (1760.0,), Verdict.NOT_COMPARABLE, "prints no number"),
        (ACC, printed(75.0), (), Verdict.MISSING, "not run yet"),
    ],
)
def test_cells(
    column: Column,
    published: Published | None,
    values: tuple[float, ...],
    verdict: Verdict,
    says: str,
) -> None:
    found, reason = judged(column, published, values)
    assert found == verdict, reason
    assert says in reason


@pytest.mark.parametrize(
    ("value", "verdict"),
    [
        (5954.0, Verdict.MISPRINT),
        (5694.0, Verdict.BELOW),  # as printed, which is not what was meant
        (5998.0, Verdict.ABOVE),
    ],
)
def test_a_misprint_is_held_against_what_was_meant(value: float, verdict: Verdict) -> None:
    wrong = replace(printed(5694, 0), corrected=Printed(value=5964, decimals=0))
    found, reason = judged(PFLOPS, wrong, (value,))
    assert found == verdict, reason
    assert "printed 5694, a misprint for 5964: " in reason
    assert judged(PFLOPS, wrong, ())[0] == Verdict.MISSING
    assert (
        judged(PFLOPS, wrong, (value,), profile_difference="smaller")[0] == Verdict.NOT_COMPARABLE
    )


def test_a_misprinted_speed_is_held_against_what_was_meant() -> None:
    wrong = replace(printed(512, 0), corrected=Printed(value=271, decimals=0))
    ratio = Ratio(baseline="b", measured=2.05, published=271 / 133)
    found, reason = judged(SPEED, wrong, (80.0,), ratio=ratio)
    assert found == Verdict.MISPRINT
    assert "2.04× in the paper (printed 512, a misprint for 271)" in reason


@pytest.mark.parametrize(
    ("tolerance", "published", "expected"),
    [
        (Tolerance(value=0.3), printed(75.0), 0.3),
        (Tolerance(value=0.005, relative=True), printed(1770, 0), 8.85),
        (Tolerance(value=0.01), printed(75.0), 0.05),  # half of the last printed digit
        (Tolerance(value=0.005, relative=True), printed(12, 0), 0.5),
        (None, printed(75.25, 2), 0.005),
    ],
)
def test_tolerance_is_never_tighter_than_the_printed_digits(
    tolerance: Tolerance | None, published: Published, expected: float
) -> None:
    assert allowed(replace(ACC, tolerance=tolerance), published) == pytest.approx(expected)


def test_another_profile_is_never_held_against_the_paper() -> None:
    found = judged(
        ACC, printed(75.0), CLOSE, profile_difference="Fashion-MNIST instead of ImageNet"
    )
    assert found == (Verdict.NOT_COMPARABLE, "Fashion-MNIST instead of ImageNet")
    assert judged(ACC, printed(75.0), (), profile_difference="smaller")[0] == Verdict.MISSING


def test_failed_runs_say_why_and_never_hide_those_that_finished() -> None:
    error = ("the loss is nan\nTraceback ...",)
    assert judged(ACC, printed(75.0), (), failed=error) == (Verdict.FAILED, "the loss is nan")
    verdict, reason = judged(ACC, printed(75.0), (75.0, 75.1), expected_n=3, failed=error)
    assert verdict == Verdict.INDICATIVE
    assert reason.endswith("; 2 of 3 seeds finished, 1 run failed")


def test_a_long_error_is_cut() -> None:
    assert len(judged(ACC, None, (), failed=("x" * 5000,))[1]) < 400


def test_missing_says_what_it_needs() -> None:
    assert judged(ACC, printed(75.0), (), missing_reason="needs ImageNet") == (
        Verdict.MISSING,
        "needs ImageNet",
    )


@pytest.mark.parametrize(
    ("ratio", "verdict", "says"),
    [
        (Ratio(baseline="b", measured=2.2, published=2.07), Verdict.REPRODUCED, "2.20×"),
        (Ratio(baseline="b", measured=2.4, published=2.07), Verdict.ABOVE, "outside ±0.21×"),
        (Ratio(baseline="b", measured=1.5, published=2.07), Verdict.BELOW, "2.07× in the paper"),
        (Ratio(baseline="b", measured=2.0, published=None), Verdict.NOT_COMPARABLE, "no number"),
        (Ratio(baseline="b", published=2.07), Verdict.MISSING, "unmasked teacher's value (b)"),
        (Ratio(baseline="", measured=1.0, published=1.0), Verdict.NOT_COMPARABLE, "hardware"),
        (None, Verdict.NOT_COMPARABLE, "prints no unmasked teacher"),
    ],
)
def test_speed_is_judged_by_its_ratio_alone(
    ratio: Ratio | None, verdict: Verdict, says: str
) -> None:
    found, reason = judged(SPEED, printed(3702, 0), (3702.0,), ratio=ratio)
    assert found == verdict, reason
    assert says in reason


def test_a_ratio_is_not_checked_closer_than_the_paper_prints_ratios() -> None:
    strict = replace(SPEED, tolerance=None)
    ratio = Ratio(baseline="b", measured=2.11, published=2.07)
    assert judged(strict, printed(3702, 0), (1.0,), ratio=ratio)[0] == Verdict.REPRODUCED


@pytest.mark.parametrize(
    ("sd", "n", "says"),
    [(None, 1, "one seed"), (None, 5, "the mean of 5 seeds"), (0.3, 3, "the mean of 3 seeds with")],
)
def test_a_printed_mean_is_of_few_seeds_and_rounded(sd: float | None, n: int, says: str) -> None:
    values = (76.5, 77.0, 77.4)
    found, reason = judged(ACC, replace(printed(75.0), sd=sd, n=n), values)
    std = float(np.std(values, ddof=1))
    error = math.sqrt(std**2 / 3 + (std if sd is None else sd) ** 2 / n + 0.1**2 / 12)
    low, high = stats.t.interval(0.95, 2, np.mean(values) - 75.0, error)
    assert f"95 % CI of the difference {signed(low, 2)} to {signed(high, 2)}" in reason
    assert found == (Verdict.ABOVE if low > 0.3 else Verdict.INDICATIVE)
    assert f"the printed number taken for {says}" in reason


def test_above_and_below_are_false_in_one_of_twenty_at_most() -> None:
    draws = np.random.default_rng(0)
    wrong, tables = 0, 1500
    for _ in range(tables):
        paper = round(75 + 0.5 * float(draws.standard_normal()), 1)
        values = tuple(75 + 0.5 * draws.standard_normal(3))
        strict = replace(ACC, tolerance=None)
        found, _ = judged(strict, printed(paper), values)
        wrong += found in (Verdict.ABOVE, Verdict.BELOW)
    assert wrong / tables < 0.06  # the printed number was exact before: 25 %
