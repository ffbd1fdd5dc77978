"""Claims: the interval of a paired difference against its margin."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from harness.report.claim_tables import claim_rows
from harness.report.document import GroupRow
from harness.report.judging import Pools, judge_claims, measured
from harness.report.measure import Side
from harness.report.model import ClaimResult, Verdict
from harness.report.summary import findings
from harness.spec.claims import CellRef, Comparison, Operator
from harness.spec.table import Claim, Column
from tests.report.models import ACC, NOWHERE, PFLOPS, SPEED, small


def judged(
    left: list[float],
    right: list[float] | None,
    *,
    operator: Operator = ">=",
    factor: float = 1.0,
    offset: float = 0.0,
    column: Column = ACC,
) -> ClaimResult:
    others = [] if right is None else [Side(label="B", values=dict(enumerate(right)))]
    comparison = Comparison(
        left=CellRef(column.id, "A"),
        operator=operator,
        right=None if right is None else CellRef(column.id, "B"),
        factor=factor,
        offset=offset,
        text="",
    )
    claim = Claim(id="claim", text="A claim", holds=comparison, node=NOWHERE)
    sides = [Side(label="A", values=dict(enumerate(left))), *others]
    return alone(claim, column, *sides)


def alone(claim: Claim, column: Column, *sides: Side) -> ClaimResult:
    """The verdict on a claim of a table that has no other and no other rows."""
    (found,) = judge_claims([claim], lambda one: measured(one, column, sides), Pools([], {}))
    return found


def test_what_is_computed_has_no_interval_however_many_rows_it_is_about() -> None:
    holds = Comparison.parse("every(pflops[{row}] > 5)").among(["a", "b"])
    claim = Claim(id="claim", text="A claim", holds=holds, node=NOWHERE)
    sides = [Side(label=row, values={0: value}) for row, value in (("a", 6.0), ("b", 9.0))]
    found = alone(claim, PFLOPS, *sides)
    assert (found.verdict, found.n, found.is_point) == (Verdict.SUPPORTED, 2, True)
    model = replace(small(), claims=(found,))
    assert [item.text for item in findings(model)] == ["A claim (6 PFLOPs; claimed > 5)."]
    (row,) = claim_rows([found])
    assert not isinstance(row, GroupRow)
    assert row[3].text == "exact"


def test_what_is_below_its_margin_does_not_read_as_the_margin() -> None:
    found = judged([4.96], [10.0], operator="<", factor=0.5, column=PFLOPS)
    assert found.verdict == Verdict.SUPPORTED
    assert found.reason.startswith("Teacher PFLOPs, A / B: 0.496×, below the margin of 0.500×")
    assert judged([4.9], [10.0], operator="<", factor=0.5, column=PFLOPS).decimals == 2
    assert judged([5.0], [10.0], operator="<=", factor=0.5, column=PFLOPS).decimals == 2


def test_supported_where_the_whole_interval_clears_the_margin() -> None:
    found = judged([75.1, 75.15, 75.05], [75.0, 75.0, 75.0], offset=-0.3)
    assert found.verdict == Verdict.SUPPORTED
    assert found.estimate == pytest.approx(0.1)
    assert (found.n, found.margin, found.unit) == (3, -0.3, "points")
    expected = stats.t.interval(1 - 0.0185, 2, 0.1, 0.05 / math.sqrt(3))
    assert found.ci is not None
    assert (found.ci.low, found.ci.high) == pytest.approx(expected)
    assert found.adjusted == found.ci  # one claim alone
    p = stats.ttest_1samp([0.1, 0.15, 0.05], -0.3).pvalue
    assert (found.p, found.p_adjusted) == (pytest.approx(p), pytest.approx(p))
    assert (found.std, found.std_moderated) == (pytest.approx(0.05), pytest.approx(0.05))
    assert found.reason == (
        "Top-1, A − B: +0.10 points over 3 paired seeds, 98.15 % CI −0.11 to +0.31: "
        "all of it at or above the margin of −0.30 points"
    )


def test_contradicted_where_it_lies_beyond() -> None:
    found = judged([74.0, 74.1, 74.2], [75.0, 75.0, 75.0], offset=-0.3)
    assert found.verdict == Verdict.CONTRADICTED
    assert "all of it below the margin of −0.30 points" in found.reason


def test_what_is_not_settled_says_how_many_seeds_would_settle_it() -> None:
    found = judged([75.0, 75.4, 74.8], [75.0, 75.0, 75.0], offset=-0.3)
    assert found.verdict == Verdict.NOT_SETTLED
    # sd 0.3055, distance to the margin 0.3667; the sd's own interval is 0.159 to 1.92
    assert (found.seeds_needed, found.seeds_needed_range) == ("11", "5 to > 100")
    assert found.reason == (
        "Top-1, A − B: +0.07 points over 3 paired seeds, 98.15 % CI −1.21 to +1.35: "
        "it reaches across the margin of −0.30 points"
    )


def test_on_the_margin_no_number_of_seeds_settles_it() -> None:
    found = judged([74.2, 74.7, 75.2], [75.0, 75.0, 75.0], offset=-0.3)
    assert found.seeds_needed == "> 100"


def test_one_seed_settles_nothing() -> None:
    found = judged([80.0], [70.0])
    assert found.verdict == Verdict.NOT_SETTLED
    assert (found.estimate, found.ci, found.n) == (10.0, None, 1)
    assert found.seeds_needed == "3"  # the first look that is planned
    assert "no interval" in found.reason


def test_without_results_it_says_whose_are_missing() -> None:
    found = judged([], [70.0, 71.0])
    assert found.verdict == Verdict.NOT_RUN
    assert (found.n, found.estimate) == (0, None)
    assert found.reason == "not tested: no result for A"


def test_seeds_must_be_common() -> None:
    claim = judged([75.0], [74.0], operator=">").claim
    left, right = Side(label="A", values={0: 75.0}), Side(label="B", values={1: 74.0})
    reason = alone(claim, ACC, left, right).reason
    assert reason == "not tested: A and B have no finished seed in common"


@pytest.mark.parametrize(
    ("operator", "offset", "verdict"),
    [
        (">=", 0.0, Verdict.SUPPORTED),
        (">", 0.0, Verdict.CONTRADICTED),
        ("<=", 0.0, Verdict.SUPPORTED),
        ("<", 0.0, Verdict.CONTRADICTED),
        (">", -1.0, Verdict.SUPPORTED),
        ("<", -1.0, Verdict.CONTRADICTED),
        ("<", 1.0, Verdict.SUPPORTED),
        (">=", 1.0, Verdict.CONTRADICTED),
    ],
)
def test_equality_belongs_to_the_closed_operators(
    operator: Operator, offset: float, verdict: Verdict
) -> None:
    found = judged([75.0], [75.0], operator=operator, offset=offset, column=PFLOPS)
    assert found.verdict == verdict


def test_equal_differences_are_no_proof() -> None:
    rounded = judged([75.3, 8.3, 0.3], [75.0, 8.0, 0.0])  # 0.3 each, but for the last bits
    assert 0 < (rounded.std or 0) < 1e-12
    assert (rounded.verdict, rounded.p) == (Verdict.NOT_SETTLED, None)
    same = judged([75.0, 75.1], [75.0, 75.1], offset=-0.3)
    assert (same.verdict, same.p, same.ci) == (Verdict.NOT_SETTLED, None, None)
    assert "what never scatters does not tell" in same.reason


@given(
    st.lists(st.tuples(st.floats(0, 100), st.floats(0, 100)), min_size=2, max_size=6),
    st.floats(-5, 5),
)
def test_a_claim_and_its_opposite_are_never_both_supported(
    pairs: list[tuple[float, float]], offset: float
) -> None:
    left, right = [list(side) for side in zip(*pairs, strict=True)]
    up = judged(left, right, operator=">", offset=offset).verdict
    down = judged(left, right, operator="<=", offset=offset).verdict
    opposite = {
        Verdict.SUPPORTED: Verdict.CONTRADICTED,
        Verdict.CONTRADICTED: Verdict.SUPPORTED,
        Verdict.NOT_SETTLED: Verdict.NOT_SETTLED,
    }
    assert down == opposite[up]


def test_decimal_fractions_do_not_spoil_a_bound() -> None:
    # 0.1 + 0.2 != 0.3 in binary
    found = judged([75.3], None, operator="<=", offset=75.1 + 0.2, column=PFLOPS)
    assert found.verdict == Verdict.SUPPORTED


def test_computed_values_are_exact_with_one_value() -> None:
    found = judged([866.0], [1770.0], operator="<=", factor=0.52, column=PFLOPS)
    assert found.verdict == Verdict.SUPPORTED
    assert found.estimate == pytest.approx(866 / 1770)
    assert found.margin == pytest.approx(0.52)
    assert found.ci is not None
    assert found.ci.low == found.ci.high == found.estimate
    assert "0.49×, at or below the margin of 0.52×; computed exactly" in found.reason


def test_timings_are_judged_by_their_median_and_say_so() -> None:
    found = judged([950.0], [500.0], factor=1.7, column=SPEED)
    assert found.verdict == Verdict.SUPPORTED
    assert found.ci is None
    assert "median of timings on this machine, no interval" in found.reason
    slower = judged([800.0], [500.0], factor=1.7, column=SPEED)
    assert slower.verdict == Verdict.CONTRADICTED


@pytest.mark.parametrize("speed", [815.0, 885.0])  # 1.63 and 1.77 times as fast
def test_a_timing_near_the_margin_settles_nothing(speed: float) -> None:
    found = judged([speed], [500.0], factor=1.7, column=SPEED)
    assert found.verdict == Verdict.NOT_SETTLED
    assert "within 5 % of the margin of 1.70×" in found.reason
    alone = judged([speed / 500], None, offset=1.7, column=SPEED)
    assert alone.verdict == Verdict.NOT_SETTLED


def test_ratios_over_seeds_use_logarithms() -> None:
    found = judged([2.0, 2.1, 1.95], [1.0, 1.0, 1.0], factor=1.5)
    logs = [math.log(value) for value in (2.0, 2.1, 1.95)]
    mean = sum(logs) / 3
    low, high = stats.t.interval(1 - 0.0185, 2, mean, stats.sem(logs))
    assert found.estimate == pytest.approx(math.exp(mean))
    assert found.ci is not None
    assert (found.ci.low, found.ci.high) == pytest.approx((math.exp(low), math.exp(high)))
    assert (found.unit, found.margin) == ("×", pytest.approx(1.5))
    assert found.verdict == Verdict.SUPPORTED


def test_a_factor_with_an_offset_is_a_difference() -> None:
    found = judged([10.0, 10.2, 10.1], [4.0, 4.0, 4.0], factor=2.0, offset=1.0)
    assert found.estimate == pytest.approx(2.1)
    assert found.quantity == "Top-1, A − 2 × B"
    assert found.verdict == Verdict.SUPPORTED


def test_a_bound_alone_takes_the_mean() -> None:
    found = judged([80.1, 80.2, 80.3], None, operator=">", offset=80.0)
    assert found.estimate == pytest.approx(80.2)
    assert (found.margin, found.unit) == (80.0, "%")
    assert found.verdict == Verdict.NOT_SETTLED  # 79.95 to 80.45
    assert "3 seeds" in found.reason
    assert "paired" not in found.reason


def test_zero_is_no_ratio() -> None:
    found = judged([1.0, 1.0], [0.0, 0.0], factor=2.0)
    assert found.unit == "points"
    assert found.estimate == 1.0


def test_a_column_without_unit() -> None:
    found = judged([1.0, 1.1], [0.5, 0.5], column=replace(ACC, unit=""))
    assert "+0.55 over 2 paired seeds" in found.reason
