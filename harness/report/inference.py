"""What a table's claims may conclude from a handful of seeds: spreads that lend each other
strength, a level that allows for several looks, and an adjustment for many claims.

Moderated variances: G. Smyth, Linear models and empirical Bayes methods for assessing differential
expression in microarray experiments, 2004, sections 4 and 6.2 (`fitFDist` and `eBayes` of limma).
Adjustments: S. Holm 1979; Y. Benjamini and Y. Hochberg 1995.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import digamma, polygamma, stdtr

from harness.report.statistics import Interval, t_quantile

STAGES = (3, 6, 12)
"""Seeds at which one looks at the results."""

LEVEL = 0.0185
"""Of a test at one look; a test at each of three such looks errs in 5 % of all cases."""

CLAIM_CONFIDENCE = 1 - LEVEL
CONFIDENCE_TEXT = f"{100 * CLAIM_CONFIDENCE:.2f} %"

SMALLEST_SHARE = 1e-5  # of the median: a variance below it counts as so much, as limma does it


@dataclass(frozen=True, kw_only=True, slots=True)
class Prior:
    """What the other rows of a table say of a variance before its own seeds are looked at."""

    variance: float = 0.0
    freedom: float = 0.0  # how many degrees of freedom that is worth; inf: all spread alike
    total: float = math.inf  # degrees of freedom of everything that was pooled


NO_PRIOR = Prior()


@dataclass(frozen=True, kw_only=True, slots=True)
class Spread:
    """A variance of single values and its degrees of freedom."""

    variance: float
    freedom: float

    @property
    def std(self) -> float:
        """The standard deviation."""
        return math.sqrt(self.variance)

    def error(self, n: int) -> float:
        """The standard error of a mean of `n`."""
        return math.sqrt(self.variance / n)


def fit_prior(variances: Sequence[float], freedoms: Sequence[float], total: float) -> Prior:
    """d0 and s0^2 from sample variances with their degrees of freedom; no prior from fewer than 2.

    The logarithms of the variances scatter by what chi-square gives them, trigamma(d / 2); what
    they scatter beyond it tells how different the true variances are. `total` bounds what the prior
    can be worth: pairs of rows that share a row do not tell twice as much.
    """
    if len(variances) < 2:
        return NO_PRIOR
    x, half = np.asarray(variances, float), np.asarray(freedoms, float) / 2
    x = np.maximum(x, SMALLEST_SHARE * float(np.median(x)))
    assert (x > 0).all(), "variances of rows that do not scatter"
    e = np.log(x) - digamma(half) + np.log(half)
    excess = float(e.var(ddof=1) - polygamma(1, half).mean())
    if excess <= 0:
        return Prior(variance=float(np.average(x, weights=half)), freedom=math.inf, total=total)
    halves = trigamma_inverse(excess)
    variance = math.exp(float(e.mean()) + float(digamma(halves)) - math.log(halves))
    return Prior(variance=variance, freedom=2 * halves, total=total)


def trigamma_inverse(x: float) -> float:
    """The y with trigamma(y) = x, by Newton's method on 1 / trigamma (Smyth 2004, appendix)."""
    if x > 1e7:
        return 1 / math.sqrt(x)
    if x < 1e-6:
        return 1 / x
    y = 0.5 + 1 / x
    for _ in range(50):
        trigamma = float(polygamma(1, y))
        step = trigamma * (1 - trigamma / x) / float(polygamma(2, y))
        y += step
        if -step / y < 1e-10:
            break
    return y


def moderated(std: float, n: int, prior: Prior = NO_PRIOR, *, floor: float = 0.0) -> Spread:
    """The variance of `n` values with what the prior adds, never below `floor`."""
    own, d0 = n - 1, prior.freedom
    assert own >= 1
    if math.isinf(d0):
        variance = prior.variance
    else:
        variance = (d0 * prior.variance + own * std**2) / (d0 + own)
    freedom = max(own, min(d0 + own, prior.total))
    return Spread(variance=max(variance, floor), freedom=freedom)


def resolution(images: int, *, values: int = 2) -> float:
    """The variance of rounding to whole images, for a sum or difference of `values` percentages
    over `images`: steps of 100 / N are 1 / 12 of their square each.
    """
    return values * (100 / images) ** 2 / 12 if images else 0.0


def interval(mean: float, spread: Spread, n: int, level: float = LEVEL) -> Interval:
    """The two-sided interval of a mean that errs with probability `level`."""
    half = t_quantile(1 - level / 2, spread.freedom) * spread.error(n)
    return Interval(low=mean - half, high=mean + half)


def two_sided_p(distance: float, spread: Spread, n: int) -> float:
    """How often a mean lies as far from the margin by chance; 1 where nothing scatters."""
    if spread.variance == 0:
        return 1.0
    return float(2 * stdtr(spread.freedom, -abs(distance) / spread.error(n)))


@dataclass(frozen=True, kw_only=True, slots=True)
class Adjusted:
    """One of several tests after Holm's adjustment."""

    p: float
    level: float  # the interval at this level excludes the margin exactly where Holm rejects


def holm(p_values: Sequence[float], level: float = LEVEL) -> list[Adjusted]:
    """Holm's adjustment: the smallest p counts as often as there are tests, the next one time less,
    until one is not rejected; all others stay there. With probability `level` at most one or more
    true hypotheses are rejected.
    """
    m, largest, stopped = len(p_values), 0.0, 0
    found: list[Adjusted] = [Adjusted(p=1.0, level=level)] * m
    for rank, index in enumerate(sorted(range(m), key=lambda i: p_values[i])):
        largest = max(largest, min(1.0, (m - rank) * p_values[index]))
        stopped = stopped or (m - rank if largest > level else 0)
        found[index] = Adjusted(p=largest, level=level / (stopped or m - rank))
    return found


def benjamini_hochberg(p_values: Sequence[float]) -> list[float]:
    """The q of each: among claims with a q up to it, the expected share of false ones is at most
    that much.
    """
    m, smallest = len(p_values), 1.0
    q = [1.0] * m
    for rank, index in enumerate(sorted(range(m), key=lambda i: -p_values[i])):
        smallest = min(smallest, p_values[index] * m / (m - rank))
        q[index] = smallest
    return q


def non_inferiority_margin(offset: float, gain: Interval) -> float | None:
    """How much may be lost and still count as nothing: `offset`, and no more than half of what is
    surely gained by what could be lost. None: no gain is shown, so no loss could show.
    """
    if gain.low <= 0:
        return None
    return math.copysign(min(abs(offset), gain.low / 2), offset)
