"""From the `claims` and `preconditions` of a spec to claims that are checked."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from harness.errors import Location, unknown
from harness.spec.build import Builder
from harness.spec.claims import CellRef, Comparison, Quantity
from harness.spec.grid import Grid
from harness.spec.nodes import ListNode, MapNode
from harness.spec.schema import ClaimEntry, PreconditionEntry
from harness.spec.table import Claim, Column, Precondition, Row, full_names

_BRACKETED = re.compile(r"\[([A-Za-z0-9_.+-]+)\]")
FROM_CLAIM = ("column", "left", "right")
"""Names in a precondition that each claim fills: its column, and the rows that it compares; in the
text with what the table calls them."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Scope:
    """What the claims of a profile may name."""

    profile: str  # empty: the table, without any
    rows: Sequence[Row]
    columns: Collection[str]
    preconditions: Mapping[str, PreconditionEntry]
    given: tuple[str, ...]  # of trained claims that name none
    where_given: Location | None = None


class ClaimReader:
    """Makes claims of entries; the problems it meets go to `builder`."""

    def __init__(self, builder: Builder, columns: Mapping[str, Column]) -> None:
        self._builder, self._columns = builder, columns
        self._given: dict[MapNode, tuple[str, ...] | None] = {}  # by claim, as the spec names them

    def read(
        self,
        nodes: Sequence[ListNode | None],
        rows: Sequence[Row],
        before: Sequence[Claim],
        columns: Collection[str],
    ) -> tuple[Claim, ...]:
        """The claims of `nodes`, beside those of the table, `before`."""
        ids, claims = [row.id for row in rows], list[Claim]()
        ids_so_far, names = {claim.id for claim in before}, _row_names(rows)
        for claim in (claim for node in nodes for claim in self._claims(node, names)):
            if claim.id in ids_so_far:
                grid = "grid" in claim.node.keys
                hint = "; the id of a grid must hold its values" if grid else ""
                what = f"claim '{claim.id}' is given twice{hint}"
                self._builder.problem(claim.node.find("id"), what)
            ids_so_far.add(claim.id)
            self._check_cells(claim.holds, claim.node.find("holds"), "holds", ids, columns)
            if claim.assay is not None:
                self._check_cells(claim.assay, claim.node.find("assay"), "assay", ids, columns)
            claims.append(claim)
        return tuple(claims)

    def in_scope(self, claims: Sequence[Claim], scope: Scope) -> tuple[Claim, ...]:
        """The claims of a profile, with what must hold there. Nothing has to at `paper`, for it is
        what the paper speaks of; but where that profile says `given`, it is no paper's.
        """
        return tuple(
            replace(claim, given=tuple(self._given_to(claim, scope)))
            if scope.profile != "paper" or scope.given
            else claim
            for claim in claims
        )

    def _claims(self, node: ListNode | None, rows: Mapping[str, str]) -> Iterator[Claim]:
        for item in node.items if node is not None else ():
            entry = self._builder.build(item, ClaimEntry)
            if not isinstance(entry, ClaimEntry):
                continue
            grid = Grid(entry.node, entry.grid, self._builder.problems)
            if (wrong := grid.too_large("claims")) is not None:
                self._builder.problem(entry.node.keys["grid"], f"grid: {wrong}")
                continue
            self._given[entry.node] = entry.given
            for point in grid.points():
                holds = self._parsed(
                    entry.node, "holds", grid.fill_rows(entry.holds, point), [*rows]
                )
                assay = None
                if entry.assay is not None and holds is not None:
                    text = grid.fill(entry.assay, point, "assay")
                    assay = self._assay(entry.node, text, holds)
                if holds is None or (assay is None and entry.assay is not None):
                    break
                yield Claim(
                    id=grid.fill(entry.id, point, "id"),
                    text=self._named(entry.node, grid.fill(entry.text, point, "text"), rows),
                    holds=holds,
                    added_by_us=entry.added_by_us,
                    scaled_down_version_of=entry.scaled_down_version_of,
                    assay=assay,
                    node=entry.node,
                )

    def _named(self, node: MapNode, text: str, rows: Mapping[str, str]) -> str:
        """A text with `[ROW]` and `[COLUMN]` replaced by what the table calls them."""

        def name(match: re.Match[str]) -> str:
            if match[1] in rows:
                return rows[match[1]]
            if match[1] in self._columns:
                return self._columns[match[1]].label
            what = unknown("row or column", match[1], [*rows, *self._columns])
            self._builder.problem(node.find("text"), f"text: {what}")
            return match[0]

        return _BRACKETED.sub(name, text)

    def _parsed(
        self, node: MapNode, key: str, text: str, rows: Sequence[str], context: str = ""
    ) -> Comparison | None:
        try:
            return Comparison.parse(text).among(rows)
        except ValueError as error:
            self._builder.problem(node.find(key), f"{key}: {error}{context}")
            return None

    def _assay(self, node: MapNode, text: str, holds: Comparison) -> Comparison | None:
        assay = self._parsed(node, "assay", text, ())
        if assay is None:
            return None
        plain = isinstance(assay.left, CellRef) and assay.right is not None and assay.factor == 1
        if assay.over or not plain or assay.operator not in (">", ">="):
            what = f"'{text}' is no gain: write COLUMN[ROW] > COLUMN[ROW]"
        elif {cell.column for cell in assay.cells} != {cell.column for cell in holds.cells}:
            what = f"'{text}' is of other columns than '{holds.text}', whose margin it bounds"
        elif holds.over or holds.right is None or holds.factor != 1 or holds.offset == 0:
            what = "only a claim with a margin has one: COLUMN[ROW] >= COLUMN[ROW] - NUMBER"
        else:
            return assay
        self._builder.problem(node.find("assay"), f"assay: {what}")
        return None

    def _check_cells(
        self,
        comparison: Comparison,
        where: Location,
        key: str,
        rows: Collection[str],
        columns: Collection[str],
        context: str = "",
    ) -> bool:
        before = len(self._builder.problems)
        for cell in comparison.cells:
            for what, name, valid in (("column", cell.column, columns), ("row", cell.row, rows)):
                if name not in valid:
                    told = f"{key}: {unknown(what, name, list(valid))}{context}"
                    self._builder.problem(where, told)
            column = self._columns.get(cell.column)
            if cell.at is not None and column is not None and column.task.name != "train":
                what = f"{cell}: only what a training evaluates has values at its epochs"
                told = f"{key}: {what}, column '{column.id}' is from '{column.task.name}'{context}"
                self._builder.problem(where, told)
        units = {
            cell.column: self._columns[cell.column].unit
            for cell in comparison.cells
            if cell.column in self._columns
        }
        if len(set(units.values())) > 1 and comparison.over != "correlation":
            told = " and ".join(
                f"{column} is in {unit or 'numbers'}" for column, unit in units.items()
            )
            what = f"{told}: only what has the same unit can be compared, added or subtracted"
            self._builder.problem(where, f"{key}: {what}{context}")
        return len(self._builder.problems) == before

    def _given_to(self, claim: Claim, scope: Scope) -> Iterator[Precondition]:
        ids, where = self._given[claim.node], claim.node.find("given")
        if ids is None:
            ids = scope.given if self._is_trained(claim) else ()
            where = scope.where_given or where
        for name in ids:
            if name not in scope.preconditions:
                what = unknown("precondition", name, list(scope.preconditions))
                self._builder.problem(where, f"given: {what} (profile '{scope.profile}')")
                continue
            yield from self._filled(name, scope.preconditions[name], claim, scope)

    def _is_trained(self, claim: Claim) -> bool:
        columns = {cell.column for cell in claim.holds.cells} & set(self._columns)
        return any(self._columns[column].evidence == "seeds" for column in columns)

    def _filled(
        self, name: str, entry: PreconditionEntry, claim: Claim, scope: Scope
    ) -> Iterator[Precondition]:
        """One; or one for each row that its claim compares, where it asks something of these."""
        context = f" (for claim '{claim.id}' at profile '{scope.profile}')"
        by_comparison = dict[str, Precondition]()
        called = _row_names(scope.rows)
        for names in _names(claim.holds):
            asked, text = entry.holds, entry.text
            for key, value in names.items():
                column = self._columns.get(value)
                named = column.label if key == "column" and column else called.get(value, value)
                asked = asked.replace(f"{{{key}}}", value)
                text = text.replace(f"{{{key}}}", named)
            if asked in by_comparison:
                continue
            holds = self._parsed(entry.node, "holds", asked, [*called], context)
            if holds is None:
                return
            where = entry.node.find("holds")
            if not self._check_cells(holds, where, "holds", [*called], scope.columns, context):
                return
            by_comparison[asked] = Precondition(
                id=name, text=text, holds=holds, source=entry.source, node=entry.node
            )
        yield from by_comparison.values()


def _row_names(rows: Sequence[Row]) -> dict[str, str]:
    """What a text calls each row: its full name, with the group in front where another row has the
    same one.
    """
    names = full_names(rows)
    alike = Counter(names.values())
    return {
        row.id: f"{row.group}, {name}" if row.group and alike[name] > 1 else name
        for row, name in zip(rows, names.values(), strict=True)
    }


def _names(holds: Comparison) -> Iterator[Mapping[str, str]]:
    """What a claim fills into its preconditions, for every pair of rows that it compares."""
    for one in holds.members or (holds,):
        left = _rows(one.left)
        right = left if one.right is None else _rows(one.right)
        for first in left:
            for second in right:
                yield dict(zip(FROM_CLAIM, (one.left.column, first, second), strict=True))


def _rows(side: Quantity) -> list[str]:
    return list(dict.fromkeys(term.cell.row for term in side.terms))
