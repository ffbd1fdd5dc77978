"""How much work something is, counted in calls: the same number on any machine, however busy."""

from __future__ import annotations

import cProfile
import pstats
from collections.abc import Callable


def calls(work: Callable[[], object]) -> int:
    """Calls of Python functions and of built-in ones (a file opened, a path looked at)."""
    profile = cProfile.Profile()
    profile.runcall(work)
    return int(pstats.Stats(profile).total_calls)  # type: ignore[attr-defined]


def calls_of(function: Callable[..., object], work: Callable[[], object]) -> int:
    """Calls of one function alone."""
    profile = cProfile.Profile()
    profile.runcall(work)
    code = function.__code__
    place = (code.co_filename, code.co_firstlineno, code.co_name)
    return int(pstats.Stats(profile).stats.get(place, (0, 0))[1])  # type: ignore[attr-defined]
