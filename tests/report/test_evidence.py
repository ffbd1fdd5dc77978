"""What tasks and methods tell a report of themselves."""

from __future__ import annotations

import re
from pathlib import Path

import harness.report
from harness.methods import METHODS
from harness.report.figures import FIGURES
from harness.run import TASKS


def test_what_a_value_rests_on_goes_with_how_its_task_is_run() -> None:
    for name in TASKS.names():
        task = TASKS.get(name)
        assert task.seeded == (task.evidence == "seeds"), name
        assert task.exclusive or task.evidence != "timing", name


def test_what_tasks_and_methods_name_is_there() -> None:
    for name in TASKS.names():
        task = TASKS.get(name)
        metrics = task.metrics()
        assert not metrics or task.curves <= metrics, name
        for timed, ratio in task.in_turn.items():
            assert {timed, ratio} <= metrics, name
    for registry in (TASKS, METHODS):
        for name in registry.names():
            for figure in registry.get(name).figures:
                assert figure.figure in FIGURES.names(), name


def test_the_reporter_names_no_metric_or_method_of_a_paper() -> None:
    words = re.compile(r"[\"'](teacher|student)/|unmasked|teacher_keep|speedup")
    for path in Path(harness.report.__path__[0]).rglob("*.py"):
        assert not words.search(path.read_text(encoding="utf-8")), path
