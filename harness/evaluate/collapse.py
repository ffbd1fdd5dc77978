"""What counts as collapse: of features in an evaluation, of a self-taught teacher in training."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

COLLAPSED = 0.05
"""Below this `features/std` nothing is left that tells images apart; networks just initialised are
above it."""

UNIFORM, ONE_PROTOTYPE = 0.98, 0.05  # of log(out_dim)


def signs(summary: Mapping[str, Any], out_dim: int) -> dict[str, str]:
    """What is wrong with a teacher's outputs over `out_dim` prototypes, by the name of the entropy
    (nats) that shows it; nothing where an entropy is missing or healthy.
    """
    most, found = math.log(out_dim), {}
    teacher, mean = summary.get("teacher_entropy"), summary.get("mean_entropy")
    if teacher is not None and teacher > UNIFORM * most:
        found["teacher_entropy"] = (
            f"teacher_entropy is {teacher:.3g} of at most {most:.3g} nats: its outputs are "
            "uniform and teach nothing"
        )
    if mean is not None and mean < ONE_PROTOTYPE * most:
        found["mean_entropy"] = (
            f"mean_entropy is {mean:.3g} of at most {most:.3g} nats: one prototype takes "
            "every image"
        )
    return found
