"""What is taken for collapse."""

from __future__ import annotations

import math

import pytest

from harness.evaluate.collapse import signs

MOST = math.log(256)


@pytest.mark.parametrize(
    ("teacher", "mean", "found"),
    [
        (0.99, 0.99, {"teacher_entropy"}),
        (0.97, 0.99, set()),
        (0.01, 0.04, {"mean_entropy"}),
        (0.01, 0.06, set()),
        (0.1, 0.6, set()),
    ],
)
def test_entropies_as_shares_of_the_most_there_can_be(
    teacher: float, mean: float, found: set[str]
) -> None:
    summary = {"teacher_entropy": teacher * MOST, "mean_entropy": mean * MOST, "kept": [0.5]}
    assert set(signs(summary, 256)) == found


def test_nothing_seen_is_no_sign() -> None:
    assert signs({}, 256) == {}
