"""The language of claims: `acc[a] >= acc[b] - 0.3`, `acc[a]@2 - acc[b]@2 > acc[a] - acc[b]`,
`share(acc[{pair}.keep75] > acc[{pair}]) >= 0.5`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Literal, NoReturn, Self, TypeAlias, cast

if TYPE_CHECKING:
    from harness.spec.nodes import ScalarNode

Operator = Literal[">=", ">", "<=", "<"]
Quantifier = Literal["share", "every", "correlation"]
"""What a claim says of several rows: for which share of them a comparison holds, that it holds for
each, or how two quantities go together.
"""

ROW_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+-]{0,119}")
GRAMMAR = (
    "SIDE >= SIDE, with >, <= or < too. A SIDE adds and subtracts cells, COLUMN[ROW] or "
    "FACTOR * COLUMN[ROW]; the right one numbers too. COLUMN[ROW]@2 is a cell after epoch 2, @25% "
    "after a quarter of the epochs. Over all rows that fit a {NAME}: share(SIDE > SIDE) >= NUMBER, "
    "every(SIDE > SIDE), correlation(SIDE, SIDE) < NUMBER; before the ), 'where {NAME} is VALUE or "
    "VALUE', with 'is not' and 'and', takes some of these rows"
)

_TOKEN = re.compile(
    r"\s*(?:(?P<operator>>=|<=|>|<)|(?P<number>[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?)(?![A-Za-z0-9_.]|\s*\[)"
    r"|(?P<name>[A-Za-z0-9_]+)|(?P<sign>[-+*(),@%])|(?P<row>\[[^\[\]]*\]))"
)
LARGEST = 1e100
"""Of a number in a claim: what is added and multiplied stays finite."""
MOST_NAMES = 4
"""In the rows of a statement about several rows: finding what fits takes a time with that power."""
_ROW = re.compile(r"(?:[A-Za-z0-9_.+-]|\{[A-Za-z_][A-Za-z0-9_]*\})+")
_NAME = re.compile(r"\{(\w+)\}")
_VALUE = re.compile(r"\s*(?!(?:or|and)\b)([A-Za-z0-9_.+*?-]+)")


@dataclass(frozen=True, slots=True)
class Epoch:
    """A moment of a training: after `value` epochs, or after that share of a row's own epochs."""

    value: float
    percent: bool = False

    def of(self, epochs: float) -> float:
        """The epoch, in a training of `epochs`."""
        return self.value * epochs / 100 if self.percent else self.value

    def __str__(self) -> str:
        return f"@{self.value:g}{'%' if self.percent else ''}"


@dataclass(frozen=True, slots=True)
class CellRef:
    """A cell of the table, by ids; at its end, or at an epoch of its training."""

    column: str
    row: str
    at: Epoch | None = None

    @property
    def terms(self) -> tuple[Term, ...]:
        """As a sum of one."""
        return (Term(1.0, self),)

    def __str__(self) -> str:
        return f"{self.column}[{self.row}]{self.at or ''}"


@dataclass(frozen=True, slots=True)
class Term:
    """A cell in a sum, `- 2 * acc[a]`."""

    factor: float
    cell: CellRef


@dataclass(frozen=True, slots=True)
class Sum:
    """Several cells, added and subtracted seed by seed."""

    terms: tuple[Term, ...]

    @property
    def column(self) -> str:
        """That of its first cell."""
        return self.terms[0].cell.column

    @property
    def row(self) -> str:
        """That of its first cell."""
        return self.terms[0].cell.row

    def __str__(self) -> str:
        texts = list[str]()
        for term in self.terms:
            factor = "" if abs(term.factor) == 1 else f"{abs(term.factor):g} * "
            sign = "-" if term.factor < 0 else ("+" if texts else "")
            texts.append(f"{sign}{' ' if texts else ''}{factor}{term.cell}")
        return " ".join(texts)


Quantity: TypeAlias = CellRef | Sum
"""What a side of a comparison is made of."""


