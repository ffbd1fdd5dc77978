"""How often verdicts are wrong, and how often they find what is there: tables of rows drawn from
known distributions, judged by the rules of `harness.report.judging` written once more for arrays.

A table has five rows; each of four is claimed to beat the first, paired by seed. Skewed noise has a
baseline with a third of the others' spread: else differences of skewed rows are symmetric again.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.special import digamma, polygamma, stdtr
from scipy.stats import false_discovery_control

from harness.report.inference import LEVEL, STAGES, benjamini_hochberg
from harness.report.model import Verdict
from harness.report.power import power, seeds_needed
from tests.report.test_judging import claim, table

Array = NDArray[np.float64]
ROWS = 5
TABLES = 4000
CLAIMS = [claim(f"acc[r{row}] > acc[r0]", name=str(row)) for row in range(1, ROWS)]


def normal(draws: np.random.Generator, shape: tuple[int, ...]) -> Array:
    return draws.standard_normal(shape)


def uneven(draws: np.random.Generator, shape: tuple[int, ...]) -> Array:
    """Normal, the rows' spreads differing by a third."""
    return np.exp(0.3 * draws.standard_normal((*shape[:2], 1))) * draws.standard_normal(shape)


def heavy(draws: np.random.Generator, shape: tuple[int, ...]) -> Array:
    """Student's t with 3 degrees of freedom: the least that has a variance."""
    return draws.standard_t(3, shape) / np.sqrt(3)


def skewed(draws: np.random.Generator, shape: tuple[int, ...]) -> Array:
    """Lognormal, skewness 1.75: as rows with a few bad seeds."""
    noise = -(draws.lognormal(0, 0.5, shape) - np.exp(0.125))
    return _quiet_baseline(noise / np.sqrt((np.exp(0.25) - 1) * np.exp(0.25)))


def very_skewed(draws: np.random.Generator, shape: tuple[int, ...]) -> Array:
    """Exponential, skewness 2: the worst is far away, the best is near."""
    return _quiet_baseline(1 - draws.exponential(size=shape))


def _quiet_baseline(noise: Array) -> Array:
    noise[:, 0] /= 3
    return noise


Noise = Callable[[np.random.Generator, tuple[int, ...]], Array]


@dataclass(frozen=True)
class Judged:
    """By (table, claim): the p of each by itself, and Holm's."""

    p: Array
    p_adjusted: Array

    @property
    def verdicts(self) -> NDArray[np.bool_]:
        return self.p_adjusted <= LEVEL


def judge(values: Array) -> Judged:
    """(table, row, seed) -> the tests of rows 1, 2, ... against row 0, margin 0."""
    rows, n = values.shape[1:]
    first, second = np.triu_indices(rows, 1)  # the pairs with row 0 come first
    differences = values[:, second] - values[:, first]
    variances, means = differences.var(2, ddof=1), differences.mean(2)
    own, total = n - 1, (rows - 1) * (n - 1)
    d0, s0 = _prior(variances, own)
    weight = 1 / (1 + own / d0)[:, None]
    asked = slice(0, rows - 1)
    moderated = weight * s0[:, None] + (1 - weight) * variances[:, asked]
    freedom = np.minimum(d0 + own, total)[:, None]
    p = 2 * stdtr(freedom, -np.abs(means[:, asked]) / np.sqrt(moderated / n))
    return Judged(p=p, p_adjusted=_holm(p))


def _prior(variances: Array, d: int) -> tuple[Array, Array]:
    e = np.log(variances) - digamma(d / 2) + np.log(d / 2)
    excess = e.var(1, ddof=1) - polygamma(1, d / 2)
    spread = excess > 0
    y = 0.5 + 1 / np.where(spread, excess, 1.0)
    for _ in range(40):
        trigamma = polygamma(1, y)
        y = y + trigamma * (1 - trigamma / np.where(spread, excess, 1.0)) / polygamma(2, y)
    d0 = np.where(spread, 2 * y, np.inf)
    apart = np.exp(e.mean(1) + digamma(y) - np.log(y))
    return d0, np.where(spread, apart, variances.mean(1))


def _holm(p: Array) -> Array:
    m = p.shape[1]
    order = np.argsort(p, 1)
    ranked = np.minimum(np.take_along_axis(p, order, 1) * (m - np.arange(m)), 1.0)
    adjusted = np.empty_like(p)
    np.put_along_axis(adjusted, order, np.maximum.accumulate(ranked, 1), 1)
    return adjusted


def drawn(noise: Noise, *, tables: int = TABLES, seed: int = 0) -> Array:
    return noise(np.random.default_rng(seed), (tables, ROWS, STAGES[-1]))


@pytest.mark.parametrize("noise", [normal, uneven, heavy, skewed])
@pytest.mark.parametrize("n", STAGES)
def test_the_simulated_rules_are_those_of_the_reports(noise: Noise, n: int) -> None:
    values = 80 + drawn(noise, tables=12)[:, :, :n] + 0.8 * np.arange(ROWS)[:, None]
    found = judge(values)
    for index, rows in enumerate(values):
        told = table({f"r{row}": tuple(one) for row, one in enumerate(rows)}, *CLAIMS)
        for column, result in enumerate(told.values()):
            assert result.p == pytest.approx(found.p[index, column], rel=1e-5)
            assert result.p_adjusted == pytest.approx(found.p_adjusted[index, column], rel=1e-5)
            settled = result.verdict in (Verdict.SUPPORTED, Verdict.CONTRADICTED)
            assert settled == found.verdicts[index, column]


