"""Means, intervals and tests over seeds, for the handful of seeds that training runs can afford.

Everything rests on Student's t. Intervals are two-sided at 95 %. Equivalence is two one-sided tests
(TOST) at 5 % each, which is the same as the 90 % interval lying inside the margins. Where all
values are equal the standard deviation is 0 and the interval is a point: true for exact quantities,
and the best that can be said for repeated equal measurements.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from scipy.special import stdtr, stdtrit

CONFIDENCE = 0.95
LARGEST_RATIO = 1e9


@dataclass(frozen=True, kw_only=True, slots=True)
class Interval:
    """A closed interval."""

    low: float
    high: float

    def __post_init__(self) -> None:
        assert self.low <= self.high, f"interval [{self.low}, {self.high}]"

    @property
    def half_width(self) -> float:
        """Half the distance between its ends."""
        return (self.high - self.low) / 2


@dataclass(frozen=True, kw_only=True, slots=True)
class Summary:
    """What `n` values say about their mean. One value has neither a standard deviation nor an
    interval.
    """

    n: int
    mean: float
    std: float | None = None  # of the sample, n - 1 in the denominator
    ci: Interval | None = None  # 95 % for the mean


def summarise(values: Sequence[float]) -> Summary | None:
    """The summary of `values`; None if there are none."""
    if not values:
        return None
    n, mean = len(values), math.fsum(values) / len(values)
    if n == 1:
        return Summary(n=1, mean=mean)
    if min(values) == max(values):
        return Summary(n=n, mean=values[0], std=0.0, ci=Interval(low=values[0], high=values[0]))
    std = math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (n - 1))
    half = half_width(std, n)
    return Summary(n=n, mean=mean, std=std, ci=Interval(low=mean - half, high=mean + half))


def scatters(summary: Summary) -> bool:
    """Whether its values differ by more than what subtracting decimal fractions leaves."""
    return summary.std is not None and summary.std > 1e-9 * max(1.0, abs(summary.mean))


def half_width(std: float, n: int, confidence: float = CONFIDENCE) -> float:
    """Half the width of the interval for the mean of `n` values: t(n - 1) * std / sqrt(n)."""
    assert n >= 2
    return t_quantile((1 + confidence) / 2, n - 1) * std / math.sqrt(n)


def t_quantile(probability: float, freedom: float) -> float:
    """The quantile of Student's t with `freedom` degrees of freedom."""
    return float(stdtrit(freedom, probability))


def paired(
    left: Mapping[int, float], right: Mapping[int, float], *, factor: float = 1.0
) -> list[float]:
    """left - factor * right over the seeds that both have, in the order of the seeds.

    The same seed gives both rows the same initial weights and the same batches, so what seeds share
    cancels.
    """
    return [left[seed] - factor * right[seed] for seed in sorted(left.keys() & right.keys())]


def log_ratios(left: Mapping[int, float], right: Mapping[int, float]) -> list[float] | None:
    """log(left / right) over common seeds; None where a value is not positive and a ratio means
    nothing.

    Intervals of ratios are taken on this scale and exponentiated: ratios of positive quantities are
    symmetric there, the interval never reaches below 0, and pairing is kept (Fieller's interval
    would drop it).
    """
    common = sorted(left.keys() & right.keys())
    if any(left[seed] <= 0 or right[seed] <= 0 for seed in common):
        return None
    return [math.log(left[seed]) - math.log(right[seed]) for seed in common]


def exponential(x: float) -> float:
    """Of the logarithm of a ratio; an end of an interval beyond the largest that is written is that
    one.
    """
    return math.exp(min(x, math.log(LARGEST_RATIO)))


def equivalence_p(summary: Summary, target: float, tolerance: float) -> float:
    """The TOST p-value that the true mean lies within `tolerance` of `target`: small means
    equivalent.
    """
    assert summary.std is not None, "equivalence needs at least 2 values"
    distance = abs(summary.mean - target)
    if summary.std == 0:
        return 0.0 if within(distance, tolerance) else 1.0
    error = summary.std / math.sqrt(summary.n)
    return float(stdtr(summary.n - 1, (distance - tolerance) / error))


def within(distance: float, tolerance: float) -> bool:
    """abs(distance) <= tolerance, not spoilt by the last bits of decimal fractions: 75.3 - 75.0 is
    within 0.3.
    """
    return abs(distance) <= tolerance + 1e-9 * max(1.0, abs(tolerance))