@dataclass(frozen=True, slots=True)
class Where:
    """Which values a name may have, `{part} is 75 or 50`: texts, in which `*` and `?` stand for
    others, as in a profile's `rows`.
    """

    name: str
    values: tuple[str, ...]
    negated: bool = False

    def takes(self, names: Mapping[str, str]) -> bool:
        """Whether a row with these names is one of them."""
        found = any(fnmatchcase(names[self.name], value) for value in self.values)
        return found is not self.negated

    def __str__(self) -> str:
        return f"{{{self.name}}} is {'not ' if self.negated else ''}{' or '.join(self.values)}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """`left operator factor * right + offset`; without `right` the other side is `offset` alone.

    With `over`, it is a statement about several rows: `members` are the comparison in its brackets,
    `inner`, for each of them (of a correlation, `left` and `right` are the two quantities), and
    `operator offset` is what holds for the share or the correlation.
    """

    left: Quantity
    operator: Operator
    right: Quantity | None = None
    factor: float = 1.0
    offset: float = 0.0
    text: str  # as written
    over: Quantifier | None = None
    inner: Comparison | None = None
    where: tuple[Where, ...] = ()  # all of which must hold for a member
    members: tuple[Comparison, ...] = ()

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read the text of a claim; ValueError shows the grammar. Of a statement about several rows
        the members are found by `among`.
        """
        return cast(Self, _Parser(text).comparison())

    @classmethod
    def from_scalar(cls, scalar: ScalarNode) -> Self:
        """Read the scalar of a spec."""
        return cls.parse(scalar.text)

    @property
    def cells(self) -> tuple[CellRef, ...]:
        """The cells it looks at, left first."""
        if self.over is not None:
            return tuple(dict.fromkeys(cell for one in self.members for cell in one.cells))
        sides = (self.left,) if self.right is None else (self.left, self.right)
        return tuple(term.cell for side in sides for term in side.terms)

    @property
    def condition(self) -> str:
        """What it says of its rows, ` where {row} is not a`; empty where it is of all that fit."""
        return f" where {' and '.join(map(str, self.where))}" if self.where else ""

    def among(self, rows: Iterable[str]) -> Self:
        """With the members that these rows make: one for all values of its names for which every
        cell's row is there and `where` holds. ValueError where there are fewer than two, or where a
        value of `where` is that of no row.
        """
        if self.inner is None:
            return self
        fitting = list(self.inner.fits(tuple(dict.fromkeys(rows))))
        for where in self.where:
            found = sorted({names[where.name] for names in fitting})
            for value in where.values:
                if found and not any(fnmatchcase(one, value) for one in found):
                    raise ValueError(
                        f"'{self.text}': no {{{where.name}}} is {value}: {_short(', '.join(found))}"
                    )
        members = tuple(
            self.inner.filled(names)
            for names in fitting
            if all(where.takes(names) for where in self.where)
        )
        if len(members) < 2:
            many = "only one row fits" if members else "no row fits"
            raise ValueError(f"'{self.text}': {many}: a statement about several rows needs two")
        return replace(self, members=members)

    def fits(self, rows: tuple[str, ...]) -> Iterator[Mapping[str, str]]:
        """The values of its names, each once, in the order of the rows."""
        cells = sorted(self.cells, key=lambda cell: -len(set(_NAME.findall(cell.row))))
        pattern = _as_pattern(cells[0].row)
        for row in rows:
            found = pattern.fullmatch(row)
            names = {} if found is None else found.groupdict()
            if found is not None and all(_fill(cell.row, names) in rows for cell in cells):
                yield names

    def filled(self, names: Mapping[str, str]) -> Comparison:
        """With its names replaced."""

        def fill(side: Quantity | None) -> Quantity | None:
            if side is None:
                return None
            terms = tuple(
                replace(term, cell=replace(term.cell, row=_fill(term.cell.row, names)))
                for term in side.terms
            )
            return terms[0].cell if isinstance(side, CellRef) else Sum(terms)

        left = fill(self.left)
        assert left is not None
        return replace(self, left=left, right=fill(self.right), text=_fill(self.text, names))

    def __str__(self) -> str:
        return self.text


