"""Intervals and tests over seeds, against scipy.stats and closed forms."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy import stats

from harness.report.statistics import (
    Summary,
    equivalence_p,
    exponential,
    log_ratios,
    paired,
    summarise,
    t_quantile,
    within,
)

ACCURACIES = st.lists(st.floats(0, 100), min_size=2, max_size=12)


def spread_out(values: list[float]) -> bool:
    return float(np.std(values)) > 1e-6


@given(ACCURACIES)
def test_mean_deviation_and_interval_are_those_of_scipy(values: list[float]) -> None:
    assume(spread_out(values))
    summary = summarise(values)
    assert summary is not None
    assert summary.ci is not None
    assert summary.mean == pytest.approx(np.mean(values))
    assert summary.std == pytest.approx(np.std(values, ddof=1))
    expected = stats.t.interval(0.95, len(values) - 1, np.mean(values), stats.sem(values))
    assert (summary.ci.low, summary.ci.high) == pytest.approx(expected)


def test_three_seeds_by_hand() -> None:
    summary = summarise([74.0, 75.0, 76.0])
    assert summary is not None
    assert summary.ci is not None
    assert (summary.mean, summary.std) == (75.0, 1.0)
    assert summary.ci.half_width == pytest.approx(4.302652729911275 / math.sqrt(3))


def test_no_value_has_no_summary_and_one_has_no_spread() -> None:
    assert summarise([]) is None
    assert summarise([3.0]) == Summary(n=1, mean=3.0, std=None, ci=None)


@given(st.floats(-1e6, 1e6), st.integers(2, 9))
def test_equal_values_have_an_interval_of_one_point(value: float, n: int) -> None:
    summary = summarise([value] * n)
    assert summary is not None
    assert summary.ci is not None
    assert (summary.mean, summary.std) == (value, 0.0)
    assert summary.ci.low == summary.ci.high == value


@given(ACCURACIES, st.floats(-50, 50))
def test_shifting_all_values_shifts_the_interval(values: list[float], shift: float) -> None:
    assume(spread_out(values))
    before, after = summarise(values), summarise([value + shift for value in values])
    assert before is not None
    assert after is not None
    assert before.ci is not None
    assert after.ci is not None
    assert after.mean == pytest.approx(before.mean + shift, abs=1e-9)
    assert after.ci.half_width == pytest.approx(before.ci.half_width, rel=1e-4, abs=1e-9)


def test_quantiles_are_those_of_a_table() -> None:
    assert t_quantile(0.975, 2) == pytest.approx(4.303, abs=5e-4)
    assert t_quantile(0.95, 10) == pytest.approx(1.812, abs=5e-4)


def test_pairs_are_seeds_that_both_have() -> None:
    left, right = {0: 3.0, 1: 5.0, 2: 9.0}, {1: 1.0, 0: 1.0, 7: 0.0}
    assert paired(left, right) == [2.0, 4.0]
    assert paired(left, right, factor=2.0) == [1.0, 3.0]
    assert paired(left, {}) == []


def test_the_interval_of_a_ratio_is_taken_on_logarithms() -> None:
    logs = log_ratios({0: 2.0, 1: 8.0}, {0: 1.0, 1: 1.0})
    assert logs == pytest.approx([math.log(2), math.log(8)])
    summary = summarise(logs or [])
    assert summary is not None
    assert exponential(summary.mean) == pytest.approx(4.0)  # the geometric mean
    assert summary.ci is not None
    low, high = exponential(summary.ci.low), exponential(summary.ci.high)
    assert low * high == pytest.approx(16.0)  # symmetric around it by factors


def test_no_ratio_of_what_is_not_positive() -> None:
    assert log_ratios({0: 1.0}, {0: 0.0}) is None
    assert log_ratios({0: -1.0}, {0: 1.0}) is None


@given(ACCURACIES, st.floats(0, 100), st.floats(0.01, 5))
def test_equivalence_is_the_larger_of_two_one_sided_t_tests(
    values: list[float], target: float, tolerance: float
) -> None:
    assume(spread_out(values))
    summary = summarise(values)
    assert summary is not None
    lower = stats.ttest_1samp(values, target - tolerance, alternative="greater").pvalue
    upper = stats.ttest_1samp(values, target + tolerance, alternative="less").pvalue
    assert equivalence_p(summary, target, tolerance) == pytest.approx(max(lower, upper), abs=1e-9)


@given(ACCURACIES, st.floats(0, 100), st.floats(0.01, 5))
def test_equivalence_at_five_percent_is_the_ninety_percent_interval_inside(
    values: list[float], target: float, tolerance: float
) -> None:
    assume(spread_out(values))
    summary = summarise(values)
    assert summary is not None
    p = equivalence_p(summary, target, tolerance)
    assume(abs(p - 0.05) > 1e-9)
    low, high = stats.t.interval(0.9, len(values) - 1, np.mean(values), stats.sem(values))
    assert (p < 0.05) == (target - tolerance < low and high < target + tolerance)


def test_equivalence_without_scatter_is_certain() -> None:
    summary = Summary(n=3, mean=8.3, std=0.0)
    assert equivalence_p(summary, 8.0, 0.3) == 0.0  # 8.3 - 8.0 is a bit above 0.3 in binary
    assert equivalence_p(summary, 8.0, 0.2) == 1.0


def test_within_does_not_stumble_over_binary_fractions() -> None:
    assert 8.3 - 8.0 > 0.3
    assert within(8.3 - 8.0, 0.3)
    assert not within(0.3001, 0.3)
