"""From a claim's comparison to the quantity that decides it: values by seed, on the scale on which
they are judged.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from harness.report.format import difference_unit
from harness.report.statistics import Summary, log_ratios, paired, summarise
from harness.spec.claims import Comparison
from harness.spec.table import Column


@dataclass(frozen=True, kw_only=True, slots=True)
class Side:
    """One side of a comparison: its name in sentences, and its values by seed."""

    label: str
    values: Mapping[int, float]
    missing_reason: str = ""  # why it has no values
    failed: bool = False  # its runs ended in errors
    images: int = 0  # that judge each value; 0: not known


@dataclass(frozen=True, kw_only=True, slots=True)
class Measure:
    """The deciding quantity on the scale on which it is judged (the logarithm, for ratios)."""

    summary: Summary | None
    margin: float
    quantity: str
    unit: str
    decimals: int
    ratio: bool = False
    difference: bool = False

    def shown(self, value: float) -> float:
        """From the scale of judging to the one that people read."""
        return math.exp(value) if self.ratio else value


def deciding_measure(
    comparison: Comparison, column: Column, left: Side, right: Side | None
) -> Measure:
    """What the comparison is decided by: a difference, a ratio, or one value."""
    decimals = column.decimals + (column.evidence == "seeds")
    if right is None:
        return Measure(
            summary=summarise([left.values[seed] for seed in sorted(left.values)]),
            margin=comparison.offset,
            quantity=f"{column.label}, {left.label}",
            unit=column.unit,
            decimals=decimals,
        )
    logs = log_ratios(left.values, right.values)
    is_ratio = comparison.factor > 0 and comparison.factor != 1 and comparison.offset == 0
    if is_ratio and logs is not None:
        return Measure(
            summary=summarise(logs),
            margin=math.log(comparison.factor),
            quantity=f"{column.label}, {left.label} / {right.label}",
            unit="×",
            decimals=2,
            ratio=True,
        )
    factor = "" if comparison.factor == 1 else f"{comparison.factor:g} × "
    return Measure(
        summary=summarise(paired(left.values, right.values, factor=comparison.factor)),
        margin=comparison.offset,
        quantity=f"{column.label}, {left.label} − {factor}{right.label}",
        unit=difference_unit(column.unit),
        decimals=decimals,
        difference=True,
    )
