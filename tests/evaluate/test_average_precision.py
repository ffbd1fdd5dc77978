"""COCO's average precision of cases that can be counted by hand."""

from __future__ import annotations

import numpy as np
import pytest

from harness.errors import DataError
from harness.evaluate.average_precision import average_precision

NONE = np.zeros((0, 7))
IMAGES = np.arange(2)
# image, class, centre x and y, width and height, crowd
TRUTH = np.array(
    [
        [0, 4, 0.3, 0.3, 0.2, 0.4, 0],
        [0, 4, 0.7, 0.7, 0.2, 0.4, 0],
        [1, 7, 0.5, 0.5, 0.4, 0.4, 0],
    ]
)


def scored(rows: np.ndarray, *scores: float) -> np.ndarray:
    return np.concatenate([rows[:, :6], np.array(scores)[:, None]], axis=1)


def test_everything_found_is_a_hundred() -> None:
    found = average_precision(scored(TRUTH, 0.9, 0.8, 0.7), TRUTH, IMAGES)
    assert found == pytest.approx({"ap": 100, "ap50": 100, "ap75": 100})


def test_half_found_and_one_false_alarm() -> None:
    """Class 4: first a false alarm (0.95), then one of two objects: precision 1/2 up to recall 1/2,
    so at 51 of COCO's 101 recalls. Class 7: its box is 0.4 x 0.4, shifted by a fifth of its width:
    the IoU is 0.8 / 1.2 = 2/3, enough for 4 of the 10 thresholds.
    """
    rows = TRUTH.copy()
    rows[1, 2:4] = 0.1, 0.9  # the second box of class 4 lies where nothing is
    rows[2, 2] += 0.08
    found = average_precision(scored(rows, 0.9, 0.95, 0.7), TRUTH, IMAGES)
    half = 100 * 0.5 * 51 / 101
    assert found == pytest.approx(
        {"ap": (half + 40) / 2, "ap50": (half + 100) / 2, "ap75": half / 2}
    )


def test_the_scale_of_an_axis_makes_no_difference() -> None:
    rows = TRUTH.copy()
    rows[:, 2] += [0.02, 0.03, 0.05]
    scale = np.array([1, 1, 0.5, 0.25, 0.5, 0.25, 1])
    whole = average_precision(scored(rows, 0.9, 0.8, 0.7), TRUTH, IMAGES)
    small = average_precision(scored(rows * scale, 0.9, 0.8, 0.7), TRUTH * scale, IMAGES)
    assert small == pytest.approx(whole)


def test_what_lies_in_a_crowd_counts_nowhere() -> None:
    crowd = np.array([[1, 4, 0.5, 0.5, 1.0, 1.0, 1]])
    truth = np.concatenate([TRUTH, crowd])
    more = np.array([[1, 4, 0.2, 0.2, 0.1, 0.1, 0.99]])
    found = np.concatenate([scored(TRUTH, 0.9, 0.8, 0.7), more])
    assert average_precision(found, truth, IMAGES)["ap"] == pytest.approx(100)
    assert average_precision(found, TRUTH, IMAGES)["ap"] < 90


def test_nothing_found_and_nothing_there() -> None:
    assert average_precision(NONE, TRUTH, IMAGES) == {"ap": 0, "ap50": 0, "ap75": 0}
    with pytest.raises(DataError, match="hold no object"):
        average_precision(scored(TRUTH, 0.9, 0.8, 0.7), NONE, IMAGES)


def test_boxes_of_a_class_that_is_nowhere_cost_nothing() -> None:
    strange = np.array([[0, 9, 0.2, 0.2, 0.1, 0.1, 0.99]])
    found = np.concatenate([scored(TRUTH, 0.9, 0.8, 0.7), strange])
    assert average_precision(found, TRUTH, IMAGES)["ap"] == pytest.approx(100)
