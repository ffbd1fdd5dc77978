"""One claim on several machines: another processor rounds otherwise, so the same seeds are new
draws there, and what holds on one machine need not hold on the next.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from harness.report.inference import LEVEL
from harness.report.statistics import Interval, t_quantile


@dataclass(frozen=True, kw_only=True, slots=True)
class Pooled:
    """The mean over machines and what it scatters by."""

    machines: int
    n: int  # values of all machines
    mean: float
    within: float  # standard deviation of the seeds of one machine
    between: float  # standard deviation of machines beyond what their seeds explain
    ci: Interval


def pool(groups: Sequence[Sequence[float]], *, level: float = LEVEL) -> Pooled:
    """One-way random effects: machines are draws, and the interval is that of machines not seen.

    The mean is that of the machines' means, its error their own scatter with (machines - 1) degrees
    of freedom: exact where all have as many seeds, whatever the machines differ by. The variance
    between them is that of the analysis of variance, not below 0. Two machines and two seeds on one
    of them are the least.
    """
    k, n = len(groups), sum(len(group) for group in groups)
    assert k >= 2
    assert n > k
    assert all(groups)
    means = [math.fsum(group) / len(group) for group in groups]
    mean, grand = math.fsum(means) / k, math.fsum(v for group in groups for v in group) / n
    inside = math.fsum((v - m) ** 2 for group, m in zip(groups, means, strict=True) for v in group)
    outside = math.fsum(
        len(group) * (m - grand) ** 2 for group, m in zip(groups, means, strict=True)
    )
    size = (n - sum(len(group) ** 2 for group in groups) / n) / (k - 1)
    within = inside / (n - k)
    between = max(0.0, (outside / (k - 1) - within) / size)
    error = math.sqrt(math.fsum((m - mean) ** 2 for m in means) / (k - 1) / k)
    half = t_quantile(1 - level / 2, k - 1) * error
    return Pooled(
        machines=k,
        n=n,
        mean=mean,
        within=math.sqrt(within),
        between=math.sqrt(between),
        ci=Interval(low=mean - half, high=mean + half),
    )
