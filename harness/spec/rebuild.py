"""Back from the plain form in `run.json` to the config object that a worker executes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from harness.errors import HarnessError, Location
from harness.run import TASKS, Task
from harness.spec.build import Builder
from harness.spec.nodes import ListNode, MapNode, Node, ScalarNode

_HERE = Location("run.json", 1, 1)


def from_dict(task: str, plain: Mapping[str, Any]) -> Task:
    """The config of a run of `task`; HarnessError if a version with other options wrote it."""
    builder = Builder(versioned=True)
    config = builder.build(_node(plain), TASKS.get(task))
    if isinstance(config, Task) and not builder.problems:
        return config
    what = "; ".join(problem.what for problem in builder.problems)
    raise HarnessError(
        f"this run was planned by another version of harness ({what}): plan it again"
    )


def _node(value: Any) -> Node:
    if isinstance(value, Mapping):
        entries = {key: _node(child) for key, child in value.items()}
        return MapNode(_HERE, entries, dict.fromkeys(entries, _HERE))
    if isinstance(value, list | tuple):
        return ListNode(_HERE, tuple(_node(item) for item in value))
    return ScalarNode(_HERE, value, "null" if value is None else str(value))