def _as_pattern(row: str) -> re.Pattern[str]:
    """A name stands for the same text wherever it stands."""
    seen: set[str] = set()
    parts = []
    for part in re.split(r"(\{\w+\})", row):
        name = part[1:-1] if part.startswith("{") else ""
        if not name:
            parts.append(re.escape(part))
        else:
            parts.append(f"(?P={name})" if name in seen else f"(?P<{name}>.+)")
            seen.add(name)
    return re.compile("".join(parts))


def _short(text: str) -> str:
    return text if len(text) <= 300 else f"{text[:300]}..."


def _fill(row: str, names: Mapping[str, str]) -> str:
    return _NAME.sub(lambda match: names[match[1]], row)


class _Parser:
    """Reads the text of a claim from left to right, one rule of the grammar a method."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = self._before = 0  # before the last token
        self._names: frozenset[str] | None = None  # of the rows inside brackets

    def comparison(self) -> Comparison:
        """A whole text."""
        over = self._function()
        found = self._plain() if over is None else self._over_rows(over)
        if self._text[self._at :].strip():
            self._fail("the end")
        return found

    def _function(self) -> Quantifier | None:
        match = re.match(r"\s*(share|every|correlation)\s*\(", self._text)
        if match is None:
            return None
        self._at, self._names = match.end(), frozenset()
        return cast(Quantifier, match[1])

    def _plain(self) -> Comparison:
        start = self._at
        left = self._cells()
        operator = cast(Operator, self._take("operator", "a sign or >=, >, <=, <"))
        terms, offset = self._side()
        right: Quantity | None = None
        factor = 1.0
        if len(terms) == 1:
            right, factor = terms[0].cell, terms[0].factor
        elif terms:
            right = Sum(terms)
        return Comparison(
            left=left,
            operator=operator,
            right=right,
            factor=factor,
            offset=offset,
            text=self._text[start : self._at].strip(),
        )

    def _over_rows(self, over: Quantifier) -> Comparison:
        inner = self._pair() if over == "correlation" else self._plain()
        if not self._names:
            self._fail("a {NAME} in the rows of both sides, which stands for several rows")
        if not any(self._names <= set(_NAME.findall(cell.row)) for cell in inner.cells):
            self._fail("one row that has all names", back=True)
        if len(self._names) > MOST_NAMES:
            self._fail(f"at most {MOST_NAMES} names in braces", back=True)
        where = self._where()
        self._symbol(")")
        operator, offset = inner.operator, inner.offset
        if over != "every":
            operator = cast(Operator, self._take("operator", "one of >=, >, <=, <"))
            terms, offset = self._side()
            low, high = (0, 1) if over == "share" else (-1, 1)
            if terms or not low <= offset <= high:
                self._fail(f"a number from {low} to {high}", back=True)
        return Comparison(
            left=inner.left,
            operator=operator,
            right=inner.right,
            factor=inner.factor,
            offset=offset,
            text=self._text.strip(),
            over=over,
            inner=inner,
            where=where,
        )

    def _where(self) -> tuple[Where, ...]:
        """What follows the word `where`."""
        found, word = list[Where](), "where"
        while self._word(word):
            name = re.compile(r"\s*\{(\w+)\}\s+is\b").match(self._text, self._at)
            if name is None:
                self._fail("'{NAME} is VALUE', or 'is not'")
            if name[1] not in (self._names or ()):
                known = " or ".join(f"{{{one}}}" for one in sorted(self._names or ()))
                self._fail(f"{known}, a name of these rows")
            self._at = name.end()
            negated, values = self._word("not"), [self._value()]
            while self._word("or"):
                values.append(self._value())
            found.append(Where(name[1], tuple(values), negated))
            word = "and"
        return tuple(found)

    def _word(self, word: str) -> bool:
        match = re.compile(rf"\s*{word}\b").match(self._text, self._at)
        self._at = self._at if match is None else match.end()
        return match is not None

    def _value(self) -> str:
        match = _VALUE.match(self._text, self._at)
        if match is None:
            self._fail("a VALUE: letters, digits and _ . + -, or * and ? for others")
        self._at = match.end()
        return match[1]

    def _pair(self) -> Comparison:
        """The two quantities of a correlation."""
        start = self._at
        left = self._cells()
        self._symbol(",")
        right = self._cells()
        text = self._text[start : self._at].strip()
        return Comparison(left=left, operator=">", right=right, text=text)

    def _cells(self) -> Quantity:
        """A side without numbers."""
        terms, _ = self._side(numbers=False)
        if len(terms) == 1 and terms[0].factor == 1:
            return terms[0].cell
        return Sum(terms)

    def _side(self, *, numbers: bool = True) -> tuple[tuple[Term, ...], float]:
        terms: list[Term] = []
        total = 0.0
        sign: str | None = self._optional("sign", "+-") or "+"
        while sign:
            factor, cell = self._term(numbers)
            factor = -factor if sign == "-" else factor
            if cell is None:
                total += factor
            else:
                terms.append(Term(factor, cell))
            sign = self._optional("sign", "+-")
        return tuple(terms), total

    def _term(self, numbers: bool) -> tuple[float, CellRef | None]:
        number = self._optional("number")
        if number is None:
            return 1.0, self._cell()
        value = self._finite(number)
        if self._optional("sign", "*"):
            if value == 0:
                self._fail("a factor other than 0 before *", back=True)
            return value, self._cell()
        if not numbers:
            self._fail("* and a cell")
        return value, None

    def _finite(self, number: str) -> float:
        if float(number) > LARGEST:
            raise ValueError(
                f"{_short(number)} in '{_short(self._text)}' is too large: at most {LARGEST:g}"
            )
        return float(number)

    def _cell(self) -> CellRef:
        column = self._take("name", "COLUMN[ROW]")
        row = self._take("row", "[ROW]")[1:-1].strip()
        if not _ROW.fullmatch(row):
            self._fail(f"letters, digits and _ . + - in [{row}]", back=True)
        names = _NAME.findall(row)
        if names and self._names is None:
            self._fail("a grid with this name, or share(...), every(...), correlation(...)", True)
        if self._names is not None:
            self._names |= set(names)
        return CellRef(column, row, self._epoch())

    def _epoch(self) -> Epoch | None:
        if not self._optional("sign", "@"):
            return None
        value = self._finite(self._take("number", "an epoch, @2 or @25%"))
        percent = self._optional("sign", "%") is not None
        if percent and value > 100:
            self._fail("at most 100 %", back=True)
        return Epoch(value, percent)

    def _symbol(self, symbol: str) -> None:
        if not self._optional("sign", symbol):
            self._fail(symbol)

    def _take(self, kind: str, wanted: str) -> str:
        found = self._optional(kind)
        if found is None:
            self._fail(wanted)
        return found

    def _optional(self, kind: str, among: str = "") -> str | None:
        match = _TOKEN.match(self._text, self._at)
        if match is None or match.lastgroup != kind or (among and match[kind] not in among):
            return None
        self._before, self._at = self._at, match.end()
        return match[kind]

    def _fail(self, wanted: str, back: bool = False) -> NoReturn:
        at = self._before if back else self._at
        rest = self._text[at:].strip()
        got = f"'{rest[:20]}{'...' if len(rest) > 20 else ''}'" if rest else "its end"
        place = len(self._text) - len(self._text[at:].lstrip()) + 1
        raise ValueError(
            f"'{_short(self._text)}' is no claim: expected {wanted} at character {place}, "
            f"got {got} (write {GRAMMAR})"
        )
