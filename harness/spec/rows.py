"""Rows from their entries, and the rows a profile runs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase

from harness.errors import Problem, Where, unknown
from harness.spec.build import Builder
from harness.spec.claims import ROW_ID
from harness.spec.grid import MOST_ROWS, Grid
from harness.spec.nodes import MapNode, Node, ScalarNode
from harness.spec.recipes import Recipes
from harness.spec.schema import ProfileEntry, RowEntry
from harness.spec.table import Published, Row
from harness.train.config import TrainConfig


class RowReader:
    """Makes rows of entries; the problems it meets go to `builder`."""

    def __init__(self, builder: Builder, columns: Iterable[str]) -> None:
        self._builder, self._columns = builder, list(columns)
        self._recipes = Recipes()
        self._layers = Builder(partial=True)

    @property
    def loose(self) -> list[Problem]:
        """What is wrong with values of single layers, which a layer above may replace."""
        return self._layers.problems

    def layer(self, node: MapNode | None) -> tuple[MapNode, ...]:
        """A partial configuration with its recipe read, as none or one layer."""
        if node is None:
            return ()
        if "seed" in node.keys:
            self._builder.problem(
                node.keys["seed"], "seed: is not set here; list `seeds` for the table or a profile"
            )
        resolved = self._recipes.in_layer(node)
        self._builder.problems += self._recipes.problems
        self._recipes.problems.clear()
        self._layers.build(resolved, TrainConfig)
        return (resolved,)

    def table_rows(self, items: Sequence[Node], base: tuple[MapNode, ...]) -> tuple[Row, ...]:
        """The rows of a table, over its `base`."""
        rows: list[Row] = []
        for item in items:
            rows += self._rows(self._entry(item), base)
            if len(rows) > MOST_ROWS:
                self._builder.problem(item.where, f"rows: more than {MOST_ROWS:,} in one table")
                break
        return tuple(self._unique(rows).values())

    def profile_rows(
        self, entry: ProfileEntry, table: Sequence[Row], base: tuple[MapNode, ...]
    ) -> tuple[Row, ...]:
        """The rows of a profile: those of the table that it runs, with its changes, and its own.

        `base` is the table's; layers come in this order: base, row, profile's base, profile's row.
        """
        over = self.layer(entry.base)
        known = {row.id: replace(row, layers=row.layers + over) for row in table}
        if entry.rows is None:
            return tuple(known.values())
        if not entry.rows.items:
            self._builder.problem(entry.rows.where, "rows: a profile needs at least one")
        chosen: dict[str, Row] = {}
        for item in entry.rows.items:
            if len(chosen) > MOST_ROWS:
                self._builder.problem(item.where, f"rows: more than {MOST_ROWS:,} in one profile")
                break
            if isinstance(item, ScalarNode):
                self._choose(item, known, chosen)
            else:
                self._change(self._entry(item), known, chosen, base + over)
        return tuple(chosen.values())

    def _entry(self, item: Node) -> RowEntry | None:
        built = self._builder.build(item, RowEntry)
        return built if isinstance(built, RowEntry) else None

    def _choose(self, item: ScalarNode, known: Mapping[str, Row], chosen: dict[str, Row]) -> None:
        if item.text in chosen:
            self._builder.problem(item.where, f"row '{item.text}' is listed twice")
        for row in self._matching(item.text, item.where, known):
            chosen.setdefault(row.id, row)

    def _change(
        self,
        entry: RowEntry | None,
        known: Mapping[str, Row],
        chosen: dict[str, Row],
        base: tuple[MapNode, ...],
    ) -> None:
        """Change rows of the table, or add new ones."""
        if entry is None:
            return
        if not is_glob(entry.id) and entry.id not in known:
            for row in self._rows(entry, base):
                if row.id in chosen:
                    self._builder.problem(entry.node.find("id"), f"row '{row.id}' is given twice")
                chosen[row.id] = row
            return
        if entry.grid:
            where = entry.node.keys["grid"]
            self._builder.problem(
                where, "grid: only new rows can have one, this changes rows of the table"
            )
        layer = self.layer(entry.set)
        for row in self._matching(entry.id, entry.node.find("id"), known):
            chosen[row.id] = self._changed(chosen.get(row.id, row), entry, layer)

    def _changed(self, row: Row, entry: RowEntry, layer: tuple[MapNode, ...]) -> Row:
        return replace(
            row,
            label=row.label if entry.label is None else entry.label,
            group=row.group if entry.group is None else entry.group,
            note=row.note if entry.note is None else entry.note,
            published={**row.published, **self._published(entry)},
            layers=row.layers + layer,
            node=entry.node,
        )

    def _matching(self, text: str, where: Where, known: Mapping[str, Row]) -> list[Row]:
        rows = [known[text]] if text in known else []
        if is_glob(text):
            rows = [row for row in known.values() if fnmatchcase(row.id, text)]
        if not rows:
            self._builder.problem(where, unknown("row", text, list(known)))
        return rows

    def _rows(self, entry: RowEntry | None, base: tuple[MapNode, ...]) -> list[Row]:
        """One row, or one for every point of its grid."""
        if entry is None:
            return []
        grid = Grid(entry, self._builder.problems)
        wrong = grid.too_large()
        if wrong is not None:
            self._builder.problem(entry.node.keys["grid"], f"grid: {wrong}")
            return []
        published, layers = self._published(entry), base + self.layer(entry.set)
        if len(grid) > 1 and published:
            what = "published: a grid makes several rows; write them out to give their numbers"
            self._builder.problem(entry.node.keys["published"], what)
        found = []
        for point in grid.points():
            row_id = grid.fill(entry.id, point, "id")
            self._check_id(row_id, entry)
            row = Row(
                id=row_id,
                label=row_id if entry.label is None else grid.fill(entry.label, point, "label"),
                group=entry.group or "",
                note=entry.note or "",
                published=published,
                layers=layers
                + tuple(part for axis in grid.layers(point) for part in self.layer(axis)),
                node=entry.node,
            )
            found.append(row)
        return found

    def _check_id(self, row_id: str, entry: RowEntry) -> None:
        if not ROW_ID.fullmatch(row_id):
            what = "must start with a letter or digit and be made of those and _ . + -, 120 at most"
            self._builder.problem(entry.node.find("id"), f"id: '{row_id}' {what}")

    def _published(self, entry: RowEntry) -> dict[str, Published]:
        cells = entry.node.entries.get("published")
        for column in cells.entries if isinstance(cells, MapNode) else ():
            assert isinstance(cells, MapNode)
            if column not in self._columns:
                self._builder.problem(cells.keys[column], unknown("column", column, self._columns))
        return {column: cell for column, cell in entry.published.items() if cell is not None}

    def _unique(self, rows: Iterable[Row]) -> dict[str, Row]:
        found: dict[str, Row] = {}
        for row in rows:
            if row.id in found:
                first = found[row.id].node.where
                what = f"row '{row.id}' is given twice (first at {first.line}:{first.column})"
                same = first == row.node.where
                hint = (
                    "; a grid's id must hold its values, as {keep} for method.mask.keep"
                    if same
                    else ""
                )
                self._builder.problem(row.node.find("id"), what + hint)
            found.setdefault(row.id, row)
        return found


def is_glob(text: str) -> bool:
    """Whether `text` is a pattern of row ids and not one id."""
    return any(sign in text for sign in "*?[")
