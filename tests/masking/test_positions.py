"""How evenly positions are used and how far out they lie, against closed forms."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import stats

from harness.masking.positions import distance_from_centre, evenness
from harness.methods import Networks
from harness.methods.distillation import Distillation, Mask
from harness.models.build import freeze
from tests.methods.test_distillation import batch, network, reference


def test_evenness_is_the_share_of_positions_that_are_in_use() -> None:
    assert evenness(torch.tensor([3, 3, 3, 3])) == pytest.approx(1.0)
    assert evenness(torch.tensor([5, 0, 5, 0])) == pytest.approx(0.5)
    assert evenness(torch.tensor([7, 0, 0, 0])) == pytest.approx(0.25)
    counts = np.array([1, 2, 3, 10])
    assert evenness(torch.tensor(counts)) == pytest.approx(math.exp(stats.entropy(counts)) / 4)


def test_distance_is_1_for_all_and_what_geometry_says_for_some() -> None:
    assert distance_from_centre(torch.ones(12), (3, 4)) == pytest.approx(1.0)
    inner, corner = math.hypot(0.5, 0.5), math.hypot(1.5, 1.5)
    mean = (4 * inner + 4 * corner + 8 * math.hypot(0.5, 1.5)) / 16
    middle = torch.zeros(4, 4)
    middle[1:3, 1:3] = 9
    assert distance_from_centre(middle.flatten(), (4, 4)) == pytest.approx(inner / mean)
    corners = torch.zeros(4, 4)
    corners[0, 0] = corners[3, 3] = 2
    assert distance_from_centre(corners.flatten(), (4, 4)) == pytest.approx(corner / mean)


def test_an_evaluation_tells_which_positions_the_teacher_is_shown() -> None:
    student, teacher = network(1), freeze(network(2))
    method = Distillation(mask=Mask(keep=5), teacher_accuracy=True)
    objective = method.build(Networks(student=student.eval(), teacher=teacher))
    images = batch().images
    _, saliency = reference(student).run(images)
    counts = torch.zeros(16)
    for row in saliency:
        counts[row.argsort(descending=True)[:5]] += 1
    for _ in range(2):  # each evaluation begins anew
        predict = objective.extra_predictors()["teacher"]
        predict(images[:4])
        predict(images[4:])
        found = objective.evaluated()
        assert found == {
            "kept/evenness": pytest.approx(evenness(counts)),
            "kept/distance": pytest.approx(distance_from_centre(counts, (4, 4))),
        }
    assert found.keys() == Distillation.extra_metrics


@pytest.mark.parametrize("mask", [None, Mask(keep=16)])
def test_a_teacher_that_is_shown_all_chooses_nothing(mask: Mask | None) -> None:
    networks = Networks(student=network(1).eval(), teacher=freeze(network(2)))
    objective = Distillation(mask=mask, teacher_accuracy=True).build(networks)
    objective.extra_predictors()["teacher"](batch().images)
    assert objective.evaluated() == {}
