"""Moderation, adjustment, power and pooling, against closed forms, scipy and float64 references."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from scipy.optimize import brentq
from scipy.special import digamma, polygamma

from harness.report.inference import (
    LEVEL,
    NO_PRIOR,
    Prior,
    Spread,
    benjamini_hochberg,
    fit_prior,
    holm,
    interval,
    moderated,
    non_inferiority_margin,
    resolution,
    trigamma_inverse,
    two_sided_p,
)
from harness.report.pooling import pool
from harness.report.power import power, seeds_needed, std_range
from harness.report.statistics import Interval

P_VALUES = st.lists(st.floats(0, 1), min_size=1, max_size=12)


def reference_prior(variances: list[float], d: float) -> tuple[float, float]:
    """d0 and s0^2 as section 6.2 of Smyth 2004 writes them, the trigamma equation by bisection."""
    e = [math.log(v) - digamma(d / 2) + math.log(d / 2) for v in variances]
    mean = sum(e) / len(e)
    excess = sum((one - mean) ** 2 for one in e) / (len(e) - 1) - polygamma(1, d / 2)
    if excess <= 0:
        return math.inf, sum(variances) / len(variances)
    half = brentq(lambda y: polygamma(1, y) - excess, 1e-6, 1e8, xtol=1e-14)
    return 2 * half, math.exp(mean + digamma(half) - math.log(half))


@given(st.lists(st.floats(0.01, 100), min_size=2, max_size=20), st.integers(1, 11))
def test_the_prior_is_smyths(variances: list[float], d: int) -> None:
    found = fit_prior(variances, [d] * len(variances), 100)
    freedom, variance = reference_prior(variances, d)
    if freedom > 1e6:  # so little excess that both are a rounding away from none
        assert found.freedom > 1e5
        return
    assert found.freedom == pytest.approx(freedom, rel=1e-5)
    assert found.variance == pytest.approx(variance, rel=1e-5)


def test_the_prior_is_found_again_in_many_variances() -> None:
    draws = np.random.default_rng(0)
    d0, s0, d = 6.0, 0.5, 4
    sigma2 = d0 * s0**2 / draws.chisquare(d0, 4000)
    found = fit_prior(list(sigma2 * draws.chisquare(d, 4000) / d), [d] * 4000, 1e9)
    assert found.freedom == pytest.approx(d0, rel=0.15)
    assert found.variance == pytest.approx(s0**2, rel=0.05)


def test_variances_that_differ_by_chance_alone_are_pooled() -> None:
    found = fit_prior([1.0, 2.0, 3.0], [2, 2, 4], 6)
    assert found == Prior(variance=(1 + 2 + 2 * 3) / 4, freedom=math.inf, total=6)
    assert moderated(0.1, 3, found) == Spread(variance=found.variance, freedom=6)


def test_one_variance_is_no_prior() -> None:
    assert fit_prior([2.0], [2], 2) == NO_PRIOR
    assert moderated(0.5, 3) == Spread(variance=0.25, freedom=2)


@given(st.floats(1e-8, 1e8))
def test_trigamma_is_inverted(x: float) -> None:
    assert float(polygamma(1, trigamma_inverse(x))) == pytest.approx(x, rel=1e-6)


def test_a_moderated_variance_lies_between_its_own_and_the_others() -> None:
    spread = moderated(0.04, 3, Prior(variance=0.25, freedom=4.0, total=20))
    assert spread == Spread(variance=(4 * 0.25 + 2 * 0.0016) / 6, freedom=6)
    capped = moderated(0.04, 3, Prior(variance=0.25, freedom=40.0, total=8))
    assert capped.freedom == 8


def test_no_accuracy_is_finer_than_its_images() -> None:
    # 10,000 images: steps of 0.01; a difference of two roundings has a variance of 2 / 12 steps^2
    assert resolution(10_000) == pytest.approx(0.01**2 / 6)
    assert resolution(10_000, values=1) == pytest.approx(0.01**2 / 12)
    assert resolution(0) == 0.0
    assert moderated(0.001, 3, floor=resolution(100)).variance == pytest.approx(1 / 6)


@given(st.lists(st.floats(-3, 3), min_size=3, max_size=8), st.floats(-2, 2))
def test_without_a_prior_it_is_the_t_test(values: list[float], margin: float) -> None:
    if float(np.std(values)) < 1e-3:
        return
    n, mean, std = len(values), float(np.mean(values)), float(np.std(values, ddof=1))
    spread = moderated(std, n)
    expected = stats.t.interval(1 - LEVEL, n - 1, mean, stats.sem(values))
    found = interval(mean, spread, n)
    assert (found.low, found.high) == pytest.approx(expected)
    p = two_sided_p(mean - margin, spread, n)
    assert p == pytest.approx(stats.ttest_1samp(values, margin).pvalue)


def test_what_does_not_scatter_proves_nothing() -> None:
    assert two_sided_p(5.0, Spread(variance=0.0, freedom=2), 3) == 1.0


def reference_holm(p: list[float]) -> list[float]:
    """max over all smaller ones of (how many are at least as large) * p."""
    order = sorted(range(len(p)), key=lambda i: p[i])
    rank = {index: position for position, index in enumerate(order)}
    return [
        min(1.0, max((len(p) - rank[j]) * p[j] for j in order[: rank[i] + 1]))
        for i in range(len(p))
    ]


@given(P_VALUES)
def test_holm_and_its_levels_agree(p_values: list[float]) -> None:
    found = holm(p_values, 0.05)
    assert [one.p for one in found] == pytest.approx(reference_holm(p_values))
    for p, one in zip(p_values, found, strict=True):
        assert (one.p <= 0.05) == (p <= one.level * (1 + 1e-12)) or p == pytest.approx(one.level)


def test_holm_by_hand() -> None:
    first, second, third = holm([0.001, 0.04, 0.03], 0.05)
    assert (first.p, second.p, third.p) == pytest.approx((0.003, 0.06, 0.06))
    assert (first.level, second.level, third.level) == pytest.approx((0.05 / 3, 0.025, 0.025))
    assert holm([]) == []


@given(P_VALUES)
def test_the_false_discovery_rate_is_scipys(p_values: list[float]) -> None:
    expected = stats.false_discovery_control(p_values)
    assert benjamini_hochberg(p_values) == pytest.approx(list(expected))


def test_at_most_half_of_a_shown_gain_may_be_lost() -> None:
    assert non_inferiority_margin(-0.3, Interval(low=1.0, high=2.0)) == -0.3
    assert non_inferiority_margin(-0.3, Interval(low=0.2, high=2.0)) == pytest.approx(-0.1)
    assert non_inferiority_margin(0.3, Interval(low=0.2, high=2.0)) == pytest.approx(0.1)
    assert non_inferiority_margin(-0.3, Interval(low=-0.1, high=2.0)) is None
    assert non_inferiority_margin(-0.3, Interval(low=0.0, high=2.0)) is None


@pytest.mark.parametrize("distance", [0.3, 1.0, 3.0])
@pytest.mark.parametrize("level", [0.05, LEVEL, 0.001])
def test_power_is_that_of_the_noncentral_t(distance: float, level: float) -> None:
    n = np.arange(2, 30)
    limit = stats.t.ppf(1 - level / 2, n - 1)
    expected = stats.nct.sf(limit, n - 1, distance * np.sqrt(n))
    assert power(1.0, distance, n, level=level) == pytest.approx(expected, abs=1e-6)


def test_so_many_seeds_are_needed_and_one_fewer_is_too_few() -> None:
    for std, distance in ((1.0, 0.8), (0.3, 0.3), (0.5, 2.0)):
        needed = seeds_needed(std, distance)
        assert needed is not None
        at = power(std, distance, np.array([needed - 1, needed]))
        assert at[0] < 0.8 <= at[1]
    # G*Power, one-sample t-test, effect 1, two-sided 5 %: 10
    assert seeds_needed(1.0, 1.0, level=0.05) == 10
    assert seeds_needed(1.0, 0.1) is None
    assert seeds_needed(1.0, 0.0) is None
    assert seeds_needed(0.0, 1.0) == 2
    assert seeds_needed(1e-6, 5.0) == 2


def test_the_interval_of_a_spread_is_by_chi_square() -> None:
    low, high = std_range(Spread(variance=0.25, freedom=4))
    assert low == pytest.approx(0.5 * math.sqrt(4 / stats.chi2.ppf(0.975, 4)))
    assert high == pytest.approx(0.5 * math.sqrt(4 / stats.chi2.ppf(0.025, 4)))


def test_machines_are_draws() -> None:
    groups = [[1.0, 2.0, 3.0], [2.0, 3.0, 4.0], [6.0, 7.0, 8.0]]
    found = pool(groups)
    means = [2.0, 3.0, 7.0]
    assert (found.machines, found.n, found.mean) == (3, 9, 4.0)
    assert found.within == pytest.approx(1.0)
    # mean squares 21 between and 1 within: (21 - 1) / 3
    assert found.between == pytest.approx(math.sqrt(20 / 3))
    f = stats.f_oneway(*groups).statistic
    assert 3 * found.between**2 / found.within**2 + 1 == pytest.approx(f)
    expected = stats.t.interval(1 - LEVEL, 2, 4.0, stats.sem(means))
    assert (found.ci.low, found.ci.high) == pytest.approx(expected)


def test_machines_that_agree_add_no_variance() -> None:
    assert pool([[1.0, 3.0], [2.0, 2.0, 2.1]]).between == 0.0


def test_the_pooled_interval_covers_what_it_says() -> None:
    draws, missed, repeats = np.random.default_rng(0), 0, 2000
    for _ in range(repeats):
        shifts = 0.5 * draws.standard_normal(4)
        groups = [list(shift + draws.standard_normal(3)) for shift in shifts]
        ci = pool(groups, level=0.05).ci
        missed += not ci.low <= 0 <= ci.high
    assert missed / repeats == pytest.approx(0.05, abs=0.015)
