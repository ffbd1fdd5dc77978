"""Rows from their entries, and the rows a profile runs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase

from harness.errors import Diagnostic, Location, unknown
from harness.spec.build import Builder
from harness.spec.claims import ROW_ID
from harness.spec.grid import MOST_ROWS, Grid
from harness.spec.nodes import ListNode, MapNode, Node, ScalarNode
from harness.spec.pieces import NO_STAND_INS, Pieces, StandIns
from harness.spec.schema import GroupEntry, RowEntry
from harness.spec.table import Column, Published, Row
from harness.train.config import TrainConfig


@dataclass(frozen=True, slots=True)
class Layer:
    """A partial configuration as written. The table's own takes a profile's stand-ins."""

    node: MapNode
    of_table: bool = True


@dataclass(frozen=True, slots=True)
class Draft:
    """A row whose names of recipes and networks are not looked up yet: `row` has no layers."""

    row: Row
    layers: tuple[Layer, ...]


NO_GROUP = GroupEntry(node=MapNode(Location("", 1, 1), {}, {}))


class RowReader:
    """Makes rows of entries; the problems it meets go to `builder`."""

    def __init__(
        self, builder: Builder, columns: Mapping[str, Column | None], pieces: Pieces
    ) -> None:
        """`columns` are those of the table by name; None: it could not be read."""
        self._builder, self._columns, self._pieces = builder, columns, pieces
        self._single = Builder(partial=True)

    @property
    def loose(self) -> list[Diagnostic]:
        """What is wrong with values of single layers, which a layer above may replace."""
        return self._single.problems

    def table_rows(self, items: Sequence[Node], base: MapNode | None) -> dict[str, Draft]:
        """The rows of a table by id, over its `base`."""
        layers = self._layers(base, of_table=True)
        drafts: dict[str, Draft] = {}
        for group, entry in self.entries(items):
            self._add(self._new(entry, group, layers, drafts), drafts)
            if len(drafts) > MOST_ROWS:
                where = entry.node.where
                self._builder.problem(where, f"rows: more than {MOST_ROWS:,} in one table")
                break
        return drafts

    def profile_rows(
        self,
        items: Sequence[Node] | None,
        table: Mapping[str, Draft],
        base: MapNode | None,
        over: Sequence[MapNode],
    ) -> dict[str, Draft]:
        """The rows of a profile: those of the table that it runs, with its changes, and its own.

        `base` is the table's, `over` the profile's. Layers come in this order: base, row, over,
        the profile's row.
        """
        profile = tuple(layer for node in over for layer in self._layers(node, of_table=False))
        of_table = {
            row_id: replace(draft, layers=draft.layers + profile) for row_id, draft in table.items()
        }
        if items is None:
            return of_table
        chosen: dict[str, Draft] = {}
        for item in items:
            if len(chosen) > MOST_ROWS:
                self._builder.problem(item.where, f"rows: more than {MOST_ROWS:,} in one profile")
                break
            if isinstance(item, ScalarNode):
                self._choose(item, of_table, chosen)
                continue
            for group, entry in self.entries([item], of_table=False):
                if is_glob(entry.id) or entry.id in of_table:
                    self._change(entry, of_table, chosen)
                else:
                    start = self._layers(base, of_table=True) + profile
                    others = {**of_table, **chosen}
                    new = self._new(entry, group, start, others, of_table=False)
                    self._add(new, chosen)
        return chosen

    def finished(
        self, drafts: Mapping[str, Draft], stand_ins: StandIns = NO_STAND_INS
    ) -> tuple[Row, ...]:
        """The rows with the recipes and networks that their layers name."""
        read: dict[Layer, MapNode] = {}
        rows = []
        for draft in drafts.values():
            for layer in draft.layers:
                if layer not in read:
                    chosen = stand_ins if layer.of_table else NO_STAND_INS
                    read[layer] = self._pieces.in_layer(layer.node, chosen)
                    self._single.build(read[layer], TrainConfig)
            rows.append(replace(draft.row, layers=tuple(read[layer] for layer in draft.layers)))
        return tuple(rows)

    def _layers(self, node: MapNode | None, *, of_table: bool) -> tuple[Layer, ...]:
        """A partial configuration as none or one layer."""
        if node is None:
            return ()
        if "seed" in node.keys:
            self._builder.problem(
                node.keys["seed"], "seed: is not set here; list `seeds` for the table or a profile"
            )
        return (Layer(node, of_table),)

    def entries(
        self, items: Iterable[Node], *, of_table: bool = True
    ) -> Iterable[tuple[GroupEntry, RowEntry]]:
        """The entries of a list of rows and groups of rows, each with its group."""
        for item in items:
            if not (isinstance(item, MapNode) and "rows" in item.entries):
                built = self._builder.build(item, RowEntry)
                if isinstance(built, RowEntry):
                    yield NO_GROUP, built
                continue
            group = self._builder.build(item, GroupEntry)
            inner = group.rows if isinstance(group, GroupEntry) else None
            if inner is not None and not inner.items:
                self._builder.problem(inner.where, "rows: a group needs at least one")
            for child in inner.items if isinstance(inner, ListNode) else ():
                built = self._builder.build(child, RowEntry)
                if isinstance(built, RowEntry):
                    yield group, built

    def _add(self, new: Iterable[Draft], drafts: dict[str, Draft]) -> None:
        for draft in new:
            row = draft.row
            if row.id in drafts:
                first = drafts[row.id].row.node.where
                what = f"row '{row.id}' is given twice (first at {first.line}:{first.column})"
                hint = "; a grid's id must hold its values, as {keep} for method.mask.keep"
                same = first == row.node.where
                self._builder.problem(row.node.find("id"), what + (hint if same else ""))
            drafts.setdefault(row.id, draft)

    def _choose(
        self, item: ScalarNode, table: Mapping[str, Draft], chosen: dict[str, Draft]
    ) -> None:
        if item.text in chosen:
            self._builder.problem(item.where, f"row '{item.text}' is listed twice")
        for draft in self._matching(item.text, item.where, table):
            chosen.setdefault(draft.row.id, draft)

    def _change(
        self, entry: RowEntry, table: Mapping[str, Draft], chosen: dict[str, Draft]
    ) -> None:
        """Change rows of the table."""
        for key in ("grid", "from"):
            if key in entry.node.keys:
                what = f"{key}: only new rows can have one, this changes rows of the table"
                self._builder.problem(entry.node.keys[key], what)
        layer = self._layers(entry.set, of_table=False)
        for draft in self._matching(entry.id, entry.node.find("id"), table):
            draft = chosen.get(draft.row.id, draft)
            row = replace(
                draft.row,
                label=draft.row.label if entry.label is None else entry.label,
                group=draft.row.group if entry.group is None else entry.group,
                note=draft.row.note if entry.note is None else entry.note,
                published={**draft.row.published, **self._published(entry, NO_GROUP)},
                node=entry.node,
            )
            chosen[row.id] = Draft(row, draft.layers + layer)

    def _matching(self, text: str, where: Location, table: Mapping[str, Draft]) -> list[Draft]:
        drafts = [table[text]] if text in table else []
        if is_glob(text):
            drafts = [draft for row_id, draft in table.items() if fnmatchcase(row_id, text)]
        if not drafts and table:  # a table without any row is told of
            self._builder.problem(where, unknown("row", text, list(table)))
        return drafts

    def _new(
        self,
        entry: RowEntry,
        group: GroupEntry,
        base: tuple[Layer, ...],
        others: Mapping[str, Draft],
        *,
        of_table: bool = True,
    ) -> list[Draft]:
        """One row, or one for every point of its grid, over `base` or the row it starts from."""
        heading = group.group if entry.group is None else entry.group
        layers = base + self._layers(group.set, of_table=of_table)
        if entry.start is not None:
            start = others.get(entry.start)
            if start is None:
                what = f"from: {unknown('row', entry.start, list(others))}"
                self._builder.problem(entry.node.find("from"), what)
                return []
            layers, heading = start.layers, heading or start.row.group
        layers += self._layers(entry.set, of_table=of_table)
        grid = Grid(entry.node, entry.grid, self._builder.problems)
        if (wrong := grid.too_large()) is not None:
            self._builder.problem(entry.node.keys["grid"], f"grid: {wrong}")
            return []
        published = self._published(entry, group)
        if len(grid) > 1 and published:
            what = "published: a grid makes several rows; write them out to give their numbers"
            self._builder.problem(entry.node.keys["published"], what)
        drafts = []
        for point in grid.points():
            row_id = grid.fill(entry.id, point, "id")
            if not ROW_ID.fullmatch(row_id):
                what = (
                    f"id: '{row_id}' must start with a letter or digit and be made of those and "
                    "_ . + -, 120 at most"
                )
                self._builder.problem(entry.node.find("id"), what)
            axes = [Layer(axis, of_table) for axis in grid.layers(point)]
            row = Row(
                id=row_id,
                label=row_id if entry.label is None else grid.fill(entry.label, point, "label"),
                group=heading or "",
                note=entry.note or group.note or "",
                published=published,
                node=entry.node,
            )
            drafts.append(Draft(row, (*layers, *axes)))
        return drafts

    def _published(self, entry: RowEntry, group: GroupEntry) -> dict[str, Published]:
        cells = entry.node.entries.get("published")
        for column in cells.entries if isinstance(cells, MapNode) else ():
            assert isinstance(cells, MapNode)
            if column not in self._columns:
                what = unknown("column", column, list(self._columns))
                self._builder.problem(cells.keys[column], what)
        published = {column: cell for column, cell in entry.published.items() if cell is not None}
        for column, cell in published.items():
            known = self._columns.get(column)
            wrong = None if known is None else known.misprinted(cell.intended.value)
            if wrong is not None:
                key = "value" if cell.corrected is None else "corrected"
                self._builder.problem(
                    entry.node.find("published", column, key), f"{column}: {wrong}"
                )
        if group.confidence is not None:
            for column, cell in published.items():
                if cell.confidence == "exact":
                    published[column] = replace(cell, confidence=group.confidence)
        return published


def is_glob(text: str) -> bool:
    """Whether `text` is a pattern of row ids and not one id."""
    return any(sign in text for sign in "*?[")
