"""The plots that a spec declares: `{id: cost, x: {setting: [method.mask.keep]}, y: [acc]}`."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import replace

from harness.errors import unknown
from harness.spec.build import Builder
from harness.spec.merge import merge_all
from harness.spec.nodes import ListNode, MapNode, Node, ScalarNode
from harness.spec.table import Plot, Row
from harness.train.config import TrainConfig

_ID = re.compile(r"[a-z0-9][a-z0-9-]*")


class PlotReader:
    """Reads and checks plots; the problems it meets go to `builder`."""

    def __init__(self, builder: Builder, columns: Sequence[str]) -> None:
        self._builder, self._columns = builder, columns

    def read(self, node: ListNode | None, rows: Iterable[Sequence[Row]]) -> tuple[Plot, ...]:
        """The plots of a table; `rows` are its own and those of each profile."""
        items = node.items if node is not None else ()
        built = [self._builder.build(item, Plot) for item in items]
        plots = [plot for plot in built if isinstance(plot, Plot)]
        all_rows = [row for some in rows for row in some] if plots else []
        groups = {row.group for row in all_rows}
        numbers = (
            {path for row in all_rows for path, _ in _numbers(merged(row))} if plots else set()
        )
        for index, plot in enumerate(plots):
            self._check_id(plot, {other.id for other in plots[:index]})
            self._check_names(plot, groups)
            self._each(plot.node.entries["x"], "setting", "setting", plot.x.setting, numbers)
        return tuple(plots)

    def _check_id(self, plot: Plot, before: Collection[str]) -> None:
        where = plot.node.find("id")
        if not _ID.fullmatch(plot.id):
            what = f"id: '{plot.id}' must be made of lower-case letters, digits and -"
            self._builder.problem(where, what)
        if plot.id in before:
            self._builder.problem(where, f"plot '{plot.id}' is given twice")

    def _check_names(self, plot: Plot, groups: Collection[str]) -> None:
        x = plot.x.column
        if x and x not in self._columns:
            where = plot.node.find("x", "column")
            self._builder.problem(where, f"x: {unknown('column', x, self._columns)}")
        if not plot.y:
            self._builder.problem(plot.node.find("y"), "y: a plot needs at least one column")
        self._each(plot.node, "y", "column", plot.y, self._columns)
        self._each(plot.node, "groups", "group", plot.groups, groups)

    def _each(
        self, node: Node, key: str, kind: str, names: Sequence[str], valid: Collection[str]
    ) -> None:
        """Every name in the list at `key` is known."""
        items = node.entries.get(key) if isinstance(node, MapNode) else None
        if not isinstance(items, ListNode):
            return
        for item, name in zip(items.items, names, strict=True):
            if name not in valid:
                self._builder.problem(item.where, f"{key}: {unknown(kind, name, sorted(valid))}")


def with_x_values(plots: Sequence[Plot], rows: Sequence[Row]) -> tuple[Plot, ...]:
    """The plots with the x of every row that sets one."""
    if not any(plot.x.setting for plot in plots):
        return tuple(plots)
    numbers = {row.id: dict(_numbers(merged(row))) for row in rows}
    return tuple(
        replace(
            plot,
            at={
                row: value
                for row, settings in numbers.items()
                if (
                    value := next(
                        (settings[path] for path in plot.x.setting if path in settings), None
                    )
                )
                is not None
            },
        )
        for plot in plots
    )


def merged(row: Row) -> MapNode:
    """What the layers of a row say together, without the defaults."""
    return merge_all(row.layers, TrainConfig, under=row.node)


def _numbers(node: MapNode, prefix: str = "") -> Iterator[tuple[str, float]]:
    """Every number in a configuration by its dotted path."""
    for key, _, child in node:
        if isinstance(child, MapNode):
            yield from _numbers(child, f"{prefix}{key}.")
        elif isinstance(child, ScalarNode) and _is_number(child):
            yield f"{prefix}{key}", float(child.text)


def _is_number(node: ScalarNode) -> bool:
    return isinstance(node.value, int | float) and not isinstance(node.value, bool)
