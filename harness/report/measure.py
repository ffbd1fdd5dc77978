"""From a claim's comparison to the quantity that decides it: values by seed, on the scale on which
they are judged.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from harness.report.format import difference_unit
from harness.report.inference import resolution
from harness.report.model import Verdict
from harness.report.statistics import Interval, Summary, exponential, log_ratios, paired, summarise
from harness.spec.claims import CellRef, Comparison, Operator, Quantity, Sum
from harness.spec.table import Column


@dataclass(frozen=True, kw_only=True, slots=True)
class Side:
    """One cell of a comparison: its name in sentences, and its values by seed."""

    label: str
    values: Mapping[int, float]
    missing_reason: str = ""  # why it has no values
    failed: bool = False  # its runs ended in errors
    failed_seeds: tuple[int, ...] = ()  # those whose runs ended in errors
    images: int = 0  # that judge each value; 0: not known
    seedless: bool = False  # no seed changes its one value: it is computed, or nothing is drawn


@dataclass(frozen=True, kw_only=True, slots=True)
class OverRows:
    """How a quantity of several rows is judged, whose interval is over rows and not over seeds."""

    units: str  # what it is over: "28 rows"
    interval: Callable[[float], Interval | None]  # that errs with the given probability
    p: float | None = None  # two-sided, that the true value is at the margin
    note: str = ""  # what the interval is over, in words


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
    over: OverRows | None = None  # of a statement about several rows
    undefined: str = ""  # why there is no summary though all cells have values

    def shown(self, value: float) -> float:
        """From the scale of judging to the one that people read."""
        return exponential(value) if self.ratio else value


def weights(comparison: Comparison) -> dict[CellRef, float]:
    """How much of each cell is in the left side less the right one."""
    found: dict[CellRef, float] = {}
    right = () if comparison.right is None else comparison.right.terms
    terms = [(term.factor, term.cell) for term in comparison.left.terms]
    terms += [(-comparison.factor * term.factor, term.cell) for term in right]
    for factor, cell in terms:
        found[cell] = found.get(cell, 0.0) + factor
    return found


def at_every_seed(sides: Sequence[Side]) -> list[Side]:
    """The sides with a value that depends on no seed at every seed of the others, also at those
    that failed there: it is what it is beside each of them.
    """
    seeds = sorted(
        {seed for side in sides if not side.seedless for seed in (*side.values, *side.failed_seeds)}
    )
    return [
        replace(side, values=dict.fromkeys(seeds, next(iter(side.values.values()))))
        if side.seedless and side.values and seeds
        else side
        for side in sides
    ]


def at_worst(comparison: Comparison, sides: Sequence[Side], claims: int = 1) -> list[Side]:
    """The sides with every seed that failed at the value of its row that speaks most against the
    comparison: where a high value helps it, the lowest. `claims` is -1 where it is claimed not to
    hold.
    """
    upward = claims if comparison.operator in (">=", ">") else -claims
    helps = weights(comparison)
    found = []
    for cell, side in zip(comparison.cells, sides, strict=True):
        worst = (min if upward * helps[cell] > 0 else max)(side.values.values())
        found.append(
            replace(side, values={**dict.fromkeys(side.failed_seeds, worst), **side.values})
        )
    return found


def rounding(comparison: Comparison, column: Column, sides: Sequence[Side], images: int) -> float:
    """The variance that whole images leave to the deciding quantity, by the factor of each cell;
    0 where it is no percentage of images. Of a ratio, that of its logarithm.
    """
    if column.unit != "%" or comparison.over is not None or not all(s.values for s in sides):
        return 0.0
    factors = weights(comparison)
    if _is_ratio(comparison, sides):
        means = dict(zip(comparison.cells, map(_mean, sides), strict=True))
        factors = {cell: 1 / mean for cell, mean in means.items()}
    return sum(factor**2 for factor in factors.values()) * resolution(images, values=1)


def side_of(operator: Operator, low: float, high: float, margin: float) -> Verdict:
    """Supported or contradicted where all of an interval, or a number, is on one side; equality, up
    to the last bits of decimal fractions, belongs to >= and <=.
    """
    slack = 1e-9 * max(1.0, abs(margin))
    if operator in ("<=", "<"):
        low, high, margin = -high, -low, -margin
    closed = operator in (">=", "<=")
    bound = margin - slack if closed else margin + slack
    if low > bound:
        return Verdict.SUPPORTED
    return Verdict.CONTRADICTED if high < bound else Verdict.NOT_SETTLED


def _mean(side: Side) -> float:
    return math.fsum(side.values.values()) / len(side.values)


def _is_ratio(comparison: Comparison, sides: Sequence[Side]) -> bool:
    plain = isinstance(comparison.left, CellRef) and isinstance(comparison.right, CellRef)
    return (
        plain
        and comparison.factor > 0
        and comparison.factor != 1
        and comparison.offset == 0
        and log_ratios(sides[0].values, sides[1].values) is not None
    )


def measure_cells(
    comparison: Comparison, column: Column, *sides: Side, worst: bool = False
) -> Measure:
    """What a comparison of cells is decided by: a difference, a ratio, or one value. `sides` are
    its cells, in their order. Failed seeds have no value, or
    the `worst` of their row.
    """
    if worst:
        sides = tuple(at_worst(comparison, sides))
    left, right = combined(comparison, sides)
    decimals = column.decimals + (column.evidence == "seeds")
    if right is None:
        difference = isinstance(comparison.left, Sum)
        return Measure(
            summary=summarise([left.values[seed] for seed in sorted(left.values)]),
            margin=comparison.offset,
            quantity=f"{column.label}, {left.label}",
            unit=difference_unit(column.unit) if difference else column.unit,
            decimals=decimals,
            difference=difference,
        )
    if _is_ratio(comparison, sides):
        return Measure(
            summary=summarise(log_ratios(left.values, right.values) or []),
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


def combined(comparison: Comparison, sides: Sequence[Side]) -> tuple[Side, Side | None]:
    """The two sides of a comparison, each with the sums of its cells by seed."""
    split = len(comparison.left.terms)
    left = _sum(comparison.left, sides[:split])
    return left, None if comparison.right is None else _sum(comparison.right, sides[split:])


def _sum(quantity: Quantity, sides: Sequence[Side]) -> Side:
    """Seeds that one cell lacks have no sum."""
    if isinstance(quantity, CellRef):
        return sides[0]
    values = {}
    for seed in sides[0].values:
        if all(seed in side.values for side in sides):
            parts = zip(quantity.terms, sides, strict=True)
            values[seed] = sum(term.factor * side.values[seed] for term, side in parts)
    lacking = next((side for side in sides if not side.values), sides[0])
    return replace(lacking, label=_label(quantity, sides), values=values)


def _label(quantity: Sum, sides: Sequence[Side]) -> str:
    texts = list[str]()
    for term, side in zip(quantity.terms, sides, strict=True):
        factor = "" if abs(term.factor) == 1 else f"{abs(term.factor):g} × "
        sign = "−" if term.factor < 0 else "+"
        start = f"{sign} " if texts else ("−" if term.factor < 0 else "")
        texts.append(f"{start}{factor}{side.label}")
    return f"({' '.join(texts)})"
