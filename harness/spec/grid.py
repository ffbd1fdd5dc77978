"""A row or claim with a grid as all that it stands for."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping
from typing import Final

from harness.errors import Diagnostic, unknown
from harness.spec.nodes import BadNode, ListNode, MapNode, Node, ScalarNode

MOST_ROWS: Final = 5_000
"""Rows of a table, and of one grid: ten times what anybody reads, far less than memory holds."""

_NAME = re.compile(r"\{([^{}]*)\}")


class Grid:
    """Names and the values they take; every combination is one point, in the order written.

    The names of a row's grid are dotted paths of its configuration.
    """

    def __init__(
        self, node: MapNode, axes: Mapping[str, ListNode], problems: list[Diagnostic]
    ) -> None:
        self._node, self._problems = node, problems
        self._axes = {path: self._values(path, axis.items) for path, axis in axes.items()}
        self._names = self._short_names()

    def __len__(self) -> int:
        size = 1
        for values in self._axes.values():
            size *= len(values)
        return size

    def too_large(self, what: str = "rows") -> str | None:
        """What is wrong with its size; None if nothing is."""
        if len(self) <= MOST_ROWS:
            return None
        sizes = " x ".join(str(len(values)) for values in self._axes.values())
        return f"makes {len(self):,} {what} ({sizes}), {MOST_ROWS:,} at most"

    def points(self) -> Iterator[dict[str, ScalarNode]]:
        """The combinations; one without any value where there is no grid."""
        for values in itertools.product(*self._axes.values()):
            yield dict(zip(self._axes, values, strict=True))

    def layers(self, point: Mapping[str, ScalarNode]) -> Iterator[MapNode]:
        """The partial configurations that a point stands for, one for each path."""
        for path, value in point.items():
            node: Node = value
            for key in reversed(path.split(".")):
                node = MapNode(value.where, {key: node}, {key: value.where})
            assert isinstance(node, MapNode)
            yield node

    def fill_rows(self, text: str, point: Mapping[str, ScalarNode]) -> str:
        """The comparison of a claim: of one about several rows, names of the rows stay."""
        if re.match(r"\s*\w+\s*\(", text):
            for name, path in self._names.items():
                if path in point:
                    text = text.replace(f"{{{name}}}", point[path].text)
            return text
        return self.fill(text, point, "holds")

    def fill(self, text: str, point: Mapping[str, ScalarNode], key: str) -> str:
        """`text` with every `{keep}` replaced by the point's value."""

        def value(match: re.Match[str]) -> str:
            path = self._names.get(match[1])
            if path is None:
                what = (
                    unknown("grid value", match[1], list(self._names))
                    if self._names
                    else "there is no grid"
                )
                self._problems.append(
                    Diagnostic(self._node.find(key), f"{key}: {{{match[1]}}}: {what}")
                )
                return match[1]
            return point[path].text

        return _NAME.sub(value, text) if "{" in text else text

    def _values(self, path: str, items: tuple[Node, ...]) -> list[ScalarNode]:
        if not items:
            where = self._node.find("grid", path)
            self._problems.append(Diagnostic(where, f"{path}: an empty list makes no rows"))
        for item in items:
            if not isinstance(item, ScalarNode | BadNode):
                self._problems.append(
                    Diagnostic(item.where, f"{path}: a grid takes single values only")
                )
        return [item for item in items if isinstance(item, ScalarNode)]

    def _short_names(self) -> dict[str, str]:
        last = [path.rpartition(".")[2] for path in self._axes]
        short = {
            path.rpartition(".")[2]: path
            for path in self._axes
            if last.count(path.rpartition(".")[2]) == 1
        }
        return {**short, **{path: path for path in self._axes}}
