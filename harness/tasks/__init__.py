"""What a run does: train, evaluate what was trained, count costs, measure speed and memory."""

from __future__ import annotations

from typing import Any

from harness.data import open_dataset
from harness.train.config import TrainConfig


def teacher_of(train: TrainConfig) -> dict[str, Any] | None:
    """What tasks that measure a frozen teacher need to know of it; None: it has none, or one that
    merges tokens.
    """
    if train.teacher is None or train.method.teacher_merge():
        return None
    data = open_dataset(train.data)
    teacher = train.teacher.cost_config(data.channels)
    return {
        "teacher": teacher,
        "keep": train.method.teacher_keep(teacher.shape.patches),
        "classes": data.classes,
    }
