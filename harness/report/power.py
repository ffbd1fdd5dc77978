"""How many seeds a claim needs: the number at which its test finds what is there four times of
five.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy.special import chdtri, nctdtr, stdtrit

from harness.report.inference import LEVEL, Prior, Spread

POWER = 0.8
MOST_SEEDS = 100  # nobody trains more: above this the answer is "> 100"


def power(
    std: float, distance: float, n: NDArray[np.int64], *, level: float = LEVEL, extra: float = 0.0
) -> NDArray[np.float64]:
    """How probably a two-sided t-test of `n` seeds rejects, and on the right side, where the true
    mean is `distance` from the margin; `extra` degrees of freedom come from other rows.
    """
    freedom = n - 1 + extra
    limit = stdtrit(freedom, 1 - level / 2)
    shift = np.minimum(abs(distance) * np.sqrt(n) / std, 1e3)  # beyond, the power is 1
    return np.asarray(1 - nctdtr(freedom, shift, limit), np.float64)


def seeds_needed(
    std: float, distance: float, *, level: float = LEVEL, extra: float = 0.0
) -> int | None:
    """The fewest seeds whose test has a power of 80 %; None: more than 100."""
    if distance == 0:
        return None
    if std == 0:
        return 2
    n = np.arange(2, MOST_SEEDS + 1)
    enough = np.nan_to_num(power(std, distance, n, level=level, extra=extra), nan=1.0) >= POWER
    return int(n[enough.argmax()]) if enough.any() else None


def std_range(spread: Spread) -> tuple[float, float]:
    """The 95 % interval of a standard deviation, by chi-square."""
    tail, freedom = (1 - 0.95) / 2, spread.freedom
    largest, smallest = float(chdtri(freedom, tail)), float(chdtri(freedom, 1 - tail))
    return spread.std * math.sqrt(freedom / largest), spread.std * math.sqrt(freedom / smallest)


def extra_freedom(prior: Prior, n: int) -> float:
    """What a prior adds to the degrees of freedom of `n` seeds."""
    return max(0.0, min(prior.freedom, prior.total - (n - 1)))
