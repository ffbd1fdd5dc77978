"""What tasks and methods tell a report of themselves: what a value rests on, which row others are
compared with, and which figures show what runs record. A report knows no task, method or paper.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

if TYPE_CHECKING:
    from harness.train.config import TrainConfig

Evidence: TypeAlias = Literal["seeds", "exact", "timing"]
"""What a value rests on: repeated training, a computation, or the median of timings on one machine.
"""


Section: TypeAlias = Literal["claims", "plots"]
"""Where a figure stands in a report: above the claims that it shows, or among the plots."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Baseline:
    """The row that others are compared with, in columns that are judged by ratios."""

    name: str  # in words, without an article: `unmasked teacher`
    serves: Callable[[TrainConfig, TrainConfig], bool]  # (row, other): whether `other` is its one


@dataclass(frozen=True, kw_only=True, slots=True)
class FigureOf:
    """A figure of something that runs record, by a drawer registered in `harness.report.figures`.

    Drawers of their own data (curves, plots that a spec declares) need none of these.
    """

    figure: str  # the name of the drawer
    id: str  # names its file
    source: str  # a metric, a key of `metrics.jsonl`, or a file of the run directory
    caption: str
    alt: str  # for who does not see it
    label: str = ""  # of an axis, or of a row
    beside: str = ""  # another metric that is drawn with `source`
    # how much of something a row sees, of how much: (98, 196) patches
    extent: Callable[[TrainConfig], tuple[int, int] | None] | None = None
    # how a row's positions lie: rows, columns, and whether the first row is the lowest
    lie: Callable[[TrainConfig], tuple[int, int, bool] | None] | None = None
