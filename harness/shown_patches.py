"""What sets rows with a masked teacher apart, said once for tasks and methods that have one: how
much the teacher sees, which row is compared with, and which figures show it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from harness.evidence import Baseline, FigureOf
from harness.models.families import family_of

if TYPE_CHECKING:
    from harness.train.config import TrainConfig


def shown_patches(config: TrainConfig) -> tuple[int, int] | None:
    """How many patches the teacher sees, of how many; None without one."""
    teacher = config.teacher
    if teacher is None:
        return None
    patches = teacher.shape.patches
    return config.method.teacher_keep(patches), patches


def _lie(config: TrainConfig) -> tuple[int, int, bool] | None:
    """Rows and columns of the teacher's patches; the lowest mel bins are the first row."""
    if config.teacher is None:
        return None
    family = family_of(config.teacher.shape)
    return (*family.grid(config.teacher.shape), family.takes_spectrograms)


def _sees_all(config: TrainConfig) -> bool:
    shown = shown_patches(config)
    return shown is not None and shown[0] == shown[1]


def _same_teacher(row: TrainConfig, other: TrainConfig) -> bool:
    if row.teacher is None or other.teacher is None:
        return False
    return (row.teacher.arch, row.teacher.shape) == (other.teacher.arch, other.teacher.shape)


UNMASKED: Final = Baseline(
    name="unmasked teacher",
    serves=lambda row, other: _sees_all(other) and _same_teacher(row, other),
)
"""The same teacher on all patches."""

TEACHER_COST: Final = FigureOf(
    figure="accuracy-cost",
    id="accuracy-cost",
    source="teacher/gmacs",
    caption="{column} of the student against the teacher's multiply-adds per image ({what}).",
    alt="{column} against teacher compute",
    label="Teacher, {unit} per image",
    extent=shown_patches,
)

KEPT_PATCHES: Final = FigureOf(
    figure="position-maps",
    id="kept",
    source="kept",
    caption="How often each patch position is shown to the teacher, over training (share of "
    "images, mean over seeds; as in Figure 5 of MaskedKD, arXiv 2302.10494). Each row has its own "
    "keep ratio; white is the ratio itself, so colour shows preference.",
    alt="Kept patches by position over training",
    label="{} of {} patches",
    extent=shown_patches,
    lie=_lie,
)
