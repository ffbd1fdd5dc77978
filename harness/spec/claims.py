"""The language of claims: `acc[a] >= acc[b] - 0.3`, `acc[a] > 80`, `speed[a] > 1.5 * speed[b]`."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Self, cast

if TYPE_CHECKING:
    from harness.spec.nodes import ScalarNode

Operator = Literal[">=", ">", "<=", "<"]

ROW_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+-]{0,119}")
_CELL = r"(?P<{0}column>[A-Za-z0-9_]+)\s*\[\s*(?P<{0}row>[A-Za-z0-9_.+-]+)\s*\]"
_NUMBER = r"\d+(?:\.\d+)?(?:[eE][+-]?\d+)?"
_CLAIM = re.compile(
    rf"\s*{_CELL.format('left_')}\s*(?P<operator>>=|<=|>|<)\s*(?:"
    rf"(?:(?P<factor>{_NUMBER})\s*\*\s*)?{_CELL.format('right_')}\s*(?:(?P<sign>[+-])\s*(?P<offset>{_NUMBER}))?"
    rf"|(?P<bound>[+-]?{_NUMBER}))\s*"
)
GRAMMAR = (
    "COLUMN[ROW] >= [FACTOR *] COLUMN[ROW] [+|- NUMBER], or COLUMN[ROW] >= NUMBER; >, <= and < too"
)


@dataclass(frozen=True, slots=True)
class CellRef:
    """A cell of the table, by ids."""

    column: str
    row: str

    def __str__(self) -> str:
        return f"{self.column}[{self.row}]"


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """`left operator factor * right + offset`; without `right` the other side is `offset` alone."""

    left: CellRef
    operator: Operator
    right: CellRef | None = None
    factor: float = 1.0
    offset: float = 0.0
    text: str  # as written

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read the text of a claim; ValueError shows the grammar."""
        match = _CLAIM.fullmatch(text)
        if match is None:
            raise ValueError(f"'{text}' is not a comparison of cells (write {GRAMMAR})")
        part = match.groupdict()
        for name in ("factor", "offset", "bound"):
            if not math.isfinite(float(part[name] or 0)):
                raise ValueError(f"{part[name]} in '{text}' is too large for a number")
        bounded = part["bound"] is not None
        offset = part["bound"] if bounded else (part["sign"] or "") + (part["offset"] or "0")
        return cls(
            left=CellRef(part["left_column"], part["left_row"]),
            operator=cast(Operator, part["operator"]),
            right=None if bounded else CellRef(part["right_column"], part["right_row"]),
            factor=float(part["factor"] or 1),
            offset=float(offset),
            text=text.strip(),
        )

    @classmethod
    def from_scalar(cls, scalar: ScalarNode) -> Self:
        """Read the scalar of a spec."""
        return cls.parse(scalar.text)

    @property
    def cells(self) -> tuple[CellRef, ...]:
        """The cells it looks at, left first."""
        return (self.left,) if self.right is None else (self.left, self.right)

    def __str__(self) -> str:
        return self.text