def share(wrong: NDArray[np.bool_]) -> float:
    return 100 * float(wrong.mean())


@cache
def looks(noise: Noise) -> list[Judged]:
    """The same tables of equal rows, looked at after each stage."""
    values = drawn(noise)
    return [judge(values[:, :, :n]) for n in STAGES]


# Measured with 20,000 tables: per claim 5.2, 5.8, 4.3, 3.6 and 4.8 % of claims have a false verdict
# at one of three looks; per table 4.7, 5.8, 3.2, 3.4 and 4.5 % have one or more after Holm. Rows of
# uneven spreads exceed the 5 % by 0.8 points: what they lend each other is not quite true of each.
FALSE_IN_ALL = [(normal, 5.6), (uneven, 6.3), (heavy, 5.0), (skewed, 5.0), (very_skewed, 5.3)]


@pytest.mark.parametrize(("noise", "at_most"), FALSE_IN_ALL)
def test_three_looks_err_in_one_of_twenty(noise: Noise, at_most: float) -> None:
    found = looks(noise)
    assert share(np.any([one.p <= LEVEL for one in found], 0)) < at_most
    assert share(np.any([one.verdicts.any(1) for one in found], 0)) < at_most


def test_a_claim_between_the_rows_that_scatter_most_errs_more_often() -> None:
    """It borrows from quieter rows: 10 to 20 % in place of 5, where its rows have four times their
    spread. docs/reports.md warns of it.
    """
    values = drawn(normal, seed=5) * np.array([2.0, 2.0, 0.5, 0.5, 0.5])[:, None]
    loud = [judge(values[:, :, :n]).p[:, 0] <= LEVEL for n in STAGES]
    assert 10 < share(np.any(loud, 0)) < 20


@pytest.mark.parametrize("noise", [normal, uneven, heavy, skewed, very_skewed])
def test_each_look_errs_as_often_as_it_says(noise: Noise) -> None:
    for one in looks(noise):
        assert share(one.p <= LEVEL) < 100 * LEVEL + 1.0  # uneven spreads, 3 seeds: 2.5 %
        assert share(one.verdicts.any(1)) < 100 * LEVEL + 1.0


@pytest.mark.parametrize("noise", [normal, uneven, heavy, skewed, very_skewed])
@pytest.mark.parametrize("n", STAGES[:2])
def test_a_page_of_tables_has_few_false_discoveries(noise: Noise, n: int) -> None:
    values = drawn(noise, seed=1)[:, :, :n]
    values[:, 3:] += 2.0  # two claims of four are true
    pages = judge(values).p.reshape(-1, 20 * (ROWS - 1))
    q = false_discovery_control(pages, axis=1)
    assert benjamini_hochberg(list(pages[0])) == pytest.approx(list(q[0]))
    null = np.tile([True, True, False, False], 20)
    found = q <= 0.05
    false = (found & null).sum(1) / np.maximum(found.sum(1), 1)
    assert 100 * false.mean() < 5  # half of the claims are null, so 2.5 % are to be expected


@pytest.mark.parametrize("distance", [0.7, 1.0, 2.0])
def test_so_many_seeds_find_it_four_times_of_five(distance: float) -> None:
    n = seeds_needed(1.0, distance)
    assert n is not None
    values = distance + np.random.default_rng(2).standard_normal((20_000, n))
    t = values.mean(1) / (values.std(1, ddof=1) / np.sqrt(n))
    found = 100 * (2 * stdtr(n - 1, -t) <= LEVEL).mean()
    assert 79 < found < 93  # one seed fewer is below 80
    one_fewer = values[:, :-1]
    t = one_fewer.mean(1) / (one_fewer.std(1, ddof=1) / np.sqrt(n - 1))
    assert 100 * (2 * stdtr(n - 2, -t) <= LEVEL).mean() < 81


@pytest.mark.parametrize("n", STAGES)
def test_rows_that_lend_their_spread_find_as_much_as_is_said(n: int) -> None:
    effect = {3: 4.0, 6: 2.2, 12: 1.4}[n]
    values = drawn(normal, seed=3)[:, :, :n]
    values[:, 1:] += effect
    told = power(np.sqrt(2), effect, np.array([n]), extra=(ROWS - 2) * (n - 1))[0]
    alone = power(np.sqrt(2), effect, np.array([n]))[0]
    assert share(judge(values).p <= LEVEL) == pytest.approx(100 * told, abs=4)
    assert told > alone + (0.3 if n == 3 else 0.02)


def test_a_row_against_a_number_is_wrong_more_often_where_noise_is_skewed() -> None:
    """Nothing is paired, so nothing is symmetric: at each look a t-test misses the mean of an
    exponential three to four times as often as it says, in 14 % of all cases after three looks.
    """
    values = 1 - np.random.default_rng(4).exponential(size=(20_000, STAGES[-1]))
    for n, expected in zip(STAGES, MISSED, strict=True):
        part = values[:, :n]
        t = part.mean(1) / (part.std(1, ddof=1) / np.sqrt(n))
        missed = share(2 * stdtr(n - 1, -np.abs(t)) <= LEVEL)
        assert missed == pytest.approx(expected, abs=0.6)


MISSED = (5.7, 6.8, 5.7)  # % at 1.85 % each
